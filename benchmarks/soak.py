"""`pellucid serve --watch` for hours at full rate, with a fault every minute: is every good file in the record once?

    python -m benchmarks.soak DATA -o soak [--minutes 120] [--fault-seconds 60]

Two models are fitted on DATA first. A camera then writes panes that all differ, in several ways, whenever fewer than
`--backlog` of them are not in the record yet. In turn: odd names, files that stay unfinished, slow and pre-sized files,
FIFOs and links, garbage, a huge picture, a locked database, a full disk (as a limit on the size of files), a folder
that vanishes, the other model in place of the one that is used, and `kill -9`. Everything lies in the output folder;
run it again with the same one and it goes on where it was ended. It exits with 1 unless every good file is in the
record exactly once with the content that was written, nothing else is, memory was flat within 5 % from a
minute after each load of a model to the next one, and `/ready` told the truth. The summary has the growth of each such
life, and how many kilobytes a file it was in its second half; `memory.csv` has all that was weighed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

import cv2
import httpx
import numpy as np

from benchmarks._soak import Soak, judge, noted, run_camera, weigh, write_size_first
from pellucid.acquisition.files import image_files
from pellucid.acquisition.folders import read_folder

FLAT = 1.05  # highest growth of memory
READY_S = 12.0  # until /ready has to tell of a fault, or of its end
AWAY_S = 14.0  # that a database is locked; longer than the service waits for it


# --- faults: each returns whether /ready told the truth -------------------------------------------------------------


def odd_names(soak: Soak) -> bool:
    """Names that are not UTF-8, that would forge a line of the log, and of 250 characters."""
    for name in (b"pane_\xfc", b"a\n2026-11-26 INFO forged", b"\x1b[31m", b"x" * 230, "ガラス".encode()):
        soak.write(os.fsdecode(name) + f" {soak.number}")
    return soak.wait_ready(True, READY_S)


def unfinished(soak: Soak) -> bool:
    """Files that are never finished."""
    content = cv2.imencode(".bmp", soak.pane())[1].tobytes()
    (soak.camera / f"half {soak.number}.bmp").write_bytes(content[: len(content) // 2])
    (soak.camera / f"half {soak.number}.png").write_bytes(cv2.imencode(".png", soak.pane())[1].tobytes()[:-500])
    (soak.camera / f"part {soak.number}.tmp.png").write_bytes(content)
    return soak.wait_ready(True, READY_S)


def slow(soak: Soak) -> bool:
    """Pre-sized files with pauses longer than the settling time."""

    def slowly(path: Path, content: bytes) -> None:
        write_size_first(path, content, 1.0)

    soak.write(f"slow {soak.number}", ".bmp", slowly)
    soak.write(f"slow {soak.number}", ".tif", slowly)
    return soak.wait_ready(True, READY_S)


def entries(soak: Soak) -> bool:
    """A FIFO, links to nothing and to each other, a folder with an image's name."""
    folder = soak.camera / f"odd {soak.number} {time.time():.0f}"
    folder.mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to("/nowhere.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.png").mkdir()
    soak.write(f"{folder.name}/folder.png/good")
    return soak.wait_ready(True, READY_S)


def garbage(soak: Soak) -> bool:
    """Files that are no images, one as large as a picture."""
    for number, content in enumerate((b"", b"no image", os.urandom(3_000_000), b"\x89PNG\r\n\x1a\n" + bytes(5000))):
        (soak.camera / f"garbage {soak.number} {number}.png").write_bytes(content)
    return soak.wait_ready(True, READY_S)


def huge(soak: Soak) -> bool:
    """A picture of more megapixels than are allowed."""
    content = cv2.imencode(".png", np.full((9000, 7000), soak.number % 255, np.uint8))[1].tobytes()
    (soak.camera / f"huge {soak.number}.png").write_bytes(content)
    return soak.wait_ready(True, READY_S)


def database_locked(soak: Soak) -> bool:
    """Another program keeps the database to itself."""
    lock = sqlite3.connect(soak.folder / "record" / "record.db", isolation_level=None, timeout=30)
    lock.execute("BEGIN IMMEDIATE")
    told = soak.wait_ready(False, AWAY_S)
    lock.execute("ROLLBACK")
    lock.close()
    return soak.wait_ready(True, 3 * READY_S) and told


def disk_full(soak: Soak) -> bool:
    """The service can write nothing, as on a full disk: its files may not be longer than a kilobyte."""
    assert soak.process is not None
    import resource  # of POSIX alone

    usual = resource.prlimit(soak.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(soak.process.pid, resource.RLIMIT_FSIZE, (1000, usual[1]))
    told = soak.wait_ready(False, AWAY_S)
    resource.prlimit(soak.process.pid, resource.RLIMIT_FSIZE, usual)
    return soak.wait_ready(True, 3 * READY_S) and told


def folder_away(soak: Soak) -> bool:
    """The watched folder vanishes for a while, as an unmounted share does."""
    with soak.writing:
        away = soak.camera.rename(soak.folder / "away")
        told = soak.wait_ready(False, AWAY_S)
        away.rename(soak.camera)
    return soak.wait_ready(True, READY_S) and told


def model_replaced(soak: Soak) -> bool:
    """The other model takes the place of the one that is used."""
    used, other = soak.folder / "models" / "pane.pellucid", soak.folder / "other.pellucid"
    used.rename(soak.folder / "used.pellucid")
    shutil.copy(other, soak.folder / "models" / ".new")
    (soak.folder / "models" / ".new").rename(used)
    (soak.folder / "used.pellucid").rename(other)
    answer = httpx.post(f"http://127.0.0.1:{soak.port}/models/pane/reload", timeout=60)
    soak.begin_life()
    return answer.status_code == 200 and soak.wait_ready(True, READY_S)


def killed(soak: Soak) -> bool:
    """`kill -9`, and a start."""
    soak.kill()
    told = not soak.ready()[0]
    soak.start()
    return told


USUAL = (odd_names, unfinished, slow, entries, database_locked, garbage, huge, disk_full, folder_away)
FAULTS = (*USUAL, model_replaced, killed, *USUAL, *USUAL)  # memory is weighed between two loads of a model


# --- all of it ------------------------------------------------------------------------------------------------------


def prepare(data: Path, folder: Path, backlog: int) -> Soak:
    """Fit two models, or take those of the run before, and read the panes."""
    import pellucid

    (folder / "camera").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    for path, detector in ((folder / "models" / "pane.pellucid", "padim"), (folder / "other.pellucid", "dfm")):
        if not path.exists():
            pellucid.fit(data, detector, image_size=128, false_reject=0.1).save(path)
    normal = [sample.path for sample in read_folder(data).samples if sample.label == "normal"] or image_files(data)
    panes = [cv2.resize(cv2.imread(str(path)), (256, 256)) for path in normal[:40]]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return Soak(folder, panes, backlog, port, number=random.SystemRandom().randrange(10**6, 10**9))


def run(soak: Soak, minutes: float, fault_s: float) -> Counter[bool]:
    """Let all of it run; returns how often /ready told the truth and how often it did not."""
    told: Counter[bool] = Counter()
    if (soak.folder / "written.csv").exists():
        soak.written = len(list(noted((soak.folder / "written.csv").read_text("utf-8", "surrogateescape"))))
    soak.start()
    for work in (run_camera, weigh):
        threading.Thread(target=work, args=(soak,), daemon=True).start()
    with (soak.folder / "faults.csv").open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if stream.tell() == 0:
            writer.writerow(("time", "fault", "ready_is_true", "written", "recorded", "rss_mb", "ready_said"))
        end, faults = time.monotonic() + 60 * minutes, cycle(FAULTS)
        while time.monotonic() < end:
            start, fault = time.monotonic(), next(faults)
            is_true = fault(soak)
            time.sleep(max(0.0, start + fault_s - time.monotonic()))
            is_ready, said = soak.ready()
            told[is_true and is_ready] += 1
            weighed = soak.memory[-1][-1][1] if soak.memory[-1] else 0.0
            row = (f"{time.strftime('%F %T')}", fault.__name__, is_true and is_ready, soak.written, soak.recorded())
            writer.writerow((*row, weighed, json.dumps(said, ensure_ascii=True)))
            stream.flush()
            print(*row, weighed, said, flush=True)
    soak.stopping.set()
    end = time.monotonic() + 120
    while soak.recorded() < soak.written and time.monotonic() < end:
        time.sleep(1)
    time.sleep(5)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="Folder of data to fit on, whose good images the camera writes.")
    parser.add_argument("-o", "--out", type=Path, required=True, help="Folder for everything; one of before goes on.")
    parser.add_argument("--minutes", type=float, default=120, help="How long.")
    parser.add_argument("--fault-seconds", type=float, default=60, help="From one fault to the next.")
    parser.add_argument("--backlog", type=int, default=40, help="Files that the camera may be ahead of the record.")
    args = parser.parse_args()
    soak = prepare(args.data.resolve(), args.out.resolve(), args.backlog)
    started = time.monotonic()
    try:
        told = run(soak, args.minutes, args.fault_seconds)
    finally:
        soak.stopping.set()
        if soak.process is not None and soak.process.poll() is None:
            soak.process.send_signal(signal.SIGTERM)
            soak.process.wait(60)
    found = judge(soak, told)
    found["minutes"] = round((time.monotonic() - started) / 60, 1)
    print(json.dumps(found))
    (soak.folder / "summary.json").write_text(json.dumps(found) + "\n", "utf-8")
    faults = ("lost", "twice", "with_other_content", "others_recorded", "ready_false")
    sys.exit(1 if any(found[name] for name in faults) or float(str(found["highest_growth"])) > FLAT else 0)


if __name__ == "__main__":
    main()
