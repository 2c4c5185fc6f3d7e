"""Pictures are kept for as many days as their kind is worth; rows are kept for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database
from pellucid.service.supervise import Supervisor, Worker

EXPIRY_PERIOD_S = 3600.0


def expire(database: Database, pictures: PictureStore, *, keep_ok: float, keep_reject: float) -> int:
    """Delete the pictures and maps whose time is over; returns of how many inspections.

    Args:
        database: that knows them.
        pictures: that has them.
        keep_ok: days for accepted parts.
        keep_reject: days for rejected parts, and for those that a person decided on.
    """
    now = datetime.now(UTC)
    removed = 0
    while old := database.expired(ok=now - timedelta(days=keep_ok), reject=now - timedelta(days=keep_reject)):
        pictures.remove([file for row in old for file in (row.picture, row.map) if file])
        database.clear_pictures(old)
        removed += len(old)
    pictures.remove_before(now - timedelta(days=max(keep_ok, keep_reject) + 1))
    return removed


class Retention:
    """Does so every hour, in a thread.

    Args:
        database: see :func:`expire`, as for all that follow but the last.
        pictures: with the files.
        supervisor: that the thread runs under.
        keep_ok: days for accepted parts.
        keep_reject: days for rejected parts.
    """

    def __init__(
        self,
        database: Database,
        pictures: PictureStore,
        supervisor: Supervisor,
        *,
        keep_ok: float,
        keep_reject: float,
    ) -> None:
        self._database, self._pictures, self._supervisor = database, pictures, supervisor
        self._keep_ok, self._keep_reject = keep_ok, keep_reject
        self._worker = Worker(supervisor, "retention", self._step)

    def start(self) -> None:
        """Begin, now."""
        self._worker.start()

    def close(self) -> None:
        """End."""
        self._worker.close()

    def _step(self) -> float:
        self._supervisor.attempt("retention", self._expire)
        return EXPIRY_PERIOD_S

    def _expire(self) -> None:
        expire(self._database, self._pictures, keep_ok=self._keep_ok, keep_reject=self._keep_reject)
