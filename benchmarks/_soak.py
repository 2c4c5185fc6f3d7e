"""What `soak` runs: a service, the camera that writes for it, and what both did."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import cv2
import httpx
import numpy as np

from pellucid._io.names import printable

WARM_UP_S = 60.0  # of each life of the service
MIN_LIFE_S = 90.0  # that memory is judged of


@dataclass
class Soak:
    """A running service, the camera that writes for it, and what both did."""

    folder: Path
    panes: list[np.ndarray]
    backlog: int
    port: int
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0  # of the service's life, or of its model's
    memory: list[list[tuple[float, float, int]]] = field(default_factory=list)  # of each life: seconds, MB, files
    stopping: threading.Event = field(default_factory=threading.Event)
    writing: threading.Lock = field(default_factory=threading.Lock)  # held by what moves the folder
    written: int = 0
    number: int = 0

    @property
    def camera(self) -> Path:
        """The watched folder."""
        return self.folder / "camera"

    def start(self) -> None:
        """Start the service, and wait until it is ready."""
        command = [sys.executable, "-m", "pellucid", "serve", "--port", str(self.port), "--no-pages"]
        command += ["--watch", "camera", "--watch-model", "pane", "--watch-patience", "3"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        self.begin_life()
        if not self.wait_ready(True, 120):
            raise SystemExit("the service did not become ready; see its log")

    def begin_life(self) -> None:
        """Weigh memory from here on by itself: a process or a model is new."""
        self.began = time.monotonic()
        self.memory.append([])

    def kill(self) -> None:
        """As a power cut of the process would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ready(self) -> tuple[bool, list[str]]:
        """Ask whether it is ready, and what it says."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/ready", timeout=5)
            said = answer.json()
            return answer.status_code == 200, [*said["reasons"], *said["warnings"]]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            return False, [f"no answer: {type(error).__name__}"]

    def wait_ready(self, wanted: bool, seconds: float) -> bool:
        """Whether /ready comes to say so in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.ready()[0] is wanted:
                return True
            time.sleep(0.5)
        return False

    def rows(self) -> list[tuple[str, str | None, str]]:
        """Name, picture and verdict of all that is in the record."""
        with sqlite3.connect(f"file:{self.folder}/record/record.db?mode=ro", uri=True, timeout=30) as connection:
            found = connection.execute("SELECT file, picture, verdict FROM inspections ORDER BY id").fetchall()
        connection.close()
        return found

    def recorded(self) -> int:
        """How many inspections are in the record."""
        with sqlite3.connect(f"file:{self.folder}/record/record.db?mode=ro", uri=True, timeout=30) as connection:
            (count,) = connection.execute("SELECT count(*) FROM inspections").fetchone()
        connection.close()
        return int(count)

    def log_written(self, name: str, content: bytes) -> None:
        """Note a good file; what is noted has to be in the record in the end."""
        with (self.folder / "written.csv").open("a", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(f"{hashlib.sha256(content).hexdigest()},{name}\n")
        self.written += 1

    def pane(self) -> np.ndarray:
        """A pane that no other one is equal to."""
        self.number += 1
        image = self.panes[self.number % len(self.panes)].copy()
        noise = np.random.default_rng(self.number).integers(-2, 3, image.shape)
        return np.clip(image.astype(np.int16) + noise, 1, 255).astype(np.uint8)

    def write(self, name: str, suffix: str = ".png", how: Callable[[Path, bytes], None] | None = None) -> None:
        """Write one good file, and note it."""
        content = cv2.imencode(suffix, self.pane())[1].tobytes()
        path = self.camera / f"{name}{suffix}"
        self.log_written(f"{name}{suffix}", content)
        (how or write_plainly)(path, content)


# --- the camera -----------------------------------------------------------------------------------------------------


def write_plainly(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def write_renamed(path: Path, content: bytes) -> None:
    path.with_name(path.name + ".tmp").write_bytes(content)
    path.with_name(path.name + ".tmp").replace(path)


def write_size_first(path: Path, content: bytes, pause_s: float = 0.02) -> None:
    with path.open("wb") as file:
        file.truncate(len(content))
        for k in range(4):
            file.write(content[len(content) * k // 4 : len(content) * (k + 1) // 4])
            file.flush()
            time.sleep(pause_s)


def run_camera(soak: Soak) -> None:
    """Write as fast as files are inspected."""
    ways = cycle(
        [(".png", write_plainly), (".bmp", write_size_first), (".png", write_renamed), (".jpg", write_plainly)]
    )
    start = f"{time.time():.0f}"
    while not soak.stopping.is_set():
        with suppress(sqlite3.Error):
            if soak.written - soak.recorded() >= soak.backlog:
                time.sleep(0.1)
                continue
        with soak.writing:
            suffix, how = next(ways)
            (soak.camera / start).mkdir(exist_ok=True)
            soak.write(f"{start}/{soak.number:07d}", suffix, how)


def weigh(soak: Soak) -> None:
    """Take the service's memory every two seconds, and keep it in ``memory.csv``."""
    with (soak.folder / "memory.csv").open("a", encoding="utf-8") as stream:
        while not soak.stopping.wait(2):
            process = soak.process
            with suppress(OSError, StopIteration, AttributeError):
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                megabytes = int(next(s for s in lines if s.startswith("VmRSS")).split()[1]) / 1000
                soak.memory[-1].append((time.monotonic() - soak.began, megabytes, soak.written))
                stream.write(f"{len(soak.memory)},{soak.memory[-1][-1][0]:.0f},{megabytes},{soak.written}\n")
                stream.flush()


# --- the end --------------------------------------------------------------------------------------------------------


def judge(soak: Soak, told: Counter[bool]) -> dict[str, object]:
    """Compare what was written with what is in the record."""
    lines = (soak.folder / "written.csv").read_text("utf-8", "surrogateescape")
    digests = {printable(name): digest for digest, name in noted(lines)}
    rows = soak.rows()
    counts = Counter(name for name, *_ in rows)
    pictures = soak.folder / "record" / "pictures"
    wrong = [
        name
        for name, picture, _ in rows
        if picture
        and name in digests
        and hashlib.sha256((pictures / picture).read_bytes()).hexdigest() != digests[name]
    ]
    lives = [life for memory in soak.memory if (life := _weighed(memory)) is not None]
    return {
        "written": len(digests),
        "inspected": len(rows),
        "rejected": sum(verdict == "reject" for *_, verdict in rows),
        "lost": len(set(digests) - set(counts)),
        "twice": sum(counts[name] > 1 for name in digests),
        "with_other_content": len(wrong),
        "others_recorded": len(set(counts) - set(digests)),
        "highest_growth": max((life["growth"] for life in lives), default=0.0),
        "lives": lives,
        "ready_true": told[True],
        "ready_false": told[False],
    }


def noted(lines: str) -> Iterator[tuple[str, str]]:
    """Digest and name of each line; a name may have a line break in it."""
    for found in re.finditer(r"^([0-9a-f]{64}),(.*?)\n(?=[0-9a-f]{64},|\Z)", lines, re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def _weighed(memory: list[tuple[float, float, int]]) -> dict[str, float] | None:
    """Tell how memory grew in a life, once it was warm: all in all, and for each file in the second half of it."""
    warm = [weighing for weighing in memory if weighing[0] >= WARM_UP_S]
    if not memory or memory[-1][0] < MIN_LIFE_S or len(warm) < 10:
        return None
    part = max(5, len(warm) // 5)
    first, last = (statistics.median(mb for _, mb, _ in some) for some in (warm[:part], warm[-part:]))
    middle, end = warm[len(warm) // 2 : len(warm) * 3 // 4], warm[len(warm) * 3 // 4 :]
    rise, files = (statistics.median(w[k] for w in end) - statistics.median(w[k] for w in middle) for k in (1, 2))
    return {
        "minutes": round(memory[-1][0] / 60, 1),
        "files": memory[-1][2] - memory[0][2],
        "first_mb": round(first, 1),
        "last_mb": round(last, 1),
        "growth": round(last / first, 3),
        "kb_a_file_in_second_half": round(1000 * rise / max(files, 1), 3),  # medians: a reload is no slope
    }
