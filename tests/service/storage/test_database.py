"""The database itself, SQLite and PostgreSQL."""

from __future__ import annotations

import socket
import socketserver
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import forks
import numpy as np
import pytest
from commands import command_line
from serving import an_inspection_row, serving_folder
from sqlalchemy import event, select

from pellucid.errors import ParameterError, RecordError
from pellucid.service.storage import engine
from pellucid.service.storage.record import Database, Filter
from pellucid.service.storage.tables import ModelChange


def test_entries_come_back_as_they_went_in(database):
    entry = an_inspection_row(
        file="ü.png",
        score=0.1 + 0.2,
        defects=[{"box": [1, 2, 3, 4], "area_px": 5, "peak": 1e-9, "centroid": [0.5, 1.5]}],
        time=datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        picture="x",
        map_low=-1.5,
    )
    kept = database.add(entry)
    assert database.get(kept.id) == kept
    assert kept.time == entry.time
    assert kept.score == entry.score
    assert database.get(2**31 - 1) is None


def test_filters_agree_with_a_slow_reference(database):
    rng = np.random.default_rng(0)
    start = datetime.now(UTC)
    model = f"m{rng.integers(1 << 30)}{time.monotonic_ns()}"
    entries = []
    for k in range(60):
        score = float(rng.random())
        verdict = "reject" if score > 0.7 else "ok"
        p = float(rng.choice([0.05, 0.1, 0.3]))
        entries.append(
            database.add(
                an_inspection_row(
                    time=start + timedelta(minutes=k),
                    score=score,
                    verdict=verdict,
                    p_value=p,
                    part_id=f"p{k % 7}",
                    model=model,
                )
            )
        )
    for k in (3, 10, 20):
        entries[k] = database.decide(entries[k].id, "defect" if k == 3 else "ok", "stone" if k == 3 else None, "ann")
    moment = start + timedelta(minutes=20)
    for where, keep in (
        (Filter(model=model), lambda e: e.model == model),
        (Filter(model=model, since=moment), lambda e: e.time >= moment),
        (Filter(model=model, until=moment, verdict="reject"), lambda e: e.time < moment and e.verdict == "reject"),
        (Filter(model=model, part_id="p3"), lambda e: e.part_id == "p3"),
        (Filter(model=model, decision="none"), lambda e: e.decision is None),
        (Filter(model=model, decision="any"), lambda e: e.decision is not None),
        (Filter(model=model, decision="ok"), lambda e: e.decision == "ok"),
        (Filter(model=model, near=True), lambda e: e.verdict == "reject" or e.p_value <= 0.1),
        (Filter(model=model, near=False), lambda e: e.verdict == "ok" and e.p_value > 0.1),
        (
            Filter(model=model, near=True, decision="none"),
            lambda e: e.decision is None and (e.verdict == "reject" or e.p_value <= 0.1),
        ),
        (
            Filter(since=moment, verdict="ok", model=model, before=entries[40].id),
            lambda e: e.time >= moment and e.verdict == "ok" and e.id < entries[40].id,
        ),
        (Filter(model=model, until=moment, part_id="p2"), lambda e: e.time < moment and e.part_id == "p2"),
        (Filter(model=model, before=entries[30].id), lambda e: e.id < entries[30].id),
    ):
        expected = [e for e in entries if keep(e)][::-1]
        assert database.find(where, 100) == expected
        assert database.count(where) == len(expected)
        assert list(database.iterate(where)) == expected
        assert database.values(("id", "score"), where, 100) == [(e.id, e.score) for e in expected]
    hours = Counter(f"{e.time:%Y-%m-%dT%H}" for e in entries)
    rejected = Counter(f"{e.time:%Y-%m-%dT%H}" for e in entries if e.verdict == "reject")
    assert database.by_hour(model, start) == [(h, hours[h], rejected[h]) for h in sorted(hours)]
    assert "stone" in database.defect_types()


def test_the_newest_limit_of_the_very_model_counts(database):
    name = f"m{time.monotonic_ns()}"
    for sha, after in (("a" * 64, "1.0"), ("b" * 64, "2.0"), ("a" * 64, "3.0")):
        database.add_change(ModelChange(datetime.now(UTC), "ann", name, sha, "limit", "0.0", after))
    assert database.last_change(name, "a" * 64, "limit").after == "3.0"
    assert database.last_change(name, "b" * 64, "limit").after == "2.0"
    assert database.last_change(name, "c" * 64, "limit") is None
    assert [c.after for c in database.changes(model=name)] == ["3.0", "2.0", "1.0"]


def test_a_database_that_is_not_pellucids_or_newer(tmp_path, model):
    folder = serving_folder(tmp_path, model)
    Database(f"sqlite:///{tmp_path / 'new.db'}").close()
    with sqlite3.connect(tmp_path / "new.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(RecordError, match="newer pellucid"):
        Database(f"sqlite:///{tmp_path / 'new.db'}")
    (tmp_path / "text.db").write_text("this is no database, and long enough to be looked at" * 30)
    with pytest.raises(RecordError, match="cannot be used"):
        Database(f"sqlite:///{tmp_path / 'text.db'}")
    for url in ("nonsense", "oracle+nothing://x/y", "postgresql+missing://x/y"):
        with pytest.raises(ParameterError, match="not understood"):
            Database(url)
    command = command_line("serve", "--database", "postgresql://user:geheim@127.0.0.1:1/x")
    done = forks.run(command, cwd=folder)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "geheim" not in done.stderr + done.stdout, "no password in what is said"


@pytest.mark.parametrize("let_go", ["reconnect", "close"])
def test_a_connection_that_is_in_use_is_closed_when_it_comes_back(database, let_go):
    """Or it would stay open in a pool that nobody uses until it is collected."""
    own_engine = database._engine
    with own_engine.connect() as connection:
        own = connection.connection.dbapi_connection
        getattr(own_engine, let_go)()
        assert connection.execute(select(1)).scalar_one() == 1
    with pytest.raises(own_engine._engine.dialect.dbapi.Error, match="closed"):
        own.execute("SELECT 1")
    database.check()
    with own_engine.connect() as connection:
        kept = connection.connection.dbapi_connection
    with own_engine.connect() as connection:
        assert connection.connection.dbapi_connection is kept


@contextmanager
def relay(port: int, silent: threading.Event) -> Iterator[int]:
    """Stand between clients and a PostgreSQL; while it is silent, what they say first after log-in gets no answer."""

    def answer(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while content := server.recv(65536):
                client.sendall(content)

    class Line(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
                threading.Thread(target=answer, args=(server, self.request), daemon=True).start()
                while content := self.request.recv(65536):
                    if not (silent.is_set() and b"statement_timeout" in content):
                        server.sendall(content)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Line) as listener:
        listener.daemon_threads = True
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield listener.server_address[1]
        listener.shutdown()


def test_a_postgresql_that_is_silent_from_the_first_is_given_up(postgres, monkeypatch):
    monkeypatch.setattr(engine, "SILENCE_TIMEOUT_S", 1.0)
    silent = threading.Event()
    with relay(postgres.port, silent) as port:
        database = engine.DatabaseEngine(postgres.url.replace(f":{postgres.port}/", f":{port}/"))
        database.reconnect()
        silent.set()
        with pytest.raises(RecordError, match="cannot be used now"):
            database.check()
        silent.clear()
        database.check()
        database.close()


def test_files_of_watched_folders_are_kept_once(database):
    files = database.watched_files
    digests = [0, 1, -1, 2**63 - 1, -(2**63)]
    assert files.known(digests) == []
    files.add(digests[:3])
    files.add(digests)
    assert sorted(files.known([*digests, 7])) == sorted(digests)
    database.add(an_inspection_row(key="watch:é.png:1:2"))
    assert files.recorded_keys(["watch:é.png:1:2", "watch:other.png:1:2"]) == ["watch:é.png:1:2"]


def test_few_statements_are_kept_however_many_rows_they_are_of(database):
    """A driver keeps a statement of each text with all its values: memory would grow with every new number of rows."""
    texts = set()
    event.listen(database._engine._engine, "before_cursor_execute", lambda *told: texts.add(told[2]))
    for count in range(1, 130):
        database.watched_files.known(range(count))
        database.watched_files.add(range(count))
        database.watched_files.recorded_keys([f"key {n}" for n in range(count)])
    for count in (1, 2, 3, 5, 8, 13):
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(database.add, [an_inspection_row() for _ in range(count)]))
    assert len(texts) < 30
