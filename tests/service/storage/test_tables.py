"""An inspection's columns are spelled once: the migrated database and the answers agree with the rows."""

from __future__ import annotations

from dataclasses import fields

import pytest
from serving import an_inspection_row
from sqlalchemy import String, create_engine, inspect

from pellucid.service.api.schemas import InspectionOut
from pellucid.service.storage.record import Database
from pellucid.service.storage.tables import InspectionRow, Utc, inspections, metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'r.db'}"
        Database(url).close()
    else:
        url = request.getfixturevalue("postgres").url
        Database(url).close()
        url = url.replace("postgresql:", "postgresql+psycopg:")
    made = create_engine(url)
    yield made
    made.dispose()


def _spelled(kind, dialect) -> str:
    kind = kind.impl if isinstance(kind, Utc) else kind
    if isinstance(kind, String):
        return f"text of {kind.length}"
    return kind.compile(dialect)


def test_the_migrated_database_has_the_derived_tables(engine):
    found = inspect(engine)
    assert set(metadata.tables) == set(found.get_table_names()) - {"alembic_version"}
    for name, table in metadata.tables.items():
        migrated = {
            column["name"]: (_spelled(column["type"], engine.dialect), column["nullable"])
            for column in found.get_columns(name)
        }
        derived = {column.name: (_spelled(column.type, engine.dialect), column.nullable) for column in table.columns}
        assert migrated == derived
        unique = {tuple(rule["column_names"]) for rule in found.get_unique_constraints(name)}
        assert unique == {(column.name,) for column in table.columns if column.unique}
        where = f"{engine.dialect.name}_where"
        indexes = {
            (index["name"], tuple(index["column_names"]), where in index["dialect_options"])
            for index in found.get_indexes(name)
            if not index["unique"]
        }
        assert indexes == {
            (index.name, tuple(index.columns.keys()), index.dialect_kwargs.get(where) is not None)
            for index in table.indexes
        }


def test_answers_have_the_rows_columns():
    answered = {field.name for field in fields(InspectionOut)}
    kept = {field.name for field in fields(InspectionRow)}
    assert kept == {column.name for column in inspections.columns}
    assert answered - kept == {"overlay"}
    assert kept - answered == {"key", "request_sha256", "pixel_limit", "good_level", "map_low", "map_high"}, (
        "what is nobody else's business"
    )
    out = InspectionOut.from_row(an_inspection_row(id=3, picture="day/file.png", key="secret"))
    assert (out.picture, out.map) == ("/inspections/3/picture", "/inspections/3/map")
    assert InspectionOut.from_row(an_inspection_row()).picture is None
