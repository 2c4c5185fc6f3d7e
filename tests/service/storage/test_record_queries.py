"""Queries of the record have an index each, and a record of the first version is brought up to date."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from serving import an_inspection_row

from benchmarks.record_queries import explained, make_record, queries
from pellucid.errors import RecordError
from pellucid.service.storage.record import Database, Filter

ROWS = 3_000
IN_ORDER = {"newest 16": "SCAN inspections"}  # the newest, as they lie: the scan ends after so many


@pytest.fixture(scope="module")
def first_version(tmp_path_factory):
    file = tmp_path_factory.mktemp("first") / "record.db"
    make_record(file, ROWS)
    return file


@pytest.fixture(scope="module")
def record(first_version, tmp_path_factory):
    file = tmp_path_factory.mktemp("record") / "record.db"
    file.write_bytes(first_version.read_bytes())
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


NAMES = list(queries(None, ROWS))


@pytest.mark.parametrize("name", NAMES)
def test_every_query_has_an_index(record, name):
    with explained(record) as lines:
        queries(record, ROWS)[name]()
    assert lines
    for line in lines:
        assert not line.startswith("SCAN") or " USING " in line or line == IN_ORDER.get(name), lines
        sorts = line.startswith("USE TEMP B-TREE")
        assert not sorts or name.startswith("list:") or name == "review: types", "what is newest is not sorted for"


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("review: open", "undecided"),
        ("review: decided", "decided"),
        ("review: types", "type"),
        ("inspect: last hour's rejects", "verdict_time"),
        ("list: escapes", "verdict_decision"),
        ("list: a rare model's rejects", "model_verdict"),
        ("list: rejects of a day long ago", "verdict_time"),
        ("list: a model's hour long ago", "model_time"),
        ("trends: rejects", "model_verdict"),
        ("trends: decided", "model_decided"),
        ("preview: decided", "sha256_decided"),
        ("retention: nothing", "pictures"),
    ],
)
def test_the_index_is_the_one_that_was_made_for_it(record, name, index):
    with explained(record) as lines:
        queries(record, ROWS)[name]()
    assert any(f"INDEX ix_inspections_{index} " in f"{line} " for line in lines), lines


def test_every_public_query_is_among_them():
    reading = {name for name in vars(Database) if not name.startswith("_")}
    reading -= {"close", "check", "add", "clear_pictures", "decide", "add_change", "iterate", "release_key"}
    asked = {attribute for ask in queries(None, ROWS).values() for attribute in ask.__code__.co_names}
    assert reading <= asked


def test_a_record_of_the_first_version_is_counted_and_keeps_all(record, first_version):
    with sqlite3.connect(first_version) as connection:
        expected = connection.execute(
            "SELECT model, strftime('%Y-%m-%dT%H', time), count(*), sum(verdict = 'reject')"
            " FROM inspections GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
    connection.close()
    long_ago = datetime.now(UTC) - timedelta(days=900)
    found = [(m, *hour) for m in ("edge", "glass", "trial") for hour in record.by_hour(m, long_ago)]
    assert found == expected
    assert record.count(Filter()) == ROWS
    assert len({row.id for row in record.iterate(Filter())}) == ROWS


def test_a_migration_that_was_cut_off_leaves_the_record_as_it_was(first_version, tmp_path):
    file = tmp_path / "record.db"
    file.write_bytes(first_version.read_bytes())
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE hours (other TEXT)")  # the migration fails when most of it is done
    connection.close()
    with pytest.raises(RecordError, match="cannot be used"):
        Database(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert connection.execute("SELECT count(*) FROM inspections").fetchone() == (ROWS,)
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        assert "ix_inspections_part_id" in names
        assert "ix_inspections_undecided" not in names
        connection.execute("DROP TABLE hours")
        connection.execute("UPDATE inspections SET pixel_limit = CASE id WHEN 1 THEN -3.0 ELSE 2.0 END")
    connection.close()
    database = Database(f"sqlite:///{file}")
    assert database.count(Filter()) == ROWS
    assert [database.get(number).good_level for number in (1, 2)] == [-6.0, 0.0], "as of a model that does not know it"
    database.close()


def test_hours_are_counted_with_every_row(database):
    model = f"m{datetime.now(UTC).timestamp()}"
    start = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
    for seconds, verdict in ((0, "ok"), (0, "reject"), (1, "ok"), (3_601, "reject"), (3_602, "reject")):
        database.add(an_inspection_row(model=model, time=start + timedelta(seconds=seconds), verdict=verdict))
    repeated = an_inspection_row(model=model, time=start, key=f"{model}-key")
    assert database.add(repeated).id == database.add(repeated).id
    assert database.by_hour(model, start) == [
        ("2026-03-29T00", 3, 1),
        ("2026-03-29T01", 1, 0),
        ("2026-03-29T02", 2, 2),
    ]
    assert database.by_hour(model, start + timedelta(hours=1)) == [("2026-03-29T01", 1, 0), ("2026-03-29T02", 2, 2)]


def test_rows_whose_times_are_not_in_the_order_of_their_ids(database):
    model, start = f"m{datetime.now(UTC).timestamp()}", datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        database.add(an_inspection_row(model=model, time=start + timedelta(seconds=s))) for s in (5, 4, 900, 1, 3, 2, 0)
    ]
    window = Filter(model=model, since=start + timedelta(seconds=1), until=start + timedelta(seconds=6))
    assert [row.id for row in database.find(window, 3)] == [rows[k].id for k in (5, 4, 3)]
    assert [row.id for row in database.iterate(window)] == [rows[k].id for k in (5, 4, 3, 1, 0)]


def test_the_benchmark_is_where_the_readme_says():
    assert "record_queries" in (Path(__file__).parents[3] / "benchmarks" / "README.md").read_text("utf-8")
