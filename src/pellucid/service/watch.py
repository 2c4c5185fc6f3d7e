"""A folder that a camera writes to: every image that appears is inspected once, when it is completely written."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pellucid._io.names import printable
from pellucid.acquisition.decoding import IMAGE_SUFFIXES
from pellucid.acquisition.files import is_hidden
from pellucid.errors import DataError
from pellucid.service.admission import BusyError
from pellucid.service.queue import InspectionJob, InspectionQueue
from pellucid.service.supervise import FAILURE_PAUSE_S, FORESEEN_ERRORS, Supervisor, Worker

log = logging.getLogger("pellucid.watch")
SCAN_PERIOD_S = 0.3  # between looks at the folder
UNREADABLE_TIMEOUT_S = 10.0  # without growth until a file that cannot be read is given up
SCAN_PAUSE_FACTOR = (
    3  # times as long as a look takes, the next one waits: a large folder is not looked through all the time
)
FileState = tuple[int, int]  # size in bytes, time of the last change in ns


class FolderWatcher:
    """Inspects what appears in a folder until it is stopped; files stay where they are.

    A file is taken when neither its size nor its time has changed between two looks and it can be read to its end.
    Files carry their name, size and time as key into the record, so that a restart, or a second process on the same
    folder, inspects none again.

    Args:
        folder: to look into, and the folders below it.
        queue: that inspects.
        model: called for the name of the model.
        supervisor: that the thread runs under.
    """

    def __init__(self, folder: Path, queue: InspectionQueue, model: Callable[[], str], supervisor: Supervisor) -> None:
        self._folder, self._queue, self._model, self._supervisor = folder, queue, model, supervisor
        self._worker = Worker(supervisor, "watch", self._scan)
        self._done: dict[Path, FileState] = {}
        self._since: dict[Path, tuple[FileState, float]] = {}  # how a file was, and since when it has been so

    def start(self) -> None:
        """Begin to look."""
        self._worker.start()

    def close(self) -> None:
        """Finish the file that is being inspected, and look no more."""
        self._worker.close()

    def _scan(self) -> float:
        start = time.monotonic()
        settled = self._settled()
        pause_s = max(SCAN_PERIOD_S, SCAN_PAUSE_FACTOR * (time.monotonic() - start))
        for path, state in settled:
            if self._worker.stopping.is_set():
                break
            error = self._supervisor.attempt("watch", partial(self._inspect, path, state))
            if error is not None:
                pause_s = max(pause_s, FAILURE_PAUSE_S)
            if isinstance(error, FORESEEN_ERRORS):
                break  # the record or the model is away: the other files meet the same
        return pause_s

    def _settled(self) -> list[tuple[Path, FileState]]:
        """List the files that have not changed since the last look, the oldest first."""
        now = {path: state for path, state in _files(self._folder) if self._done.get(path) != state}
        before, self._since = self._since, {}
        for path, state in now.items():
            earlier = before.get(path)
            self._since[path] = earlier if earlier and earlier[0] == state else (state, time.monotonic())
        settled = [(path, state) for path, state in now.items() if path in before and before[path][0] == state]
        return sorted(settled, key=lambda item: item[1][1])

    def _inspect(self, path: Path, state: FileState) -> None:
        name = printable(path.relative_to(self._folder).as_posix())
        key = f"watch:{name}:{state[0]}:{state[1]}"
        try:
            if self._queue.has(key):
                self._done[path] = state
                return
            content = path.read_bytes()
            job = InspectionJob(content, name, printable(path.stem), self._model(), "watch", "watch", key)
            self._queue.submit(job).result()
        except BusyError:
            self._worker.stopping.wait(SCAN_PERIOD_S)  # it stays for the next look
            return
        except DataError as error:
            if time.monotonic() - self._since[path][1] < UNREADABLE_TIMEOUT_S:
                return  # whoever writes it may have paused
            log.warning("not inspected: %s", error)
        except FileNotFoundError:
            return
        self._done[path] = state


def _files(folder: Path) -> Iterator[tuple[Path, FileState]]:
    """Go through the images below a folder; hidden files and folders are passed over."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path))
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                status = entry.stat()
                yield Path(entry.path), (status.st_size, status.st_mtime_ns)
