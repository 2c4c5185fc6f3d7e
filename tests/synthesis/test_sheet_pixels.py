"""Drawn sheets: the same pixels however they are cut, and truth that agrees with what is drawn."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import DataError, OutputError, ParameterError
from pellucid.synthesis.shapes import Blot, Ellipse, Streak, Stroke
from pellucid.synthesis.sheet import BACKGROUND, BLOCK_ROWS, Sheet, SheetPlan
from pellucid.synthesis.sheet_defects import SheetDefect, coverage, window_px
from pellucid.synthesis.sheet_files import crops, good_sheets, read_truth, truth_of, write_sheet
from pellucid.synthesis.sheet_placing import KINDS, USUAL, place_defects

PLAN = SheetPlan(120, 200, seed=5, edge_mm=6)
COUNTS = dict.fromkeys(KINDS, 2)
SHEET = Sheet(PLAN, place_defects(PLAN, COUNTS, sizes_mm={"tin drip": (1, 2), "scratch": (0.1, 0.2)}))
QUIET = {"noise": 0.0, "lines_per_m": 0.0, "lamp_drift": 0.0}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return SHEET.rows(0, SHEET.shape[0])


@pytest.mark.parametrize("height", [1, BLOCK_ROWS, 77, 5000])
def test_pixels_are_the_same_whatever_the_height_of_bands(pixels, height):
    bands = list(SHEET.bands(height))
    assert [band.top for band in bands] == list(range(0, SHEET.shape[0], height))
    np.testing.assert_array_equal(np.concatenate([band.pixels for band in bands]), pixels)


@given(st.integers(0, SHEET.shape[0] - 1), st.integers(1, 200))
@settings(max_examples=20)
def test_any_rows_are_those_of_the_sheet(top, count):
    bottom = min(top + count, SHEET.shape[0])
    np.testing.assert_array_equal(SHEET.rows(top, bottom), _whole()[top:bottom])


def _whole(found: list = []) -> np.ndarray:  # noqa: B006 - drawn once for all examples
    if not found:
        found.append(SHEET.rows(0, SHEET.shape[0]))
    return found[0]


def test_a_seed_gives_one_sheet_and_another_another():
    again = Sheet(PLAN, place_defects(PLAN, COUNTS, sizes_mm={"tin drip": (1, 2), "scratch": (0.1, 0.2)}))
    assert again.defects == SHEET.defects
    np.testing.assert_array_equal(again.rows(0, 100), SHEET.rows(0, 100))
    other = Sheet(replace(PLAN, seed=6))
    assert (other.rows(0, 100) != SHEET.rows(0, 100)).mean() > 0.5
    np.testing.assert_array_equal(other.light_by_column, SHEET.light_by_column)  # the line is the same
    assert (Sheet(replace(PLAN, line_seed=1)).light_by_column != SHEET.light_by_column).mean() > 0.9


def _fine_area(shape, step: float) -> tuple[float, float, float]:
    """Area and centre of gravity by counting the points of a fine grid that are inside."""
    left, top, right, bottom = shape.box_mm
    across, down = np.arange(left + step / 2, right, step), np.arange(top + step / 2, bottom, step)
    inside = shape.reach(across, down) <= 1
    return inside.sum() * step**2, (inside.sum(0) @ across) / inside.sum(), (inside.sum(1) @ down) / inside.sum()


SHAPES = {
    "ellipse": Ellipse(10, 20, 3.0, 1.4, 0.7),
    "half ellipse": Ellipse(10, 20, 2.0, 3.0, glass_side=-1),
    "blot": Blot(10, 20, 1.5, ((2, 0.2, 0.3), (3, 0.15, 1.0), (5, 0.1, 4.0))),
    "stroke": Stroke(((10, 20), (12, 21), (13.5, 22.4), (14.5, 24.5)), 0.3),
    "streak": Streak(((10, 20), (10.5, 30), (10.2, 40)), 0.8),
}


@pytest.mark.parametrize("name", SHAPES)
def test_formulas_agree_with_counting(name):
    shape = SHAPES[name]
    area, across, down = _fine_area(shape, 0.004)
    assert area == pytest.approx(shape.area_mm2, rel=2e-3)
    assert (across, down) == pytest.approx(shape.centre_mm, abs=0.02)


def test_lengths_and_widths():
    assert (SHAPES["ellipse"].length_mm, SHAPES["ellipse"].width_mm) == (3.0, 1.4)
    assert (SHAPES["half ellipse"].length_mm, SHAPES["half ellipse"].width_mm) == pytest.approx((3.0, 1.0))
    line = sum(map(math.dist, SHAPES["stroke"].points_mm, SHAPES["stroke"].points_mm[1:]))
    assert SHAPES["stroke"].length_mm == pytest.approx(line + 0.3)
    assert SHAPES["streak"].length_mm == pytest.approx(math.hypot(0.5, 10) + math.hypot(0.3, 10))
    blot = SHAPES["blot"]
    across, down = np.arange(8, 12, 0.004), np.arange(18, 22, 0.004)
    rows, columns = np.nonzero(blot.reach(across, down) <= 1)
    points = np.stack([across[columns], down[rows]], 1)
    angles = np.linspace(0, np.pi, 180, endpoint=False)
    ferets = [np.ptp(points @ (math.cos(a), math.sin(a))) for a in angles]
    assert (max(ferets), min(ferets)) == pytest.approx((blot.length_mm, blot.width_mm), abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_is_as_large_as_the_truth_says(kind):
    """The light that a defect takes from a quiet sheet, by the contrast, is its area; its place is the truth's."""
    size = {"scratch": (0.4, 0.4), "dust": (1, 1)}.get(kind, (2, 2))
    plan = SheetPlan(200, 300, seed=2, edge_mm=5 if kind == "chip" else 0, bits=16, vignetting=0, cameras=1, **QUIET)
    placed = place_defects(plan, {kind: 1}, sizes_mm={kind: size})
    one = replace(placed[0], halo=1.0)
    drawn, clean = (Sheet(plan, defects).rows(0, plan.shape[0]).astype(float) for defects in ((one,), ()))
    change = (drawn - clean) / clean / one.contrast
    glass = Sheet(plan).light_by_column > BACKGROUND * 1.01
    change[:, ~glass] = 0
    box = window_px(one, plan.mm_per_px)
    covered = coverage(one, box, plan.mm_per_px)
    pixel_mm2 = plan.mm_per_px[0] * plan.mm_per_px[1]
    assert covered.sum() * pixel_mm2 == pytest.approx(one.area_mm2, rel=0.02)
    share = 0.64 - 0.5 * 0.36 if kind == "seed" else 1.0  # a bubble's core is bright, its wall dark
    assert change.sum() * pixel_mm2 == pytest.approx(share * one.area_mm2, rel=0.1 if kind == "chip" else 0.03)
    rows, columns = np.indices(change.shape) + 0.5
    place = [(change * axis).sum() / change.sum() * 0.2 for axis in (columns, rows)]
    assert place == pytest.approx(one.centre_mm, abs=0.15)
    mask = Sheet(plan, [one]).mask(0, plan.shape[0])
    assert mask.sum() * pixel_mm2 == pytest.approx(one.area_mm2, rel=0.15 if kind in ("scratch", "dust") else 0.06)
    assert mask[box[1] : box[3], box[0] : box[2]].sum() == mask.sum()


def test_the_diameter_is_the_one_that_was_asked_for():
    placed = place_defects(PLAN, dict.fromkeys(("seed", "stone", "tin drip"), 5), sizes_mm={"stone": (1, 2)})
    for one in placed:
        low, high = (1, 2) if one.kind == "stone" else USUAL[one.kind].size_mm
        assert low <= one.diameter_mm <= high + 1e-9
        assert one.halo_mm == pytest.approx(one.halo * one.diameter_mm if one.kind != "stone" else 0)


def test_defects_do_not_touch_and_lie_on_the_glass():
    for one in SHEET.defects:
        left, top, right, bottom = one.shape.box_mm
        assert left > 0
        assert right < PLAN.width_mm
        for other in SHEET.defects:
            if other is not one:
                box = other.shape.box_mm
                assert left > box[2] or right < box[0] or top > box[3] or bottom < box[1]


def test_a_scratch_stays_on_a_small_sheet():
    for seed in range(20):
        plan = SheetPlan(40, 30, seed=seed)
        for one in place_defects(plan, {"scratch": 2}, sizes_mm={"scratch": (0.5, 0.5)}):
            left, top, right, bottom = one.shape.box_mm
            assert min(left, top) >= 0
            assert right <= 40
            assert bottom <= 30


def test_marks_of_a_roller_return():
    plan = SheetPlan(100, 6000, seed=9)
    marks = place_defects(plan, {"roller mark": 1})
    assert len(marks) >= 5
    assert {one.series for one in marks} == {0}
    gaps = np.diff([one.centre_mm[1] for one in marks])
    assert gaps == pytest.approx(marks[0].period_mm, rel=0.005)
    assert len({one.centre_mm[0] for one in marks}) == 1


def test_the_light_of_columns_is_found_by_averaging():
    plan = SheetPlan(60, 200, seed=1, lines_per_m=0, edge_mm=4)
    sheet = Sheet(plan)
    mean = sheet.rows(0, 1000).mean(0) / 255
    np.testing.assert_allclose(mean, sheet.light_by_column, rtol=0.015, atol=0.001)
    noise = Sheet(replace(plan, lamp_drift=0, edge_mm=0, vignetting=0, bits=16)).rows(0, 1000).std(0) / 65535
    assert noise.mean() == pytest.approx(plan.noise, rel=0.15)


def test_pieces_on_a_conveyor_have_dark_gaps():
    plan = SheetPlan(40, 200, seed=1, piece_mm=60.1, gap_mm=20)
    np.testing.assert_allclose([one[1::2] for one in plan.glass_mm], [(20, 80.1), (100.1, 160.2), (180.2, 200)])
    light = Sheet(plan).rows(0, 1000).mean(1) / 255
    assert light[[50, 99, 450]].max() < 0.07
    assert light[[101, 399, 950]].min() > 0.4
    assert 0.2 < light[400] < 0.4  # half of it is glass
    assert plan.area_m2 == pytest.approx(0.04 * (60.1 + 60.1 + 19.8) / 1000)
    holds = [any(p.holds(*one.centre_mm, 0) for p in plan.glass_mm) for one in place_defects(plan, {"seed": 8})]
    assert all(holds)


def test_a_defect_is_drawn_once_across_blocks():
    """A stone that lies over the seam of two blocks looks as one in the middle of a block."""
    plan = SheetPlan(20, 40, **QUIET, vignetting=0, cameras=1, bits=16)
    rows = []
    for block in (BLOCK_ROWS * 0.2, BLOCK_ROWS * 0.3):
        stone = SheetDefect("stone", Ellipse(10, block, 3, 2), -0.5)
        top = round(block / 0.2) - 15
        rows.append(Sheet(plan, [stone]).rows(top, top + 30))
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_sheet_is_written_with_its_truth(tmp_path):
    path = tmp_path / "sheets" / "sheet.tif"
    write_sheet(path, SHEET)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert page.rowsperstrip == 256
        assert not file.is_bigtiff
        np.testing.assert_array_equal(page.asarray(), SHEET.rows(0, SHEET.shape[0]))
    rows = read_truth(path.with_name("sheet.truth.csv"))
    assert [row["kind"] for row in rows] == [one.kind for one in SHEET.defects]
    for row, one in zip(rows, SHEET.defects, strict=True):
        assert (row["across_mm"], row["down_mm"], row["area_mm2"], row["length_mm"]) == pytest.approx(
            (*one.centre_mm, one.area_mm2, one.length_mm), abs=1e-4
        )
        assert row["nuisance"] == (one.kind == "dust")
    assert truth_of(SHEET)["image"] == {"rows": 1000, "columns": 600, "mm_per_px": [0.2, 0.2]}
    assert sorted(p.name for p in path.parent.iterdir()) == ["sheet.tif", "sheet.truth.csv", "sheet.truth.json"]


def test_a_large_file_is_a_big_tiff(tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.synthesis.sheet_files.CLASSIC_TIFF_BYTES", 1000)
    write_sheet(tmp_path / "sheet.tif", Sheet(SheetPlan(20, 20, bits=12)))
    with tifffile.TiffFile(tmp_path / "sheet.tif") as file:
        assert file.is_bigtiff
        assert file.pages[0].asarray().max() < 4096


def test_memory_is_that_of_a_band():
    sheet = Sheet(SheetPlan(400, 2000))  # 20 Mpx
    next(sheet.bands(64))
    tracemalloc.start()
    for _ in sheet.bands(128):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 4 * BLOCK_ROWS * sheet.shape[1] + 2 * 128 * sheet.shape[1]


def test_good_sheets_and_crops():
    one, two = good_sheets(PLAN, 2)
    assert not one.defects
    assert one.plan.line_seed == PLAN.line_seed
    assert len({one.plan.seed, two.plan.seed, PLAN.seed}) == 3
    squares = list(crops(one, 64, 3))
    assert [square.shape for square in squares] == [(64, 64)] * 3
    with pytest.raises(DataError, match="has no crop of 700 px: take smaller ones"):
        next(crops(one, 700, 1))


def test_what_cannot_be_drawn_is_said(tmp_path):
    with pytest.raises(ParameterError, match="has no pixel: give larger sides"):
        SheetPlan(0.01, 100)
    with pytest.raises(ParameterError, match="bits=20 is not allowed: a grey value has 8 to 16"):
        SheetPlan(10, 10, bits=20)
    with pytest.raises(ParameterError, match="no glass between the edges"):
        SheetPlan(10, 10, edge_mm=5)
    with pytest.raises(ParameterError, match="seed"):
        place_defects(PLAN, {"sead": 1})
    with pytest.raises(ParameterError, match="no rim to be chipped"):
        place_defects(SheetPlan(100, 100), {"chip": 1})
    with pytest.raises(ParameterError, match="no room for 500 defects of the kind 'stone'"):
        place_defects(SheetPlan(20, 20), {"stone": 500})
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        write_sheet(tmp_path / "file" / "sheet.tif", SHEET)
    (tmp_path / "truth.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="not the truth of a drawn sheet"):
        read_truth(tmp_path / "truth.csv")
    with pytest.raises(DataError, match=r"none\.csv' cannot be read"):
        read_truth(tmp_path / "none.csv")
