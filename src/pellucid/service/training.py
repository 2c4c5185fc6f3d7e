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

from pellucid._io.names import named_path, printable
from pellucid._io.progress import PROGRESS_VARIABLE, ProgressReport, read_progress
from pellucid.acquisition.folders import read_folder
from pellucid.errors import DataError, ParameterError, PellucidError
from pellucid.service.access.accounts import Account

TrainingState = Literal["running", "done", "failed", "cancelled"]
LOG_FILE = "training.log"
LOG_TAIL_CHARS = 6_000  # that are shown
DATA_SET_DEPTH = 3  # folders down that data sets are looked for
CANCEL_TIMEOUT_S = 10.0  # until a training that was asked to stop is killed


@dataclass(frozen=True)
class Training:
    """How one training is doing."""

    name: str
    state: TrainingState
    done: int  # models
    of: int
    step: ProgressReport | None  # what is being counted now
    seconds: float  # since it began
    remaining: float | None  # seconds, once a model is finished or a step's pace is known
    log: str


@dataclass
class _Process:
    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    started_at: float  # time.monotonic()
    models: int
    cancelled: bool = False
    ended_at: float | None = None


class TrainingRunner:
    """Runs one training at a time.

    Args:
        models: folder that results go to, each a folder of its own.
        data: folder of data sets; without one, nothing can be trained.
    """

    def __init__(self, models: Path, data: Path | None) -> None:
        self._models, self._data = models, data
        self._running: _Process | None = None
        self._lock = threading.Lock()

    def data_sets(self) -> list[str]:
        """List everything below the data's folder that can be trained on, by its path there."""
        if self._data is None:
            return []
        root = self._data.resolve()
        return sorted(printable(path.relative_to(root).as_posix()) for path in _data_sets(root, DATA_SET_DEPTH))

    def start(
        self, data: str, name: str, detectors: Sequence[str], image_size: int, false_reject: float, account: Account
    ) -> None:
        """Begin a training.

        Args:
            data: one of :meth:`data_sets`.
            name: of the folder of results, from what a person typed.
            detectors: at least one name.
            image_size: shorter side of what the network sees, px.
            false_reject: share of good images that may be rejected.
            account: of whoever starts it, an engineer.

        Raises:
            DataError: the data is not one of the data sets.
            RoleError: the account is an operator's.
            ParameterError: something else is running, the name is taken, or no detector was chosen.
        """
        account.require_engineer()
        name = safe_folder_name(name)
        with self._lock:
            if self._running is not None and self._running.ended_at is None and self._running.process.poll() is None:
                raise ParameterError(f"'{self._running.name}' is still running: wait for it, or cancel it.")
            if data not in self.data_sets() or self._data is None:
                raise DataError(f"'{data}' is not a data set of this service.")
            folder = self._models / name
            if folder.exists():
                raise ParameterError(f"There is a result '{name}' already: choose another name.")
            if not detectors:
                raise ParameterError("Choose at least one detector.")
            folder.mkdir(parents=True)
            command = [sys.executable, "-m", "pellucid", "compare", str(named_path(str(self._data.resolve() / data)))]
            command += ["-o", str(folder), "--detectors", ",".join(detectors), "--image-size", str(image_size)]
            command += ["--false-reject", str(false_reject)]
            environment = {
                **os.environ,
                PROGRESS_VARIABLE: str(folder / "step.json"),
                "PYTHONUTF8": "1",
                "NO_COLOR": "1",
            }
            with (folder / LOG_FILE).open("wb") as log:
                process = _start_process(command, log, environment)
            self._running = _Process(name, folder, process, time.monotonic(), len(detectors))

    def current(self) -> Training | None:
        """Tell how the training is doing that is running, or the last one of this service."""
        with self._lock:
            running = self._running
            if running is None:
                return None
            code = running.process.poll()
            if code is not None and running.ended_at is None:
                running.ended_at = time.monotonic()
        state: TrainingState = "running"
        if code is not None:
            state = "done" if code == 0 else "cancelled" if running.cancelled else "failed"
        try:
            log = (running.folder / LOG_FILE).read_text("utf-8", errors="replace")
        except OSError as error:  # somebody removed the folder
            log = f"The log cannot be read: {error.strerror or error}."
        counts = re.findall(r"^(\d+) of (\d+) done$", log, re.MULTILINE)
        done = running.models if state == "done" else int(counts[-1][0]) if counts else 0
        step = read_progress(running.folder / "step.json") if state == "running" else None
        seconds = (running.ended_at or time.monotonic()) - running.started_at
        remaining = _remaining(seconds, done, running.models, step) if state == "running" else None
        return Training(running.name, state, done, running.models, step, seconds, remaining, log[-LOG_TAIL_CHARS:])

    def cancel(self, account: Account) -> None:
        """Stop what is running; models that were finished stay in its folder.

        Args:
            account: of whoever cancels it, an engineer.

        Raises:
            RoleError: the account is an operator's.
        """
        account.require_engineer()
        self.close()

    def close(self) -> None:
        """Leave nothing running."""
        with self._lock:
            running = self._running
            if running is None or running.process.poll() is not None:
                return
            running.cancelled = True
            _stop_process(running.process)


def _remaining(seconds: float, done: int, of: int, step: ProgressReport | None) -> float | None:
    """Estimate seconds, as if the models to come took as long as those that are done."""
    if done:
        return max(0.0, seconds / done * of - seconds)
    return step.remaining_seconds if step is not None and of == 1 else None


def _data_sets(path: Path, depth: int) -> Iterator[Path]:
    """Find what can be trained on, from here down; nothing is looked for inside a data set."""
    with contextlib.suppress(PellucidError, OSError, ValueError):  # one odd file does not hide the others
        read_folder(path)
        yield path
        return
    if path.is_dir() and depth:
        with contextlib.suppress(OSError):  # a folder that may not be read
            for below in sorted(path.iterdir()):
                if not below.name.startswith(".") and (below.is_dir() or _is_table(below)):
                    yield from _data_sets(below, depth - 1)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and path.is_file()


def _start_process(command: list[str], log: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process group of its own, so that all of a training can be stopped; it yields to inspections."""
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


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and those that it started."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(CANCEL_TIMEOUT_S)
        return
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(CANCEL_TIMEOUT_S)


def safe_folder_name(name: str) -> str:
    """Make a name for a folder of results from what a person typed.

    Raises:
        ParameterError: nothing is left of it.
    """
    cleaned = re.sub(r"[^\w-]+", "-", name.strip()).strip("-")[:60]
    if not cleaned:
        raise ParameterError("Give the training a name of letters and digits.")
    return cleaned
