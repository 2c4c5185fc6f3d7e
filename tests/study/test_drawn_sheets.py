"""What is found on a drawn sheet is matched with its truth, and what is measured there agrees with it."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from pellucid.records import Defect, Inspection
from pellucid.records.grades import BrokenClause, Grade
from pellucid.regions.defects import Measuring, find_measured
from pellucid.reports.drawn_sheet import render_drawn_sheet
from pellucid.study.drawn_sheets import match_truth, place_error_mm
from pellucid.synthesis.sheet import Sheet, SheetPlan
from pellucid.synthesis.sheet_placing import place_defects

PLAN = SheetPlan(160, 200, seed=11, cameras=1)
COUNTS = {"stone": 6, "tin drip": 3, "seed": 5, "scratch": 3}
SHEET = Sheet(PLAN, place_defects(PLAN, COUNTS, sizes_mm={"stone": (1, 4), "seed": (1.5, 4), "scratch": (0.4, 0.6)}))
MEASURING = Measuring(outline="image", mm_per_px=PLAN.mm_per_px)


@pytest.fixture(scope="module")
def found() -> tuple[Defect, ...]:
    """What is measured where a map shows exactly what was drawn."""
    rows, columns = SHEET.shape
    pixels = np.repeat((SHEET.rows(0, rows).astype(np.float32) / 255)[..., None], 3, 2)
    shown = SHEET.mask(0, rows).astype(np.float32)
    return find_measured(shown, 0.5, lambda: pixels, MEASURING, 8, np.ones((rows, columns), bool)).defects


def test_every_defect_is_matched_with_what_was_drawn_there(found):
    match = match_truth(SHEET.defects, found, PLAN.mm_per_px)
    assert [one.truth for one in match.matches] == list(SHEET.defects)
    assert all(one.found is found[one.number] for one in match.matches)
    assert match.false_alarms == ()
    assert match.sentence.startswith(
        f"{len(SHEET.defects)} of {len(SHEET.defects)} drawn defects were found, sizes off by 0."
    )
    assert match.sentence.endswith("0 more places were marked where nothing was drawn.")


def test_places_and_sizes_are_those_of_the_truth(found):
    match = match_truth(SHEET.defects, found, PLAN.mm_per_px)
    assert max(place_error_mm(one, PLAN.mm_per_px) for one in match.matches if one.truth.kind != "scratch") < 0.2
    errors = [
        abs(one.found_size_mm - one.true_size_mm) for one in match.matches if one.truth.kind in ("stone", "tin drip")
    ]
    assert median(errors) < 0.1
    lengths = [one for one in match.matches if one.truth.kind == "scratch"]
    for one in lengths:
        assert one.found_size_mm == pytest.approx(one.truth.length_mm, rel=0.1)


def test_what_is_missed_in_parts_or_beside_is_told_apart(found):
    first = SHEET.defects[0]
    match = match_truth(SHEET.defects, (), PLAN.mm_per_px)
    assert all(one.found is None and one.found_size_mm is None for one in match.matches)
    assert place_error_mm(match.matches[0], PLAN.mm_per_px) is None
    whole = next(one.number for one in match_truth(SHEET.defects, found, PLAN.mm_per_px).matches if one.truth == first)
    small = replace(found[whole], area_px=1)
    stray = replace(found[whole], box=(0, 0, 2, 2))
    match = match_truth([first], [small, found[whole], stray], PLAN.mm_per_px)
    assert (match.matches[0].number, match.fragments, match.false_alarms) == (1, (0,), (2,))
    assert match.sentence.endswith("1 more place was marked where nothing was drawn.")
    assert match_truth([], [stray], PLAN.mm_per_px).false_alarms == (0,)


def test_the_page_shows_what_was_drawn_beside_what_was_found(found):
    rows, columns = SHEET.shape
    clause = BrokenClause("main", "no spot above 2 mm <b>", "a source", "reject", 3, 0, "defects", (0,))
    inspection = Inspection(
        path="sheet.tif",
        score=2.0,
        limit=1.0,
        p_value=0.1,
        verdict="reject",
        map=np.zeros((rows, columns), np.float32),
        defects=found,
        pixel_limit=0.5,
        good_level=0.1,
        sheet=MEASURING.sheet((rows, columns)),
        grade=Grade("en1279", "reject", (clause,)),
    )
    lines = [
        {
            "number": 0,
            "kind": "stone",
            "called": "dark point",
            "place": (10.0, 20.0),
            "size": 1.5,
            "found_size": 1.45,
            "contrast": -0.3,
        },
        {
            "number": None,
            "kind": "dust",
            "called": "",
            "place": (159.9, 0.1),
            "size": 0.3,
            "found_size": None,
            "contrast": None,
        },
    ]
    page = render_drawn_sheet(
        SHEET.rows(0, rows), inspection, lines, sentence="1 of 2 found.", learned="From 3 sheets."
    )
    assert "A drawn sheet: 160 x 200 mm at 0.2 mm per pixel" in page
    assert "The detector says reject; the rule en1279 says reject." in page
    assert "no spot above 2 mm &lt;b&gt;" in page
    assert page.count('<a href="#defect-') == len(found)
    assert 'id="defect-0"' in page
    for text in ("1 of 2 found. From 3 sheets.", "missed", ">1.45<", ">-30%<", "10.0, 20.0"):
        assert text in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert "http" not in page.replace("http-equiv", "")
