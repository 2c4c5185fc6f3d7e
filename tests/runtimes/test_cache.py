"""The cache of exported graphs: what it is keyed by, and several processes that fill it at the same time."""

from __future__ import annotations

import threading

import pytest

import pellucid
from pellucid.errors import OutputError
from pellucid.models import cache
from pellucid.models import export as exporting
from pellucid.models.cache import cached_folder, new_folder


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


def test_a_graph_belongs_to_one_version_of_pellucid_and_of_the_runtime(monkeypatch):
    first = cached_folder("0" * 64, "openvino")
    monkeypatch.setattr(cache, "distribution_version", lambda name: f"{name}-9.9")
    second = cached_folder("0" * 64, "openvino")
    monkeypatch.setattr(cache.metadata, "version", lambda name: f"{name}-8.8")
    third = cached_folder("0" * 64, "openvino")
    assert "pellucid-9.9" in second.name
    assert "openvino-8.8" in third.name
    assert len({first, second, third, cached_folder("1" * 64, "openvino"), cached_folder("0" * 64, "onnx")}) == 5


def test_a_graph_is_exported_anew_after_an_upgrade(model, empty_cache, monkeypatch):
    pellucid.load(model, "openvino")
    monkeypatch.setattr(cache, "distribution_version", lambda _: "9.9")
    assert pellucid.load(model, "openvino").runtime.name == "openvino"
    assert len(list(empty_cache.iterdir())) == 2


def test_processes_that_fill_the_cache_together(model, empty_cache, monkeypatch):
    both_missed = threading.Barrier(2, timeout=60)
    write_graph = exporting.write_graph

    def write_when_both_have_missed(*given) -> None:
        both_missed.wait()
        write_graph(*given)

    monkeypatch.setattr(exporting, "write_graph", write_when_both_have_missed)
    opened, errors = [], []

    def load() -> None:
        try:
            opened.append(pellucid.load(model, "openvino"))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [inspector.runtime.name for inspector in opened] == ["openvino", "openvino"]
    assert len(list(empty_cache.iterdir())) == 1


def test_a_folder_that_another_process_has_made_meanwhile_stays(tmp_path):
    folder = tmp_path / "cache" / "graph"
    with new_folder(folder) as made:
        made.mkdir()
        (made / "mine").touch()
        folder.mkdir()
        (folder / "theirs").touch()
    assert [file.name for file in folder.iterdir()] == ["theirs"]
    assert [file.name for file in folder.parent.iterdir()] == ["graph"]


def test_a_folder_takes_the_place_of_the_one_before_or_leaves_none(tmp_path):
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "damaged").touch()
    with new_folder(folder) as made:
        made.mkdir()
        (made / "whole").touch()
    assert [file.name for file in folder.iterdir()] == ["whole"]

    def fail() -> None:
        with new_folder(folder) as made:
            made.mkdir()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"Cannot write '.*graph'"), new_folder(tmp_path / "file" / "graph"):
        pass
    with pytest.raises(OutputError, match=r"Cannot write '.*graph'"), new_folder(tmp_path / "graph"):
        pass  # nothing was made


def test_a_folder_that_another_process_has_just_removed(tmp_path):
    assert cache._modified(tmp_path / "gone") == 0
