"""The one thread that writes inspections: all that wait go into one transaction.

A disk that syncs slowly delays an answer, but not the number of answers in a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Connection, insert, select, text

from pellucid.errors import PellucidError, RecordError
from pellucid.service.storage.engine import DatabaseEngine, RepeatedKeyError
from pellucid.service.storage.tables import INSPECTION_COLUMNS, InspectionRow, inspections
from pellucid.service.supervise import Supervisor, Worker

MAX_WRITE_BATCH_ROWS = 100  # that one transaction takes
ADD_TO_HOURS = text(
    "INSERT INTO hours (model, hour, inspected, rejected) VALUES (:model, :hour, :inspected, :rejected)"
    " ON CONFLICT (model, hour) DO UPDATE"
    " SET inspected = hours.inspected + excluded.inspected, rejected = hours.rejected + excluded.rejected"
)
Pending = tuple[InspectionRow, "Future[InspectionRow]"]


class InspectionWriter:
    """Writes inspections, in a thread of its own.

    Args:
        engine: of the database.
        supervisor: that the thread runs under.
    """

    def __init__(self, engine: DatabaseEngine, supervisor: Supervisor) -> None:
        self._engine = engine
        self._pending: SimpleQueue[Pending | None] = SimpleQueue()
        self._worker = Worker(supervisor, "writer", self._write_batch)
        self._worker.start()

    def add(self, row: InspectionRow) -> Future[InspectionRow]:
        """Hand an inspection in; the future has it with its id once it is safe on disk.

        When one with the same key is there already, the future has that one instead. It raises RecordError, of which
        DiskFullError is one, when the database cannot be written to.
        """
        done: Future[InspectionRow] = Future()
        self._pending.put((row, done))
        return done

    def close(self) -> None:
        """Write what was handed in, then stop."""
        self._pending.put(None)
        self._worker.join()

    def _write_batch(self) -> float | None:
        first = self._pending.get()
        if first is None:
            return None
        batch = [first]
        closing = False
        while len(batch) < MAX_WRITE_BATCH_ROWS and not closing:
            try:
                pending = self._pending.get_nowait()
            except Empty:
                break
            if pending is None:
                closing = True
            else:
                batch.append(pending)
        try:
            self._insert(batch)
        except BaseException as error:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
            if closing:
                self._pending.put(None)  # the supervisor asks for another batch after an error
            raise
        return None if closing else 0.0

    def _insert(self, batch: Sequence[Pending]) -> None:
        statement = insert(inspections).returning(inspections.c.id, sort_by_parameter_order=True)
        try:
            with self._engine.begin() as connection:
                ids = list(connection.execute(statement, [_values(row) for row, _ in batch]).scalars())
                _count_hours(connection, [row for row, _ in batch])
        except RepeatedKeyError:
            for row, done in batch:
                self._insert_one(row, done)
        except PellucidError as error:  # foreseen: whoever waits is told
            for _, done in batch:
                done.set_exception(error)
        else:
            for (row, done), number in zip(batch, ids, strict=True):
                done.set_result(replace(row, id=number))

    def _insert_one(self, row: InspectionRow, done: Future[InspectionRow]) -> None:
        """Write one row of a batch in which a key is there already: in this batch, or from another process."""
        try:
            with self._engine.begin() as connection:
                number = connection.execute(insert(inspections).returning(inspections.c.id), _values(row)).scalar()
                _count_hours(connection, [row])
            done.set_result(replace(row, id=int(number or 0)))
        except RepeatedKeyError as error:
            earlier = self._with_key(row.key or "")
            if earlier is None:
                done.set_exception(RecordError(f"The record refused an inspection: {error}."))
            else:
                done.set_result(earlier)
        except PellucidError as error:
            done.set_exception(error)

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
