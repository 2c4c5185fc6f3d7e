"""What outlines the defects of a model: chosen when it is fitted, remembered, and for the user to overrule."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

import pellucid
from pellucid.acquisition.masks import read_mask
from pellucid.acquisition.plan import Plan
from pellucid.detectors._taught import Taught, TaughtGain
from pellucid.errors import DataError, ParameterError
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.outlining import choose_outline, compare_outlines, learn_usual
from pellucid.regions.defects import Measuring


@pytest.fixture(scope="module")
def plan(glass):
    return Plan.from_data(glass, false_reject=0.1)


@pytest.fixture(scope="module")
def fitted(plan):
    """Sees where flaws are, unlike the DFM of the other tests."""
    return pellucid.fit(plan, "padim", image_size=128, false_reject=0.1)


def test_labelled_defects_decide_where_there_are_any(fitted, plan):
    measuring = fitted.measuring
    assert (measuring.outline, measuring.chosen_by) == ("image", "labelled defects")
    assert measuring.chosen_on <= sum(sample.mask is not None for sample in plan.split.select)
    assert measuring.image_iou > 2 * measuring.map_iou


def test_planted_flaws_decide_where_no_defect_is_labelled(fitted, plan):
    bare = replace(plan.split, select=())
    assert choose_outline(fitted, bare) == choose_outline(fitted, bare)
    measuring = choose_outline(fitted, bare, mm_per_px=0.2)
    assert (measuring.outline, measuring.chosen_by, measuring.mm_per_px) == ("image", "planted flaws", 0.2)
    assert measuring.image_iou > 2 * measuring.map_iou


def test_what_taught_the_detector_does_not_choose(fitted, plan):
    gain = TaughtGain(without=0.9, taught=0.95, standard_error=0.01)
    taught = Taught(weight=0.5, tried=0.5, defects={"stone": 10}, outlined=10, known=gain)
    by_planted = choose_outline(fitted, replace(plan.split, select=()))
    assert choose_outline(replace(fitted, taught=taught), plan.split) == by_planted
    unused = taught.model_copy(update={"weight": 0.0})
    assert choose_outline(replace(fitted, taught=unused), plan.split) == fitted.measuring


def test_a_map_that_shows_no_flaw_leaves_the_choice_to_the_map(fitted, plan, monkeypatch):
    monkeypatch.setattr("pellucid.outlining.compare_outlines", lambda *_: None)
    assert choose_outline(fitted, plan.split) == Measuring(usual=fitted.measuring.usual)


def test_what_good_parts_show_is_learned_from_them(fitted, plan, tmp_path):
    usual = fitted.measuring.usual
    assert learn_usual(fitted, plan.split.normals) == usual
    with_lines = []
    for sample in plan.split.normals[:15]:
        pixels = cv2.imread(str(sample.path), cv2.IMREAD_GRAYSCALE)
        pixels[:, 40::60] = np.clip(pixels[:, 40::60].astype(int) + 40, 0, 255)
        cv2.imwrite(str(tmp_path / sample.path.name), pixels)
        with_lines.append(replace(sample, path=tmp_path / sample.path.name))
    lined = learn_usual(fitted, with_lines)
    assert lined.strengths[0] > 1.5 * usual.strengths[0]
    assert lined.energy > usual.energy


def test_nothing_is_learned_from_where_the_map_shows_nothing(fitted, plan, monkeypatch):
    monkeypatch.setattr("pellucid.outlining.segmentation_threshold", lambda *_: np.inf)  # as of a tiled model
    assert learn_usual(fitted, plan.split.normals) is None


def test_outlines_are_compared_by_what_they_have_in_common_with_the_mask(fitted, plan):
    sample = next(s for s in plan.split.select if s.mask is not None and fitted.inspect(s.path).verdict == "reject")
    found = fitted.inspect(sample.path)
    mask = read_mask(sample.mask, sample.path)
    above = found.map > segmentation_threshold(found.map, found.pixel_limit)
    by_image, by_map = compare_outlines(fitted, found.pixels, mask)
    assert by_map == pytest.approx(np.sum(above & mask) / np.sum(above | mask))
    assert by_image > by_map
    assert compare_outlines(fitted, found.pixels, ~above) is None


def test_a_model_remembers_how_it_measures(fitted, glass, tmp_path):
    scaled = fitted.with_scale(0.05)
    assert fitted.with_scale(None) is fitted
    scaled.save(tmp_path / "model.pellucid")
    loaded = pellucid.load(tmp_path / "model.pellucid")
    assert loaded.measuring == scaled.measuring
    bad = sorted((glass / "abnormal_test").iterdir())
    one = next(found for found in map(loaded.inspect, bad) if found.defects)
    for defect in one.defects:
        assert defect.length_mm == pytest.approx(0.05 * defect.length_px)
    again = next(iter(loaded.inspect_many([one.path])))
    assert again.defects == one.defects  # its pixels are read once more
    assert all(d.length_mm is None for d in fitted.inspect(one.path).defects)


def test_an_image_that_goes_meanwhile_is_outlined_by_its_map(fitted, glass):
    from pellucid.acquisition.images import open_image

    bad = next(f for f in sorted((glass / "abnormal_test").iterdir()) if fitted.inspect(f).defects)
    seen = []

    def open_once(path, bits):
        if seen:
            raise DataError("It is gone.")
        seen.append(path)
        return open_image(path, bits)

    (found,) = fitted.inspect_many([bad], open_file=open_once)
    assert found.defects
    assert found.defects[0].contrast is None
    assert found.warnings[-1].endswith("without contrast: It is gone.")
    tried = (replace(fitted, zones=pellucid.Zones(margin=margin)) for margin in range(2, 60, 2))
    zoned = next(i for i in tried if (one := i.inspect(bad)).defects and one.ignored)
    seen.clear()
    (found,) = zoned.inspect_many([bad], open_file=open_once)
    assert found.ignored
    assert sum("It is gone." in warning for warning in found.warnings) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"outline": "edge"}, "auto, image, map are"), ({"mm_per_px": 0}, "above 0"), ({"mm_per_px": np.nan}, "above 0")],
)
def test_what_cannot_be_measured_by_is_refused_before_the_fit(plan, wrong, message):
    with pytest.raises(ParameterError, match=message):
        pellucid.fit(plan, "padim", image_size=64, false_reject=0.1, **wrong)


def test_the_user_may_choose(plan):
    inspector = pellucid.fit(plan, "dfm", image_size=64, false_reject=0.1, outline="image", mm_per_px=0.1)
    usual = inspector.measuring.usual
    assert usual is not None
    assert inspector.measuring == Measuring(outline="image", chosen_by="user", mm_per_px=0.1, usual=usual)
    assert choose_outline(inspector, plan.split, "map") == Measuring(outline="map", chosen_by="user")


def test_a_model_of_an_earlier_pellucid_does_not_know_what_good_parts_show():
    earlier = Measuring(outline="image").model_dump(exclude={"usual"})
    assert Measuring.model_validate(earlier).usual is None
    with pytest.raises(ValidationError, match="at least 4"):
        Measuring.model_validate(earlier | {"usual": {"strengths": [1.0], "energy": 1.0}})
