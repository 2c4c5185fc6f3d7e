"""Networks that labelled defects train: what is gained, how they are mixed, who is judged by what has not seen it."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from drawn_defects import draw_good, write_image, write_split

import pellucid
from pellucid import detectors
from pellucid.acquisition.verify import remember
from pellucid.calibration import score_files, see_images
from pellucid.detectors._learns_defects import LearnsDefects
from pellucid.fitting import fit_split
from pellucid.labelled_defects import Choices
from pellucid.records import Split
from pellucid.runtimes.torch import Torch
from pellucid.study.metrics import auroc
from pellucid.teaching_networks import MIXED_WEIGHTS, View, marked_images
from pellucid.testing import SIDE_PX

QUICK = {"epochs": 8, "batch_size": 4, "lr": 1e-3, "defect_epochs": 10, "layers": ("layer2",)}


def make(**more):
    return detectors.create("supersimplenet", **QUICK | more)


def fit(split, defect_epochs=QUICK["defect_epochs"], **more):
    return fit_split(make(defect_epochs=defect_epochs), split, SIDE_PX, false_reject=0.1, outline="map", **more)


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    """Stripes are labelled; of every third one nobody knows where it is."""
    drawn = write_split(tmp_path_factory.mktemp("drawn"), defects=15)
    select = tuple(s if k % 3 else replace(s, mask=None) for k, s in enumerate(drawn.select))
    return Split(drawn.normals[:16], drawn.normals[16:], select, drawn.test)


@pytest.fixture(scope="module")
def alone(split):
    return fit(split)


@pytest.fixture(scope="module")
def taught(split):
    return fit(split, learn_defects=True)


def found_on(inspector, split, kind):
    samples = [s for s in split.test if s.type in (None, kind)]
    return auroc([s.type == kind for s in samples], [inspector.inspect(s.path).score for s in samples])


def test_it_is_told_by_its_method():
    assert isinstance(make(), LearnsDefects)
    assert not isinstance(detectors.create("padim"), LearnsDefects)


def test_what_is_labelled_is_found_more_often_and_nothing_else_less(split, alone, taught):
    lesson = taught.taught
    assert lesson.weight == MIXED_WEIGHTS[0]  # one type: nobody knows what it does to others
    assert lesson.defects == {"stripes": 15}
    assert lesson.outlined == 10
    assert lesson.known.gain > lesson.known.standard_error
    assert lesson.unknown is None
    assert found_on(taught, split, "stripes") > found_on(alone, split, "stripes") + 0.03
    assert found_on(taught, split, "dent") >= found_on(alone, split, "dent") - 0.01
    assert taught.detector.head_direction_ is None  # it needs no other
    assert taught.limit.taught


def slowly_taught(split, weight, defects):
    """Fit, learn from some defects, and mix both networks, weight by weight."""
    view = View((SIDE_PX, SIDE_PX), remember(split.normals))
    before, after = (make().fit(see_images(split.fit, *view).batches) for _ in range(2))
    after.learn_defects(see_images(split.fit, *view).batches, marked_images(defects, view))
    own, learned = before.state(), after.state()
    for name, tensor in own.items():
        if tensor.is_floating_point():
            own[name] = tensor + weight * (learned[name] - tensor)
    return before.load_state(own), view


def test_the_model_is_mixed_of_what_it_was_and_what_all_defects_made_of_it(split, taught):
    expected = slowly_taught(split, taught.taught.weight, split.select)[0].state()
    found = taught.detector.state()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_a_labelled_defect_is_judged_by_what_has_not_learned_from_it(split, taught):
    choices = Choices.of(split.select, seed=0)
    defect = 3
    kept = [s for s, fold in zip(split.select, choices.folds, strict=True) if fold != choices.folds[defect]]
    detector, view = slowly_taught(split, taught.taught.weight, kept)
    [found] = score_files(Torch(detector), [split.select[defect]], *view)
    assert taught.held_out_defects[defect] == pytest.approx(found.score, rel=1e-4, abs=1e-5)
    assert len(taught.held_out_defects) == len(split.select)


def test_good_images_that_place_the_limit_are_scored_by_the_model_that_has_not_seen_them(split, taught):
    assert len(taught.held_out) == len(split.calibrate)
    expected = [taught.inspect(s.path).score for s in split.calibrate]
    np.testing.assert_allclose(taught.held_out, expected, rtol=1e-5, atol=1e-5)


def test_files_and_graphs_of_a_taught_network_score_as_it_does(split, taught, tmp_path):
    taught.save(tmp_path / "m.pellucid")
    paths = [s.path for s in split.test[::9]]
    loaded = pellucid.load(tmp_path / "m.pellucid")
    assert loaded.taught == taught.taught
    assert [loaded.inspect(p).score for p in paths] == [taught.inspect(p).score for p in paths]
    for format in ("openvino", "onnx"):
        if format == "onnx" and not (find_spec("onnxruntime") and find_spec("onnxscript")):
            continue
        assert taught.export(tmp_path / format, format, images=paths).max_difference < 1e-3
        opened = pellucid.load(tmp_path / format)
        for path in paths:
            assert opened.inspect(path).score == pytest.approx(taught.inspect(path).score, rel=1e-3, abs=1e-3)


def test_what_noise_teaches_changes_no_byte(split, alone, tmp_path):
    rng = np.random.default_rng(5)
    noise = [write_image(tmp_path, f"noise{k}", draw_good(rng)) for k in range(10)]
    noise = tuple(replace(s, label="abnormal", type=("a", "b")[k % 2]) for k, s in enumerate(noise))
    found = fit(replace(split, select=noise), 1, learn_defects=True)
    assert found.taught.weight == 0
    assert found.limit == alone.limit
    assert found.held_out == alone.held_out
    assert found.held_out_defects == tuple(alone.inspect(s.path).score for s in noise)
    own, other = found.detector.state(), alone.detector.state()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


def test_with_folds_every_good_image_is_scored_by_a_network_that_has_not_seen_it(split):
    folded = Split(split.normals[:12], (), split.select[:10], (), folds=2)
    found = fit(folded, 1, learn_defects=True)
    assert len(found.held_out) == 12
    assert found.taught.unknown is None  # stripes alone
    assert found.taught.weight in (0, 0.25)
