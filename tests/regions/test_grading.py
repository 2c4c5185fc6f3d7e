"""Every shipped rule worked by hand, with its limits from both sides, and what is not certain is for a person."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from drawn import defect, pane, scratch

from pellucid.errors import DataError, ParameterError
from pellucid.records import Defect, Inspection
from pellucid.regions.grading import Grading, grade
from pellucid.regions.rules import read_rules


def verdict(rules, sheet, *defects, panes=None):
    """The verdict, with the clauses that decided."""
    found = grade(defects, sheet, Grading(rules if not isinstance(rules, str) else read_rules(rules), panes))
    return found.verdict, found.clauses


def spots(count, size, *, y=500, start=100, step=250, kind="spot"):
    """Spots in a row, so far apart that no circle of 20 cm holds two."""
    return [defect(start + step * k, y, size, kind) for k in range(count)]


OK = ("ok", "")


# --- EN 1279-1 / BF 2019 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "size", "expected"),
    [
        (14, 40.0, OK),  # rebate: everything
        (16, 1.0, OK),  # edge, 1 mm is "at most 1"
        (16, 3.0, OK),
        (16, 3.01, ("reject", "spots-E-larger")),
        (64, 3.0, OK),  # 15 + 50 = 65 mm is where the main zone begins
        (65, 3.0, ("reject", "M-larger")),
        (66, 2.0, OK),
        (66, 2.01, ("reject", "M-larger")),
    ],
)
def test_en1279_spots_by_zone_and_size(x, size, expected):
    assert verdict("en1279", pane(1000, 1000), defect(x, 500, size, "spot")) == expected


@pytest.mark.parametrize(
    ("size", "area", "count", "expected"),
    [
        ((1000, 1000), "1 m2", 4, OK),
        ((1000, 1000), "1 m2", 5, ("reject", "spots-E-3")),
        ((1250, 1000), "1.25 m2, 4.5 m around", 4, OK),
        ((1250, 1000), "4.5 m: the source does not say whether a started metre counts", 5, ("look", "spots-E-3")),
        ((1250, 1000), "4.5 m", 6, ("reject", "spots-E-3")),
        ((1500, 1500), "6 m", 6, OK),
        ((1500, 1500), "6 m", 7, ("reject", "spots-E-3")),
    ],
)
def test_en1279_spots_of_the_edge_are_counted_by_area_and_perimeter(size, area, count, expected):
    assert verdict("en1279", pane(*size), *spots(count, 1.01, y=30, start=20, step=200)) == expected, area


@pytest.mark.parametrize(
    ("apart", "count", "expected"), [(100, 2, OK), (100, 3, ("reject", "spots-E-1")), (100.5, 3, OK)]
)
def test_en1279_small_spots_of_the_edge_are_counted_in_circles_of_20_cm(apart, count, expected):
    small = [defect(200 + apart * k, 30, 1.0, "spot") for k in range(count)]
    assert verdict("en1279", pane(1000, 1000), *small) == expected


@pytest.mark.parametrize(
    ("width", "height", "allowed", "surely_not"),
    [
        (1000, 1000, 2, 3),
        (1001, 1000, 3, 4),
        (2000, 1000, 3, 4),
        (2001, 1000, 5, 6),
        (3000, 1000, 5, 6),
        (4000, 1000, 7, 8),
        (4500, 1000, 7, 10),  # 5 + 2 for one whole further m2; a second one has started
    ],
)
def test_en1279_spots_of_the_main_zone_by_area(width, height, allowed, surely_not):
    def judged(count):
        # far apart: two rows, 501 mm from one another
        places = [(100 + 501 * k, y) for y in (150, 660) for k in range((width - 170) // 501 + 1)]
        assert len(places) >= count, "no room"
        return verdict("en1279", pane(width, height), *(defect(x, y, 2.0, "spot") for x, y in places[:count]))

    assert judged(allowed) == OK
    if surely_not > allowed + 1:
        assert judged(allowed + 1) == ("look", "spots-M-2")
    assert judged(surely_not) == ("reject", "spots-M-2")


@pytest.mark.parametrize(("apart", "expected"), [(500, ("reject", "spots-M-circle")), (501, OK)])
def test_en1279_one_spot_of_the_main_zone_in_any_circle_of_50_cm(apart, expected):
    pair = [defect(200, 500, 0.5, "spot"), defect(200 + apart, 500, 0.5, "spot")]
    assert verdict("en1279", pane(1000, 1000), *pair) == expected


@pytest.mark.parametrize(
    ("x", "size", "count", "expected"),
    [
        (30, 1.0, 3, OK),
        (30, 1.0, 4, ("reject", "residues-E-1")),
        (30, 3.0, 4, OK),
        (30, 3.0, 5, ("reject", "residues-E-3")),
        (30, 17.0, 1, OK),
        (30, 17.0, 2, ("reject", "residues-E-17")),
        (30, 17.1, 1, ("reject", "E-larger")),
        (500, 1.0, 3, OK),
        (500, 1.0, 4, ("reject", "residues-M-1")),
        (500, 1.1, 1, ("reject", "residues-M-larger")),
        (500, 2.1, 1, ("reject", "residues-M-larger, M-larger")),
    ],
)
def test_en1279_residues(x, size, count, expected):
    near = [defect(x, 300 + 10 * k, size, "residue") for k in range(count)]
    assert verdict("en1279", pane(1000, 1000), *near) == expected


@pytest.mark.parametrize(
    ("x", "lengths", "expected"),
    [
        (10, [500], OK),
        (30, [30, 30, 30], OK),
        (30, [30.1], ("reject", "scratches-E")),
        (30, [30, 30, 30, 0.1], ("reject", "scratches-E-sum")),
        (500, [15, 15, 15], OK),
        (500, [15.1], ("reject", "scratches-M")),
        (500, [15, 15, 15, 0.1], ("reject", "scratches-M-sum")),
        (500, [20, 30], ("reject", "scratches-M, scratches-M-sum")),
    ],
)
def test_en1279_scratches(x, lengths, expected):
    found = [scratch(x, 300 + 10 * k, length) for k, length in enumerate(lengths)]
    assert verdict("en1279", pane(1000, 1000), *found) == expected


@pytest.mark.parametrize(("halo", "expected"), [(3.0, OK), (3.1, ("reject", "halo"))])
def test_en1279_halo(halo, expected):
    assert verdict("en1279", pane(1000, 1000), defect(500, 500, 1.0, "spot", halo=halo)) == expected


@pytest.mark.parametrize(
    ("panes", "allowed"),
    [(1, 3), (2, 4), (3, 5), (4, 6)],  # 4 * 0.75 = 3; 4; 5; 6
)
def test_en1279_counts_rise_with_the_panes(panes, allowed):
    for count, expected in ((allowed, OK), (allowed + 1, ("reject", "spots-E-3"))):
        row = spots(count, 1.5, y=30, start=20, step=150)
        assert verdict("en1279", pane(1000, 1000), *row, panes=panes) == expected


@pytest.mark.parametrize(("panes", "allowed"), [(1, 2), (2, 2), (3, 3)])  # 1.5 and 2.5 are rounded up
def test_en1279_counts_are_rounded_up(panes, allowed):
    for count in (allowed, allowed + 1):
        near = [defect(300 + k, 30, 0.5, "spot") for k in range(count)]
        found = verdict("en1279", pane(1000, 1000), *near, panes=panes)
        assert found == (OK if count == allowed else ("reject", "spots-E-1"))


def test_en1279_leaves_to_a_person_what_a_picture_does_not_tell():
    sheet = pane(1000, 1000)
    assert verdict("en1279", sheet, defect(500, 500, 1.5)) == ("look", "residues-M-larger")  # a spot would be allowed
    assert verdict("en1279", sheet, defect(500, 500, 0.9)) == OK  # both would be
    assert verdict("en1279", sheet, defect(500, 500, 2.5))[0] == "reject"  # neither would be
    assert verdict("en1279", sheet, defect(30, 500, 10.0, "bright area")) == ("look", "spots-E-larger")
    assert verdict("en1279", sheet, defect(30, 500, 18.0, "bright area"))[0] == "reject"


# --- SIGAB 006 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "oval", "count", "apart", "expected"),
    [
        (0.5, None, 20, 1, OK),
        (0.51, None, 3, 10, OK),
        (0.51, None, 4, 10, ("reject", "clusters")),
        (1.0, None, 4, 66, ("reject", "clusters")),  # 198 mm
        (1.0, None, 4, 67, OK),  # 201 mm
        (1.01, None, 1, 0, ("look", "points-counted")),
        (3.0, None, 1, 0, ("look", "points-counted")),
        (3.01, None, 1, 0, ("reject", "points-larger")),
        (2.0, 4.0, 1, 0, ("look", "points-counted")),  # oval: 3 mm in the mean
        (2.0, 4.1, 1, 0, ("reject", "points-larger")),
    ],
)
def test_sigab006_points(size, oval, count, apart, expected):
    row = [defect(100 + apart * k, 400, size, oval=oval) for k in range(count)]
    assert verdict("sigab006", pane(1000, 1000), *row) == expected


@pytest.mark.parametrize(("halo", "expected"), [(3.0, OK), (3.1, ("reject", "halo"))])
def test_sigab006_halo(halo, expected):
    assert verdict("sigab006", pane(1000, 1000), defect(500, 500, 1.0, halo=halo)) == expected


def test_sigab006_leaves_scratches_to_a_person():
    assert verdict("sigab006", pane(1000, 1000), scratch(500, 500, 0.1)) == ("look", "scratches")


# --- ASTM C1036 Q3 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "oval", "count", "apart", "expected"),
    [
        (1.6, None, 30, 2, OK),
        (1.61, None, 1, 0, OK),
        (1.61, None, 2, 611, OK),
        (1.61, None, 2, 610, OK),
        (2.4, None, 2, 609, ("reject", "points-2.4")),
        (2.4, None, 1, 0, OK),
        (2.41, None, 1, 0, ("reject", "points-larger")),
        (1.2, 2.0, 9, 5, OK),  # 1.6 in the mean of length and width
        (1.8, 3.0, 1, 0, OK),  # 2.4
        (1.8, 3.1, 1, 0, ("reject", "points-larger")),
    ],
)
def test_c1036_points(size, oval, count, apart, expected):
    row = [defect(100 + apart * k, 400, size, oval=oval) for k in range(count)]
    assert verdict("c1036-q3", pane(1000, 1000), *row) == expected


def test_c1036_a_small_point_beside_a_larger_one_is_not_similar():
    assert verdict("c1036-q3", pane(1000, 1000), defect(400, 400, 2.0), defect(410, 400, 1.0)) == OK


def test_c1036_leaves_scratches_and_chips_to_a_person():
    sheet = pane(1000, 1000)
    assert verdict("c1036-q3", sheet, scratch(500, 500, 5)) == ("look", "lines")
    assert verdict("c1036-q3", sheet, defect(1, 400, 1.0, box=(0, 399, 2, 2))) == ("look", "chips")
    assert verdict("c1036-q3", sheet, defect(2, 400, 1.0, box=(1, 399, 2, 2))) == OK
    assert verdict("c1036-q3", sheet, defect(999, 400, 3.0, box=(997, 399, 3, 2))) == ("reject", "points-larger")


# --- what is not certain --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1.89, OK), (1.95, ("look", "M-larger")), (2.05, ("look", "M-larger")), (2.11, ("reject", "M-larger"))],
)
def test_a_size_within_its_uncertainty_of_the_limit_is_looked_at(size, expected):
    assert verdict("en1279", pane(1000, 1000), defect(500, 500, size, "spot", uncertain=0.1)) == expected


def test_sums_are_read_at_their_least_and_at_their_most():
    def judged(length):
        return verdict("en1279", pane(1000, 1000), *(scratch(500, 300 + k, length, uncertain=1) for k in range(4)))

    assert judged(10.25) == OK  # 4 * 11.25 = 45
    assert judged(10.26) == ("look", "scratches-M-sum")
    assert judged(12.25) == ("look", "scratches-M-sum")
    assert judged(12.26) == ("reject", "scratches-M-sum")  # 4 * 11.26 > 45


def test_a_scratch_across_the_border_of_a_zone_is_looked_at():
    sheet = pane(1000, 1000)
    assert verdict("en1279", sheet, scratch(12, 300, 40, box=(2, 290, 12, 20))) == OK  # all in the rebate
    assert verdict("en1279", sheet, scratch(12, 300, 40, box=(2, 290, 20, 20))) == ("look", "scratches-E")
    assert verdict("en1279", sheet, scratch(60, 300, 20, box=(50, 290, 20, 20))) == ("look", "scratches-M")
    assert verdict("en1279", sheet, scratch(70, 300, 40, box=(50, 290, 40, 20)))[0] == "reject"


def test_a_separation_between_the_distance_of_boxes_and_of_centres_is_looked_at():
    def judged(apart):
        near = [defect(x, 400, 2.0, box=(x - 1, 399, 2, 2)) for x in (100, 100 + apart)]
        return verdict("c1036-q3", pane(1000, 1000), *near)

    assert judged(612) == OK  # 610 between them
    assert judged(611) == judged(610) == ("look", "points-2.4")
    assert judged(609) == ("reject", "points-2.4")


def test_what_the_map_outlines_is_never_rejected_for_its_size():
    large = defect(500, 500, 5.0, "spot")
    assert verdict("en1279", pane(1000, 1000), large) == ("reject", "M-larger")
    assert verdict("en1279", pane(1000, 1000, outline="map"), large)[0] == "look"
    assert verdict("en1279", pane(1000, 1000, outline="map"), defect(500, 500, 1.0, "spot")) == OK


def test_what_was_not_measured_is_looked_at():
    listed = Defect((500, 500, 9, 9), 20, 1.0, (504.0, 504.0))
    found = grade([listed, defect(300, 300, 1.0)], pane(1000, 1000), Grading(read_rules("c1036-q3")))
    assert (found.verdict, found.clauses, found.broken[0].defects) == ("look", "not measured", (0,))


def test_a_pane_smaller_than_its_rebates_is_all_rebate():
    assert verdict("en1279", pane(28, 400), defect(14, 200, 20.0, "spot")) == OK


def test_a_clause_says_what_it_demands_and_what_was_found():
    row = spots(5, 1.5, y=30, start=20, step=200)
    found = grade(row, pane(1000, 1000), Grading(read_rules("en1279")))
    (broken,) = found.broken
    assert (broken.found, broken.limit, broken.unit, broken.defects) == (5, 4, "defects", (0, 1, 2, 3, 4))
    assert str(broken).startswith("spots-E-3: Zone E, spots above 1 mm and up to 3 mm")
    assert str(broken).endswith("; found 5, limit 4 (number 0, 1, 2, 3, 4)")
    assert "page4.html" in broken.source
    assert str(found) == "REJECT by en1279: spots-E-3"
    assert str(grade([], pane(1000, 1000), Grading(read_rules("en1279")))) == "OK by en1279"


@pytest.mark.parametrize(("rules", "panes"), [("c1036-q3", 2), ("en1279", 0)])
def test_panes_that_a_rule_does_not_know_are_refused(rules, panes):
    with pytest.raises(ParameterError, match=r"says nothing about several panes|1 pane or more"):
        Grading(read_rules(rules), panes)


def test_more_defects_never_make_a_grade_better():
    """What the readings at the least and at the most rest on, for defects drawn at random."""
    rng = np.random.default_rng(0)
    order = {"ok": 0, "look": 1, "reject": 2}
    for name in ("en1279", "sigab006", "c1036-q3"):
        grading = Grading(read_rules(name))
        for _ in range(20):
            found = [
                defect(*rng.integers(5, 995, 2), rng.uniform(0.3, 2.6), uncertain=rng.uniform(0, 0.3))
                for _ in range(rng.integers(2, 8))
            ]
            whole, without = (grade(one, pane(1000, 1000), grading) for one in (found, found[:-1]))
            assert order[whole.verdict] >= order[without.verdict]
            assert all(math.isfinite(one.limit) for one in whole.broken)


def inspection(*defects, verdict="reject", **more):
    pixels = np.zeros((20, 30, 3), np.float32)
    return Inspection(Path("pane.png"), 2.0, 1.0, 0.1, verdict, pixels[..., 0], defects, pixels=pixels, **more)


def test_an_inspection_shows_its_grade_beside_its_verdict():
    grading = Grading(read_rules("c1036-q3"))
    allowed = grading.apply(inspection(defect(15, 10, 1.0), sheet=pane(30, 20)))
    assert (allowed.verdict, allowed.grade.verdict) == ("reject", "ok")
    assert "OK by c1036-q3" in repr(allowed)
    forbidden = grading.apply(inspection(defect(15, 10, 3.0), sheet=pane(30, 20)))
    assert "points-larger: Point blemishes above 2.4 mm: none; found 1, limit 0 (number 0)" in forbidden._repr_html_()
    assert not np.array_equal(np.asarray(allowed.picture()), np.asarray(forbidden.picture()))  # by their captions
    assert grading.apply(inspection(verdict="ok", sheet=pane(30, 20))).grade.verdict == "ok"


def test_what_was_not_judged_is_never_ok_and_what_has_no_scale_is_refused():
    grading = Grading(read_rules("en1279"))
    for reason in ("Not judged: the image is black.", ""):
        (broken,) = grading.apply(inspection(reason=reason, sheet=pane(30, 20))).grade.broken
        assert (broken.verdict, broken.clause) == ("look", "not judged")
        assert broken.text == (reason or "The detector rejected it without a defect that could be graded.")
    with pytest.raises(DataError, match=r"'pane.png' cannot be graded without a scale: inspect it with --mm-per-px"):
        grading.apply(inspection(verdict="ok"))
