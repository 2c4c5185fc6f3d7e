"""Every query of the record on a million inspections in SQLite: its time, and the way that SQLite chooses.

    python -m benchmarks.record_queries [--rows 1000000] [--folder DIR] [--plans]

The record is that of a line with three models that inspects a part a second: 5 % are rejected, people have decided on
most of these, and pictures are there for a month. It is made with the tables of the first version and then migrated,
so that the migration's time is measured too. Times are medians of seven.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext

from benchmarks._timing import cpu_name, median_time, write_rows
from pellucid.service import storage
from pellucid.service.storage.record import Database, Filter
from pellucid.service.storage.tables import ModelChange

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = ("query", "ms", "rows", "machine")
MODELS = ("glass", "edge", "trial")  # by their share of 80, 19.9 and 0.1 %
INSERT_ROWS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="Inspections.")
    parser.add_argument("--folder", type=Path, help="Where the record is made and left; by default a temporary one.")
    parser.add_argument("--plans", action="store_true", help="Print what EXPLAIN QUERY PLAN says of each.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = args.folder or Path(made)
        file = folder / "record.db"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            make_record(file, args.rows)
        start = time.perf_counter()
        database = Database(f"sqlite:///{file}")
        seconds = time.perf_counter() - start
        print(f"{args.rows} inspections, {file.stat().st_size / 1e6:.0f} MB; brought up to date in {seconds:.1f} s")
        rows = [{"query": "migration", "ms": round(seconds * 1000), "rows": args.rows, "machine": cpu_name()}]
        rows += list(measure(database, args.rows, args.plans))
        database.close()
    write_rows(RESULTS, COLUMNS, rows)


def make_record(file: Path, count: int) -> None:
    """Make a record as the first version of the tables has it."""
    engine = sa.create_engine(f"sqlite:///{file}")
    config = Config()
    config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
        assert MigrationContext.configure(connection).get_current_revision() == "0001"
        first = sa.Table("inspections", sa.MetaData(), autoload_with=connection)
        for start in range(0, count, INSERT_ROWS):
            connection.execute(first.insert(), list(_inspections(start, min(start + INSERT_ROWS, count), count)))
        connection.commit()
    engine.dispose()


def _inspections(start: int, stop: int, count: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(start)
    newest = datetime.now(UTC)
    for number in range(start, stop):
        moment = newest - timedelta(seconds=count - number)
        p_value = float(rng.random())
        is_reject, is_decided = p_value < 0.05, rng.random() < 0.9
        is_kept = is_reject or newest - moment < timedelta(days=30)
        defect = {"box": [10, 20, 30, 40], "area_px": 700, "peak": 1.5, "centroid": [25.0, 40.0]}
        yield {
            "time": moment,
            "file": f"pane_{number:07d}.png",
            "part_id": f"pane_{number // 2:07d}",
            "model": MODELS[int(np.searchsorted((0.8, 0.999), rng.random()))],
            "model_sha256": f"{number * 3 // count:064x}",
            "runtime": "openvino",
            "milliseconds": 12.0,
            "score": float(rng.gamma(2.0)),
            "limit": 5.0,
            "pixel_limit": 2.0,
            "p_value": p_value,
            "verdict": "reject" if is_reject else "ok",
            "width": 4096,
            "height": 3000,
            "defects": [defect] * int(rng.integers(1, 4)) if is_reject else [],
            "source": "watch",
            "account": "watch",
            "key": f"watch:pane_{number:07d}.png:{number}",
            "picture": f"{moment:%Y-%m-%d}/{number:016x}.png" if is_kept else None,
            "map": f"{moment:%Y-%m-%d}/{number:016x}.map.png" if is_kept else None,
            "map_low": 0.0,
            "map_high": 3.0,
            "decision": ("defect" if number % 3 else "nuisance") if is_reject and is_decided else None,
            "type": ("scratch", "bubble")[number % 2] if is_reject and is_decided and number % 3 else None,
            "decided_by": "ann" if is_reject and is_decided else None,
            "decided_at": moment if is_reject and is_decided else None,
        }


def queries(database: Database, count: int) -> dict[str, Callable[[], Any]]:
    """Name every query that the service makes, with the arguments that it makes it with."""
    now = datetime.now(UTC)
    ago = lambda **time: now - timedelta(**time)  # noqa: E731
    sha256, month = f"{2:064x}", timedelta(days=30)

    def find(rows: int = 101, **where: Any) -> Callable[[], Any]:
        return lambda: database.find(Filter(**where), rows)

    def values(columns: str, rows: int, **where: Any) -> Callable[[], Any]:
        return lambda: database.values(columns.split(), Filter(**where), rows)

    def counted(**where: Any) -> Callable[[], Any]:
        return lambda: database.count(Filter(**where))

    return {
        "one": lambda: database.get(count // 2),
        "by key": lambda: database.with_key(f"watch:pane_{count // 2:07d}.png:{count // 2}"),
        "by a new key": lambda: database.with_key("none"),
        "newest 16": find(16),
        "review: open": find(60, near=True, decision="none"),
        "review: open, an older page": find(60, near=True, decision="none", before=count // 2),
        "review: decided": find(60, decision="any"),
        "review: rejects": find(60, verdict="reject"),
        "review: all, an older page": find(60, before=count // 2),
        "review: a part": find(60, part_id=f"pane_{count // 4:07d}"),
        "review: a part that there is not": find(60, near=True, decision="none", part_id="none"),
        "review: types": lambda: database.defect_types(),
        "inspect: last hour": counted(since=ago(hours=1)),
        "inspect: last hour's rejects": counted(since=ago(hours=1), verdict="reject"),
        "count of accepted": counted(verdict="ok"),
        "count of a model": counted(model="glass"),
        "count of a decision": counted(decision="defect"),
        "list: a rare model": find(model="trial"),
        "list: a rare model's rejects": find(model="trial", verdict="reject"),
        "list: an unknown model": find(model="none"),
        "list: escapes": find(verdict="ok", decision="defect"),
        "list: near calls of a model": find(near=True, model="edge"),
        "list: last minute": find(since=ago(minutes=1)),
        "list: an hour long ago": find(since=ago(seconds=count * 0.9), until=ago(seconds=count * 0.9 - 3600)),
        "list: a model's hour long ago": find(
            model="edge", since=ago(seconds=count * 0.9), until=ago(seconds=count * 0.9 - 3600)
        ),
        "list: rejects of a day long ago": find(
            verdict="reject", since=ago(seconds=count * 0.9), until=ago(seconds=count * 0.9 - 86400)
        ),
        "list: the older half": find(until=ago(seconds=count / 2)),
        "list: before all": find(until=ago(days=400)),
        "trends: by hour, 90 days": lambda: database.by_hour("glass", ago(days=90)),
        "trends: rejects": values("defects width height", 2000, model="glass", verdict="reject"),
        "trends: decided": values("decision type", 2000, model="glass", decision="any"),
        "trends: scores": values("time score decision", 3000, model_sha256=sha256),
        "preview: decided": values("score decision", 10_000, model_sha256=sha256, decision="any"),
        "preview: latest": values("score", 10_000, model_sha256=sha256),
        "export: decided, a batch": find(500, decision="any"),
        "export: accepted, a batch": find(500, decision="none", verdict="ok", near=False),
        "retention: something": lambda: database.expired(ago(days=5), "ok", decided=False),
        "retention: nothing": lambda: database.expired(now - month * 13, "reject"),
        "after a kill: pictures of an hour": lambda: database.pictures_of(ago(days=3)),
        "export: decisions, a batch": lambda: next(database.iterate_decisions(), None),
        "decisions of one": lambda: database.decisions(count // 2),
        "changes": lambda: database.changes(model="glass"),
        "last change": lambda: database.last_change("glass", sha256, "limit"),
        "what is new": lambda: database.changes(after=1),
    }


def measure(database: Database, count: int, plans: bool) -> Iterator[dict[str, object]]:
    """Time every query; yield a row for each."""
    for k in range(20):
        database.add_change(ModelChange(datetime.now(UTC), "ann", MODELS[k % 3], f"{2:064x}", "limit", "1.0", "2.0"))
    for name, ask in queries(database, count).items():
        seconds, found = median_time(ask)
        rows = len(found) if isinstance(found, list) else int(found is not None)
        print(f"{name:36} {seconds * 1000:8.2f} ms  {rows} rows")
        if plans:
            with explained(database) as lines:
                ask()
            print("".join(f"    {line}\n" for line in lines), end="")
        yield {"query": name, "ms": round(seconds * 1000, 2), "rows": rows, "machine": cpu_name()}


@contextmanager
def explained(database: Database) -> Iterator[list[str]]:
    """Collect what SQLite says of how it answers the queries that are made meanwhile."""
    engine = database._engine._engine
    lines: list[str] = []

    def explain(connection: Any, _: object, statement: str, parameters: Any, *__: object) -> None:
        if statement.startswith("SELECT"):
            asked = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            lines.extend(detail for *_, detail in asked.fetchall())

    sa.event.listen(engine, "before_cursor_execute", explain)
    try:
        yield lines
    finally:
        sa.event.remove(engine, "before_cursor_execute", explain)


if __name__ == "__main__":
    main()
