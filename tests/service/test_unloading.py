"""Models that stay loaded, and those that go."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving import rows_of

import pellucid
from pellucid.acquisition.images import DecodedImage
from pellucid.errors import ModelFileError, ParameterError
from pellucid.service.access.accounts import LOCAL_ACCOUNT
from pellucid.service.app import create_app, create_service
from pellucid.service.registry import ModelRegistry
from pellucid.service.settings import read_settings
from pellucid.service.storage.record import Database
from service.odd_files import png_bytes

NAMES = ("a", "b", "c", "d")
GREY = DecodedImage(np.full((64, 64, 3), 0.5, np.float32))


@pytest.fixture
def folder(tmp_path, model):
    (tmp_path / "models").mkdir()
    for name in NAMES:
        shutil.copy(model, tmp_path / "models" / f"{name}.pellucid")
    return tmp_path


@pytest.fixture
def database(folder):
    made = Database(f"sqlite:///{folder / 'r.db'}")
    yield made
    made.close()


@pytest.fixture
def registry(folder, database):
    return ModelRegistry(folder / "models", database, "torch", max_loaded=2)


def test_the_one_that_was_not_used_for_longest_goes(registry):
    for asked, loaded in (("a", "a"), ("b", "ab"), ("a", "ab"), ("c", "ac"), ("b", "bc"), ("b", "bc"), ("d", "bd")):
        registry.get(asked)
        assert registry.loaded() == list(loaded)


def test_those_that_inspect_and_the_pinned_one_stay(registry):
    assert registry.pin("a") == "a"
    registry.get("a")
    with registry.using("b") as first, registry.using("c"), registry.using("d"):
        assert registry.loaded() == ["a", "b", "c", "d"], "more than may stay, because all are needed"
        assert registry.get("b") is first
    registry.pin("b")
    registry.reload("d", LOCAL_ACCOUNT)
    assert registry.loaded() == ["b", "d"]
    registry.get("c")
    assert registry.loaded() == ["b", "c"]


@pytest.mark.parametrize("name", ["none", "../a", ""])
def test_what_cannot_be_loaded_lets_nobody_go(registry, folder, name):
    registry.get("a")
    registry.get("b")
    with pytest.raises(ParameterError):
        registry.get(name)
    (folder / "models" / "bad.pellucid").write_bytes(b"no model")
    with pytest.raises(ModelFileError):
        registry.get("bad")
    assert registry.loaded() == ["a", "b"]


def test_a_limit_that_was_moved_holds_for_a_model_that_was_unloaded(registry):
    moved = registry.get("a").calibrated.value + 1
    registry.set_limit("a", moved, LOCAL_ACCOUNT, "too many", confirmed=True)
    assert registry.known("a").limit.value == moved
    registry.get("b")
    registry.get("c")
    assert "a" not in registry.loaded()
    known = registry.known("a")
    assert (known.limit.value, known.runtime) == (moved, None)
    assert known.calibrated == registry.get("b").calibrated
    assert registry.get("a").inspector.limit.value == moved


def test_a_file_that_changed_while_its_model_was_unloaded_is_in_the_record(registry, folder, database):
    before = registry.get("a").sha256
    registry.get("b")
    registry.get("c")
    inspector = pellucid.load(folder / "models" / "a.pellucid")
    type(inspector)(**{**vars(inspector), "seed": 99}).save(folder / "models" / "a.pellucid")
    after = registry.get("a").sha256
    assert after != before
    (change,) = database.changes(model="a")
    assert (change.kind, change.who, change.before, change.after) == ("reload", "service", before, after)
    registry.get("d")
    registry.get("b")
    registry.get("a")
    assert len(database.changes(model="a")) == 1, "the same file again is no change"


def test_many_threads_that_ask_for_many_models(registry):
    def inspect(number: int) -> str:
        with registry.using(NAMES[number % 4]) as model:
            assert model.name in registry.loaded()
            return model.inspect(GREY).verdict

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(inspect, range(24)))) == 1
    registry.get("a")
    registry.get("b")
    assert len(registry.loaded()) == 2


@pytest.mark.parametrize(
    "address",
    ["/models", "/models/c/limit", "/models/c/limit/preview?value=1", "/trends?model=c", "/changes", "/comparisons"],
)
def test_looking_loads_nothing(folder, address):
    settings = {"models": folder / "models", "record": folder / "record", "pages": False, "runtime": "torch"}
    service = create_service(read_settings({**settings, "max_models": 1}))
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        assert service.loader.loaded.wait(60)
        assert service.registry.loaded() == ["a"], "at the start, as many as may stay"
        assert client.get(address).status_code == 200
        assert service.registry.loaded() == ["a"]
        expected = service.registry.known("c").limit.value
        assert client.get("/models/c/limit").json()["value"] == expected
        sent = client.post("/inspect?model=c", content=png_bytes(np.zeros((64, 64), np.uint8)))
        assert sent.status_code == 200
        assert service.registry.loaded() == ["c"]
        assert client.get("/models/c/limit").json()["value"] == expected
    assert len(rows_of(folder)) == 1
