"""Grading from the command line: what inspect finds, and what it wrote under another rule."""

from __future__ import annotations

import csv
import json
import re

import pytest
from commands import pellucid_here

from pellucid.regions.rules import shipped_names, shipped_text
from pellucid.study.stored import read_results, result_text

LOOSE = """
name = "loose"
title = "Nothing is too large"
size = "diameter"

[sources]
own = "nobody's"

[kinds]
point = ["flaw"]
area = ["flaw"]
ring = ["flaw"]
line = ["flaw"]

[[clauses]]
name = "all"
text = "Any number"
unlimited = true
source = "own"
"""


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    file = tmp_path_factory.mktemp("rules") / "loose.toml"
    file.write_text(LOOSE)
    return file


@pytest.fixture(scope="module")
def inspected(compared, glass, tmp_path_factory):
    """A folder of results that were graded, and the lines that were printed."""
    folder = tmp_path_factory.mktemp("graded") / "results"
    model = compared / "padim/model.pellucid"
    options = ("--json", "--mm-per-px", 0.5, "--grade", "c1036-q3", "-o", folder)
    done = pellucid_here("inspect", model, glass / "abnormal_test", glass / "normal_test", *options)
    return folder, done


def test_inspect_keeps_verdict_and_grade_apart(inspected):
    folder, done = inspected
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (folder / "results.jsonl").read_text() == done.stdout
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert {line["verdict"] for line in lines} == {"ok", "reject"}
    for line, row in zip(lines, rows, strict=True):
        assert line["sheet"]["mm_per_px"] == [0.5, 0.5]
        assert line["sheet"]["width_mm"] > 0
        assert line["grade"]["rules"] == "c1036-q3"
        assert (row["verdict"], row["grade"]) == (line["verdict"], line["grade"]["verdict"])
        decided = [one["clause"] for one in line["grade"]["broken"] if one["verdict"] == row["grade"]]
        assert row["clauses"] == ", ".join(decided)
        assert line["defects"] or line["grade"]["verdict"] == "ok"
        for broken in line["grade"]["broken"]:
            assert set(broken["defects"]) <= set(range(len(line["defects"])))
    assert re.search(r"graded by c1036-q3: \d+ ok, \d+ look, \d+ reject", done.stderr)


def test_regrade_gives_what_inspect_gives(inspected, compared, glass, tmp_path):
    folder, done = inspected
    again = pellucid_here("regrade", folder, "--grade", "c1036-q3", "--json", "-o", tmp_path)
    assert again.stdout == done.stdout
    for name in ("results.jsonl", "scores.csv", "defects.csv"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()
    (tmp_path / "printed").write_text(done.stdout)
    other = pellucid_here("regrade", tmp_path / "printed", "--grade", "en1279", "--panes", 3, "--json")
    options = ("--json", "--mm-per-px", 0.5, "--grade", "en1279", "--panes", 3)
    model = compared / "padim/model.pellucid"
    assert (
        other.stdout == pellucid_here("inspect", model, glass / "abnormal_test", glass / "normal_test", *options).stdout
    )


def test_a_table_names_the_clauses_and_their_source(inspected, loose, tmp_path):
    folder, _ = inspected
    done = pellucid_here("regrade", folder, "--grade", "c1036-q3", "-o", tmp_path)
    assert "https://jada.com/Features/Glazing" in done.stdout
    assert re.search(r"reject: \S+\.png: points-larger: Point blemishes above 2.4 mm: none; found [1-9]", done.stdout)
    assert re.search(r"graded by c1036-q3: \d+ ok, \d+ look, [1-9]\d* reject", done.stdout)
    assert re.search(
        r"graded by loose: \d+ ok, 0 look, 0 reject", pellucid_here("regrade", folder, "--grade", loose).stdout
    )
    assert "for 2 panes" in pellucid_here("regrade", folder, "--grade", "en1279").stdout


def test_with_a_grade_the_exit_code_follows_it(compared, glass, loose):
    options = (compared / "padim/model.pellucid", glass / "abnormal_test", "--mm-per-px", 0.5, "--fail-on-reject")
    assert "graded by loose" in pellucid_here("inspect", *options, "--grade", loose).stdout
    assert "reject" in pellucid_here("inspect", *options, "--grade", "c1036-q3", check=3).stdout


def test_what_cannot_be_graded_is_one_sentence(compared, glass, tmp_path):
    model = compared / "padim/model.pellucid"
    images = glass / "normal_test"
    cases = [
        (("inspect", model, images, "--grade", "en1279"), "Grading needs a scale: give --mm-per-px"),
        (("inspect", model, images, "--mm-per-px", 1, "--grade", "en127"), "did you mean 'en1279'"),
        (
            ("inspect", model, images, "--mm-per-px", 1, "--grade", "sigab006", "--panes", 2),
            "says nothing about several",
        ),
        (("regrade", tmp_path / "none", "--grade", "en1279"), "Give the folder of inspect -o"),
    ]
    pellucid_here("inspect", model, images, "-o", tmp_path / "px")
    cases.append((("regrade", tmp_path / "px", "--grade", "en1279"), "cannot be graded without a scale"))
    for name, content, message in (
        ("empty", "", "There are no results"),
        ("text", "hello\n", "line 1 is no result"),
        ("other", '{"path": "a.png"}\n', "Field required"),
        ("bytes", b"\xff\xfe", "it is not text"),
    ):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        cases.append((("regrade", file, "--grade", "en1279"), message))
    for arguments, message in cases:
        assert message in " ".join(pellucid_here(*arguments, check=1).stderr.split()), arguments


def test_rules_lists_and_prints_what_can_be_graded_by():
    shown = pellucid_here("rules").stdout
    assert all(name in shown for name in shipped_names())
    assert pellucid_here("rules", "en1279").stdout == shipped_text("en1279")
    listed = json.loads(pellucid_here("rules", "--json").stdout)
    assert [one["name"] for one in listed] == shipped_names()
    assert "Unknown grading rule" in pellucid_here("rules", "en", check=1).stderr


def test_a_line_keeps_every_measure(inspected):
    folder, done = inspected
    read = read_results(folder)
    assert any(one.inspection.defects for one in read)
    again = [json.loads(result_text(one)) | {"grade": None} for one in read]
    assert again == [json.loads(line) | {"grade": None} for line in done.stdout.splitlines()]
