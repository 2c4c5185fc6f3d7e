"""Labelled defects as teachers, from files to models: what is gained, what is not lost, and what is refused."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import SMALL, pellucid_here
from drawn_defects import draw_good, write_image, write_split

import pellucid
from pellucid import detectors
from pellucid._io.files import csv_text
from pellucid.acquisition.masks import read_mask
from pellucid.errors import DataError, ParameterError
from pellucid.fitting import fit_split
from pellucid.labelled_defects import MIN_TEACHERS, Choices
from pellucid.records import Split
from pellucid.study.metrics import auroc
from pellucid.study.sweep import Sweep
from pellucid.testing import SIDE_PX

PADIM = {"n_features": 20}


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    return write_split(tmp_path_factory.mktemp("drawn"))


def fit(split, name="padim", parameters=None, **more):
    made = detectors.create(name, **(PADIM if parameters is None else parameters))
    return fit_split(made, split, SIDE_PX, false_reject=0.1, outline="map", **more)


@pytest.fixture(scope="module")
def alone(split):
    return fit(split)


@pytest.fixture(scope="module")
def taught(split):
    return fit(split, learn_defects=True)


def found_on(inspector, split, kind):
    """AUROC between a type of defects and good parts of the test."""
    samples = [s for s in split.test if s.type in (None, kind)]
    return auroc([s.type == kind for s in samples], [inspector.inspect(s.path).score for s in samples])


def test_a_type_that_cannot_be_seen_is_found_and_others_still_are(split, alone, taught):
    assert found_on(alone, split, "stripes") < 0.7  # chance, nearly
    assert found_on(taught, split, "stripes") > 0.85
    assert found_on(taught, split, "dent") >= found_on(alone, split, "dent") > 0.99
    lesson = taught.taught
    assert lesson.weight > 0
    assert lesson.defects == {"stripes": 12}
    assert lesson.outlined == 12
    assert lesson.known.gain > 2 * lesson.known.standard_error
    assert alone.taught is None


def test_the_map_shows_a_known_defect(split, alone, taught):
    striped = [s for s in split.test if s.type == "stripes"]
    inside = []
    for inspector in (alone, taught):
        maps = [inspector.inspect(s.path).map for s in striped]
        masks = [read_mask(s.mask, s.path) for s in striped]
        inside.append(
            np.mean([mask[np.unravel_index(m.argmax(), m.shape)] for m, mask in zip(maps, masks, strict=True)])
        )
    assert inside[1] > inside[0] + 0.3  # share of images whose peak lies on the defect


@pytest.mark.slow
def test_files_and_graphs_of_a_taught_model_score_as_it_does(split, taught, tmp_path):
    taught.save(tmp_path / "m.pellucid")
    loaded = pellucid.load(tmp_path / "m.pellucid")
    assert loaded.taught == taught.taught
    assert loaded.limit == taught.limit
    paths = [s.path for s in split.test[::6]]
    for path in paths:
        one, other = taught.inspect(path), loaded.inspect(path)
        assert one.score == other.score
        assert np.array_equal(one.map, other.map)
    for format in ("openvino", "onnx"):
        if format == "onnx" and not (find_spec("onnxruntime") and find_spec("onnxscript")):
            continue
        assert taught.export(tmp_path / format, format, images=paths).max_difference < 1e-3
        opened = pellucid.load(tmp_path / format)
        assert opened.taught == taught.taught
        for path in paths:
            assert opened.inspect(path).score == pytest.approx(taught.inspect(path).score, rel=1e-3)


def test_what_noise_teaches_changes_no_byte(split, alone, tmp_path):
    """Good parts that are labelled as defects."""
    rng = np.random.default_rng(5)
    noise = [write_image(tmp_path, f"noise{k}", draw_good(rng)) for k in range(12)]
    noise = tuple(replace(s, label="abnormal", type=("a", "b")[k % 2]) for k, s in enumerate(noise))
    found = fit(replace(split, select=noise), learn_defects=True)
    assert found.taught.weight == 0
    assert found.taught.outlined == 0
    assert "the model is the one without them" in found.taught.sentence
    assert found.limit == alone.limit
    assert found.held_out == alone.held_out
    assert found.held_out_defects == tuple(alone.inspect(s.path).score for s in noise)
    own, other = found.detector.state(), alone.detector.state()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


def test_places_that_nobody_marked_are_those_of_the_map_s_peaks(split):
    dents = tuple(replace(s, mask=None) for s in split.test if s.type == "dent")
    lesson = fit(replace(split, select=dents), learn_defects=True).taught
    assert lesson.outlined == 0
    assert lesson.defects == {"dent": 20}


def test_the_scores_that_place_the_limit_are_of_heads_that_have_not_seen_the_image(split, taught, alone):
    """Scored by the kept model, which has learned from it, a good image is less anomalous than left out."""
    kept = np.array([taught.inspect(s.path).score for s in split.normals])
    assert (kept < np.array(taught.held_out)).mean() > 0.9
    assert np.mean(np.array(taught.held_out) >= np.array(alone.held_out)) == 1.0  # nothing is taken off
    assert len(taught.held_out_defects) == 12
    assert (taught.limit.taught, alone.limit.taught) == (True, False)


@pytest.mark.parametrize("folds", [None, 2])
def test_detectors_that_cannot_leave_images_out(split, folds):
    split = Split(split.normals, (), split.select, (), folds=2) if folds else split
    parameters = {"epochs": 1, "layers": ("layer2",)}
    first = fit(split, "stfpm", parameters, learn_defects=True)
    lesson = first.taught
    assert len(first.held_out) == len(split.calibrating(leaves_out=False))
    plain = fit(split, "stfpm", parameters)
    if lesson.weight == 0:
        assert first.limit == plain.limit
    else:
        assert min(np.subtract(first.held_out, plain.held_out)) >= 0


def test_defects_that_move_a_limit_are_scored_as_if_they_had_not_been_learned_from(split, taught):
    moved = fit(split, learn_defects=True, limit="gap")
    assert moved.held_out_defects == taught.held_out_defects
    learned = [taught.inspect(s.path).score for s in split.select]
    assert np.mean(taught.held_out_defects) < np.mean(learned)


@pytest.mark.parametrize(("kept", "count"), [(0, "none"), (9, "9")])
def test_too_few_defects_teach_nothing(split, kept, count):
    assert MIN_TEACHERS == 10
    message = f"at least 10 labelled training defects, and there are {count}: put images of them into abnormal_train/"
    with pytest.raises(DataError, match=message):
        fit(replace(split, select=split.select[:kept]), learn_defects=True)


def test_a_detector_without_a_backbone_cannot_be_taught(split):
    class MeanImage(detectors.Detector):
        """Remembers the mean image."""

        mean_: torch.Tensor

        def __init__(self, *, backbone="prism_s", layers=("layer1",), weights=None, seed=0):
            self.backbone, self.layers, self.weights, self.seed = backbone, layers, weights, seed

        def _fit(self, images, checkpoint):  # noqa: ARG002 - nothing is trained
            self.mean_ = torch.cat(list(images)).mean(0)

        def _score(self, pixels):
            anomaly_map = (pixels - self.mean_).abs().mean(1)
            return anomaly_map, anomaly_map.flatten(1).amax(1)

    with pytest.raises(ParameterError, match="MeanImage cannot learn from defects: its scoring does not send an image"):
        fit_split(MeanImage(), split, SIDE_PX, learn_defects=True)


def test_whole_types_and_whole_groups_are_left_out():
    kinds = ["a"] * 8 + ["b"] * 4
    defects = [SimpleNamespace(path=f"{k}", type=kind, group=f"g{k // 2}") for k, kind in enumerate(kinds)]
    choices = Choices.of(defects, seed=0)
    for k in range(12):
        assert choices.left_out[choices.known[k]] == {choices.folds[k]}
        assert choices.left_out[choices.unknown[k]] == {kinds[k]}
        assert choices.folds[k] == choices.folds[k ^ 1]
    assert choices.left_out[0] == frozenset()
    assert len(choices.left_out) == 1 + 5 + 2
    one = Choices.of([replace_type(d, None) for d in defects], seed=0)
    assert one.unknown is None
    assert set(one.types) == {"unnamed"}


def replace_type(defect, kind):
    return SimpleNamespace(path=defect.path, type=kind, group=defect.group)


@pytest.fixture(scope="module")
def table(split, tmp_path_factory):
    """The same images as a CSV file."""
    parts = [(s, "train") for s in (*split.normals, *split.select)] + [(s, "test") for s in split.test]
    rows = [(s.path, s.label, part, s.type or "", s.mask or "") for s, part in parts]
    file = tmp_path_factory.mktemp("table") / "data.csv"
    file.write_text(csv_text(("path", "label", "split", "type", "mask"), rows), "utf-8")
    return file


def test_the_console_says_what_was_taught(table, tmp_path):
    model = tmp_path / "m.pellucid"
    command = ("fit", table, "-o", model, "--detector", "padim", *SMALL, "--set", "n_features=20", "--outline", "map")
    said = " ".join(pellucid_here(*command, "--learn-defects").stdout.split())
    assert pellucid.load(model).taught.sentence in said
    assert "teach" not in pellucid_here(*command).stdout


def test_a_comparison_shows_both(table, tmp_path):
    """With and without, in the leaderboard, in metrics.json, on the console and in the report."""
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(
        f"data = '{table}'\ndetectors = ['padim']\nimage_size = 64\nfalse_reject = 0.1\nlearn_defects = true\n"
        "[parameters.padim]\nn_features = 20\n",
        "utf-8",
    )
    said = " ".join(pellucid_here("compare", sweep, "-o", tmp_path / "out").stdout.split())
    [row] = json.loads((tmp_path / "out/leaderboard.json").read_text("utf-8"))
    tested = json.loads((tmp_path / "out/padim/metrics.json").read_text("utf-8"))
    lesson = tested["taught"]
    assert lesson["sentence"] in said
    assert lesson["sentence"] in html.unescape((tmp_path / "out/report.html").read_text("utf-8"))
    assert row["taught_weight"] == lesson["taught_weight"] > 0
    assert row["taught_defects"] == 12
    assert row["known_auroc_with"] > row["known_auroc_without"]
    assert row["unknown_auroc_with"] is None  # one type alone
    assert row["selection_auroc"] == pytest.approx(row["known_auroc_with"], abs=0.05)  # not of what was learned from
    assert row["localisation_on"] == "planted flaws"
    assert "learn_defects = true" in (tmp_path / "out/padim/config.toml").read_text("utf-8")


def test_a_sweep_refuses_what_is_neither_true_nor_false(glass):
    with pytest.raises(ParameterError, match=r"learn_defects = 'perhaps' is not allowed: it has to be true or false"):
        Sweep.from_file(glass, {"learn_defects": "perhaps"})


@pytest.mark.slow
def test_the_promise_on_false_rejects_holds_for_taught_models(tmp_path):
    """Over many sets, the mean share of new good parts that are rejected is what was asked for."""
    rates = []
    for seed in range(60):
        split = write_split(tmp_path / str(seed), seed, normals=30, test=25)
        inspector = fit(split, learn_defects=True)
        good = [s for s in split.test if s.label == "normal"]
        rates.append(np.mean([inspector.inspect(s.path).score > inspector.limit.value for s in good]))
    assert np.mean(rates) < 0.1 + 2 * np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) > 0.03
