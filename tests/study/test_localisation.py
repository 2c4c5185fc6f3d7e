"""Whether a map shows where the flaw is, against scikit-learn and by planted flaws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import pellucid
from pellucid.acquisition.images import read_image
from pellucid.acquisition.plan import Plan
from pellucid.study.localisation import (
    MIN_LOCATED_FLAWS,
    PLANTED_IMAGES,
    LocatedFlaw,
    localisation,
    localise,
    locate_defects,
    locate_planted,
    plant,
)
from pellucid.study.scores import score_samples


@pytest.fixture(scope="module")
def inspector(model):
    return pellucid.load(model)


@pytest.fixture(scope="module")
def split(glass):
    return Plan.from_data(glass, false_reject=0.1).split


def test_a_map_is_as_good_as_its_average_precision():
    rng = np.random.default_rng(0)
    anomaly_map, defective = rng.random((12, 15)).astype(np.float32), rng.random((12, 15)) < 0.1
    assert localise(anomaly_map, defective) == pytest.approx(
        average_precision_score(defective.ravel(), anomaly_map.ravel())
    )
    assert localise(defective.astype(np.float32), defective) == 1
    assert localise(np.zeros((12, 15), np.float32), defective) == pytest.approx(defective.mean())
    assert localise(anomaly_map, np.ones((12, 15), bool)) == 1


def test_only_flaws_whose_place_is_known_count():
    known = [LocatedFlaw(1.0, value, None) for value in (0.2, 0.4, 0.9)]
    found = localisation([*known, LocatedFlaw(2.0, None, None)], "planted flaws")
    assert found.value == pytest.approx(0.5)
    low, high = found.interval()
    assert 0.2 <= low < 0.5 < high <= 0.9
    assert localisation(known[: MIN_LOCATED_FLAWS - 1], "planted flaws") is None


def test_flaws_of_one_image_are_drawn_together():
    alone = [LocatedFlaw(1.0, value, None) for value in (0.0, 1.0) * 10]
    together = [LocatedFlaw(1.0, value, f"{value}") for value in (0.0, 1.0) * 10]
    narrow, wide = (localisation(flaws, "planted flaws").interval() for flaws in (alone, together))
    assert wide == (0, 1)
    assert narrow[1] - narrow[0] < 0.6


def test_labelled_defects_are_looked_at_by_their_masks(inspector, split):
    located = locate_defects(score_samples(inspector, split.select))
    assert [flaw.score for flaw in located] == [inspector.inspect(s.path).score for s in split.select]
    assert all(0 < flaw.precision <= 1 for flaw in located)


def test_planted_flaws_are_the_same_for_every_detector_and_where_they_are_said_to_be(inspector, split):
    bits = inspector.fitted_images.bits
    first, again = list(plant(split.fit, bits)), list(plant(split.fit, bits))
    assert len(first) == PLANTED_IMAGES
    for (name, pixels, defective), (_, same, _) in zip(first, again, strict=True):
        assert (pixels == same).all()
        clean = np.mean(read_image(Path(name), bits), -1)
        assert 0 < defective.mean() < 0.2
        changed = np.abs(pixels.mean(-1) - clean)
        assert changed[defective].min() > changed[~defective].mean()
    located = locate_planted(inspector, split)
    assert {flaw.group for flaw in located} <= {str(s.path) for s in split.fit}
    assert located[0].score == inspector.inspect(first[0][1]).score
