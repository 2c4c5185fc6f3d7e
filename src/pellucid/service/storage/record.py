"""The record: every inspection a row before its answer leaves, every decision and every change with who and when.

SQLite or PostgreSQL, through SQLAlchemy; the tables are made and changed by the migrations beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, func, insert, not_, or_, select, update

from pellucid.records import Verdict
from pellucid.service.storage.engine import DatabaseEngine
from pellucid.service.storage.tables import (
    CHANGE_COLUMNS,
    INSPECTION_COLUMNS,
    IS_DECIDED,
    NEAR_OR_REJECT,
    ChangeKind,
    Decision,
    InspectionRow,
    ModelChange,
    changes,
    decisions,
    hours,
    inspections,
)
from pellucid.service.storage.watched import WatchedFiles
from pellucid.service.storage.writer import InspectionWriter
from pellucid.service.supervise import Supervisor

ITERATION_BATCH_ROWS = 500


@dataclass(frozen=True)
class Filter:
    """Say which inspections are meant; what is None does not matter."""

    since: datetime | None = None
    until: datetime | None = None
    verdict: Verdict | None = None
    model: str | None = None
    model_sha256: str | None = None
    part_id: str | None = None
    decision: Decision | Literal["none", "any"] | None = None
    near: bool | None = None  # rejects and near calls, or only what is neither
    before: int | None = None  # ids below this one


class Database:
    """Keeps inspections, decisions and changes of models in a database.

    Args:
        url: of SQLAlchemy; ``sqlite:///FILE`` or ``postgresql+psycopg://...``.
        supervisor: that the writing thread runs under; one of its own by default.

    Attributes:
        watched_files: what was dealt with in watched folders.

    Raises:
        ParameterError: the URL is none, or needs a driver that is not installed.
        RecordError: the database cannot be reached, or was written by a newer pellucid.
    """

    def __init__(self, url: str, supervisor: Supervisor | None = None) -> None:
        self._engine = DatabaseEngine(url)
        self._writer = InspectionWriter(self._engine, supervisor or Supervisor())
        self.watched_files = WatchedFiles(self._engine)

    def close(self) -> None:
        """Write what was handed in, then let go of the database."""
        self._writer.close()
        self._engine.close()

    def check(self) -> None:
        """Find out whether the database answers.

        Raises:
            RecordError: it does not.
        """
        self._engine.check()

    # --- inspections ----------------------------------------------------------------------------------------------

    def add(self, row: InspectionRow) -> InspectionRow:
        """Keep an inspection; returns it with its id once it is safe on disk.

        When one with the same key is there already, that one is returned instead.

        Raises:
            DiskFullError: the database's disk is full.
            RecordError: the database cannot be written to, does not answer in time, or the service is stopping.
        """
        return self._writer.add(row)

    def get(self, number: int) -> InspectionRow | None:
        """Read one inspection; None if there is no such one."""
        return self._one(select(*INSPECTION_COLUMNS).where(inspections.c.id == number))

    def with_key(self, key: str) -> InspectionRow | None:
        """Read the inspection that was kept under a sender's key."""
        return self._one(select(*INSPECTION_COLUMNS).where(inspections.c.key == key))

    def release_key(self, key: str, before: datetime) -> None:
        """Free a sender's key for another inspection, if it was used before a moment."""
        with self._engine.begin() as connection:
            old = update(inspections).where(inspections.c.key == key, inspections.c.time < before)
            connection.execute(old.values(key=None))

    def find(self, where: Filter, count: int) -> list[InspectionRow]:
        """List inspections, the newest first, at most ``count``."""
        with self._engine.connect() as connection:
            rows = connection.execute(_newest(INSPECTION_COLUMNS, where, count)).mappings()
            return [InspectionRow(**row) for row in rows]

    def iterate(self, where: Filter) -> Iterator[InspectionRow]:
        """Go through all of them, newest first, a few hundred in memory at a time."""
        while rows := self.find(where, ITERATION_BATCH_ROWS):
            yield from rows
            where = replace(where, before=rows[-1].id)

    def count(self, where: Filter) -> int:
        """Count them."""
        statement = select(func.count()).select_from(inspections).where(*_conditions(where))
        with self._engine.connect() as connection:
            return connection.execute(statement).scalar_one()

    def values(self, columns: Sequence[str], where: Filter, count: int) -> list[tuple[Any, ...]]:
        """List a few columns of inspections, the newest first, at most ``count``."""
        with self._engine.connect() as connection:
            statement = _newest([inspections.c[name] for name in columns], where, count)
            return [tuple(row) for row in connection.execute(statement)]

    def by_hour(self, model: str, since: datetime) -> list[tuple[str, int, int]]:
        """List (hour in UTC as 2026-11-25T14, inspected, rejected) of a model, from the hour of a moment on."""
        c = hours.c
        first = f"{since.astimezone(UTC):%Y-%m-%dT%H}"
        statement = select(c.hour, c.inspected, c.rejected).where(c.model == model, c.hour >= first).order_by(c.hour)
        with self._engine.connect() as connection:
            return [(hour, inspected, rejected) for hour, inspected, rejected in connection.execute(statement)]

    def expired(
        self,
        before: datetime,
        verdict: Verdict,
        *,
        decided: bool | None = None,
        after: InspectionRow | None = None,
        count: int = 1000,
    ) -> list[InspectionRow]:
        """List inspections of before a moment that still have pictures, the oldest first, at most ``count``.

        Args:
            before: the moment.
            verdict: theirs.
            decided: whether a person decided on them; either, if it is None.
            after: the last one of the list before.
            count: at least 1.
        """
        c = inspections.c
        kind = [c.verdict == verdict, c.time < before, c.picture.is_not(None)]
        if decided is not None:
            kind.append(c.decision.is_not(None) if decided else c.decision.is_(None))
        if after is not None:
            kind.append(or_(c.time > after.time, and_(c.time == after.time, c.id > after.id)))
        statement = select(*INSPECTION_COLUMNS).where(*kind).order_by(c.time, c.id).limit(count)
        with self._engine.connect() as connection:
            return [InspectionRow(**row) for row in connection.execute(statement).mappings()]

    def pictures_of(self, hour: datetime) -> set[str]:
        """List the files of pictures and maps that inspections of the hour from a moment on have."""
        c = inspections.c
        in_hour = (c.time >= hour, c.time < hour + timedelta(hours=1), c.picture.is_not(None))
        with self._engine.connect() as connection:
            return {
                file for row in connection.execute(select(c.picture, c.map).where(*in_hour)) for file in row if file
            }

    def clear_pictures(self, rows: Sequence[InspectionRow]) -> None:
        """Forget where the pictures and maps of these were."""
        numbers = [row.id for row in rows]
        with self._engine.begin() as connection:
            statement = update(inspections).where(inspections.c.id.in_(numbers))
            connection.execute(statement.values(picture=None, map=None))

    # --- decisions ------------------------------------------------------------------------------------------------

    def decide(self, number: int, decision: Decision | None, type: str | None, account: str) -> InspectionRow | None:
        """Keep what a person says of an inspection, None to take it back; returns it, None if there is no such one."""
        decided = {"decision": decision, "type": type if decision == "defect" else None}
        now = datetime.now(UTC)
        decider = {"decided_by": account if decision else None, "decided_at": now if decision else None}
        with self._engine.begin() as connection:
            done = connection.execute(
                update(inspections).where(inspections.c.id == number).values(**decided, **decider)
            )
            if done.rowcount:
                connection.execute(insert(decisions).values(inspection_id=number, time=now, who=account, **decided))
        return self.get(number)

    def decisions(self, number: int) -> list[dict[str, Any]]:
        """List all that was ever decided on an inspection, oldest first."""
        c = decisions.c
        statement = select(c.time, c.who, c.decision, c.type).where(c.inspection_id == number).order_by(c.id)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def iterate_decisions(self) -> Iterator[dict[str, Any]]:
        """Go through all decisions with the parts they are on, oldest first, a few hundred in memory at a time."""
        c, after = decisions.c, 0
        columns = (c.id, c.time, c.inspection_id, inspections.c.part_id, c.who, c.decision, c.type)
        joined = decisions.join(inspections, inspections.c.id == c.inspection_id)
        while True:
            statement = select(*columns).select_from(joined).where(c.id > after).order_by(c.id)
            with self._engine.connect() as connection:
                lines = [dict(row) for row in connection.execute(statement.limit(ITERATION_BATCH_ROWS)).mappings()]
            if not lines:
                return
            yield from lines
            after = lines[-1]["id"]

    def defect_types(self) -> list[str]:
        """List the types of defects that people have named, the commonest first."""
        c = inspections.c
        statement = select(c.type).where(c.type.is_not(None)).group_by(c.type).order_by(func.count().desc(), c.type)
        with self._engine.connect() as connection:
            return list(connection.execute(statement).scalars())

    # --- changes --------------------------------------------------------------------------------------------------

    def add_change(self, change: ModelChange) -> ModelChange:
        """Keep what was done to a model; returns it with its id."""
        values = {key: value for key, value in asdict(change).items() if key != "id"}
        with self._engine.begin() as connection:
            number = connection.execute(insert(changes).returning(changes.c.id), values).scalar_one()
        return replace(change, id=number)

    def changes(self, *, after: int = 0, model: str | None = None, count: int = 200) -> list[ModelChange]:
        """List changes of models, the newest first."""
        statement = select(*CHANGE_COLUMNS).where(changes.c.id > after)
        if model is not None:
            statement = statement.where(changes.c.model == model)
        with self._engine.connect() as connection:
            rows = connection.execute(statement.order_by(changes.c.id.desc()).limit(count)).mappings()
            return [ModelChange(**row) for row in rows]

    def last_change(self, model: str, sha256: str, kind: ChangeKind) -> ModelChange | None:
        """Read the last change of a kind to a model, if it was made to the very same model file."""
        c = changes.c
        statement = select(*CHANGE_COLUMNS)
        statement = statement.where(c.model == model, c.model_sha256 == sha256, c.kind == kind)
        with self._engine.connect() as connection:
            row = connection.execute(statement.order_by(c.id.desc()).limit(1)).mappings().first()
            return ModelChange(**row) if row else None

    def _one(self, statement: Select[Any]) -> InspectionRow | None:
        with self._engine.connect() as connection:
            row = connection.execute(statement).mappings().first()
            return InspectionRow(**row) if row else None


def _newest(columns: Sequence[ColumnElement[Any]], where: Filter, count: int) -> Select[Any]:
    """Make the statement that lists the newest ids first."""
    number = inspections.c.id
    is_window = where.since is not None or where.until is not None
    if is_window and where.part_id is None and where.decision in (None, "none") and where.near is not True:
        # by the index of times: by that of ids, an old window would be found after everything that is newer
        ids = select(number).where(*_conditions(where)).order_by((number + 0).desc()).limit(count)
        return select(*columns).where(number.in_(ids)).order_by(number.desc())
    return select(*columns).where(*_conditions(where)).order_by(number.desc()).limit(count)


def _conditions(where: Filter) -> list[ColumnElement[bool]]:
    c = inspections.c
    conditions: list[ColumnElement[bool]] = []
    if where.since is not None:
        conditions.append(c.time >= where.since)
    if where.until is not None:
        conditions.append(c.time < where.until)
    for column in (c.verdict, c.model, c.model_sha256, c.part_id):
        if (value := getattr(where, column.name)) is not None:
            conditions.append(column == value)
    if where.decision in ("none", "any"):
        conditions.append(c.decision.is_(None) if where.decision == "none" else IS_DECIDED)
    elif where.decision is not None:
        conditions.append(c.decision == where.decision)
    if where.near is not None:
        conditions.append(NEAR_OR_REJECT if where.near else not_(NEAR_OR_REJECT))
    if where.before is not None:
        conditions.append(c.id < where.before)
    return conditions
