"""A folder that a camera writes to: every image that appears is inspected once, when it is finished."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from pellucid._io.names import printable
from pellucid.errors import DataError, OutputError
from pellucid.service.admission import BusyError
from pellucid.service.queue import INSPECTION_THREADS, InspectionJob, InspectionQueue
from pellucid.service.storage.watched import WatchedFiles
from pellucid.service.supervise import FAILURE_PAUSE_S, FORESEEN_ERRORS, Supervisor, Worker
from pellucid.service.watching.done import check_done_folder, move_done
from pellucid.service.watching.finder import LOOK_PERIOD_S, FileFinder
from pellucid.service.watching.finished import ChangedError, UnfinishedError, read_finished
from pellucid.service.watching.listing import FileState, ImageFile, state_of
from pellucid.service.watching.seen import SeenFiles
from pellucid.service.watching.status import WatchStatus

log = logging.getLogger("pellucid.watch")
UNREADABLE_RETRY_S = 60.0  # until a file that the system does not let be read is tried again
UNREADABLE_PAUSE_S = 1.0  # the same, while it may still be about to become readable
MAX_FAILURE_PAUSE_S = 600.0  # between tries of a file that fails for an unforeseen reason; it doubles up to here
MAX_AWAY_PAUSE_S = 30.0  # the same, while what it needs is away
MAX_WAITING = 10_000  # files held in memory, the oldest; the others wait in the folder
MAX_BATCH = 128  # files that are inspected between two looks
LISTING_BATCH = 1_000  # files that the record is asked about at once
MAX_HELD_SHOWN = 5


@dataclass
class WaitingFile:
    """A file that is to be inspected."""

    state: FileState
    since: float  # time.monotonic() when it was first seen so
    again_at: float  # when it may be opened
    reason: str = ""  # why it was not inspected when it was opened
    failures: int = 0


class FolderWatcher:
    """Inspects what appears in a folder until it is stopped.

    A file is taken when it is finished (:mod:`pellucid.service.watching.finished`), several at a time, the oldest
    first. The same content under the same name is one part, whatever happens to the file, so that a restart, or a
    second process on the same folder, inspects none again; another content, or another name, is another part.

    Args:
        folder: to look into, and the folders below it.
        queue: that inspects.
        model: called for the name of the model.
        supervisor: that the thread runs under.
        files: that were dealt with.
        settle_s: seconds that a file must not have changed.
        patience_s: seconds without change until a file that looks unfinished is taken as it is, or refused.
        max_bytes: that a file may have; a larger one is refused without being read.
        done: folder that inspected files are moved to; by default they stay.

    Raises:
        OutputError: the folder for inspected files cannot be written to.
        ParameterError: it is the watched one, or on another file system.
    """

    def __init__(
        self,
        folder: Path,
        queue: InspectionQueue,
        model: Callable[[], str],
        supervisor: Supervisor,
        files: WatchedFiles,
        *,
        settle_s: float,
        patience_s: float,
        max_bytes: int,
        done: Path | None = None,
    ) -> None:
        if done is not None:
            check_done_folder(done, folder)
        self._folder, self._queue, self._model, self._supervisor = folder, queue, model, supervisor
        self._settle_s, self._patience_s, self._max_bytes, self._done = settle_s, patience_s, max_bytes, done
        self._worker = Worker(supervisor, "watch", self._look)
        self._pool = ThreadPoolExecutor(INSPECTION_THREADS, thread_name_prefix="watch")
        self._finder = FileFinder(folder, done)
        self._seen = SeenFiles(folder, files)
        self._waiting: dict[str, WaitingFile] = {}
        self._left_over = True  # whether there may be files in the folder that neither wait nor were dealt with
        self._first = True  # until the folder has been listed to its end once
        self._interrupted = threading.Event()  # what all files need is away
        self._looked_at: datetime | None = None
        self._look_clock = time.monotonic()

    def start(self) -> None:
        """Begin to look."""
        self._worker.start()

    def close(self) -> None:
        """Finish the files that are being inspected, and look no more."""
        self._worker.close()
        self._pool.shutdown(wait=True)
        self._finder.close()

    def status(self) -> WatchStatus:
        """Tell how it is doing; any thread may ask."""
        now, waiting = time.monotonic(), list(self._waiting.items())
        held = [
            f"'{printable(self._seen.name(path))}' is not inspected yet: {file.reason}."
            for path, file in waiting
            if file.reason and now - file.since > self._patience_s
        ]
        return WatchStatus(
            folder=printable(str(self._folder)),
            looked_at=self._looked_at,
            look_age_s=now - self._look_clock,
            listing_s=self._finder.listing_s,
            away=self._finder.away,
            waiting=len(waiting),
            held=tuple(held[:MAX_HELD_SHOWN]),
            refused=self._seen.refused,
            passed_over=dict(self._finder.passed_over),
        )

    def _look(self) -> float:
        """Find what is new, inspect what is finished; returns the seconds until the next look."""
        hungry = self._left_over and len(self._waiting) < MAX_WAITING // 2
        if hungry:
            self._left_over = False
        listed = False
        try:
            listed = self._finder.look(self._meet, everything=hungry)
        finally:
            self._left_over = self._left_over or (hungry and not listed)
        self._first = self._first and not (listed and not self._left_over)
        self._look_clock, self._looked_at = time.monotonic(), datetime.now().astimezone()
        self._refresh()
        pause_s = self._inspect_ready()
        return FAILURE_PAUSE_S if self._finder.away else pause_s

    # --- files that wait ------------------------------------------------------------------------------------------

    def _meet(self, files: Iterable[ImageFile], is_whole: bool) -> None:
        """Let files wait that were not dealt with as they are now: the oldest, if there are too many."""
        for batch in _batches(files, LISTING_BATCH):
            if self._worker.stopping.is_set():
                return
            self._supervisor.state("watch").end_item(None)  # it gets on, however long a folder is
            changed = [f for f in batch if f.path not in self._waiting or self._waiting[f.path].state != f.state]
            now = time.monotonic()
            for path, state in self._seen.unseen(changed, earlier_keys=self._first):
                self._waiting[path] = WaitingFile(state, now, now if is_whole else now + self._settle_s)
            if len(self._waiting) > 2 * MAX_WAITING:
                self._leave_over()
        if len(self._waiting) > MAX_WAITING:
            self._leave_over()

    def _leave_over(self) -> None:
        """Let only the oldest files wait; the others are found again."""
        oldest = heapq.nsmallest(MAX_WAITING, self._waiting.items(), key=lambda item: item[1].state.mtime_ns)
        self._waiting, self._left_over = dict(oldest), True

    def _refresh(self) -> None:
        """Notice what became of the files that did not look finished."""
        for path, file in [item for item in self._waiting.items() if item[1].reason]:
            try:
                state = state_of(Path(path).stat())
            except FileNotFoundError:
                del self._waiting[path]
            except OSError:
                continue  # opening it tells
            else:
                if state != file.state:
                    self._begin_anew(path, state)

    def _begin_anew(self, path: str, state: FileState) -> None:
        now = time.monotonic()
        self._waiting[path] = WaitingFile(state, now, now + self._settle_s)

    # --- inspecting -----------------------------------------------------------------------------------------------

    def _inspect_ready(self) -> float:
        """Inspect the oldest files that may be opened; returns the seconds until the next look."""
        now = time.monotonic()
        ready = [(file.state.mtime_ns, path) for path, file in self._waiting.items() if file.again_at <= now]
        batch = [path for _, path in heapq.nsmallest(MAX_BATCH, ready)]
        self._interrupted.clear()
        list(self._pool.map(self._attempt, batch))
        if self._supervisor.attempt("watch", self._seen.save) is not None:
            self._interrupted.set()
        if self._interrupted.is_set():
            return FAILURE_PAUSE_S
        return 0.0 if len(ready) > len(batch) else LOOK_PERIOD_S

    def _attempt(self, path: str) -> None:
        """Inspect one file under the supervisor, unless what all files need turned out to be away."""
        if self._worker.stopping.is_set() or self._interrupted.is_set():
            return
        error = self._supervisor.attempt("watch", partial(self._inspect, path))
        if error is None:
            return
        is_foreseen = isinstance(error, FORESEEN_ERRORS)
        if is_foreseen:
            self._interrupted.set()  # the record or the model is away: the other files meet the same
        file, longest_s = self._waiting[path], MAX_AWAY_PAUSE_S if is_foreseen else MAX_FAILURE_PAUSE_S
        file.failures += 1
        file.again_at = time.monotonic() + min(longest_s, FAILURE_PAUSE_S * 2**file.failures)

    def _inspect(self, path: str) -> None:
        file, now = self._waiting[path], time.monotonic()
        if file.state.size > self._max_bytes:
            name, size_mb = printable(self._seen.name(path)), file.state.size / 1e6
            reason = f"'{name}' has {size_mb:.0f} MB; up to {self._max_bytes / 1e6:.0f} are allowed (--megapixels)."
            return self._hold_or_refuse(path, reason, self._patience_s)
        try:
            content = read_finished(path, file.state, now - file.since, self._patience_s, local=self._finder.local)
        except ChangedError as error:
            self._begin_anew(path, error.state)
        except UnfinishedError as error:
            file.reason, file.again_at = str(error), now + error.again_s
        except FileNotFoundError:
            del self._waiting[path]
        except OSError as error:
            name = printable(self._seen.name(path))
            reason = f"'{name}' cannot be read: {error.strerror or error}."
            self._hold_or_refuse(path, reason, UNREADABLE_PAUSE_S, UNREADABLE_RETRY_S)
        else:
            self._inspect_content(path, content)

    def _inspect_content(self, path: str, content: bytes) -> None:
        name = self._seen.name(path)
        key = self._seen.key(path, content)
        try:
            if not self._queue.has(key):
                shown, part = printable(name), printable(PurePosixPath(name).stem)
                job = InspectionJob(content, shown, part, self._model(), "watch", "watch", key)
                self._queue.submit(job).result()
        except BusyError:
            self._waiting[path].again_at = time.monotonic() + LOOK_PERIOD_S
        except DataError as error:  # whoever writes it may have paused
            self._hold_or_refuse(path, str(error), self._patience_s)
        else:
            self._settle(path, name)

    def _hold_or_refuse(self, path: str, reason: str, pause_s: float, retry_s: float = math.inf) -> None:
        """Give a file that cannot be inspected time to become one that can, then name it and leave it as it is.

        Args:
            path: of the file.
            reason: a sentence.
            pause_s: seconds until it is tried again while there is patience.
            retry_s: the same, once it was named; by default it has to change first.
        """
        file, now = self._waiting[path], time.monotonic()
        if now < file.since + self._patience_s:
            file.reason, file.again_at = reason, min(now + pause_s, file.since + self._patience_s)
            return
        if self._seen.refuse(path, file.state, retry_s):
            log.warning("not inspected: %s", reason)
        del self._waiting[path]

    def _settle(self, path: str, name: str) -> None:
        """Remember a file that is in the record, and move it if that is wanted."""
        state = self._waiting[path].state
        self._seen.add(path, state)
        del self._waiting[path]
        if self._done is None:
            return
        try:
            move_done(path, state, name, self._done)
        except (OSError, OutputError) as error:
            log.warning("inspected, but not moved: %s", error)


def _batches(files: Iterable[ImageFile], size: int) -> Iterator[list[ImageFile]]:
    iterator = iter(files)
    while batch := list(islice(iterator, size)):
        yield batch
