"""The gate's threshold: what it loses of the flaws that a detector finds is bounded, and told by size and contrast."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pellucid import gating
from pellucid.acquisition.gate import Gate
from pellucid.errors import DataError, ParameterError
from pellucid.gating import GATE_CONTRASTS, Strip, set_gate
from pellucid.synthesis.flaws import FLAW_SIZES_PX
from pellucid.synthesis.sheet import SheetPlan
from pellucid.synthesis.sheet_files import good_sheets

CELL, MARGIN = 128, 32
SHEETS = [one.rows(0, one.shape[0]) for one in good_sheets(SheetPlan(150, 120, seed=7, cameras=1), 8)]
STRIPS = [
    Strip(sheet[top - MARGIN : top + CELL + MARGIN], MARGIN)
    for sheet in SHEETS[5:]
    for top in range(MARGIN, len(sheet) - CELL - MARGIN, CELL)
]
LIMIT = 0.05


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate.fit(SHEETS[:5], CELL, MARGIN)


def _detector(tiles: np.ndarray) -> np.ndarray:
    """Whatever differs from the mean of its column by a share of it."""
    assert tiles.shape[1:] == (CELL + 2 * MARGIN, CELL + 2 * MARGIN, 3)
    assert tiles.dtype == np.float32
    grey = tiles.mean(-1)
    off = np.abs(grey / np.median(grey, axis=1, keepdims=True) - 1)
    return off[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def test_the_loss_is_bounded_and_told(gate):
    opened, report = set_gate(gate, STRIPS, _detector, LIMIT, loss=0.01)
    assert report.found >= 99
    assert report.lost <= 0.01 * (report.found + 1)
    assert report.lost / report.found < report.lost_at_most < 0.05
    assert opened.threshold == report.threshold > -math.inf
    assert report.good_tiles == len(STRIPS) * math.ceil(750 / CELL)
    passed = sum(int((opened.strip_strengths(one.pixels, MARGIN, MARGIN) > opened.threshold).sum()) for one in STRIPS)
    assert report.good_passed == passed
    assert 0 <= report.good_share < 0.9
    assert report.good_work == pytest.approx(report.good_share)  # of whole tiles
    assert report.sentence.startswith(
        f"The gate leaves the detector {report.good_work:.1%} of its work on good glass, in {report.good_share:.1%} of"
    )
    prices = dict(report.prices)
    assert prices[0.01] == pytest.approx(report.good_share)
    assert [*prices.values()] == sorted(prices.values(), reverse=True)
    assert 0.001 not in prices  # too few flaws were found
    told = report.prices_sentence
    assert told.startswith("At other losses the detector would be left: ")
    assert f"{prices[0.02]:.1%} at 2.0%" in told
    assert "at 1.0%" not in told  # which is the one that was asked for
    assert sum(one.found for one in report.cells) == report.found
    assert sum(one.found - one.passed for one in report.cells) == report.lost


def test_every_kind_size_and_contrast_is_in_the_table(gate):
    _, report = set_gate(gate, STRIPS, lambda tiles: np.zeros((len(tiles), CELL, CELL), np.float32), LIMIT, loss=0.03)
    planted = {(one.kind, one.size_px, one.contrast) for one in report.cells}
    assert planted == {(kind, px, c) for kind, sizes in FLAW_SIZES_PX.items() for px in sizes for c in GATE_CONTRASTS}
    lines = report.to_csv().splitlines()
    assert lines[0] == "kind,size_px,contrast,planted,found,passed"
    assert len(lines) == len(planted) + 1
    assert (report.found, report.threshold) == (0, None)
    assert "it needs 33 planted flaws that the detector finds, and there were 0" in report.sentence
    assert report.good_share == 1
    assert json.loads(json.dumps(report.to_dict()))["threshold"] is None


def test_flaws_are_seen_by_the_detector_where_they_are(gate):
    """Each lies in its own tile; what the detector says of the other half of the map is not looked at."""
    seen = []

    def _spy(tiles: np.ndarray) -> np.ndarray:
        seen.append(tiles)
        return _detector(tiles)

    set_gate(gate, STRIPS[:1], _spy, LIMIT, loss=0.05, scale=2)
    clean = STRIPS[0].pixels.astype(np.float32) / 255
    first = seen[0][0][..., 0]
    np.testing.assert_allclose(first[:, MARGIN : MARGIN + 2].mean(), clean[:, :2].mean(), atol=0.05)
    changed = np.abs(first[:, MARGIN : MARGIN + CELL] - clean[:, :CELL]) > 0.6 / 255
    assert changed.any()


def test_what_is_marked_on_clean_glass_too_is_no_flaw_that_was_found(gate):
    """A detector that marks everything finds the bold flaws alone: the others stand out no more than good glass."""
    everything = set_gate(gate, STRIPS, lambda tiles: np.ones((len(tiles), CELL, CELL), np.float32), LIMIT, loss=0.05)[
        1
    ]
    faint = [
        one for one in everything.cells if one.contrast == GATE_CONTRASTS[0] and one.size_px == 2 and one.kind == "dust"
    ]
    assert all(one.found < one.planted or one.planted < 2 for one in faint)
    assert everything.good_share < 0.5


def test_several_flaws_in_a_large_tile_are_judged_one_by_one(gate, monkeypatch):
    """The detector sees four in a tile at a time, the gate each alone; so both tell what they tell of single ones."""
    tiles = []

    def _counted(seen: np.ndarray) -> np.ndarray:
        tiles.append(len(seen))
        return _detector(seen)

    single = set_gate(gate, STRIPS, _counted, LIMIT, loss=0.01)[1]
    needed, tiles[:] = sum(tiles), []
    monkeypatch.setattr(gating, "PLACE_PX", 64)
    several = set_gate(gate, STRIPS, _counted, LIMIT, loss=0.01)[1]
    assert sum(tiles) < needed / 2
    for report in (single, several):
        strong = [one for one in report.cells if one.contrast >= 0.2 and one.size_px > 2]
        assert sum(one.found for one in strong) > 0.9 * sum(one.planted for one in strong)
        faint = [one for one in report.cells if one.contrast <= 0.02 and one.size_px == 2]
        assert sum(one.found for one in faint) < 0.4 * sum(one.planted for one in faint)
    assert several.threshold == pytest.approx(single.threshold, abs=4)


def test_the_gate_is_off_where_nothing_may_be_lost(gate):
    opened, report = set_gate(gate, STRIPS, lambda _: pytest.fail("nothing is planted"), LIMIT, loss=0)
    assert opened.candidates(SHEETS[0]).all()
    assert report.sentence == "The gate is off: the detector sees every tile."


def test_one_seed_gives_one_threshold(gate):
    one, two, other = (set_gate(gate, STRIPS, _detector, LIMIT, loss=0.05, seed=seed)[1] for seed in (1, 1, 2))
    assert one == two
    assert one.cells != other.cells


def test_what_cannot_be_set_is_said(gate):
    with pytest.raises(DataError, match="needs good glass to plant flaws into, and there is none"):
        set_gate(gate, [], _detector, LIMIT)
    with pytest.raises(DataError, match="needs good glass at least 128 px wide"):
        set_gate(gate, [Strip(STRIPS[0].pixels[:, :100], MARGIN)], _detector, LIMIT)
    with pytest.raises(ParameterError, match="gate_loss=2 is not allowed"):
        set_gate(gate, STRIPS, _detector, LIMIT, loss=2)
