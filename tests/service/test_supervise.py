"""The supervisor: an item that goes wrong is logged, counted and shown, and its thread goes on."""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
from concurrent.futures import Future

import pytest
from fastapi.testclient import TestClient
from serving import an_inspection_row, wait_until

from pellucid.errors import RecordError
from pellucid.service import supervise, watch
from pellucid.service.app import create_app, create_service, create_threads
from pellucid.service.registry import ModelRegistry
from pellucid.service.settings import read_settings
from pellucid.service.storage import retention, writer
from pellucid.service.storage.record import Database
from pellucid.service.supervise import Supervisor, Worker


class UnforeseenError(Exception):
    """What no part of the service knows."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    for module, name in ((supervise, "FAILURE_PAUSE_S"), (watch, "FAILURE_PAUSE_S"), (retention, "EXPIRY_PERIOD_S")):
        monkeypatch.setattr(module, name, 0.05)


@pytest.fixture
def service(tmp_path):
    (tmp_path / "camera").mkdir()
    folders = {name: tmp_path / name for name in ("models", "record")}
    made = create_service(read_settings({**folders, "watch": tmp_path / "camera", "pages": False}))
    yield made
    made.queue.close()
    made.database.close()


def fails_once(monkeypatch, owner, name, *, result=None, times=1):
    """Put a function in place of another that raises at first; returns the calls that it has had."""
    calls = []

    def replacement(*args, **kwargs):
        calls.append(args)
        if len(calls) <= times:
            raise UnforeseenError(f"{name} broke")
        return result(*args, **kwargs) if result is not None else None

    monkeypatch.setattr(owner, name, replacement)
    return calls


def is_told(service, thread: str) -> bool:
    """Whether the log's warning, the metric and /ready name a thread."""
    counted = service.metrics.collectors.get_sample_value("pellucid_thread_failures_total", {"thread": thread})
    return counted == 1 and any(f"'{thread}'" in sentence for sentence in service.supervisor.warnings())


def test_a_worker_goes_on_after_any_error(caplog):
    counted, steps = [], []

    def step() -> float | None:
        steps.append(len(steps))
        if len(steps) == 2:
            raise UnforeseenError("second")
        if len(steps) == 3:
            raise RecordError("The database is away.")
        return None if len(steps) == 5 else 0.0

    supervisor = Supervisor(counted.append)
    worker = Worker(supervisor, "counter", step)
    with caplog.at_level(logging.WARNING, "pellucid.service"):
        worker.start()
        worker.join()
    assert steps == [0, 1, 2, 3, 4]
    assert counted == ["counter"] * 2
    (sentence,) = supervisor.warnings()
    assert "The thread 'counter' failed 2 times and goes on" in sentence
    assert "The database is away." in sentence
    assert supervisor.reasons() == [], "it works again"
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@pytest.mark.parametrize(
    "error",
    [
        *(
            SystemExit(3),
            KeyboardInterrupt(),
            MemoryError(),
            GeneratorExit(),
            RecursionError(),
            UnforeseenError("\udcfc"),
        ),
        *(RecordError("away"), PermissionError(13, "no")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_error_of_a_step_ends_a_thread(error):
    steps = []

    def step() -> float | None:
        steps.append(1)
        if len(steps) == 1:
            raise error
        return None

    supervisor = Supervisor()
    worker = Worker(supervisor, "one", step)
    worker.start()
    assert worker.join(120)
    assert len(steps) == 2
    assert supervisor.state("one").failures == 1
    assert not supervisor.state("one").has_ended


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="raises in a thread as CPython does")
def test_an_error_raised_from_outside_does_not_end_a_thread():
    steps: list[float] = []
    supervisor = Supervisor()
    worker = Worker(supervisor, "one", lambda: steps.append(time.monotonic()) or 0.01)
    worker.start()
    for _ in range(5):
        count = len(steps)
        wait_until(lambda count=count: len(steps) > count)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker._thread.ident), ctypes.py_object(SystemExit))
    count = len(steps)
    wait_until(lambda: len(steps) > count + 3)
    assert worker.is_alive()
    assert worker.close(120)
    assert supervisor.reasons() == []


def test_what_does_not_get_done_is_a_reason_and_then_a_warning():
    away = [True]

    def step() -> float:
        if away[0]:
            raise RecordError("The camera's folder is away.")
        return 0.01

    supervisor = Supervisor()
    vital, other = Worker(supervisor, "vital", step), Worker(supervisor, "other", step, is_vital=False)
    for worker in (vital, other):
        worker.start()
    wait_until(lambda: supervisor.reasons() and len(supervisor.warnings()) == 1)
    (reason,) = supervisor.reasons()
    assert "The thread 'vital' does not get on: it failed" in reason
    assert "The camera's folder is away." in reason
    assert supervisor.state("vital").done_at is None
    away[0] = False
    wait_until(lambda: not supervisor.reasons())
    assert sum("goes on; last at" in sentence for sentence in supervisor.warnings()) == 2
    assert supervisor.state("vital").done_at is not None
    assert all([vital.close(120), other.close(120)])


def test_items_that_fail_because_something_is_away_make_a_step_fail():
    def away() -> None:
        raise RecordError("away")

    supervisor = Supervisor()
    supervisor.state("watch").is_vital = True
    for failing, reasons in ((away, 1), (lambda: 1 / 0, 0), (lambda: None, 0)):
        for _ in range(supervise.FAILED_STEPS_ALLOWED + 1):
            supervisor.step("watch", lambda failing=failing: supervisor.attempt("watch", failing))
        assert len(supervisor.reasons()) == reasons, "an unforeseen error is one item's own"


def test_a_thread_that_is_stuck_is_told_and_left(monkeypatch, caplog):
    monkeypatch.setattr(supervise, "STUCK_S", 0.2)
    release = threading.Event()
    supervisor = Supervisor()
    worker = Worker(supervisor, "stuck", lambda: release.wait(300) and None)
    worker.start()
    wait_until(lambda: supervisor.reasons())
    assert "The thread 'stuck' has been at one step for" in supervisor.reasons()[0]
    start = time.monotonic()
    assert not worker.close(0.3)
    assert time.monotonic() - start < 120
    assert "it is left" in caplog.text
    release.set()
    assert worker.join(120)


def test_a_thread_that_has_ended_is_told():
    supervisor = Supervisor()
    state = supervisor.state("dead")
    state.is_vital = state.has_ended = True
    assert "restart the service" in supervisor.reasons()[0]


def test_the_same_foreseen_error_is_logged_once_a_minute(caplog, monkeypatch):
    def away() -> None:
        raise RecordError("The database is away.")

    caplog.set_level("INFO", logger="pellucid")

    def logged() -> int:  # by this test alone: threads of others may end meanwhile
        return sum("The database is away." in record.getMessage() for record in caplog.records)

    supervisor = Supervisor()
    for _ in range(10):
        supervisor.attempt("one", away)
    assert logged() == 1
    monkeypatch.setattr(supervise, "REPEATED_LOG_S", 0)
    supervisor.attempt("one", away)
    assert logged() == 2
    assert supervisor.state("one").failures == 11


def test_the_watcher_goes_on_with_the_next_file(service, monkeypatch, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / "camera" / name).write_bytes(b"content")
    seen = []
    monkeypatch.setattr(service.queue, "has", lambda key: seen.append(key) or True)
    calls = fails_once(monkeypatch, service.queue, "has", result=service.queue.has)
    watcher = create_threads(service).watcher
    watcher.start()
    wait_until(lambda: len(set(seen)) == 2)
    watcher.close()
    assert len(calls) == 3, "the one that failed was looked at once more"
    assert is_told(service, "watch")


def test_retention_goes_on(service, monkeypatch):
    calls = fails_once(monkeypatch, retention, "expire")
    thread = create_threads(service).retention
    thread.start()
    wait_until(lambda: len(calls) >= 2)
    thread.close()
    assert is_told(service, "retention")


def test_the_follower_goes_on(service, monkeypatch):
    calls = fails_once(monkeypatch, ModelRegistry, "follow")
    thread = create_threads(service).follower
    thread.start()
    wait_until(lambda: len(calls) >= 2)
    thread.close()
    assert is_told(service, "follow")


def test_the_loader_goes_on_with_the_next_model(service, monkeypatch):
    for name in ("a", "b"):
        (service.settings.models / f"{name}.pellucid").write_bytes(b"no model")
    calls = fails_once(monkeypatch, ModelRegistry, "get")
    thread = create_threads(service).loader
    thread.start()
    assert service.loader.loaded.wait(120)
    thread.close()
    assert [name for _, name in calls[:2]] == ["a", "b"]
    assert is_told(service, "load")


def test_models_count_as_loaded_even_if_none_can_be_listed(service, monkeypatch):
    fails_once(monkeypatch, ModelRegistry, "paths", result=ModelRegistry.paths)
    thread = create_threads(service).loader
    thread.start()
    assert service.loader.loaded.wait(120)
    wait_until(lambda: is_told(service, "load"))
    thread.close()


def test_the_writer_tells_whoever_waits_and_goes_on(service, monkeypatch):
    insert = writer.InspectionWriter._insert
    calls = fails_once(monkeypatch, writer.InspectionWriter, "_insert", result=insert)
    with pytest.raises(UnforeseenError):
        service.database.add(an_inspection_row())
    assert service.database.add(an_inspection_row()).id == 1
    assert len(calls) == 2
    assert is_told(service, "writer")


def test_the_writer_ends_though_its_last_batch_fails(tmp_path, monkeypatch):
    database = Database(f"sqlite:///{tmp_path / 'r.db'}")
    release, pending = threading.Event(), []
    insert = writer.InspectionWriter._insert

    def slow(self, batch):
        release.wait(120)
        pending.append(len(batch))
        if len(pending) == 2:
            raise UnforeseenError("the last one")
        insert(self, batch)

    monkeypatch.setattr(writer.InspectionWriter, "_insert", slow)
    futures: list[Future] = [database._writer.submit(an_inspection_row()) for _ in range(2)]
    closing = threading.Thread(target=database.close)
    closing.start()
    release.set()
    closing.join(120)
    assert not closing.is_alive()
    assert all(future.done() for future in futures)


def test_ready_and_metrics_tell_of_a_thread_that_failed(service):
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        wait_until(service.loader.loaded.is_set)
        service.supervisor.attempt("watch", lambda: 1 / 0)
        ready = client.get("/ready").json()
        assert ["ZeroDivisionError" in sentence for sentence in ready["warnings"]] == [True]
        assert not any("watch" in reason for reason in ready["reasons"]), "inspecting goes on"
        text = client.get("/metrics").text
        assert 'pellucid_thread_failures_total{thread="watch"} 1.0' in text
        assert 'pellucid_thread_works{thread="writer"} 1.0' in text
        writer = next(thread for thread in ready["threads"] if thread["name"] == "writer")
        assert writer["works"]
        assert writer["failures"] == 0
