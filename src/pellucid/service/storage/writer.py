"""The one thread that writes inspections: all that wait go into one transaction.

A disk that syncs slowly delays an answer, but not the number of answers in a second.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Connection, delete, insert, select, text

from pellucid.errors import RecordError
from pellucid.service.storage.engine import DatabaseEngine, RefusedRowError
from pellucid.service.storage.tables import INSPECTION_COLUMNS, InspectionRow, inspections
from pellucid.service.supervise import Supervisor, Worker

MAX_WRITE_BATCH_ROWS = 100  # that one transaction takes
IDLE_S = 1.0  # that the thread waits for rows before it looks up
ADD_TIMEOUT_S = 20.0  # that whoever hands a row in waits; longer than a statement may take
CLOSE_TIMEOUT_S = 15.0  # that a stop waits for what was handed in
ADD_TO_HOURS = text(
    "INSERT INTO hours (model, hour, inspected, rejected) VALUES (:model, :hour, :inspected, :rejected)"
    " ON CONFLICT (model, hour) DO UPDATE"
    " SET inspected = hours.inspected + excluded.inspected, rejected = hours.rejected + excluded.rejected"
)
INSERT = insert(inspections).returning(inspections.c.id)
Pending = tuple[InspectionRow, "Future[InspectionRow]"]


class InspectionWriter:
    """Writes inspections, in a thread of its own.

    Nobody waits for ever: whoever handed a row in is told at once when the thread does not write any more, and after
    :data:`ADD_TIMEOUT_S` when the database does not answer. After a write that failed because of the database, the
    thread goes on trying that row, without keeping it, until it works again.

    Args:
        engine: of the database.
        supervisor: that the thread runs under.
    """

    def __init__(self, engine: DatabaseEngine, supervisor: Supervisor) -> None:
        self._engine = engine
        self._pending: SimpleQueue[Pending | None] = SimpleQueue()
        self._lock = threading.Lock()  # of handing in, against closing
        self._closing = False
        self._failed: InspectionRow | None = None  # the last row that the database could not take
        self._worker = Worker(supervisor, "writer", self._write_batch, failed_steps_allowed=0)
        self._worker.start()

    def add(self, row: InspectionRow) -> InspectionRow:
        """Keep an inspection; returns it with its id once it is safe on disk.

        When one with the same key is there already, that one is returned instead.

        Raises:
            DiskFullError: the database's disk is full.
            RecordError: the database cannot be written to, does not answer in time, or the service is stopping.
        """
        done = self.submit(row)
        try:
            return done.result(ADD_TIMEOUT_S)
        except TimeoutError:
            kept = "nothing was kept" if done.cancel() else "it is not known whether the inspection was kept"
            raise RecordError(f"The record has not answered for {ADD_TIMEOUT_S:g} s; {kept}.") from None

    def submit(self, row: InspectionRow) -> Future[InspectionRow]:
        """Hand an inspection in; the future raises what :meth:`add` does."""
        done: Future[InspectionRow] = Future()
        with self._lock:
            if self._closing or not self._worker.is_alive():
                done.set_exception(RecordError("The record is closed: the service is stopping; nothing was kept."))
            else:
                self._pending.put((row, done))
        return done

    def close(self) -> None:
        """Write what was handed in, then stop; what cannot be written in time gets its error."""
        with self._lock:
            self._closing = True
        self._pending.put(None)  # it looks up
        self._worker.join(CLOSE_TIMEOUT_S)
        while (pending := self._next(wait_s=0)) is not None:
            if pending[1].set_running_or_notify_cancel():
                pending[1].set_exception(RecordError("The record did not answer before the service stopped."))

    def _write_batch(self) -> float | None:
        batch = self._take_batch()
        if batch:
            self._write(batch)
        elif self._failed is not None and not self._closing:
            self._rehearse(self._failed)
        return None if self._closing and self._pending.empty() else 0.0

    def _take_batch(self) -> list[Pending]:
        """Wait a moment for rows, and take all that are there; those that nobody waits for any more are left out.

        Keys come in one order, or two processes that write the same ones could each wait for what the other holds.
        """
        batch: list[Pending] = []
        while len(batch) < MAX_WRITE_BATCH_ROWS and (pending := self._next(0 if batch else IDLE_S)) is not None:
            if pending[1].set_running_or_notify_cancel():
                batch.append(pending)
        return sorted(batch, key=lambda pending: pending[0].key or "")

    def _next(self, wait_s: float) -> Pending | None:
        try:
            return self._pending.get(timeout=wait_s) if wait_s else self._pending.get_nowait()
        except Empty:
            return None

    def _write(self, batch: Sequence[Pending]) -> None:
        """Write rows; what the supervisor is told of is the database's fault, not a row's."""
        try:
            self._insert(batch)
        except BaseException as error:
            told = error if isinstance(error, Exception) else RecordError(f"Writing was broken off ({error!r}).")
            for _, done in batch:
                if not done.done():
                    done.set_exception(told)
            self._failed = batch[0][0]
            raise
        self._failed = None

    def _rehearse(self, row: InspectionRow) -> None:
        """Find out whether a row can be written now, leaving nothing of it."""
        self._engine.reconnect()
        with self._engine.begin() as connection:
            number = connection.execute(INSERT, _values(replace(row, key=None))).scalar_one()
            connection.execute(delete(inspections).where(inspections.c.id == number))
        self._failed = None

    def _insert(self, batch: Sequence[Pending]) -> None:
        try:
            ids = self._insert_together([row for row, _ in batch])
        except RefusedRowError:  # one of them is at fault: the others do not suffer for it
            for row, done in batch:
                self._insert_one(row, done)
        else:
            for (row, done), number in zip(batch, ids, strict=True):
                done.set_result(replace(row, id=number))

    def _insert_together(self, rows: Sequence[InspectionRow]) -> list[int]:
        """Write rows and their counts in one transaction; returns their ids."""
        with self._engine.begin() as connection:
            # one after the other: drivers keep a statement of every number of rows, some hundred kilobytes each
            ids = [connection.execute(INSERT, _values(row)).scalar_one() for row in rows]
            _count_hours(connection, rows)
        return ids

    def _insert_one(self, row: InspectionRow, done: Future[InspectionRow]) -> None:
        try:
            (number,) = self._insert_together([row])
            done.set_result(replace(row, id=number))
        except RefusedRowError as error:
            earlier = None if row.key is None else self._with_key(row.key)  # in this batch, or of another process
            if earlier is None:
                done.set_exception(RecordError(f"The record refused an inspection ({error})."))
            else:
                done.set_result(earlier)

    def _with_key(self, key: str) -> InspectionRow | None:
        with self._engine.connect() as connection:
            found = connection.execute(select(*INSPECTION_COLUMNS).where(inspections.c.key == key)).mappings().first()
            return InspectionRow(**found) if found else None


def _count_hours(connection: Connection, rows: Sequence[InspectionRow]) -> None:
    """Add rows to the counts of their hours, in the transaction that writes them."""
    inspected = Counter((row.model, f"{row.time.astimezone(UTC):%Y-%m-%dT%H}") for row in rows)
    rejected = Counter(
        (row.model, f"{row.time.astimezone(UTC):%Y-%m-%dT%H}") for row in rows if row.verdict == "reject"
    )
    connection.execute(
        ADD_TO_HOURS,
        [  # in one order, or two processes could wait for each other
            {"model": model, "hour": hour, "inspected": count, "rejected": rejected[model, hour]}
            for (model, hour), count in sorted(inspected.items())
        ],
    )


def _values(row: InspectionRow) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in INSPECTION_COLUMNS if column.name != "id"}
