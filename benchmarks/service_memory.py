"""The most memory that the service takes while large pictures come in and are looked at.

    python -m benchmarks.service_memory MODEL [-- OPTIONS OF pellucid serve]

One service, one situation after the other: the peak of its resident set in each, beside what it had before, how long it
took, and what was answered. The pictures are grey PNGs of 7000 x 7000 pixels, 48 kB each. Linux only.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np

from benchmarks._timing import write_rows

RESULTS = Path(__file__).with_suffix(".csv")
LARGE_SIDE_PX, SMALL_SIDE_PX = 7_000, 256
COLUMNS = ("situation", "before_mb", "peak_mb", "extra_mb", "seconds", "answers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="Model file.")
    parser.add_argument("options", nargs="*", help="Of pellucid serve.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        rows = measure(Path(made), args.model, args.options)
    write_rows(RESULTS, COLUMNS, rows)


def measure(folder: Path, model: Path, options: Sequence[str]) -> list[dict[str, object]]:
    """Start a service in a folder and put it into every situation; return a row for each."""
    (folder / "models").mkdir()
    (folder / "models" / "glass.pellucid").write_bytes(model.read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pellucid", "serve", "--port", str(port), "--no-pages", *options]
    service = subprocess.Popen(command, cwd=folder)
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, limits=httpx.Limits(max_connections=None))
    large, small = (_png(side) for side in (LARGE_SIDE_PX, SMALL_SIDE_PX))

    def inspect(content: bytes) -> int:
        return http.post("/inspect", content=content, headers={"content-type": "image/png"}).status_code

    def at_once(*contents: bytes) -> Counter[int]:
        with ThreadPoolExecutor(len(contents)) as pool:
            return Counter(pool.map(inspect, contents))

    def look(part: str, count: int) -> Counter[int]:
        with ThreadPoolExecutor(count) as pool:
            answers = pool.map(lambda _: http.get(f"/inspections/{number}/{part}").status_code, range(count))
            return Counter(answers)

    try:
        _wait(http, service)
        number = http.post("/inspect", content=large).json()["items"][0]["id"]
        return [
            _peak(service.pid, "one picture of 49 megapixels", lambda: at_once(large)),
            _peak(service.pid, "three at once", lambda: at_once(*[large] * 3)),
            _peak(service.pid, "eight, and 56 small ones, at once", lambda: at_once(*[large, *[small] * 7] * 8)),
            _peak(service.pid, "one overlay of it", lambda: look("overlay", 1)),
            _peak(service.pid, "five overlays at once", lambda: look("overlay", 5)),
            _peak(service.pid, "60 thumbnails at once", lambda: look("thumbnail", 60)),
        ]
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(120)


def _png(side: int) -> bytes:
    return cv2.imencode(".png", np.full((side, side), 127, np.uint8))[1].tobytes()


def _peak(process: int, situation: str, act: Callable[[], Counter[int]]) -> dict[str, object]:
    """Do something and read the highest resident set meanwhile."""
    time.sleep(1)
    Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak begins anew
    before, start = _status_mb(process, "VmRSS"), time.perf_counter()
    answers = act()
    seconds, peak = time.perf_counter() - start, _status_mb(process, "VmHWM")
    row = {
        "situation": situation,
        "before_mb": round(before),
        "peak_mb": round(peak),
        "extra_mb": round(peak - before),
        "seconds": round(seconds, 1),
        "answers": json.dumps(answers),
    }
    print(
        "{situation:48} {before_mb:7} -> {peak_mb:7} MB (+{extra_mb}), {seconds} s, {answers}".format(**row), flush=True
    )
    return row


def _status_mb(process: int, field: str) -> float:
    line = next(s for s in Path(f"/proc/{process}/status").read_text().splitlines() if s.startswith(field))
    return int(line.split()[1]) / 1000


def _wait(http: httpx.Client, service: subprocess.Popen[bytes]) -> None:
    while service.poll() is None:
        try:
            if http.get("/ready").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("the service did not become ready")


if __name__ == "__main__":
    main()
