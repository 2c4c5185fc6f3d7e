"""The way to a database: its URL, its migrations, its transactions, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from pellucid._io.files import make_private
from pellucid.errors import DiskFullError, ParameterError, RecordError

SQLITE_LOCK_TIMEOUT_S = 10
POSTGRESQL_CONNECT_TIMEOUT_S = 5


class RepeatedKeyError(RecordError):
    """A row that would break a rule of the tables; the one that can be broken is that keys are unique."""


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
            self._engine = create_engine(parsed, pool_pre_ping=True, connect_args=patience)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError):
            raise ParameterError(
                "The database's URL is not understood: give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
                " (with 'pip install psycopg[binary]')."
            ) from None
        if self.is_sqlite:
            if parsed.database and not parsed.database.startswith((":memory:", "file:")):
                _keep_private(Path(parsed.database))
            event.listen(self._engine, "connect", _prepare_sqlite)
        self._migrate()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

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
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction, which is committed at the end.

        Raises:
            DiskFullError: the database's disk is full.
            RecordError: the database cannot be used.
            RepeatedKeyError: a row breaks a rule of the tables.
        """
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise the database's own errors as ours."""
        try:
            yield
        except IntegrityError as error:
            raise RepeatedKeyError(_reason(error)) from None
        except SQLAlchemyError as error:
            reason = _reason(error)
            if "disk is full" in reason or getattr(getattr(error, "orig", None), "sqlstate", None) == "53100":
                raise DiskFullError(
                    f"The record's disk is full: free some space; nothing was kept ({reason})."
                ) from None
            raise RecordError(f"The record at {self.place} cannot be used now ({reason}).") from None

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


def _reason(error: SQLAlchemyError) -> str:
    """Tell what the driver reported, in one line without SQL."""
    reported = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return reported.splitlines()[0].rstrip(".") if reported else type(error).__name__
