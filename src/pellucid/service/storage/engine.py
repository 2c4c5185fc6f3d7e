"""The way to a database: its URL, its migrations, its transactions, and its errors as ours."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, create_engine, event, make_url, select
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from pellucid._io.files import make_private
from pellucid.errors import DiskFullError, ParameterError, RecordError

SQLITE_LOCK_TIMEOUT_S = 10
POOL_OPTIONS = {"pool_timeout": 10.0}  # seconds that a request waits for a connection
POSTGRESQL_CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10  # as PostgreSQL counts
SILENCE_TIMEOUT_S = 15  # until a PostgreSQL that says nothing is given up


class RefusedRowError(RecordError):
    """A row that the database does not take, now or later: its key is there already, or a value is no column's."""


class DatabaseEngine:
    """Connects to SQLite or PostgreSQL; the tables are brought up to date first.

    Args:
        url: of SQLAlchemy; ``sqlite:///FILE`` or ``postgresql://...``.

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
            self.is_sqlite = parsed.get_backend_name() == "sqlite"
            patience = (
                {"timeout": SQLITE_LOCK_TIMEOUT_S}
                if self.is_sqlite
                else {"connect_timeout": POSTGRESQL_CONNECT_TIMEOUT_S}
            )
            self._engine = create_engine(parsed, pool_pre_ping=True, connect_args=patience, **POOL_OPTIONS)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError):
            raise ParameterError(
                "The database's URL is not understood: give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
                " (with 'pip install psycopg[binary]')."
            ) from None
        self._connections: WeakSet[Any] = WeakSet()  # to PostgreSQL
        self._generation = 0  # of connections: one of an earlier generation is closed when it comes back
        event.listen(self._engine, "connect", self._count)
        event.listen(self._engine, "checkin", self._close_an_old_one)
        if self.is_sqlite:
            if parsed.database and not parsed.database.startswith((":memory:", "file:")):
                _keep_private(Path(parsed.database))
            event.listen(self._engine, "connect", _prepare_sqlite)
        else:
            event.listen(self._engine, "connect", self._prepare_postgresql)
        self._migrate()
        if self.is_sqlite:
            self._check_whole()

    def close(self) -> None:
        """Let go of the database; a connection that another thread uses is closed when it comes back."""
        self._generation += 1
        self._engine.dispose()

    def reconnect(self) -> None:
        """Use new connections from now on: an old one may not see that the database was mended or replaced."""
        self.close()

    def check(self) -> None:
        """Find out whether the database answers.

        Raises:
            RecordError: it does not.
        """
        with self.connect() as connection:
            connection.execute(select(1))

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection to read by.

        Raises:
            RecordError: the database cannot be used.
        """
        with self._explained(), self._answered_in_time(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction, which is committed at the end.

        Raises:
            DiskFullError: the database's disk is full.
            RecordError: the database cannot be used.
            RefusedRowError: a row breaks a rule of the tables, or a value is none of its column's.
        """
        with self._explained(), self._answered_in_time(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise the database's own errors as ours."""
        try:
            yield
        except (IntegrityError, DataError, TypeError, ValueError, OverflowError) as error:  # drivers raise some bare
            raise RefusedRowError(_reason(error)) from None
        except SQLAlchemyError as error:
            if isinstance(error, StatementError) and not isinstance(error, DBAPIError):  # it did not reach the driver
                raise RefusedRowError(_reason(error)) from None
            reason = _reason(error)
            if "disk is full" in reason or getattr(getattr(error, "orig", None), "sqlstate", None) == "53100":
                raise DiskFullError(
                    f"The record's disk is full: free some space; nothing was kept ({reason})."
                ) from None
            raise RecordError(f"The record at {self.place} cannot be used now ({reason}).") from None

    @contextmanager
    def _answered_in_time(self) -> Iterator[None]:
        """Hang up on a PostgreSQL that says nothing, or whoever asked waits for ever; SQLite's lock has its timeout."""
        if self.is_sqlite:
            yield
            return
        timer = threading.Timer(SILENCE_TIMEOUT_S, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _hang_up(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)

    def _count(self, _: object, entry: ConnectionPoolEntry) -> None:
        entry.info["generation"] = self._generation

    def _close_an_old_one(self, _: object, entry: ConnectionPoolEntry) -> None:
        """Close what comes back to a pool that is no longer used, which would keep it open until it is collected."""
        if entry.info.get("generation") != self._generation:
            entry.invalidate()

    def _prepare_postgresql(self, connection: Any, _: object) -> None:
        self._connections.add(connection)  # the first answer may be the one that does not come
        connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
        connection.commit()

    def _check_whole(self) -> None:
        """Refuse a damaged file before the first inspection is lost in it."""
        with self._explained(), self._engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise RecordError(
                f"The record at {self.place} is damaged ({' '.join(str(found).split())}): restore a copy of it, or move"
                " it away and a new one is begun."
            )

    def _migrate(self) -> None:
        """Bring the tables to this version, one process at a time."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self._explained(), self._engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            begin, lock = ("BEGIN IMMEDIATE", None) if self.is_sqlite else ("BEGIN", "SELECT pg_advisory_xact_lock(1)")
            connection.exec_driver_sql(begin)
            if lock:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # another process may be at it
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


def _keep_private(file: Path) -> None:
    """Let nobody else read a database; SQLite gives the files beside it the same rights."""
    make_private(file, folder=False)
    for beside in (file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
        if beside.exists():
            make_private(beside, folder=False)


def _prepare_sqlite(connection: Any, _: object) -> None:
    """Readers do not wait for the writer, a commit survives a power cut, and another process's lock is waited for."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _reason(error: Exception) -> str:
    """Tell what the driver reported, in one line without SQL."""
    reported = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return reported.splitlines()[0].rstrip(".") if reported else type(error).__name__
