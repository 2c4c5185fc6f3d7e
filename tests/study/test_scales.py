"""The scale that large images are seen at: fine where flaws are fine, coarse where that finds as many."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid import detectors
from pellucid.errors import ParameterError
from pellucid.records import Sample
from pellucid.study.scales import ScaleTrial, choose_scale, compare_scales
from pellucid.synthesis.glass import draw_pane, write_pane


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets")
    samples = []
    for k in range(6):
        path = folder / f"{k}.png"
        write_pane(path, np.clip(draw_pane(np.random.default_rng(k), (256, 384)), 0, 1))
        samples.append(Sample(path, "normal"))
    return samples


def test_fine_flaws_are_found_better_at_the_images_own_scale(sheets):
    detector = detectors.create("padim", layers=("layer1",), n_features=20)
    fine = compare_scales(detector, sheets, 4, tile=320)
    assert [trial.reduce for trial in fine] == [1, 2]
    assert sum(fine[0].found) > sum(fine[1].found)
    assert not hasattr(detector, "size_")  # a copy was fitted


@pytest.mark.slow
def test_large_flaws_are_looked_for_at_coarser_scales_too(sheets):
    detector = detectors.create("padim", layers=("layer1",), n_features=20)
    large = compare_scales(detector, sheets, 24, tile=320)
    assert [trial.reduce for trial in large] == [1, 2, 4]
    assert all(len(trial.found) == 48 and trial.seconds_per_megapixel > 0 for trial in large)


def test_the_coarsest_of_equals_is_chosen():
    trials = [
        ScaleTrial(1, (True,) * 9 + (False,), 4.0),
        ScaleTrial(2, (True,) * 8 + (False, True), 1.0),
        ScaleTrial(4, (True,) * 3 + (False,) * 7, 0.3),
    ]
    assert choose_scale(trials) == trials[1]
    assert str(trials[1]) == "reduced 2 times: 9 of 10 planted flaws found, 1 s a megapixel"
    assert str(trials[0]).startswith("at their own scale: 9 of 10")


@pytest.mark.parametrize("smallest", [0, -1, float("nan"), 5000])
def test_a_smallest_flaw_is_a_size(sheets, smallest):
    with pytest.raises(ParameterError, match="give a number above 0, at most 1024"):
        compare_scales(detectors.create("padim"), sheets, smallest)


def test_one_image_cannot_both_teach_and_judge(sheets):
    with pytest.raises(ParameterError, match="at least two good images"):
        compare_scales(detectors.create("padim"), sheets[:1], 4)
