"""Pictures are kept for as many days as their kind is worth; rows are kept for good."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta

from pellucid.errors import PellucidError
from pellucid.service.storage.pictures import Store
from pellucid.service.storage.record import Record

log = logging.getLogger("pellucid.retention")
HOUR = 3600.0


def expire(record: Record, store: Store, *, keep_ok: float, keep_reject: float) -> int:
    """Delete the pictures and maps whose time is over; returns of how many inspections.

    Args:
        record: that knows them.
        store: that has them.
        keep_ok: days for accepted parts.
        keep_reject: days for rejected parts, and for those that a person decided on.
    """
    now = datetime.now(UTC)
    removed = 0
    while old := record.outdated(ok=now - timedelta(days=keep_ok), reject=now - timedelta(days=keep_reject)):
        store.remove([file for entry in old for file in (entry.picture, entry.map) if file])
        record.forget_pictures(old)
        removed += len(old)
    store.remove_before(now - timedelta(days=max(keep_ok, keep_reject) + 1))
    return removed


class Retention:
    """Does so every hour, in a thread."""

    def __init__(self, record: Record, store: Store, *, keep_ok: float, keep_reject: float) -> None:
        self._record, self._store = record, store
        self._keep_ok, self._keep_reject = keep_ok, keep_reject
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin, now."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                expire(self._record, self._store, keep_ok=self._keep_ok, keep_reject=self._keep_reject)
            except PellucidError as error:
                log.warning("pictures were not removed: %s", error)
            if self._stop.wait(HOUR):
                return
