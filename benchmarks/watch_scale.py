"""A watched folder of a million inspected files: a look, memory, idle time, how soon a new file is seen; and rates.

    python -m benchmarks.watch_scale MODEL IMAGES [--files 1000000] [--idle-seconds 60]

The files are hard links to a few small ones, so the folder is large and its disk is not. They are put into the record's
table of files as if they had been inspected, then the real service is started on them. Then, in the same run, the rate
of a backlog of files in a small folder: watched, watched one at a time, and sent over HTTP by eight clients.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from itertools import cycle, islice
from pathlib import Path

import httpx

from benchmarks._timing import append_row, resident_mb
from pellucid.acquisition.files import image_files

RESULTS = Path(__file__).with_suffix(".csv")
LINKS_PER_FILE = 60_000  # ext4 allows 65,000
HTTP_CLIENTS = 8
ONE_AT_A_TIME = "import pellucid.service.watch as w; w.INSPECTION_THREADS = 1; from pellucid.cli import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="Model file.")
    parser.add_argument("images", type=Path, help="Folder of images, for new files and for the rates.")
    parser.add_argument("--files", type=int, default=1_000_000, help="Files in the folder.")
    parser.add_argument("--idle-seconds", type=float, default=60, help="That nothing happens for.")
    parser.add_argument("--backlog", type=int, default=300, help="Files that the rates are measured on.")
    parser.add_argument("--folder", type=Path, help="Where the large folder is made and kept; one of before is used.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        row = {
            "date": date.today().isoformat(),
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            **measure_scale(args, args.folder or Path(made) / "scale"),
            **measure_rates(args, Path(made)),
        }
    append_row(RESULTS, row)


def measure_scale(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Start the service on a large folder, and measure what it takes."""
    empty = _prepare(folder.with_name(f"{folder.name}-empty-{os.getpid()}"), args.model)
    with _served(empty.parent) as (process, _):
        time.sleep(5)
        empty_mb = resident_mb(process)
    shutil.rmtree(empty.parent)
    camera = folder / "camera"
    if not camera.exists():
        _fill(_prepare(folder, args.model), args.files, folder)
    listing_s, earlier = _look_s(camera, folder), _count(folder)
    images = image_files(args.images)
    with _served(folder) as (process, _):
        _wait_idle(process)  # the first look
        settled_mb, start_s = resident_mb(process), _cpu_s(process)
        time.sleep(args.idle_seconds)
        idle_share = (_cpu_s(process) - start_s) / args.idle_seconds
        latencies = [
            _latency(folder, camera, image, f"new {time.time():.0f} {k}") for k, image in enumerate(images[:20])
        ]
        inspected, end_mb = _count(folder) - earlier, resident_mb(process)
    if inspected != len(latencies):
        raise SystemExit(f"{inspected} files were inspected, not {len(latencies)}")
    return {
        "files": args.files,
        "look_s": round(listing_s, 2),
        "rss_empty_mb": round(empty_mb, 1),
        "rss_settled_mb": round(settled_mb, 1),
        "rss_end_mb": round(end_mb, 1),
        "idle_share_of_a_core": round(idle_share, 4),
        "latency_median_s": round(statistics.median(latencies), 2),
        "latency_max_s": round(max(latencies), 2),
    }


def measure_rates(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Files a second of a backlog: watched, watched one at a time, and over HTTP."""
    rates = {}
    for name, program in (("watched", None), ("one_at_a_time", ONE_AT_A_TIME), ("http", None)):
        place = folder / name
        camera = _prepare(place, args.model)
        contents = [path.read_bytes() for path in image_files(args.images)]
        files = [(f"{k:04d}.png", content) for k, content in enumerate(islice(cycle(contents), args.backlog))]
        with _served(place, program) as (_, url):
            if name == "http":
                rates[name] = _send(url, files)
                continue
            for file, content in files:
                (place / file).write_bytes(content)
            for file, _ in files:
                (place / file).rename(camera / file)
            while _count(place) < len(files):
                time.sleep(0.2)
            rates[name] = _rate(place)
    return {
        **{f"{name}_per_s": round(rate, 1) for name, rate in rates.items()},
        "watched_of_one_at_a_time": round(rates["watched"] / rates["one_at_a_time"], 2),
        "watched_of_http": round(rates["watched"] / rates["http"], 2),
    }


def _prepare(folder: Path, model: Path) -> Path:
    camera = folder / "camera"
    camera.mkdir(parents=True)
    (folder / "models").mkdir()
    shutil.copy(model, folder / "models" / "glass.pellucid")
    return camera


def _fill(camera: Path, count: int, folder: Path) -> None:
    """Make the files and put them into the record as dealt with."""
    from pellucid.service.storage.record import Database
    from pellucid.service.watching.listing import Listing
    from pellucid.service.watching.seen import SeenFiles

    for number in range(count):
        if number % LINKS_PER_FILE == 0:
            source = folder / f"source {number}"
            source.write_bytes(b"seen")
        os.link(source, camera / f"{number:07d}.png")
    database = Database(f"sqlite:///{folder / 'record' / 'record.db'}")
    seen = SeenFiles(camera, database.watched_files)
    files = Listing(camera).images()
    while batch := list(islice(files, 10_000)):
        for file in batch:
            seen.add(file.path, file.state)
        seen.save()
    database.close()


def _look_s(camera: Path, folder: Path) -> float:
    """Seconds of a look that finds nothing."""
    from pellucid.service.storage.record import Database
    from pellucid.service.watching.listing import Listing
    from pellucid.service.watching.seen import SeenFiles

    database = Database(f"sqlite:///{folder / 'record' / 'record.db'}")
    start = time.perf_counter()
    seen, files = SeenFiles(camera, database.watched_files), Listing(camera).images()
    while batch := list(islice(files, 1000)):
        if seen.unseen(batch, earlier_keys=False):
            raise SystemExit("a file was forgotten")
    listing_s = time.perf_counter() - start
    database.close()
    return listing_s


def _wait_idle(process: int) -> None:
    """Wait until a process computes next to nothing."""
    busy_s = -1.0
    while _cpu_s(process) - busy_s > 0.25:
        busy_s = _cpu_s(process)
        time.sleep(5)


@contextmanager
def _served(folder: Path, program: str | None = None):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = [sys.executable, *(["-m", "pellucid"] if program is None else ["-c", program])]
    command = [*start, "serve", "--port", str(port), "--no-pages", "--watch", str(folder / "camera")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(240):
            time.sleep(0.5)
            try:
                if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                    break
            except httpx.HTTPError:
                continue
        else:
            raise SystemExit("the service did not become ready")
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def _latency(folder: Path, camera: Path, image: Path, name: str) -> float:
    """Seconds from a file's end of writing to its row."""
    before = _count(folder)
    (camera / f"{name}{image.suffix}").write_bytes(image.read_bytes())
    start = time.perf_counter()
    while _count(folder) == before:
        time.sleep(0.02)
    return time.perf_counter() - start


def _send(url: str, files: list[tuple[str, bytes]]) -> float:
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(HTTP_CLIENTS) as clients:
        client.post("/inspect", files=[("files", files[0])]).raise_for_status()
        start = time.perf_counter()
        for answer in clients.map(lambda file: client.post("/inspect", files=[("files", file)]), files):
            answer.raise_for_status()
        return len(files) / (time.perf_counter() - start)


def _query(folder: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"file:{folder}/record/record.db?mode=ro", uri=True, timeout=30)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def _count(folder: Path) -> int:
    return int(str(_query(folder, "SELECT count(*) FROM inspections")[0][0]))


def _rate(folder: Path) -> float:
    """Rows a second, from the first to the last."""
    times = _query(folder, "SELECT julianday(time) * 86400 FROM inspections ORDER BY time")
    seconds = [float(str(moment)) for (moment,) in times]
    return (len(seconds) - 1) / (seconds[-1] - seconds[0])


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
