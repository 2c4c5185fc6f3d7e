"""The language of grading rules: what it can say, and what it refuses."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
from drawn import defect, pane, scratch

from pellucid.errors import DataError, ParameterError
from pellucid.regions.grading import Grading, grade
from pellucid.regions.rules import Rules, read_rules, shipped_names, shipped_text

CLAUSE = {"name": "c", "text": "at most", "source": "s", "max_count": 0}


def rule(*clauses, **more):
    """A rule of a few clauses over points and lines."""
    return {
        "name": "own",
        "title": "My customer's table",
        "sources": {"s": "contract of 2026"},
        "size": "diameter",
        "kinds": {"point": ["spot"], "line": ["scratch"]},
        "clauses": [CLAUSE | clause for clause in clauses],
        **more,
    }


def clause(**more):
    """A clause with another limit than a count."""
    return {"max_count": None} | more


def graded(values, sheet, *defects, panes=None):
    values["clauses"] = [{k: v for k, v in one.items() if v is not None} for one in values["clauses"]]
    found = grade(defects, sheet, Grading(Rules.model_validate(values), panes))
    return found.verdict, found.clauses


OK = ("ok", "")
PERCENT = {"zones": [{"name": "border", "width_percent": 10, "source": "s"}, {"name": "centre", "source": "s"}]}


@pytest.mark.parametrize(
    ("x", "y", "where"),
    [(99, 250, "border"), (100, 250, "centre"), (500, 49, "border"), (500, 50, "centre"), (901, 250, "border")],
)
def test_a_zone_by_percent_is_of_the_width_at_the_sides_and_of_the_height_above_and_below(x, y, where):
    values = rule({"name": "border", "zones": ["border"]}, {"name": "centre", "zones": ["centre"]}, **PERCENT)
    assert graded(values, pane(1000, 500), defect(x, y)) == ("reject", where)


@pytest.mark.parametrize(
    ("classes", "size", "surely", "at_most"),
    [
        ([{"up_to_m2": 1, "allowed": 2}, {"allowed": 3, "per_m2": 1.5, "above_m2": 1}], (1000, 1000), 2, 2),
        ([{"up_to_m2": 1, "allowed": 2}, {"allowed": 3, "per_m2": 1.5, "above_m2": 1}], (2400, 1000), 4, 6),
        ([{"allowed": 3, "per_m2": 1.5, "above_m2": 1, "count": "exact"}], (2400, 1000), 5, 5),  # 3 + 1.5 * 1.4 = 5.1
        ([{"allowed": 3, "per_m2": 1.5, "above_m2": 1, "count": "whole"}], (2400, 1000), 4, 4),
        ([{"allowed": 3, "per_m2": 1.5, "above_m2": 1, "count": "started"}], (2400, 1000), 6, 6),
        ([{"per_metre": 1, "count": "exact"}], (2400, 1000), 6, 6),  # 6.8 m
        ([{"per_metre": 1}], (2400, 1000), 6, 7),
        ([{"per_metre": 0.5, "allowed": 1}], (2500, 1000), 4, 4),  # 7 m are whole
    ],
)
def test_what_is_allowed_on_a_pane(classes, size, surely, at_most):
    for count in range(at_most + 2):
        expected = OK if count <= surely else ("look" if count <= at_most else "reject", "c")
        found = graded(rule({"max_count": classes}), pane(*size), *(defect(50 + k, 500) for k in range(count)))
        assert found == expected, count


@pytest.mark.parametrize(("lengths", "expected"), [([20, 20], OK), ([20, 20.1], ("reject", "c"))])
def test_a_sum_by_area(lengths, expected):
    classes = [{"up_to_m2": 1, "allowed": 40}, {"allowed": 45}]
    values = rule(clause(size="length", max_sum_mm=classes))
    found = [scratch(500, 100 + k, length) for k, length in enumerate(lengths)]
    assert graded(values, pane(1000, 1000), *found) == expected
    assert graded(values, pane(1001, 1000), *found) == OK


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("diameter", 2.0), ("mean", 3.0), ("feret", 4.0), ("length", 7.0), ("width", 2.0), ("halo", 2.4)],
)
def test_what_a_defect_is_measured_by(measure, expected):
    one = defect(500, 500, 2.0, oval=4.0, length=7.0, halo=2.4)
    for limit, verdict in ((expected - 0.01, "reject"), (expected + 0.01, "ok")):
        values = rule(
            {"above_mm": limit},
            clause(name="rest", up_to_mm=limit, unlimited=True),
            size=measure,
            kinds={"point": ["x"]},
        )
        assert graded(values, pane(1000, 1000), one)[0] == verdict


def test_a_halo_that_was_not_measured_may_be_of_any_size():
    values = rule({"size": "halo", "above_mm": 3}, clause(name="rest", unlimited=True))
    unknown = replace(defect(500, 500), halo_px=None)
    assert graded(values, pane(1000, 1000), defect(500, 500)) == OK
    assert graded(values, pane(1000, 1000), unknown) == ("look", "c")


def test_what_no_clause_speaks_of_is_looked_at():
    values = rule({"kinds": ["spot"], "above_mm": 2}, clause(name="small", kinds=["spot"], up_to_mm=1, unlimited=True))
    assert graded(values, pane(1000, 1000), defect(500, 500, 1.0)) == OK
    assert graded(values, pane(1000, 1000), defect(500, 500, 1.5)) == ("look", "not covered")
    assert graded(values, pane(1000, 1000), scratch(500, 500, 9)) == ("look", "not covered")
    assert graded(values, pane(1000, 1000), defect(500, 500, 1.0, "bright ring")) == ("look", "not covered")


def test_a_kind_may_be_told_by_its_tone_and_by_a_person():
    kinds = {"dark point": ["stone"], "point": ["bubble"]}
    values = rule(
        {"name": "stones", "kinds": ["stone"]}, clause(name="b", kinds=["bubble"], unlimited=True), kinds=kinds
    )
    assert graded(values, pane(1000, 1000), defect(5, 5, kind="dark point")) == ("reject", "stones")
    assert graded(values, pane(1000, 1000), defect(5, 5, kind="bright point")) == OK
    assert graded(values, pane(1000, 1000), defect(5, 5, kind="stone")) == ("reject", "stones")


@pytest.mark.parametrize(
    ("base", "panes", "way", "limit"), [(1, 3, "up", 4), (1, 3, "down", 3), (2, 1, "up", 2), (1, 9, "up", 7)]
)
def test_panes_scale_counts_and_nothing_else(base, panes, way, limit):
    more = {"panes": {"base": base, "count_percent": 30, "round": way, "source": "s"}}
    values = rule({"max_count": 2}, clause(name="sum", size="length", kinds=["scratch"], max_sum_mm=10), **more)
    for count in (limit, limit + 1):
        expected = OK if count == limit else ("reject", "c")
        few = [defect(5, k + 1) for k in range(count)]
        assert graded(values, pane(1000, 1000), *few, panes=panes) == expected
    assert graded(values, pane(1000, 1000), scratch(5, 5, 10.1), panes=panes) == ("reject", "sum")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (rule({"max_cout": 1}), r"clauses\[1\]: Unknown key 'max_cout': did you mean 'max_count'\?"),
        (rule({"max_count": [{"upto_m2": 1}]}), r"max_count\[1\]: Unknown key 'upto_m2': did you mean 'up_to_m2'"),
        (rule({}, zone=[]), r"Unknown key 'zone': did you mean 'zones'"),
        (rule({"max_count": "two"}), r"clauses\[1\]: max_count = 'two' is not allowed"),
        (rule({"above_mm": "1"}), r"clauses\[1\]: above_mm = '1' is not allowed: input should be a valid number"),
        (rule({"above_mm": -1}), r"above_mm = -1 is not allowed: input should be greater than or equal to 0"),
        (rule({"size": "area"}), r"size = 'area' is not allowed: input should be 'diameter', 'mean'"),
        (rule({"max_sum_mm": 4}), r"clause 'c' has 2 limits: give one of unlimited, max_count, max_sum_mm"),
        (rule({"max_count": None}), r"clause 'c' has 0 limits"),
        (rule(clause(max_sum_mm=4, within_circle_mm=9)), r"within_circle_mm goes with max_count alone"),
        (rule({"above_mm": 2, "up_to_mm": 2}), r"clause 'c' takes nothing: above_mm is not below up_to_mm"),
        (rule({"max_count": [{"up_to_m2": 2}, {"up_to_m2": 1}, {}]}), r"up_to_m2 has to rise, and the last class has"),
        (rule({"max_count": [{"up_to_m2": 2}]}), r"up_to_m2 has to rise, and the last class has none"),
        (rule({"zones": ["M"]}), r"clause 'c': zone 'M' is none of none"),
        (rule({"zones": ["edge"]}, **PERCENT), r"clause 'c': zone 'edge' is none of border, centre"),
        (rule({"kinds": ["sport"]}), r"clause 'c': kind 'sport' is none of spot, scratch"),
        (rule({}, {}), r"there are two clauses 'c'"),
        (rule({"source": "EN"}), r"source 'EN' is none of s"),
        (rule({}, kinds={"pont": ["spot"]}), r"Unknown kind 'pont': did you mean 'point'"),
        (rule({}, zones=[{"name": "a", "source": "s"}] * 2), r"there are two zones 'a'"),
        (rule({}, zones=[{"name": "a", "source": "s", "width_mm": 5}]), r"every zone but the last has width_mm or"),
        (rule({}, zones=[{"name": "a"}]), r"zones\[1\]: 'source' is missing"),
        ({"name": "own"}, r"'title' is missing"),
    ],
)
def test_what_a_rule_cannot_say_is_one_sentence(values, message, tmp_path):
    for one in values.get("clauses", []):
        if one["max_count"] is None:
            del one["max_count"]
    file = tmp_path / "own.toml"
    file.write_text(tomli_w.dumps(values))
    with pytest.raises(ParameterError, match=message) as caught:
        read_rules(file)
    assert str(caught.value).startswith(f"'{file}': ")
    assert str(caught.value).endswith((".", "?"))


def test_a_rule_that_is_not_there(tmp_path):
    with pytest.raises(ParameterError, match=r"Unknown grading rule 'en1279x': did you mean 'en1279'\? A rule of your"):
        read_rules("en1279x")
    with pytest.raises(ParameterError, match="Unknown grading rule"):
        shipped_text("own")
    with pytest.raises(DataError, match="Cannot read"):
        read_rules(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(DataError, match="is not a TOML file"):
        read_rules(tmp_path / "bad.toml")


@pytest.mark.parametrize("name", shipped_names())
def test_every_number_of_a_shipped_rule_has_a_public_source(name, tmp_path):
    rules = read_rules(name)
    assert rules.name == name
    assert all("https://" in source for source in rules.sources.values())
    assert {clause.source for clause in rules.clauses} <= rules.sources.keys()
    assert set(rules.kinds) == {"point", "ring", "area", "line"}  # whatever the tone, something speaks of it
    (tmp_path / "copy.toml").write_text(shipped_text(name))
    assert read_rules(tmp_path / "copy.toml") == rules


def test_the_rule_of_the_documentation_is_one_and_grades():
    page = (Path(__file__).parents[2] / "docs/grading.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(name = .*?)```", page, flags=re.S)
    rules = Rules.model_validate(tomllib.loads(block))

    def graded(*defects):
        found = grade(defects, pane(1500, 1000), Grading(rules))
        return found.verdict, found.clauses

    assert graded(*(defect(300 + 201 * (k % 5), 300 + 201 * (k // 5), 0.5) for k in range(9))) == OK
    assert graded(*(defect(400 + 250 * k, 500, 2.0) for k in range(3))) == OK
    assert graded(*(defect(400 + 250 * k, 500, 2.0) for k in range(4))) == ("reject", "main")
    assert graded(*(defect(20 + 250 * k, 20, 3.0) for k in range(5))) == OK
    assert graded(*(defect(20 + 250 * k, 20, 3.0) for k in range(6))) == ("reject", "edge")
    assert graded(defect(20, 20, 3.1)) == ("reject", "edge-larger")
    assert graded(*(defect(20 + k, 20, 1.0) for k in range(4))) == ("reject", "clusters")
    assert graded(scratch(700, 500, 45), scratch(700, 600, 45.1)) == ("reject", "scratches")
