"""The writer of the record: nobody who hands a row in waits for ever, and no row suffers for another's fault."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import an_inspection_row, wait_until

from pellucid.errors import PellucidError, RecordError
from pellucid.service import supervise
from pellucid.service.storage import engine, writer
from pellucid.service.storage.record import Database, Filter
from pellucid.service.storage.writer import InspectionWriter
from pellucid.service.supervise import Supervisor


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(supervise, "FAILURE_PAUSE_S", 0.05)
    monkeypatch.setattr(writer, "IDLE_S", 0.05)
    monkeypatch.setattr(engine, "SQLITE_LOCK_TIMEOUT_S", 0.3)


def outcome(work):
    """What became of something: a value, or the error."""
    try:
        return work()
    except BaseException as error:
        return error


@pytest.mark.parametrize(
    "odd",
    [
        {"file": "pane_\udcfc.png"},
        {"part_id": "\ud800"},
        {"width": 2**70},
        {"defects": [{"box": (0, 0, 1, 1), "area_px": 1, "peak": 1.0, "centroid": object()}]},
        {"key": "the same"},
    ],
    ids=["not UTF-8", "a surrogate", "too large a number", "not JSON", "a key that is there"],
)
def test_an_odd_row_does_not_take_the_others_with_it(database, odd):
    database.add(an_inspection_row(key="the same", part_id="first"))
    before = database.count(Filter())
    rows = [an_inspection_row(part_id=f"good {n}") for n in range(8)]
    rows.insert(3, an_inspection_row(**odd))
    with ThreadPoolExecutor(len(rows)) as pool:
        kept = list(pool.map(lambda row: outcome(lambda: database.add(row)), rows))
    assert [row.part_id for row in kept[:3] + kept[4:]] == [f"good {n}" for n in range(8)]
    assert database.count(Filter()) == before + 8
    assert kept[3].part_id == "first" if "key" in odd else isinstance(kept[3], Exception)
    assert database.add(an_inspection_row()).id > 0, "it goes on"


@pytest.mark.parametrize("error", [SystemExit(1), MemoryError(), KeyboardInterrupt(), RuntimeError("driver")], ids=repr)
def test_whoever_waits_is_told_of_any_error(tmp_path, monkeypatch, error):
    database = Database(f"sqlite:///{tmp_path / 'r.db'}")
    insert, failing = writer.InspectionWriter._insert, [True]

    def breaks(self, batch):
        if failing:
            failing.clear()
            raise error
        insert(self, batch)

    monkeypatch.setattr(writer.InspectionWriter, "_insert", breaks)
    assert isinstance(outcome(lambda: database.add(an_inspection_row())), Exception), "none that ends a caller's thread"
    assert database.add(an_inspection_row()).id == 1
    database.close()


def test_a_closed_writer_refuses_at_once(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'r.db'}")
    database.close()
    start = time.monotonic()
    with pytest.raises(RecordError, match="is stopping; nothing was kept"):
        database.add(an_inspection_row())
    assert time.monotonic() - start < writer.ADD_TIMEOUT_S / 2


def test_a_stalled_database_bounds_callers_and_closing(tmp_path, monkeypatch):
    for name, seconds in (("ADD_TIMEOUT_S", 0.5), ("CLOSE_TIMEOUT_S", 0.5)):
        monkeypatch.setattr(writer, name, seconds)
    release, stalled = threading.Event(), threading.Event()
    insert = writer.InspectionWriter._insert

    def stalls(self, batch):
        stalled.set()
        release.wait(300)
        insert(self, batch)

    monkeypatch.setattr(writer.InspectionWriter, "_insert", stalls)
    database = Database(f"sqlite:///{tmp_path / 'r.db'}")
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(outcome, lambda: database.add(an_inspection_row(part_id="first")))
        assert stalled.wait(120)
        start = time.monotonic()
        later = [pool.submit(outcome, lambda: database.add(an_inspection_row(part_id="later"))) for _ in range(3)]
        assert "not known whether the inspection was kept" in str(first.result(120))
        assert all("nothing was kept" in str(one.result(120)) for one in later)
        waiting = database._writer.submit(an_inspection_row())
        database._writer.close()
        assert "before the service stopped" in str(waiting.exception(0))
        assert time.monotonic() - start < 120, "a tenth of a second more than it may, but for a busy machine"
    release.set()
    wait_until(lambda: not database._writer._worker.is_alive())
    assert [row.part_id for row in database.find(Filter(), 9)] == ["first"], "those who were told so have no row"


def test_a_locked_database_is_told_and_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SQLITE_LOCK_TIMEOUT_S", 1)
    supervisor = Supervisor()
    database = Database(f"sqlite:///{tmp_path / 'r.db'}", supervisor)
    other = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordError, match="locked"):
        database.add(an_inspection_row())
    wait_until(supervisor.reasons)
    assert "The thread 'writer' does not get on" in supervisor.reasons()[0]
    other.execute("COMMIT")
    wait_until(lambda: not supervisor.reasons())
    assert database.count(Filter()) == 0, "trying left nothing"
    assert database.add(an_inspection_row()).id > 0
    other.close()
    database.close()


@pytest.mark.parametrize(
    ("damage", "mend"),
    [
        ("ALTER TABLE inspections RENAME TO away", "ALTER TABLE away RENAME TO inspections"),
        ("CREATE TRIGGER t BEFORE INSERT ON inspections BEGIN SELECT * FROM nowhere; END", "DROP TRIGGER t"),
        ("CREATE TRIGGER t BEFORE INSERT ON inspections BEGIN SELECT nofunction(1); END", "DROP TRIGGER t"),
    ],
    ids=["no table", "a broken trigger", "no function"],
)
def test_a_database_that_cannot_be_written_is_not_ready_until_it_can(tmp_path, damage, mend):
    supervisor = Supervisor()
    database = Database(f"sqlite:///{tmp_path / 'r.db'}", supervisor)
    with sqlite3.connect(tmp_path / "r.db") as other:
        other.execute(damage)
    with pytest.raises(PellucidError):
        database.add(an_inspection_row())
    wait_until(supervisor.reasons)
    with sqlite3.connect(tmp_path / "r.db") as other:
        other.execute(mend)
    wait_until(lambda: not supervisor.reasons())
    assert database.add(an_inspection_row()).id > 0
    assert database.count(Filter()) == 1
    database.close()


def test_two_processes_that_write_the_same_keys_do_not_stop_each_other(postgres):
    """Rows of one batch are locked in one order, whoever writes: else each waits for a key that the other holds."""
    databases = [Database(postgres.url) for _ in range(2)]
    keys = [f"both-{n}" for n in range(400)]
    writers = [InspectionWriter(database._engine, Supervisor()) for database in databases]
    handed = [
        [one.submit(an_inspection_row(key=key)) for key in order]
        for one, order in zip(writers, (keys, keys[::-1]), strict=True)
    ]
    kept = [sorted(done.result(60).id for done in mine) for mine in handed]
    for thing in (*writers, *databases):
        thing.close()
    assert kept[0] == kept[1]
    assert len(set(kept[0])) == len(keys)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
def test_a_postgresql_that_says_nothing_is_given_up(postgres, monkeypatch):
    monkeypatch.setattr(engine, "SILENCE_TIMEOUT_S", 1.0)
    database = Database(postgres.url)
    assert database.add(an_inspection_row()).id > 0
    processes = postgres.processes()
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        for work in (database.check, lambda: database.add(an_inspection_row())):
            start = time.monotonic()
            assert isinstance(outcome(work), RecordError)
            assert time.monotonic() - start < 60, "without an end, it would be for ever"
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
    wait_until(lambda: outcome(database.check) is None)
    assert database.add(an_inspection_row()).id > 0
    database.close()
