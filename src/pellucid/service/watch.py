"""A folder that a camera writes to: every image that appears is inspected once, when it is completely written."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pellucid.acquisition.images import IMAGE_SUFFIXES
from pellucid.errors import DataError, PellucidError
from pellucid.service.queue import BusyError, Desk, Job

log = logging.getLogger("pellucid.watch")
PAUSE = 0.3  # seconds between looks
PATIENCE = 10.0  # seconds without growth after which a file that cannot be read is given up
State = tuple[int, int]  # size in bytes, time of the last change in ns


class Watch:
    """Looks into a folder until it is stopped; files stay where they are.

    A file is taken when neither its size nor its time has changed between two looks and it can be read to its end.
    Files carry their name, size and time as key into the record, so that a restart, or a second process on the same
    folder, inspects none again.

    Args:
        folder: to look into, and the folders below it.
        desk: that inspects.
        model: says which model, when it is asked.
    """

    def __init__(self, folder: Path, desk: Desk, model: Callable[[], str]) -> None:
        self._folder, self._desk, self._model = folder, desk, model
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._done: dict[Path, State] = {}
        self._since: dict[Path, tuple[State, float]] = {}  # how a file was, and since when it has been so

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Finish the file that is being inspected, and look no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = PAUSE
        while not self._stop.wait(pause):
            try:
                start = time.monotonic()
                settled = self._settled()
                pause = max(PAUSE, 3 * (time.monotonic() - start))  # a large folder is not looked through all the time
                for path, state in settled:
                    if self._stop.is_set():
                        return
                    self._take(path, state)
            except (PellucidError, OSError) as error:  # the record or the folder is away: it may come back
                log.warning("watching %s: %s", self._folder, error)
                self._stop.wait(2)

    def _settled(self) -> list[tuple[Path, State]]:
        """Files that have not changed since the last look, the oldest first."""
        now = {path: state for path, state in _files(self._folder) if self._done.get(path) != state}
        before, self._since = self._since, {}
        for path, state in now.items():
            known = before.get(path)
            self._since[path] = known if known and known[0] == state else (state, time.monotonic())
        settled = [(path, state) for path, state in now.items() if path in before and before[path][0] == state]
        return sorted(settled, key=lambda found: found[1][1])

    def _take(self, path: Path, state: State) -> None:
        name = path.relative_to(self._folder).as_posix()
        key = f"watch:{name}:{state[0]}:{state[1]}"
        try:
            if self._desk.has(key):
                self._done[path] = state
                return
            content = path.read_bytes()
            job = Job(content, name, path.stem, self._model(), "watch", "watch", key)
            with self._desk.admitted(len(content)):
                self._desk.submit(job).result()
        except BusyError:
            self._stop.wait(PAUSE)  # it stays for the next look
            return
        except DataError as error:
            if time.monotonic() - self._since[path][1] < PATIENCE:
                return  # whoever writes it may have paused
            log.warning("not inspected: %s", error)
        except FileNotFoundError:
            return
        self._done[path] = state


def _files(folder: Path) -> Iterator[tuple[Path, State]]:
    """Images below a folder; hidden files and folders are passed over."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path))
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                found = entry.stat()
                yield Path(entry.path), (found.st_size, found.st_mtime_ns)
