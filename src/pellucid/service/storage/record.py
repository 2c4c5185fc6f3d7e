"""The record: every inspection a row before its answer leaves, every decision and every change with who and when.

SQLite or PostgreSQL, through SQLAlchemy; the tables are made and changed by the migrations beside this file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    TypeDecorator,
    and_,
    create_engine,
    event,
    func,
    insert,
    make_url,
    or_,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from pellucid.errors import DiskFullError, ParameterError, PellucidError, RecordError
from pellucid.records import Verdict

Decision = Literal["ok", "defect", "nuisance"]
BATCH = 100  # rows that one transaction takes at most
NEAR = 0.1  # p-value up to which an accepted part is a near call


@dataclass(frozen=True)
class Entry:
    """One inspection as it is kept."""

    time: datetime
    file: str  # name as it was sent
    part_id: str
    model: str
    model_sha256: str
    runtime: str
    milliseconds: float  # from its turn to its verdict
    score: float
    limit: float
    pixel_limit: float
    p_value: float
    verdict: Verdict
    width: int
    height: int
    defects: list[dict[str, Any]]
    source: str  # "http", "page" or "watch"
    account: str
    key: str | None = None  # what a sender repeats to get the same answer again
    picture: str | None = None  # path below the folder of pictures; none once it has expired
    map: str | None = None
    map_low: float = 0.0  # map value of the file's 0
    map_high: float = 0.0  # map value of the file's 65535
    decision: Decision | None = None  # what a person said
    type: str | None = None  # of the defect, as that person named it
    decided_by: str | None = None
    decided_at: datetime | None = None
    id: int = 0


@dataclass(frozen=True)
class Change:
    """Something that was done to a model."""

    time: datetime
    who: str
    model: str
    model_sha256: str
    kind: Literal["limit", "reload"]
    before: str
    after: str
    reason: str = ""
    id: int = 0


@dataclass(frozen=True)
class Filter:
    """Which inspections; what is None does not matter."""

    since: datetime | None = None
    until: datetime | None = None
    verdict: Verdict | None = None
    model: str | None = None
    model_sha256: str | None = None
    part_id: str | None = None
    decision: Decision | Literal["none", "any"] | None = None
    near: bool = False  # rejects and near calls only
    before: int | None = None  # ids below this one


class Utc(TypeDecorator[datetime]):
    """A moment; databases that keep no zone are given UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


metadata = MetaData()
inspections = Table(
    "inspections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Utc, nullable=False, index=True),
    Column("file", String, nullable=False),
    Column("part_id", String, nullable=False, index=True),
    Column("model", String, nullable=False),
    Column("model_sha256", String(64), nullable=False, index=True),
    Column("runtime", String, nullable=False),
    Column("milliseconds", Double, nullable=False),
    Column("score", Double, nullable=False),
    Column("limit", Double, nullable=False),
    Column("pixel_limit", Double, nullable=False),
    Column("p_value", Double, nullable=False),
    Column("verdict", String(6), nullable=False, index=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("defects", JSON, nullable=False),
    Column("source", String, nullable=False),
    Column("account", String, nullable=False),
    Column("key", String, unique=True),
    Column("picture", String),
    Column("map", String),
    Column("map_low", Double, nullable=False),
    Column("map_high", Double, nullable=False),
    Column("decision", String(8), index=True),
    Column("type", String),
    Column("decided_by", String),
    Column("decided_at", Utc),
)
decisions = Table(  # append-only: what each decision was changed to
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("inspection_id", Integer, ForeignKey("inspections.id"), nullable=False, index=True),
    Column("time", Utc, nullable=False),
    Column("who", String, nullable=False),
    Column("decision", String(8)),
    Column("type", String),
)
changes = Table(  # append-only
    "changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Utc, nullable=False),
    Column("who", String, nullable=False),
    Column("model", String, nullable=False, index=True),
    Column("model_sha256", String(64), nullable=False),
    Column("kind", String, nullable=False),
    Column("before", String, nullable=False),
    Column("after", String, nullable=False),
    Column("reason", String, nullable=False),
)
COLUMNS = [inspections.c[field.name] for field in fields(Entry)]


class Record:
    """The database of a service.

    One thread writes inspections: all that wait go into one transaction, so a disk that syncs slowly delays an answer
    but not the number of answers in a second.

    Args:
        url: of SQLAlchemy; ``sqlite:///FILE`` or ``postgresql+psycopg://...``.

    Raises:
        ParameterError: the URL is none, or needs a driver that is not installed.
        RecordError: the database cannot be reached, or was written by a newer pellucid.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            if parsed.drivername in ("postgresql", "postgres"):
                parsed = parsed.set(drivername="postgresql+psycopg")
            self.place = parsed.render_as_string(hide_password=True)
            patience = {"timeout": 10} if parsed.get_backend_name() == "sqlite" else {"connect_timeout": 5}
            self._engine = create_engine(parsed, pool_pre_ping=True, connect_args=patience)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError):
            raise ParameterError(
                "The database's URL is not understood: give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
                " (with 'pip install psycopg[binary]')."
            ) from None
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        if self._is_sqlite:
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            event.listen(self._engine, "connect", _prepare_sqlite)
        self._migrate()
        self._queue: SimpleQueue[tuple[Entry, Future[Entry]] | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="record", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """Write what was handed in, then let go of the database."""
        self._queue.put(None)
        self._writer.join()
        self._engine.dispose()

    def check(self) -> None:
        """Whether the database answers.

        Raises:
            RecordError: it does not.
        """
        with self._connect() as connection:
            connection.execute(select(1))

    # --- inspections ----------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> Entry:
        """Keep an inspection; returns it with its id once it is safe on disk.

        When one with the same key is there already, that one is returned instead.

        Raises:
            DiskFullError: the database's disk is full.
            RecordError: the database cannot be written to.
        """
        done: Future[Entry] = Future()
        self._queue.put((entry, done))
        return done.result()

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            ended = False
            while len(batch) < BATCH and not ended:
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
                if item is None:
                    ended = True
                else:
                    batch.append(item)
            self._insert(batch)
            if ended:
                return

    def _insert(self, batch: Sequence[tuple[Entry, Future[Entry]]]) -> None:
        statement = insert(inspections).returning(inspections.c.id, sort_by_parameter_order=True)
        try:
            with self._begin() as connection:
                ids = list(connection.execute(statement, [_columns(entry) for entry, _ in batch]).scalars())
        except _RepeatedKeyError:
            for entry, done in batch:
                self._insert_one(entry, done)
        except PellucidError as error:
            for _, done in batch:
                done.set_exception(error)
        else:
            for (entry, done), number in zip(batch, ids, strict=True):
                done.set_result(replace(entry, id=number))

    def _insert_one(self, entry: Entry, done: Future[Entry]) -> None:
        """For a batch in which a key is there already: in this batch, or from another process."""
        try:
            with self._begin() as connection:
                number = connection.execute(insert(inspections).returning(inspections.c.id), _columns(entry)).scalar()
            done.set_result(replace(entry, id=int(number or 0)))
        except _RepeatedKeyError as error:
            there = self.with_key(entry.key or "")
            if there is None:
                done.set_exception(RecordError(f"The record refused an inspection: {error}."))
            else:
                done.set_result(there)
        except PellucidError as error:
            done.set_exception(error)

    def get(self, number: int) -> Entry | None:
        """One inspection."""
        return self._one(select(*COLUMNS).where(inspections.c.id == number))

    def with_key(self, key: str) -> Entry | None:
        """The inspection that was kept under a sender's key."""
        return self._one(select(*COLUMNS).where(inspections.c.key == key))

    def find(self, where: Filter, count: int) -> list[Entry]:
        """The newest inspections first, at most ``count``."""
        statement = select(*COLUMNS).where(*_conditions(where)).order_by(inspections.c.id.desc()).limit(count)
        with self._connect() as connection:
            return [_entry(row) for row in connection.execute(statement).mappings()]

    def each(self, where: Filter) -> Iterator[Entry]:
        """All of them, newest first, a few hundred in memory at a time."""
        while found := self.find(where, 500):
            yield from found
            where = replace(where, before=found[-1].id)

    def count(self, where: Filter) -> int:
        """How many there are."""
        statement = select(func.count()).select_from(inspections).where(*_conditions(where))
        with self._connect() as connection:
            return connection.execute(statement).scalar_one()

    def scores(self, where: Filter, count: int) -> list[tuple[float, Decision | None]]:
        """Scores with what people decided, newest first."""
        columns = (inspections.c.score, inspections.c.decision)
        statement = select(*columns).where(*_conditions(where)).order_by(inspections.c.id.desc()).limit(count)
        with self._connect() as connection:
            return [(float(score), decision) for score, decision in connection.execute(statement)]

    def by_hour(self, where: Filter) -> list[tuple[str, int, int]]:
        """(hour in UTC as 2026-11-25T14, inspected, rejected) of every hour in which there was something."""
        form = ("%Y-%m-%dT%H", 'YYYY-MM-DD"T"HH24')[not self._is_sqlite]
        moment = inspections.c.time
        hour = func.strftime(form, moment) if self._is_sqlite else func.to_char(func.timezone("UTC", moment), form)
        rejected = func.sum(func.length(inspections.c.verdict) - 2)  # a "reject" has four letters more than an "ok"
        statement = select(hour, func.count(), rejected / 4).where(*_conditions(where)).group_by(hour).order_by(hour)
        with self._connect() as connection:
            return [(str(at), int(total), int(bad)) for at, total, bad in connection.execute(statement)]

    def outdated(self, *, ok: datetime, reject: datetime, count: int = 1000) -> list[Entry]:
        """Inspections with pictures that are older than their kind is kept, at most ``count``.

        Pictures of rejected parts, and of those that a person decided on, count as rejects.
        """
        c = inspections.c
        plain = and_(c.verdict == "ok", c.decision.is_(None))
        old = or_(and_(plain, c.time < ok), c.time < reject)
        with self._connect() as connection:
            found = connection.execute(select(*COLUMNS).where(old, c.picture.is_not(None)).limit(count))
            return [_entry(row) for row in found.mappings()]

    def forget_pictures(self, entries: Sequence[Entry]) -> None:
        """Keep no longer where the pictures and maps of these were."""
        numbers = [entry.id for entry in entries]
        with self._begin() as connection:
            statement = update(inspections).where(inspections.c.id.in_(numbers))
            connection.execute(statement.values(picture=None, map=None))

    # --- decisions ------------------------------------------------------------------------------------------------

    def decide(self, number: int, decision: Decision | None, type: str | None, who: str) -> Entry | None:
        """Keep what a person says of an inspection, None to take it back; returns it, None if there is no such one."""
        said = {"decision": decision, "type": type if decision == "defect" else None}
        now = datetime.now(UTC)
        by = {"decided_by": who if decision else None, "decided_at": now if decision else None}
        with self._begin() as connection:
            done = connection.execute(update(inspections).where(inspections.c.id == number).values(**said, **by))
            if done.rowcount:
                connection.execute(insert(decisions).values(inspection_id=number, time=now, who=who, **said))
        return self.get(number)

    def decided(self, number: int) -> list[dict[str, Any]]:
        """All that was ever decided on an inspection, oldest first."""
        c = decisions.c
        statement = select(c.time, c.who, c.decision, c.type).where(c.inspection_id == number).order_by(c.id)
        with self._connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def types(self) -> list[str]:
        """Types of defects that people have named, the commonest first."""
        c = inspections.c
        statement = select(c.type).where(c.type.is_not(None)).group_by(c.type).order_by(func.count().desc(), c.type)
        with self._connect() as connection:
            return list(connection.execute(statement).scalars())

    # --- changes --------------------------------------------------------------------------------------------------

    def change(self, change: Change) -> Change:
        """Keep what was done to a model; returns it with its id."""
        values = {key: value for key, value in asdict(change).items() if key != "id"}
        with self._begin() as connection:
            number = connection.execute(insert(changes).returning(changes.c.id), values).scalar_one()
        return replace(change, id=number)

    def changed(self, *, after: int = 0, model: str | None = None, count: int = 200) -> list[Change]:
        """The newest changes first."""
        statement = select(*(changes.c[field.name] for field in fields(Change))).where(changes.c.id > after)
        if model is not None:
            statement = statement.where(changes.c.model == model)
        with self._connect() as connection:
            rows = connection.execute(statement.order_by(changes.c.id.desc()).limit(count)).mappings()
            return [Change(**row) for row in rows]

    def limit_of(self, model: str, sha256: str) -> Change | None:
        """The last change of a model's limit, if it was made to the very same model file."""
        c = changes.c
        statement = select(*(c[field.name] for field in fields(Change)))
        statement = statement.where(c.model == model, c.model_sha256 == sha256, c.kind == "limit")
        with self._connect() as connection:
            row = connection.execute(statement.order_by(c.id.desc()).limit(1)).mappings().first()
            return Change(**row) if row else None

    # --- the database ---------------------------------------------------------------------------------------------

    def _one(self, statement: Select[Any]) -> Entry | None:
        with self._connect() as connection:
            row = connection.execute(statement).mappings().first()
            return _entry(row) if row else None

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """The database's own errors as ours."""
        try:
            yield
        except IntegrityError as error:
            raise _RepeatedKeyError(_reason(error)) from None
        except SQLAlchemyError as error:
            said = _reason(error)
            if "disk is full" in said or getattr(getattr(error, "orig", None), "sqlstate", None) == "53100":
                raise DiskFullError(f"The record's disk is full: free some space; nothing was kept ({said}).") from None
            raise RecordError(f"The record at {self.place} cannot be used now ({said}).") from None

    def _migrate(self) -> None:
        """Bring the tables to this version, one process at a time."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self._explained(), self._engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            begin, lock = ("BEGIN IMMEDIATE", None) if self._is_sqlite else ("BEGIN", "SELECT pg_advisory_xact_lock(1)")
            connection.exec_driver_sql(begin)
            if lock:
                connection.exec_driver_sql(lock)
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError:
                raise RecordError(
                    f"The record at {self.place} was written by a newer pellucid, or is another program's: install the"
                    " newer one, or name another database."
                ) from None
            connection.exec_driver_sql("COMMIT")


class _RepeatedKeyError(RecordError):
    """A row that would break a rule of the tables; the one that can be broken is that keys are unique."""


def _prepare_sqlite(connection: Any, _: object) -> None:
    """Readers do not wait for the writer, a commit survives a power cut, and another process's lock is waited for."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _reason(error: SQLAlchemyError) -> str:
    """What the driver said, in one line without SQL."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return said.splitlines()[0].rstrip(".") if said else type(error).__name__


def _columns(entry: Entry) -> dict[str, Any]:
    return {column.name: getattr(entry, column.name) for column in COLUMNS if column.name != "id"}


def _entry(row: Any) -> Entry:
    return Entry(**row)


def _conditions(where: Filter) -> list[ColumnElement[bool]]:
    c = inspections.c
    found: list[ColumnElement[bool]] = []
    if where.since is not None:
        found.append(c.time >= where.since)
    if where.until is not None:
        found.append(c.time < where.until)
    for column in (c.verdict, c.model, c.model_sha256, c.part_id):
        if (value := getattr(where, column.name)) is not None:
            found.append(column == value)
    if where.decision in ("none", "any"):
        found.append(c.decision.is_(None) if where.decision == "none" else c.decision.is_not(None))
    elif where.decision is not None:
        found.append(c.decision == where.decision)
    if where.near:
        found.append(or_(c.verdict == "reject", c.p_value <= NEAR))
    if where.before is not None:
        found.append(c.id < where.before)
    return found
