"""Panes of a sheet are graded each by itself, and what is uncertain at a cut is for a person."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from drawn import defect, pane
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import DataError, ParameterError
from pellucid.records import Inspection, Sample
from pellucid.regions.cut_plan import CutPlan, Pane, read_cut_plan
from pellucid.regions.grading import Grading, grade
from pellucid.regions.rules import Rules, read_rules
from pellucid.regions.zones import EVERYTHING
from pellucid.reports.sheet import _drawn_zones
from pellucid.study.results import ScoredSample
from pellucid.study.stored import result_text
from tests.commands import pellucid_here

PLAN = """
origin_mm = [100, 50]

[[panes]]
name = "A1"
rectangle_mm = [0, 0, 1000, 1000]

[[panes]]
name = "A2"
rectangle_mm = [1000, 0, 1000, 1000]

[[panes]]
name = "wedge"
polygon_mm = [[0, 1000], [2000, 1000], [0, 3000]]
"""
SHEET = pane(2200, 3100)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    file = tmp_path_factory.mktemp("plan") / "plan.toml"
    file.write_text(PLAN, "utf-8")
    return read_cut_plan(file)


def graded(plan, *defects, rules="en1279", sheet=SHEET):
    found = grade(defects, sheet, Grading(read_rules(rules), plan=plan))
    return found, {one.pane: one.verdict for one in found.by_pane}


def test_a_plan_is_the_same_in_json(plan, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan.model_dump(exclude_none=True)), "utf-8")
    assert read_cut_plan(file) == plan
    first, second, wedge = plan.placed()
    assert first.box == (100, 50, 1100, 1050)
    assert (second.area_m2, second.perimeter_m) == (1, 4)
    assert wedge.area_m2 == pytest.approx(2)
    assert wedge.perimeter_m == pytest.approx(4 + 2 * math.sqrt(2))


@pytest.mark.parametrize(
    ("x", "y", "size", "verdicts", "clauses"),
    [
        (600, 550, 2.5, ("reject", "ok", "ok"), "A1/M-larger"),  # in the middle of A1
        (130, 550, 2.5, ("ok", "ok", "ok"), ""),  # 30 mm from its rim: the edge zone allows it
        (1130, 550, 2.5, ("ok", "ok", "ok"), ""),  # 30 mm from the cut between A1 and A2, on A2's side
        (1070, 550, 3.5, ("reject", "ok", "ok"), "A1/spots-E-larger"),
        (1600, 550, 2.5, ("ok", "reject", "ok"), "A2/M-larger"),
        (600, 1600, 2.5, ("ok", "ok", "reject"), "wedge/M-larger"),
        (1070, 2030, 2.5, ("ok", "ok", "ok"), ""),  # 35 mm from the slanted rim
        (50, 550, 40.0, ("ok", "ok", "ok"), ""),  # before the plan begins
    ],
)
def test_every_pane_has_zones_of_its_own(plan, x, y, size, verdicts, clauses):
    found, by_pane = graded(plan, defect(x, y, size, "spot"))
    assert tuple(by_pane.values()) == verdicts
    assert (found.verdict, found.clauses) == ("reject" if clauses else "ok", clauses)
    assert found.cut_away == ((0,) if x == 50 else ())


def test_counts_are_of_a_pane_and_a_sheet_is_as_good_as_its_worst(plan):
    spots = [defect(300 + 600 * k, 550, 1.5, "spot") for k in range(4)]  # two on each of A1, A2
    found, by_pane = graded(plan, *spots)
    assert (found.verdict, by_pane["A1"], by_pane["A2"]) == ("ok", "ok", "ok")
    assert [one.defects for one in found.by_pane] == [(0, 1), (2, 3), ()]
    found, by_pane = graded(plan, *spots, defect(800, 150, 1.5, "spot"))
    assert (found.verdict, by_pane["A1"], by_pane["A2"]) == ("reject", "reject", "ok")
    assert {one.pane for one in found.broken} == {"A1"}


def test_a_flaw_across_a_cut_is_for_a_person_on_both_sides(plan):
    across = defect(1095, 550, 30.0, "spot", box=(1045, 500, 100, 100))
    found, by_pane = graded(plan, across)
    assert by_pane == {"A1": "look", "A2": "look", "wedge": "ok"}
    assert found.verdict == "look"
    assert [one.defects for one in found.by_pane] == [(0,), (), ()]
    one_side = graded(plan, defect(1080, 550, 30.0, "spot", box=(1065, 535, 30, 30)))[1]
    assert one_side == {"A1": "reject", "A2": "ok", "wedge": "ok"}


def test_what_the_image_does_not_show_is_for_a_person(plan):
    found, by_pane = graded(plan, sheet=pane(2050, 3100))
    assert by_pane == {"A1": "ok", "A2": "look", "wedge": "look"}
    assert found.clauses == "A2/not seen, wedge/not seen"


def test_an_image_that_was_not_judged_has_no_good_pane(plan):
    empty = np.empty((0, 0), np.float32)
    found = Inspection(Path("a.png"), math.inf, 1.0, 0.1, "reject", empty, reason="Not judged: dark.", sheet=SHEET)
    told = Grading(read_rules("en1279"), plan=plan).apply(found).grade
    assert {one.verdict for one in told.by_pane} == {"look"}


@given(*(st.integers(low, high).map(lambda n: n / 4) for low, high in ((-99, 999), (-99, 799), (1, 160), (1, 160))))
def test_a_polygon_that_is_a_rectangle_is_in_the_same_zones(x, y, width, height):
    rules = read_rules("en1279")
    rectangle = Pane.of_box("a", (0.0, 0.0, 300.0, 200.0))
    polygon = Pane("a", (*rectangle.corners, (0.0, 100.0)))
    assert rectangle.is_rectangle
    assert not polygon.is_rectangle
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    assert polygon.holds((x, y)) == rectangle.holds((x, y))
    assert polygon.reaches(box) >= rectangle.reaches(box)  # what may touch it, never less
    assert polygon.encloses(box) <= rectangle.encloses(box)
    if rectangle.holds((x, y)):
        exact, wide = (list(one.zones((x, y), box, rules, 0.0)) for one in (rectangle, polygon))
        assert [zone[1] for zone in exact] == [zone[1] for zone in wide]
        assert all(a <= b for (_, _, a), (_, _, b) in zip(exact, wide, strict=True))
    assert polygon.area_m2 == pytest.approx(rectangle.area_m2)
    assert polygon.perimeter_m == pytest.approx(rectangle.perimeter_m)


WRONG = {
    "a key": ("[[panes]]\nname = 'a'\nrectangel_mm = [0, 0, 1, 1]", "panes.1.: .*rectangle_mm"),
    "two panes": ("[[panes]]\nname='a'\nrectangle_mm=[0,0,1,1]\n" * 2, "there are two panes 'a'"),
    "both": (
        "[[panes]]\nname='a'\nrectangle_mm=[0,0,1,1]\npolygon_mm=[[0,0],[1,0],[0,1]]",
        "pane 'a': give either rectangle_mm or polygon_mm",
    ),
    "no width": ("[[panes]]\nname='a'\nrectangle_mm=[0,0,0,1]", "is not allowed: input should be greater than 0"),
    "a line": ("[[panes]]\nname='a'\npolygon_mm=[[0,0],[1,0],[2,0]]", "pane 'a' has no area"),
    "overlap": (
        "[[panes]]\nname='a'\nrectangle_mm=[0,0,9,9]\n[[panes]]\nname='b'\nrectangle_mm=[8,7,9,9]",
        "panes 'a' and 'b' overlap by 1 x 2 mm",
    ),
    "nothing": ("origin_mm = [0, 0]", "'panes' is missing"),
    "no TOML": ("[[panes", "is not a TOML file"),
}


@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG)
def test_a_plan_that_cannot_be_understood_says_where(text, sentence, tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text(text, "utf-8")
    with pytest.raises((ParameterError, DataError), match=sentence):
        read_cut_plan(file)


def test_a_plan_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read '.*none.json': No such file"):
        read_cut_plan(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match=r"bad.json' is not a JSON file"):
        read_cut_plan(tmp_path / "bad.json")


def test_zones_in_percent_need_rectangles(plan):
    rules = read_rules("en1279")
    percent = Rules.model_validate(
        rules.model_dump()
        | {"zones": [{"name": z.name, "source": z.source, **({"width_percent": 10} if z is not rules.zones[-1] else {})}
                     for z in rules.zones]}
    )  # fmt: skip
    with pytest.raises(ParameterError, match="are in percent of a rectangle's sides, and pane 'wedge' is none"):
        Grading(percent, plan=plan)
    Grading(percent, plan=CutPlan(panes=plan.panes[:2]))


def test_the_command_line_and_the_page_tell_every_pane(plan, tmp_path):
    spot = defect(1600, 550, 2.5, "spot")
    empty = np.empty((0, 0), np.float32)
    found = Inspection(Path("sheet.png"), 9.0, 4.0, 0.01, "reject", empty, (spot,), sheet=SHEET)
    (tmp_path / "results.jsonl").write_text(result_text(ScoredSample(Sample(found.path, "normal"), found)) + "\n")
    (tmp_path / "plan.toml").write_text(PLAN, "utf-8")
    options = ("--grade", "en1279", "--cut-plan", tmp_path / "plan.toml")
    told = json.loads(pellucid_here("regrade", tmp_path, *options, "--json").stdout)["grade"]
    expected = Grading(read_rules("en1279"), plan=plan).apply(found)
    assert told == json.loads(json.dumps(asdict(expected.grade)))
    printed = " ".join(pellucid_here("regrade", tmp_path, *options).stdout.split())
    assert "sheet.png, pane by pane: A1 ok, A2 reject, wedge ok" in printed
    assert "A2/M-larger" in printed
    assert "0 ok, 0 look, 1 reject; of the panes 2 ok, 0 look, 1 reject" in printed
    drawn = list(_drawn_zones((2200, 3100), expected, EVERYTHING, read_rules("en1279")))
    assert [zone["name"] for zone in drawn if zone["of"].startswith("pane")] == ["A1: ok", "A2: reject", "wedge: ok"]
    edges = [zone["rings"][0][0] for zone in drawn if zone["of"] == "rule"]
    assert [100, 50] in edges
    assert [1100, 50] in edges
    assert replace(expected, grade=None) == found


def test_a_plan_without_a_rule_is_refused(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN, "utf-8")
    (tmp_path / "image.png").write_bytes(b"")
    done = pellucid_here(
        "inspect", "no.pellucid", tmp_path / "image.png", "--cut-plan", tmp_path / "plan.toml", check=1
    )
    assert "give --grade as well" in " ".join(done.stderr.split())
