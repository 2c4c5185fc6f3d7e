"""Pictures are kept for as many days as their kind is worth; rows are kept for good."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pellucid._io.files import TEMPORARY_PREFIX
from pellucid.errors import OutputError
from pellucid.records import Verdict
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database
from pellucid.service.supervise import Supervisor, Worker

log = logging.getLogger("pellucid.service")
EXPIRY_PERIOD_S = 3600.0
LEFTOVER_AGE_S = 3600.0  # younger ones may be another process's
LEFTOVERS = (
    f"{TEMPORARY_PREFIX}*",
    f"*/*/{TEMPORARY_PREFIX}*",
    ".export-*",
    ".decisions-*.zip",
    "tmp????????.zip",
)  # in the record's folder


def expire(database: Database, pictures: PictureStore, *, keep_ok: float, keep_reject: float) -> int:
    """Delete the pictures and maps whose time is over; returns of how many inspections.

    Args:
        database: that knows them.
        pictures: that has them.
        keep_ok: days for accepted parts.
        keep_reject: days for rejected parts, and for those that a person decided on.

    Raises:
        OutputError: some cannot be removed; all others were, and these are tried again the next time.
        RecordError: the record cannot be read or written.
    """
    now = datetime.now(UTC)
    removed, kept = 0, []
    kinds: tuple[tuple[Verdict, bool | None, float], ...]
    kinds = (("ok", False, keep_ok), ("ok", True, keep_reject), ("reject", None, keep_reject))
    for verdict, decided, days in kinds:
        before, last = now - timedelta(days=days), None
        while old := database.expired(before, verdict, decided=decided, after=last):
            last = old[-1]
            troubles = [pictures.remove([file for file in (row.picture, row.map) if file]) for row in old]
            gone = [row for row, trouble in zip(old, troubles, strict=True) if trouble is None]
            database.clear_pictures(gone)
            removed += len(gone)
            kept += [trouble for trouble in troubles if trouble is not None]
    pictures.remove_before(now - timedelta(days=max(keep_ok, keep_reject) + 1))
    if kept:
        raise OutputError(f"The pictures of {len(kept)} inspections are past their time but stay. {kept[0]}")
    return removed


def remove_leftovers(database: Database, pictures: PictureStore, folder: Path) -> int:
    """Delete what a kill has left: half-written files, exports, pictures without a row; returns how many.

    Args:
        database: that knows which pictures are whole.
        pictures: that has them.
        folder: of the record. Only names that the service itself makes are touched, and only if they are old.
    """
    before = time.time() - LEFTOVER_AGE_S
    count = 0
    for pattern in LEFTOVERS:
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    count += 1
    for hour, files in pictures.unfinished(before):
        lost = sorted(files - database.pictures_of(hour))
        pictures.remove(lost)
        count += len(lost)
    if count:
        log.info("%d leftovers of an earlier run were removed", count)
    return count


class Retention:
    """Does so every hour, in a thread that first removes what a kill has left.

    Args:
        database: see :func:`expire`, as for all that follow but the last.
        pictures: with the files.
        folder: of the record.
        supervisor: that the thread runs under.
        keep_ok: days for accepted parts.
        keep_reject: days for rejected parts.
    """

    def __init__(
        self,
        database: Database,
        pictures: PictureStore,
        folder: Path,
        supervisor: Supervisor,
        *,
        keep_ok: float,
        keep_reject: float,
    ) -> None:
        self._database, self._pictures, self._folder = database, pictures, folder
        self._supervisor = supervisor
        self._keep_ok, self._keep_reject = keep_ok, keep_reject
        self._worker = Worker(supervisor, "retention", self._step, is_vital=False)
        self._is_clean = False

    def start(self) -> None:
        """Begin, now."""
        self._worker.start()

    def close(self) -> None:
        """End."""
        self._worker.close()

    def _step(self) -> float:
        if not self._is_clean:
            self._is_clean = self._supervisor.attempt("retention", self._remove_leftovers) is None
        self._supervisor.attempt("retention", self._expire)
        return EXPIRY_PERIOD_S

    def _remove_leftovers(self) -> None:
        remove_leftovers(self._database, self._pictures, self._folder)

    def _expire(self) -> None:
        expire(self._database, self._pictures, keep_ok=self._keep_ok, keep_reject=self._keep_reject)
