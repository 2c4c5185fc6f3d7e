"""What is trained from the pages: ``pellucid compare`` or ``update`` in a process of its own, its progress, its log."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pellucid._io.names import named_path, printable
from pellucid._io.progress import PROGRESS_VARIABLE, ProgressReport, read_progress
from pellucid.acquisition.folders import GOOD_IMAGES, read_folder
from pellucid.errors import DataError, ParameterError, PellucidError
from pellucid.limits.area import check_false_alarms
from pellucid.records.limits import FalseAlarms
from pellucid.service.access.accounts import Account
from pellucid.service.unforeseen import log_unforeseen

TrainingState = Literal["running", "done", "failed", "cancelled"]
TrainingKind = Literal["training", "update"]
Prepare = Callable[[Path], list[str]]  # fills the folder of results, and gives the command's arguments
Finish = Callable[[Path, bool], None]  # given that folder and whether the command succeeded
LOG_FILE = "training.log"
LOG_TAIL_CHARS = 6_000  # that are shown
DATA_SET_DEPTH = 3  # folders down that data sets are looked for
CANCEL_TIMEOUT_S = 10.0  # until a training that was asked to stop is killed


@dataclass(frozen=True)
class Training:
    """How one training, or one model that learns more, is doing."""

    name: str
    kind: TrainingKind
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
    kind: TrainingKind
    folder: Path
    process: subprocess.Popen[bytes]
    started_at: float  # time.monotonic()
    models: int
    cancelled: bool = False
    ended_at: float | None = None
    finisher: threading.Thread | None = None
    is_finished: bool = True  # without an error, if there was something to be done at its end

    @property
    def code(self) -> int | None:
        """The exit status of the command, once all is done that follows it."""
        if self.finisher is not None and self.finisher.is_alive():
            return None
        return self.process.poll()


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

    def data_path(self, data: str) -> Path:
        """Find a data set by what :meth:`data_sets` calls it.

        Raises:
            DataError: there is none of that name.
        """
        if self._data is None or data not in self.data_sets():
            raise DataError(f"'{data}' is not a data set of this service.")
        return named_path(str(self._data.resolve() / data))

    def start(
        self,
        data: str,
        name: str,
        detectors: Sequence[str],
        image_size: int,
        false_reject: float,
        account: Account,
        *,
        learn_defects: bool = False,
        false_alarms: FalseAlarms | None = None,
        mm_per_px: float | None = None,
    ) -> None:
        """Begin a training.

        Args:
            data: one of :meth:`data_sets`.
            name: of the folder of results, from what a person typed.
            detectors: at least one name.
            image_size: shorter side of what the network sees, px.
            false_reject: share of good images that may be rejected.
            account: of whoever starts it, an engineer.
            learn_defects: labelled training defects teach the detectors.
            false_alarms: of tiled models, the rate by area that is promised in place of ``false_reject``.
            mm_per_px: scale of the images; None: it is not known.

        Raises:
            DataError: the data is not one of the data sets.
            RoleError: the account is an operator's.
            ParameterError: something else is running, the name is taken, no detector was chosen, or a rate by m2 has no
                scale.
        """

        def prepare(folder: Path) -> list[str]:
            if not detectors:
                raise ParameterError("Choose at least one detector.")
            check_false_alarms(false_alarms, mm_per_px is not None, "conformal")
            arguments = ["compare", str(self.data_path(data)), "-o", str(folder), "--detectors", ",".join(detectors)]
            arguments += ["--image-size", str(image_size), "--false-reject", str(false_reject)]
            if mm_per_px is not None:
                arguments += ["--mm-per-px", str(mm_per_px)]
            if false_alarms is not None:
                unit = "m2" if false_alarms.unit == "m2" else "mpx"
                arguments += [f"--false-alarms-per-{unit}", str(false_alarms.rate)]
            return [*arguments, "--learn-defects"] if learn_defects else arguments

        self.begin("training", name, prepare, account, models=len(detectors))

    def begin(
        self,
        kind: TrainingKind,
        name: str,
        prepare: Prepare,
        account: Account,
        *,
        models: int = 1,
        finish: Finish | None = None,
    ) -> str:
        """Begin a command of pellucid's, if none is running; returns how its folder of results is called.

        Args:
            kind: of what is done.
            name: of that folder, from what a person typed.
            prepare: called with the folder before; when it raises, nothing stays.
            account: of whoever starts it, an engineer.
            models: how many will come of it.
            finish: called after it in another thread, whether it succeeded or not.

        Raises:
            RoleError: the account is an operator's.
            ParameterError: something else is running, or the name is taken.
        """
        account.require_engineer()
        name = safe_folder_name(name)
        with self._lock:
            if self._running is not None and self._running.ended_at is None and self._running.code is None:
                raise ParameterError(f"'{self._running.name}' is still running: wait for it, or cancel it.")
            folder = self._models / name
            if folder.exists():
                raise ParameterError(f"There is a result '{name}' already: choose another name.")
            folder.mkdir(parents=True)
            try:
                process = self._run(folder, prepare(folder))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            running = _Process(name, kind, folder, process, time.monotonic(), models)
            if finish is not None:
                running.finisher = threading.Thread(target=_finish, args=(running, finish), name="update", daemon=True)
                running.finisher.start()
            self._running = running
        return name

    def _run(self, folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            PROGRESS_VARIABLE: str(folder / "step.json"),
            "PYTHONUTF8": "1",
            "NO_COLOR": "1",
        }
        with (folder / LOG_FILE).open("wb") as log:
            return _start_process([sys.executable, "-m", "pellucid", *arguments], log, environment)

    def current(self) -> Training | None:
        """Tell how the training is doing that is running, or the last one of this service."""
        with self._lock:
            running = self._running
            if running is None:
                return None
            code = running.code
            if code is not None and running.ended_at is None:
                running.ended_at = time.monotonic()
        state: TrainingState = "running"
        if code is not None:
            succeeded = code == 0 and running.is_finished
            state = "done" if succeeded else "cancelled" if running.cancelled else "failed"
        try:
            log = (running.folder / LOG_FILE).read_text("utf-8", errors="replace")
        except OSError as error:  # somebody removed the folder
            log = f"The log cannot be read: {error.strerror or error}."
        counts = re.findall(r"^(\d+) of (\d+) done$", log, re.MULTILINE)
        done = running.models if state == "done" else int(counts[-1][0]) if counts else 0
        step = read_progress(running.folder / "step.json") if state == "running" else None
        seconds = (running.ended_at or time.monotonic()) - running.started_at
        remaining = _remaining(seconds, done, running.models, step) if state == "running" else None
        tail = log[-LOG_TAIL_CHARS:]
        return Training(running.name, running.kind, state, done, running.models, step, seconds, remaining, tail)

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
            if running is None or running.code is not None:
                return
            if running.process.poll() is None:
                running.cancelled = True
                _stop_process(running.process)
            if running.finisher is not None:
                running.finisher.join(CANCEL_TIMEOUT_S)


def _finish(running: _Process, finish: Finish) -> None:
    """Wait for a command, and do what follows it; what goes wrong stands in its log."""
    succeeded = running.process.wait() == 0
    try:
        finish(running.folder, succeeded)
    except PellucidError as error:
        sentence = str(error)
    except Exception:
        sentence = log_unforeseen(f"the end of '{running.name}'")
    else:
        return
    running.is_finished = False
    with contextlib.suppress(OSError), (running.folder / LOG_FILE).open("a", encoding="utf-8") as log:
        log.write(f"error: {sentence}\n")


def _remaining(seconds: float, done: int, of: int, step: ProgressReport | None) -> float | None:
    """Estimate seconds, as if the models to come took as long as those that are done."""
    if done:
        return max(0.0, seconds / done * of - seconds)
    return step.remaining_seconds if step is not None and of == 1 else None


def _data_sets(path: Path, depth: int) -> Iterator[Path]:
    """Find what can be trained on, from here down; nothing is looked for inside a data set."""
    with contextlib.suppress(PellucidError, OSError, ValueError):  # one odd file does not hide the others
        if read_folder(path).layout != GOOD_IMAGES:  # any folder of images could be one, that of defects too
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
