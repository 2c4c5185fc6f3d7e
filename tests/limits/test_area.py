"""A limit by area keeps its rate on fresh good glass, whatever the images' sizes, and says so everywhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma, nbinom

import pellucid
from pellucid.calibration import score_files
from pellucid.errors import DataError, ParameterError
from pellucid.limits.area import (
    Regions,
    check_false_alarms,
    check_tiled,
    needed_area,
    place_by_area,
    regions_of,
    unit_per_px,
)
from pellucid.limits.promise import kept_sentence, promise_sentence, short_promise
from pellucid.records import Sample, Split
from pellucid.records.limits import FalseAlarms, Limit
from pellucid.service.language.translator import Translator
from pellucid.study.results import ScoredSample
from pellucid.study.stored import read_results, result_text
from pellucid.synthesis.sheet import Sheet, SheetPlan
from pellucid.updating import _place_limits


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_regions_are_those_above_every_threshold(height, width, levels, seed):
    rng = np.random.default_rng(seed)
    drawn = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 1.5)
    rounded = np.asarray(np.round(drawn * levels * 4), np.float32)  # plateaus
    counted = rng.random((height, width)) < 0.9
    regions = regions_of(rounded, counted)
    for threshold in np.unique([*np.unique(rounded), rounded.min() - 1, 0.25]):
        above = ((rounded > threshold) & counted).astype(np.uint8)
        alive = (regions.died <= threshold) & (threshold < regions.born)
        assert alive.sum() == cv2.connectedComponents(above, connectivity=8)[0] - 1


def drawn_peaks(rng, areas):
    """Peaks of a Poisson process whose true rate above t is 1000 exp(-t) per unit of area."""
    return [lonely(rng.exponential(1, rng.poisson(1000 * area))) for area in areas]


def lonely(peaks):
    """Regions that never meet."""
    return Regions(np.asarray(peaks), np.full(len(peaks), -np.inf))


def test_the_rate_is_kept_on_average_whatever_the_images_sizes():
    rng, asked = np.random.default_rng(0), FalseAlarms(2.5)
    rates = []
    for _ in range(400):
        areas = rng.uniform(0.1, 1, 8)
        limit = place_by_area(drawn_peaks(rng, areas), areas, [1.0] * 8, asked)
        rates.append((1000 * np.exp(-limit), np.floor(2.5 * areas.sum()) / areas.sum()))
    kept, expected = np.mean(rates, axis=0)
    assert kept == pytest.approx(expected, rel=0.06)
    assert kept <= 2.5 * 1.02


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_rate_is_kept_by_as_many_models_as_the_confidence_says(confidence):
    rng, asked, areas = np.random.default_rng(1), FalseAlarms(2.5), np.array([1.0, 3.0, 0.5])
    limits = [place_by_area(drawn_peaks(rng, areas), areas, [1.0] * 3, asked, confidence) for _ in range(600)]
    kept = np.mean([1000 * np.exp(-limit) <= 2.5 for limit in limits])
    rank = sum(gamma.cdf(2.5 * areas.sum(), k) >= confidence for k in range(1, 12))
    assert kept == pytest.approx(gamma.cdf(2.5 * areas.sum(), rank), abs=0.03)
    assert kept >= confidence - 0.02


def test_images_of_one_group_are_one_voice():
    rng, asked = np.random.default_rng(2), FalseAlarms(1.5)
    once, areas = drawn_peaks(rng, [1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]
    alone = place_by_area(once, areas, [1.0] * 3, asked)
    assert place_by_area(once * 3, areas * 3, [1 / 3] * 9, asked) == alone
    assert place_by_area(once * 3, areas * 3, [1.0] * 9, asked) == alone  # the same peaks, three times as often


def test_how_much_good_glass_it_takes():
    asked = FalseAlarms(0.5)
    assert needed_area(asked) == 2
    assert needed_area(asked, 0.95) == pytest.approx(2 * np.log(20))
    peaks = [lonely([3.0, 1.0, 2.0])]
    met = [Regions(np.array([3.0, 2.0, 1.0]), np.array([-np.inf, 1.5, -np.inf]))]  # two of them meet
    assert place_by_area(peaks, [2.0], [1.0], asked) == 3
    assert place_by_area(peaks, [4.0], [1.0], asked) == 2
    assert place_by_area(met, [4.0], [1.0], asked) == 1
    with pytest.raises(DataError, match=r"^1.9 m2 of held-out good glass cannot promise 0.5 false alarms per m2"):
        place_by_area(peaks, [1.9], [1.0], asked)
    with pytest.raises(DataError, match=r"with confidence 0.95, which needs 5.991 m2: take more good images"):
        place_by_area(peaks, [4.0], [1.0], asked, 0.95)
    assert unit_per_px("m2", (0.2, 0.1)) == pytest.approx(2e-8)
    assert unit_per_px("m2", 0.2) == pytest.approx(4e-8)
    assert unit_per_px("megapixel", 0.2) == 1e-6


def test_what_is_refused():
    with pytest.raises(ParameterError, match="0 false alarms per m2 are not allowed: give a rate above 0"):
        check_false_alarms(FalseAlarms(0), True, "conformal")
    with pytest.raises(ParameterError, match=r"False alarms per m2 need the scale of the images: give --mm-per-px as"):
        check_false_alarms(FalseAlarms(1), False, "conformal")
    with pytest.raises(ParameterError, match="comes from good glass alone: leave --limit gap out"):
        check_false_alarms(FalseAlarms(1, "megapixel"), False, "gap")
    with pytest.raises(ParameterError, match="are promised by tiled models"):
        check_tiled(FalseAlarms(1), False)
    check_tiled(None, False)


LIMIT = Limit(1.0, 1.0, 0.0, (0.5, 0.9), "area", left_out=True, alarm_rate=0.5, alarm_unit="m2", normal_area=12.3456)


def test_the_sentence_says_rate_unit_area_and_what_the_next_promise_needs():
    assert promise_sentence(LIMIT, 0.05) == (
        "Promise: models made in this way raise at most 0.5 false alarms per m² of such good glass on average (placed"
        " by 12.35 m² of it; approximate, as each image was scored as if left out of the fit); the next better promise,"
        " at most 0.5 false alarms per m² in 19 of 20 models (--confidence 0.95), needs 5.991 m² of good glass."
    )
    sure = replace(LIMIT, confidence=0.95, alarm_unit="megapixel", left_out=False)
    assert promise_sentence(sure, 0.05) == (
        "Promise: 19 of 20 models made in this way raise at most 0.5 false alarms per megapixel of such good glass"
        " (placed by 12.35 megapixel of it)."
    )
    assert short_promise(sure) == "at most 0.5 false alarms per megapixel in 19 of 20 models"
    lot = replace(LIMIT, lot_images=7)
    assert promise_sentence(lot, 0.05).startswith(
        "No promise: the limit was moved to where 7 images of a new lot score"
    )
    assert short_promise(lot) == ""
    assert "is lower and does not keep it" in kept_sentence(LIMIT, 0.9)
    assert kept_sentence(lot, 0.9) == ""
    for one in (LIMIT, sure, lot):
        said = [
            re.findall(r"[\d.]*\d", promise_sentence(one, 0.05, Translator(language, "gregorian")))
            for language in ("en", "fa")
        ]
        assert sorted(said[0]) == sorted(said[1])


def draw(folder, seeds):
    """Good sheets of different sizes; their area in m2."""
    area = 0.0
    for seed in seeds:
        plan = SheetPlan(31 + 5 * (seed % 5), 30 + 10 * (seed % 3), seed=seed, cameras=1)
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{seed:03d}.png"), Sheet(plan).rows(0, plan.shape[0]))
        area += plan.area_m2
    return area


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    area = draw(folder / "normal", range(12))
    asked = FalseAlarms(24 / area)  # 24 of them on what it learns from
    samples = tuple(Sample(path, "normal") for path in sorted((folder / "normal").iterdir()))
    made = pellucid.fit_split(
        pellucid.detectors.create("padim", n_features=20),
        Split(samples, (), (), ()),
        tile=512,
        outline="map",
        mm_per_px=0.2,
        false_alarms=asked,
    )
    return made, asked, area


def test_fresh_good_sheets_raise_as_many_false_alarms_as_were_promised(fitted, tmp_path):
    made, asked, area = fitted
    assert made.limit.normal_area == pytest.approx(area)
    assert made.limit.method == "area"
    fresh = draw(tmp_path, range(100, 124))
    alarms = sum(len(made.inspect(path).defects) for path in sorted(tmp_path.iterdir()))
    expected = asked.rate * fresh
    low, high = nbinom.ppf((0.005, 0.995), 24, area / (area + fresh))  # Poisson, of a rate that 24 alarms placed
    assert low <= alarms <= high, f"{alarms} false alarms where {expected:.1f} were promised"


def test_every_answer_says_which_promise_was_made(fitted, tmp_path):
    made, asked, _ = fitted
    made.save(tmp_path / "sheet.pellucid")
    loaded = pellucid.load(tmp_path / "sheet.pellucid")
    assert loaded.limit == made.limit
    assert loaded.limit.false_alarms == asked
    draw(tmp_path / "images", [300])
    found = loaded.inspect(tmp_path / "images" / "300.png")
    assert found.promise == f"at most {asked.rate:g} false alarms per m² on average"
    line = result_text(ScoredSample(Sample(found.path, "normal"), found))
    assert json.loads(line)["promise"] == found.promise
    (tmp_path / "results.jsonl").write_text(line + "\n", "utf-8")
    assert read_results(tmp_path)[0].inspection.promise == found.promise


def test_a_new_lot_of_little_area_promises_nothing_and_of_enough_the_same(fitted, tmp_path):
    made, asked, _ = fitted
    draw(tmp_path, range(200, 206))
    samples = [Sample(path, "normal") for path in sorted(tmp_path.iterdir())]
    held_out = score_files(made.runtime, samples, made.image_size, made.fitted_images, by_area=True)
    area = sum(one.counted_px for one in held_out) * 4e-8
    for rate, is_enough in ((asked.rate, True), (1 / area, False)):  # with confidence it takes three times as much
        one = replace(made, limit=replace(made.limit, alarm_rate=rate))
        _, limit = _place_limits(one, one, samples, held_out)
        assert (limit.lot_images is None) == is_enough
        assert limit.normal_area == pytest.approx(area if is_enough else made.limit.normal_area)
        assert promise_sentence(limit, 0.5).startswith("Promise: " if is_enough else "No promise: the limit was moved")
