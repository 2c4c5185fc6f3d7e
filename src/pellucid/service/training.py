"""Trainings that are started from the pages: ``pellucid compare`` in a process of its own, its progress, its log."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pellucid._io.progress import PROGRESS_VARIABLE, ProgressReport, read_progress
from pellucid.acquisition.folders import read_folder
from pellucid.errors import DataError, ParameterError
from pellucid.service.registry import safe_name

State = Literal["running", "done", "failed", "cancelled"]
LOG = "training.log"
TAIL = 6_000  # characters of the log that are shown
DEEP = 3  # folders down that data sets are looked for


@dataclass(frozen=True)
class Training:
    """How one training is doing."""

    name: str
    state: State
    done: int  # models
    of: int
    step: ProgressReport | None  # what is being counted now
    seconds: float  # since it began
    remaining: float | None  # seconds, once a model is finished or a step's pace is known
    log: str


@dataclass
class _Running:
    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    began: float
    models: int
    cancelled: bool = False
    ended: float | None = None


class Trainings:
    """One training at a time.

    Args:
        models: folder that results go to, each a folder of its own.
        data: folder of data sets; without one, nothing can be trained.
    """

    def __init__(self, models: Path, data: Path | None) -> None:
        self._models, self._data = models, data
        self._running: _Running | None = None
        self._lock = threading.Lock()

    def data_sets(self) -> list[str]:
        """Everything below the data's folder that can be trained on, by its path there."""
        if self._data is None:
            return []
        root = self._data.resolve()
        return sorted(path.relative_to(root).as_posix() for path in _data_sets(root, DEEP))

    def start(self, data: str, name: str, detectors: Sequence[str], image_size: int, false_reject: float) -> None:
        """Begin.

        Raises:
            DataError: the data is not one of the data sets.
            ParameterError: something else is running, the name is taken, or no detector was chosen.
        """
        name = safe_name(name)
        with self._lock:
            if self._running is not None and self._running.ended is None and self._running.process.poll() is None:
                raise ParameterError(f"'{self._running.name}' is still running: wait for it, or cancel it.")
            if data not in self.data_sets() or self._data is None:
                raise DataError(f"'{data}' is not a data set of this service.")
            folder = self._models / name
            if folder.exists():
                raise ParameterError(f"There is a result '{name}' already: choose another name.")
            if not detectors:
                raise ParameterError("Choose at least one detector.")
            folder.mkdir(parents=True)
            command = [sys.executable, "-m", "pellucid", "compare", str((self._data / data).resolve())]
            command += ["-o", str(folder), "--detectors", ",".join(detectors), "--image-size", str(image_size)]
            command += ["--false-reject", str(false_reject)]
            environment = {
                **os.environ,
                PROGRESS_VARIABLE: str(folder / "step.json"),
                "PYTHONUTF8": "1",
                "NO_COLOR": "1",
            }
            with (folder / LOG).open("wb") as log:
                process = _started(command, log, environment)
            self._running = _Running(name, folder, process, time.monotonic(), len(detectors))

    def now(self) -> Training | None:
        """The training that is running, or the last one of this service."""
        with self._lock:
            running = self._running
            if running is None:
                return None
            code = running.process.poll()
            if code is not None and running.ended is None:
                running.ended = time.monotonic()
        state: State = "running"
        if code is not None:
            state = "done" if code == 0 else "cancelled" if running.cancelled else "failed"
        log = (running.folder / LOG).read_text("utf-8", errors="replace")
        counts = re.findall(r"^(\d+) of (\d+) done$", log, re.MULTILINE)
        done = running.models if state == "done" else int(counts[-1][0]) if counts else 0
        step = read_progress(running.folder / "step.json") if state == "running" else None
        seconds = (running.ended or time.monotonic()) - running.began
        remaining = _remaining(seconds, done, running.models, step) if state == "running" else None
        return Training(running.name, state, done, running.models, step, seconds, remaining, log[-TAIL:])

    def cancel(self) -> None:
        """Stop what is running; models that were finished stay in its folder."""
        with self._lock:
            running = self._running
            if running is None or running.process.poll() is not None:
                return
            running.cancelled = True
            _end(running.process)

    def close(self) -> None:
        """Leave nothing running."""
        self.cancel()


def _remaining(seconds: float, done: int, of: int, step: ProgressReport | None) -> float | None:
    """Seconds, as if the models to come took as long as those that are done."""
    if done:
        return max(0.0, seconds / done * of - seconds)
    return step.remaining_seconds if step is not None and of == 1 else None


def _data_sets(path: Path, deep: int) -> Iterator[Path]:
    """What can be trained on, from here down; nothing is looked for inside a data set."""
    with contextlib.suppress(DataError):
        read_folder(path)
        yield path
        return
    if path.is_dir() and deep:
        for below in sorted(path.iterdir()):
            if not below.name.startswith(".") and (below.is_dir() or below.suffix.lower() == ".csv"):
                yield from _data_sets(below, deep - 1)


def _started(command: list[str], log: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process group of its own, so that all of a training can be stopped; it yields to inspections."""
    windows = sys.platform == "win32"
    return subprocess.Popen(
        command if windows else ["nice", "-n", "10", *command],
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=environment,
        creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
        start_new_session=not windows,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and those that it started."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
        return
    process.kill()
    process.wait()
