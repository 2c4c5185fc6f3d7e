"""The models of a service: limits that stay where they were moved, and odd entries that do not stop the rest."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import pytest
from odd_names import needs_raw_names
from serving import wait_until

from pellucid.errors import ModelFileError, ParameterError, PellucidError, RecordError
from pellucid.service import loading
from pellucid.service.access.accounts import Account
from pellucid.service.loading import ModelLoader
from pellucid.service.newest import newest_model
from pellucid.service.registry import ModelRegistry
from pellucid.service.storage.record import Database
from pellucid.service.supervise import Supervisor


@pytest.fixture
def folder(tmp_path, model):
    (tmp_path / "models").mkdir()
    shutil.copy(model, tmp_path / "models/pane.pellucid")
    return tmp_path / "models"


@pytest.fixture
def database(tmp_path):
    made = Database(f"sqlite:///{tmp_path / 'r.db'}")
    yield made
    made.close()


@pytest.fixture
def registry(folder, database):
    return ModelRegistry(folder, database, "torch")


def engineer(name: str) -> Account:
    return Account(name=name, role="engineer", key_sha256="0" * 64)


def move_limit(registry: ModelRegistry, model: str, value: float, who: str) -> None:
    """Move a limit wherever a test wants it."""
    registry.set_limit(model, value, engineer(who), "a test", confirmed=True)


def in_force(registry: ModelRegistry) -> float:
    return registry.get("pane").inspector.limit.value


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_limit_that_is_moved_while_another_is_followed_stays(registry, monkeypatch):
    move_limit(registry, "pane", 1.0, "one")
    read = Database.changes

    def moves_in_between(self, **more):
        found = read(self, **more)
        monkeypatch.setattr(Database, "changes", read)
        move_limit(registry, "pane", 2.0, "one")  # after follow has read, before it does what it read
        return found

    registry._done_changes.clear()  # as if the first were another process's
    monkeypatch.setattr(Database, "changes", moves_in_between)
    seen = watch_limit(registry, monkeypatch)
    registry.follow()
    assert in_force(registry) == 2.0
    assert seen == [2.0], "not for a moment another one"
    registry.follow()
    assert in_force(registry) == 2.0


def watch_limit(registry, monkeypatch) -> list[float]:
    """Every limit that comes into force from now on, once for each time that it differs from the one before."""
    seen: list[float] = []

    class Watched(dict):
        def __setitem__(self, name, model):
            if not seen or seen[-1] != model.inspector.limit.value:
                seen.append(model.inspector.limit.value)
            super().__setitem__(name, model)

    monkeypatch.setattr(registry, "_loaded", Watched(registry._loaded))
    return seen


def test_only_the_newest_of_another_process_comes_into_force(registry, folder, database, monkeypatch):
    other = ModelRegistry(folder, database, "torch")
    in_force(registry)
    for value in (3.0, 1.0, 2.0):
        move_limit(other, "pane", value, "other")
    seen = watch_limit(registry, monkeypatch)
    registry.follow()
    assert seen == [2.0]


def test_a_limit_never_moves_back_under_two_services(folder, tmp_path):
    """Each service moves its limit upwards; in neither is one ever followed by a lower one that was set before."""
    databases = [Database(f"sqlite:///{tmp_path / 'r.db'}") for _ in range(2)]
    services = [ModelRegistry(folder, database, "torch") for database in databases]
    order: list[float] = []  # as the record has it
    lock, done = threading.Lock(), threading.Event()
    wrong: list[tuple[float, float]] = []
    for service in services:
        in_force(service)

    def move(service: ModelRegistry, values: range) -> None:
        for value in values:
            with lock:  # the record's order is the order of values
                order.append(order[-1] + 1 if order else 1.0)
                move_limit(service, "pane", order[-1], str(value))

    def follow(service: ModelRegistry) -> None:
        while not done.is_set():
            service.follow()

    def look(service: ModelRegistry) -> None:
        last = 0.0
        while not done.is_set():
            now = in_force(service)
            if now < last and now in order:
                wrong.append((last, now))
            last = now if now in order else last

    movers = [threading.Thread(target=move, args=(service, range(25))) for service in services]
    others = [threading.Thread(target=work, args=(service,)) for service in services for work in (follow, look)]
    for thread in movers + others:
        thread.start()
    for thread in movers:
        thread.join(300)
    wait_until(lambda: [in_force(service) for service in services] == [order[-1]] * 2)
    done.set()
    for thread in others:
        thread.join(120)
    assert wrong == []
    assert len(order) == 50
    for database in databases:
        database.close()


def test_a_change_that_cannot_be_followed_now_is_tried_again_and_stops_no_other(registry, folder, database, glass):
    import pellucid

    shutil.copy(folder / "pane.pellucid", folder / "other.pellucid")
    other = ModelRegistry(folder, database, "torch")
    before = registry.get("pane").sha256
    registry.get("other")
    pellucid.fit(glass, "dfm", image_size=64, false_reject=0.1, seed=1).save(folder / "pane.pellucid")
    after = other.reload("pane", engineer("one")).sha256
    move_limit(other, "other", 5.0, "one")
    whole = (folder / "pane.pellucid").read_bytes()
    (folder / "pane.pellucid").write_bytes(whole[:1000])
    with pytest.raises(ModelFileError, match="truncated"):
        registry.follow()
    assert registry.get("pane").sha256 == before
    assert registry.get("other").inspector.limit.value == 5.0
    (folder / "pane.pellucid").write_bytes(whole)
    registry.follow()
    assert registry.get("pane").sha256 == after != before


def test_a_record_that_is_away_loses_no_change(registry, folder, database, monkeypatch):
    other = ModelRegistry(folder, database, "torch")
    in_force(registry)
    move_limit(other, "pane", 7.0, "other")

    def away(*_):
        raise RecordError("The database is away.")

    with monkeypatch.context() as broken:
        broken.setattr(Database, "last_change", away)
        with pytest.raises(RecordError):
            registry.follow()
    registry.follow()
    assert in_force(registry) == 7.0


# --- odd entries ------------------------------------------------------------------------------------------------------

BROKEN_LEADERBOARDS = {
    "an empty row": b"[{}]",
    "an object": b'{"a": 1}',
    "numbers": b"[1]",
    "null": b"null",
    "text": b'"name"',
    "brackets": b"[" * 100_000,
    "no UTF-8": b'[{"name": "\xff"}]',
    "empty": b"",
    "half": b'[{"name": "padim", "recommended": tr',
    "a name that is none": b'[{"name": ["padim"], "recommended": true}]',
    "a number that is none": b'[{"name": "padim", "recommended": true, "image_auroc": {"a": 1}}]',
    "nothing recommended": b'[{"name": "padim"}]',
    "a model that is not there": b'[{"name": "absent", "recommended": true}]',
}


@pytest.mark.parametrize("kind", BROKEN_LEADERBOARDS)
def test_a_broken_leaderboard_is_set_aside(registry, folder, kind):
    (folder / "run").mkdir()
    (folder / "run/leaderboard.json").write_bytes(BROKEN_LEADERBOARDS[kind])
    assert registry.comparisons() == ["run"]
    assert isinstance(registry.leaderboard("run"), list)
    assert newest_model(registry) == "pane"
    assert registry.choose(None) == "pane"
    usable = kind == "a model that is not there"
    assert len(registry.problems()) == (0 if usable else 1)
    assert usable or "leaderboard.json' is not a leaderboard" in registry.problems()[0]


def folder_entry(path):
    path.mkdir()


def fifo(path):
    os.mkfifo(path)


def fifo_in_export(path):
    path.with_suffix("").mkdir()
    os.mkfifo(path.with_suffix("") / "model.json")


def folder_in_export(path):
    (path.with_suffix("") / "model.json").mkdir(parents=True)


def leaderboard_fifo(path):
    path.with_suffix("").mkdir()
    os.mkfifo(path.with_suffix("") / "leaderboard.json")


def leaderboard_folder(path):
    (path.with_suffix("") / "leaderboard.json").mkdir(parents=True)


def dangling_link(path):
    path.symlink_to("/nowhere")


def loop(path):
    path.symlink_to(path)


def device(path):
    path.symlink_to("/dev/zero")


def socket_entry(path):
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


ODD_ENTRIES = (
    *(folder_entry, fifo, fifo_in_export, folder_in_export, leaderboard_fifo, leaderboard_folder),
    *(dangling_link, loop, device, socket_entry),
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such entries")
@pytest.mark.parametrize("make", ODD_ENTRIES, ids=lambda make: make.__name__)
def test_an_odd_entry_is_set_aside_and_told(registry, folder, make):
    make(folder / "odd.pellucid")
    assert "pane" in registry.paths()
    assert registry.choose(None) == "pane", "it is the only one that can be used"
    assert newest_model(registry) == "pane"
    if "odd" in registry.paths():
        for use in (registry.header, registry.get):
            with pytest.raises(ModelFileError):
                use("odd")
    (problem,) = registry.problems()
    assert "odd" in problem


@needs_raw_names
def test_a_model_with_an_odd_name_is_used_by_its_printable_one(registry, folder):
    shutil.copy(folder / "pane.pellucid", folder / os.fsdecode(b"gl\xe4s\n.pellucid"))
    assert list(registry.paths()) == [r"gl\udce4s\n", "pane"]
    assert registry.get(r"gl\udce4s\n").sha256 == registry.get("pane").sha256
    move_limit(registry, r"gl\udce4s\n", 1.0, "one")
    json.dumps(list(registry.paths()), ensure_ascii=False).encode()


def test_what_is_known_of_a_model_needs_no_listing_before(registry, folder):
    assert registry.known("pane").path == folder / "pane.pellucid"
    (folder / "pane.pellucid").rename(folder / "late.pellucid")
    assert registry.known("late").path == folder / "late.pellucid"  # put there after the listing


def test_a_loaded_model_serves_on_when_its_file_is_gone_or_another(registry, folder):
    loaded = registry.get("pane")
    (folder / "pane.pellucid").unlink()
    assert registry.choose("pane") == "pane"
    assert list(registry.paths()) == ["pane"]
    assert registry.get("pane") is loaded
    with pytest.raises(ModelFileError, match="neither a model file nor"):
        registry.reload("pane", engineer("one"))
    assert "The model 'pane' serves on as it was." in registry.problems()[0]
    (folder / "pane.pellucid").write_bytes(b"no model")
    assert "The model 'pane' serves on as it was." in registry.problems()[0]


def test_names_of_no_model_leave_nothing_behind(registry):
    for number in range(20):
        with pytest.raises(ParameterError, match="Unknown model"), registry.using(f"of no model {number}"):
            raise AssertionError("there is none of that name")
    with registry.using("pane"):
        assert registry._in_use == {"pane": 1}
    assert not registry._in_use


# --- loading ----------------------------------------------------------------------------------------------------------


def test_the_service_is_ready_as_soon_as_a_model_can_be_loaded(folder, database, monkeypatch):
    monkeypatch.setattr(loading, "LOOK_PERIOD_S", 0.05)
    whole = (folder / "pane.pellucid").read_bytes()
    (folder / "pane.pellucid").write_bytes(whole[:1000])
    loader = ModelLoader(ModelRegistry(folder, database, "torch"), Supervisor())
    loader.start()
    assert loader.loaded.wait(120)
    assert "No model can be loaded: '" in str(loader.unready_reason())
    assert "truncated" in str(loader.unready_reason())
    wait_until(lambda: loader.problems)
    assert loader.problems == [str(loader.unready_reason()).removeprefix("No model can be loaded: ")]
    (folder / "pane.pellucid").write_bytes(whole)
    wait_until(lambda: loader.unready_reason() is None)
    wait_until(lambda: not loader.problems)
    loader.close()


def test_one_broken_model_is_a_warning(folder, database):
    (folder / "a.pellucid").write_bytes(b"no model")
    supervisor = Supervisor()
    loader = ModelLoader(ModelRegistry(folder, database, "torch"), supervisor)
    loader.start()
    assert loader.loaded.wait(120)
    assert loader.unready_reason() is None
    wait_until(lambda: loader.problems)
    assert "a.pellucid' is not a pellucid model" in loader.problems[0]
    assert supervisor.reasons() == []
    loader.close()
    with pytest.raises(PellucidError):
        ModelRegistry(folder, database, "torch").get("a")
