"""What a comparison is expected to take, and how that is corrected by what its models took."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid import detectors
from pellucid.study import estimate
from pellucid.study.estimate import EPOCH_PASSES, FIT_PASSES, BackbonePass, Expected, Remaining, expect, measure_pass
from pellucid.study.sweep import Candidate

OWN = [one for one in detectors.descriptions() if detectors.class_of(one.name).__module__.startswith("pellucid.")]
ONE = BackbonePass(0.01, ((32, 16, 16), (64, 8, 8)))


def candidate(name, **parameters):
    return Candidate(name, name, 128, detectors.complete(name, parameters, None, None))


def expected(name, *, n_fitted=100, n_tested=50, fits=1, one=ONE, **parameters):
    return expect(candidate(name, **parameters), (128, 128), one, n_fitted=n_fitted, n_tested=n_tested, fits=fits)


def test_every_detector_has_a_known_cost():
    assert {one.name for one in OWN} == set(FIT_PASSES)
    assert {one.name for one in OWN if "epochs" in one.defaults} == set(EPOCH_PASSES)


@pytest.mark.parametrize("name", sorted(FIT_PASSES))
def test_time_grows_with_images_epochs_folds_and_the_pass(name):
    usual = expected(name).seconds
    assert expected(name, n_fitted=200).seconds > usual
    assert expected(name, n_tested=500).seconds > usual
    slower = expected(name, one=BackbonePass(0.02, ONE.map_shapes)).seconds
    assert slower - estimate.START_SECONDS == pytest.approx(2 * (usual - estimate.START_SECONDS))
    assert (expected(name, fits=6).seconds > usual) == (name in EPOCH_PASSES)
    if name in EPOCH_PASSES:
        more = expected(name, epochs=30).seconds - expected(name, epochs=10).seconds
        assert more == pytest.approx(20 * EPOCH_PASSES[name] * 100 * 0.01)


def test_a_fusion_takes_what_its_parts_do():
    parts = [expected(name) for name in ("patchcore", "stfpm")]
    both = expect(candidate("patchcore+stfpm"), (128, 128), ONE, n_fitted=100, n_tested=50, fits=1)
    assert both.seconds == pytest.approx(sum(one.seconds for one in parts) - estimate.START_SECONDS)
    assert both.disk_bytes == sum(one.disk_bytes for one in parts)
    fewer = expect(
        candidate("patchcore+stfpm", **{"stfpm.epochs": 1}), (128, 128), ONE, n_fitted=100, n_tested=50, fits=1
    )
    assert fewer.seconds < both.seconds


def test_room_is_that_of_the_features():
    assert expected("patchcore").disk_bytes == 100 * 96 * 16 * 16 * 4
    assert expected("fastflow").disk_bytes == 100 * (32 * 16 * 16 + 64 * 8 * 8) * 2
    assert expected("dfm").disk_bytes == 0
    more = expected("padim", n_features=96).memory_bytes - expected("padim", n_features=0).memory_bytes
    assert more == 3 * 96 * 96 * 16 * 16 * 4


def test_nothing_is_known_of_a_detector_of_another_distribution(monkeypatch):
    monkeypatch.delitem(FIT_PASSES, "dfm")
    assert expected("dfm").seconds is None
    assert expect(candidate("padim+dfm"), (128, 128), ONE, n_fitted=9, n_tested=9, fits=1).seconds is None
    remaining = Remaining({Path("a/dfm"): expected("dfm"), Path("a/padim"): expected("padim")}, 100)
    said = remaining.announce(lambda folder: folder.name)
    assert said.startswith("2 models will take more than about")
    assert "dfm nobody knows how long" in said
    assert remaining.done(Path("a/padim"), 10.0) == "nobody knows how long left"


@given(st.lists(st.floats(1, 1000), min_size=2, max_size=6), st.floats(0.2, 5))
def test_the_rest_is_corrected_by_what_was_taken(seconds, pace):
    folders = [Path(str(number)) for number in range(len(seconds))]
    remaining = Remaining({f: Expected(s, 10**9, 10**6) for f, s in zip(folders, seconds, strict=True)}, 10)
    for number, folder in enumerate(folders[:-1]):
        said = remaining.done(folder, pace * seconds[number])
        assert math.isclose(remaining.pace, pace)
        assert said == f"{estimate._duration(pace * sum(seconds[number + 1 :]))} left"
    before = remaining.pace
    assert remaining.done(Path("of which nothing was expected"), 1.0) != ""
    assert remaining.pace == before
    assert remaining.done(folders[-1], 1.0) == ""


def test_what_is_announced():
    remaining = Remaining(
        {Path("padim"): Expected(32.0, 600_000_000, 0), Path("seed-1/padim"): Expected(31.0, 0, 0)}, 9
    )
    said = remaining.announce(str)
    assert said == (
        "2 models will take about 65 s: padim about 30 s, seed-1/padim about 30 s; up to 0.6 GB of memory and 0.0 GB of"
        " disk"
    )


def test_too_little_room_is_said_beforehand():
    remaining = Remaining({Path("padim"): Expected(1.0, 10**18, 0)}, 9)
    with pytest.warns(UserWarning, match="takes 1e\\+09 GB of memory, of which .* are free"):
        remaining.announce(str)


def test_a_pass_is_measured_once_for_each_backbone_and_size():
    parameters = {"backbone": "prism_s", "layers": ("layer2", "layer3"), "weights": None}
    small, large = measure_pass(parameters, (64, 64)), measure_pass(parameters, (256, 256))
    assert small.map_shapes[0][1:] == (8, 8)
    assert 0 < small.seconds < large.seconds
    assert measure_pass(parameters | {"layers": ["layer2", "layer3"]}, (64, 64)) is small
