"""Models on the workers of a Ray cluster: the same results as on one machine, also when a worker dies."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from commands import pellucid as pellucid_command
from commands import pellucid_here

import pellucid
from pellucid.acquisition.band_files import open_bands
from pellucid.errors import ClusterError, ParameterError
from pellucid.models.on_ray import MAX_ATTEMPTS, on_ray
from pellucid.passing import inspect_bands
from pellucid.synthesis.glass import draw_pane, write_pane

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """One that is started here, of one machine, for all tests of this file."""
    from pellucid._io.cluster import connected

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with connected() as started:
            yield started


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets")
    for k in range(6):
        write_pane(folder / "normal" / f"{k}.png", np.clip(draw_pane(np.random.default_rng(k), (200, 300)), 0, 1))
    path = folder / "model.pellucid"
    pellucid.fit(folder, "padim", tile=320, false_reject=0.2, n_features=10, outline="map").save(path)
    return path


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    """Two with a flaw each."""
    folder = tmp_path_factory.mktemp("flawed")
    for k in range(2):
        pixels = np.clip(draw_pane(np.random.default_rng(50 + k), (400, 700)), 0, 1)
        pixels[200:212, 300:320] *= 0.5
        tifffile.imwrite(folder / f"{k}.tif", (pixels * 255).round().astype(np.uint8))
    return folder


@pytest.mark.slow  # a cluster starts, and its workers load the libraries
@pytest.mark.usefixtures("cluster")
def test_a_folder_has_the_results_of_one_machine(model, sheets, tmp_path):
    for engine, computed_by in (("local", "torch on cpu"), ("ray", "torch on 1 worker of a Ray cluster")):
        options = ("-o", tmp_path / engine, "--runtime", "torch", "--engine", engine, "--device", "cpu")
        done = pellucid_here("inspect", model, sheets, *options)
        assert f"computed by {computed_by}" in " ".join(done.stdout.split())
    for file in ("scores.csv", "results.jsonl", "defects.csv"):
        assert (tmp_path / "ray" / file).read_bytes() == (tmp_path / "local" / file).read_bytes()
    lines = (tmp_path / "ray/results.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == ["reject", "reject"]


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_tiles_are_computed_again(cluster, model, sheets):
    inspector = pellucid.load(model, "torch")
    path = sheets / "0.tif"
    expected = inspect_bands(inspector, open_bands(path, rows=64))
    with on_ray(inspector, model) as spread:
        workers = spread.runtime.workers
        slot = workers._slots.get()
        workers._slots.put(slot)
        first = slot.worker
        computed = threading.Event()
        score = spread.runtime.score

        def score_and_tell(pixels):
            found = score(pixels)
            computed.set()
            return found

        spread.runtime.score = score_and_tell
        killer = threading.Thread(target=lambda: (computed.wait(60), cluster.kill(first)))
        killer.start()
        found = inspect_bands(spread, open_bands(path, rows=64))
        killer.join()
        assert slot.worker is not first, "it was not replaced"
    assert replace(found, map=expected.map) == replace(expected, map=expected.map)


@pytest.mark.slow
def test_what_kills_every_worker_is_an_error(cluster, model, monkeypatch):
    with on_ray(pellucid.load(model, "torch"), model) as spread:
        workers = spread.runtime.workers
        begin = workers._begin

        def begin_and_kill(machine):
            worker = begin(machine)
            cluster.kill(worker)
            return worker

        monkeypatch.setattr(workers, "_begin", begin_and_kill)
        slot = workers._slots.get()
        cluster.kill(slot.worker)
        workers._slots.put(slot)
        with pytest.raises(
            ClusterError, match=f"{MAX_ATTEMPTS} Ray workers were lost one after the other, the last one with"
        ):
            spread.runtime.score(np.zeros((1, 3, 320, 320), np.float32))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_cannot_open_the_model_says_why(model, tmp_path):
    broken = tmp_path / "broken.pellucid"
    broken.write_bytes(b"none")
    with (
        pytest.raises(ParameterError, match="A Ray worker cannot open the model"),
        on_ray(pellucid.load(model, "torch"), broken),
    ):
        pass


def test_a_cluster_that_is_not_there(model, sheets):
    arguments = ("inspect", model, sheets, "--runtime", "torch", "--engine", "ray")
    done = pellucid_command(*arguments, check=1, env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"})
    assert "No Ray cluster at 127.0.0.1:1: start one, or unset RAY_ADDRESS for one here." in done.stderr
