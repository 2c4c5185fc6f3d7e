"""The watched folders' files that were dealt with, as digests of how they were."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from pellucid.service.storage.engine import DatabaseEngine
from pellucid.service.storage.tables import inspections, watched_files

Value = TypeVar("Value", int, str)


class WatchedFiles:
    """Keeps digests in the record's database, so that they are backed up, restored and lost together with it.

    Args:
        engine: of the database.
    """

    def __init__(self, engine: DatabaseEngine) -> None:
        self._engine = engine

    def known(self, digests: Collection[int]) -> list[int]:
        """List which of these digests, a thousand or so, are kept.

        Raises:
            RecordError: the database cannot be read.
        """
        column = watched_files.c.digest
        with self._engine.connect() as connection:
            return list(connection.execute(select(column).where(column.in_(_padded(digests)))).scalars())

    def add(self, digests: Collection[int]) -> None:
        """Keep digests; some may be kept already.

        Raises:
            RecordError: the database cannot be written to; DiskFullError, an OutputError, when its disk is full.
        """
        insert = sqlite.insert if self._engine.is_sqlite else postgresql.insert
        with self._engine.begin() as connection:
            connection.execute(  # in one order, or two processes could wait for each other
                insert(watched_files).on_conflict_do_nothing(), [{"digest": digest} for digest in sorted(digests)]
            )

    def recorded_keys(self, keys: Collection[str]) -> list[str]:
        """List which of these keys, a thousand or so, an inspection has.

        Raises:
            RecordError: the database cannot be read.
        """
        column = inspections.c.key
        with self._engine.connect() as connection:
            return list(connection.execute(select(column).where(column.in_(_padded(keys)))).scalars())


def _padded(values: Collection[Value]) -> list[Value]:
    """Repeat a value until there are a power of two: drivers keep a statement of every length, each large."""
    listed = list(values)
    return listed + listed[-1:] * ((1 << (len(listed) - 1).bit_length()) - len(listed) if listed else 0)
