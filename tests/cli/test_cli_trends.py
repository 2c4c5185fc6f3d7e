"""Repeats from the command line, out of what inspect writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import pellucid_here

from pellucid.records import Defect, Inspection, Sample
from pellucid.records.grades import Sheet
from pellucid.study.results import ScoredSample
from pellucid.study.stored import result_text, write_results

PERIOD, SCALE = 400.0, 0.5  # mm, mm per px
WIDTH, HEIGHT = 1500.0, 3000.0


def inspected(name, places, kinds):
    """An inspection of a sheet with a defect at each place in mm."""
    defects = tuple(
        Defect((round(x / SCALE), round(y / SCALE), 4, 4), 16, 1.0, (x / SCALE - 0.5, y / SCALE - 0.5), kind=kind)
        for (x, y), kind in zip(places, kinds, strict=True)
    )
    sheet = Sheet(WIDTH, HEIGHT, (SCALE, SCALE))
    none = np.empty((0, 0), np.float32)
    return Inspection(Path(name), 2.0, 1.0, 0.01, "reject", none, defects, sheet=sheet)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two folders of a sheet each; a roller marks both, and the ribbon goes on without a gap."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("trends")
    along = np.arange(130.0, 2 * HEIGHT, PERIOD)
    for number in range(2):
        own = along[(along >= number * HEIGHT) & (along < (number + 1) * HEIGHT)] - number * HEIGHT
        others = random.random((20, 2)) * (WIDTH, HEIGHT)
        places = np.concatenate([others, np.stack([np.full(len(own), 707.0), own], 1)])
        kinds = ["dark line"] * 20 + ["bright point"] * len(own)
        found = inspected(f"pane_{number}.png", places, kinds)
        write_results([ScoredSample(Sample(found.path, "normal"), found)], folder / str(number))
    return folder


def test_a_roller_is_told_with_its_period_and_diameter(results):
    done = pellucid_here("trends", results / "0", results / "1")
    row = next(line for line in done.stdout.splitlines() if "roller " in line and "707" in line)
    assert "400.00" in row
    assert f"{PERIOD / math.pi:.1f}" in row
    assert "15 on 2 sheets" in row
    assert "pane_0.png 20" in done.stdout
    assert "2 sheets, 55 defects, 1 repeats; sheets whose defects lie anywhere raise an alarm in at most 0.05" in (
        " ".join(done.stdout.split())
    )


@pytest.mark.parametrize("options", [(), ("--gap-mm", 0)], ids=["unknown", "known"])
def test_json_names_the_defects(results, options):
    found = json.loads(pellucid_here("trends", results / "0", results / "1/results.jsonl", "--json", *options).stdout)
    assert (found["sheets"], found["defects"], found["false_alarm_rate"]) == (2, 55, 0.05)
    (one,) = found["repeats"]
    assert one["kind"] == "roller"
    assert one["period_mm"] == pytest.approx(PERIOD, abs=0.01)
    assert one["roller_diameter_mm"] == pytest.approx(PERIOD / math.pi, abs=0.01)
    assert len(one["members"]) == 15
    assert {member["kind"] for member in one["members"]} == {"bright point"}
    first = one["members"][0]
    assert (first["path"], first["sheet"], first["defect"]) == ("pane_0.png", 0, 20)
    assert (first["x_mm"], first["y_mm"]) == pytest.approx((707, 130))


def test_a_gap_that_is_wrong_parts_the_ribbon(results):
    found = json.loads(pellucid_here("trends", results / "0", results / "1", "--json", "--gap-mm", 190).stdout)
    assert not [one for one in found["repeats"] if one["kind"] == "roller" and len(one["members"]) == 15]


def test_one_sheet_is_enough_and_none_is_no_alarm(results, tmp_path):
    assert "roller" in pellucid_here("trends", results / "0").stdout
    found = inspected("clean.png", [(10.0, 20.0)], [""])
    (tmp_path / "printed.jsonl").write_text(result_text(ScoredSample(Sample(found.path, "normal"), found)))
    done = pellucid_here("trends", tmp_path / "printed.jsonl")
    assert done.stdout.startswith("1 sheet, 1 defects, 0 repeats; ")


def test_what_is_wrong_is_said(results, tmp_path):
    found = replace(inspected("px.png", [], []), sheet=None)
    (tmp_path / "px.jsonl").write_text(result_text(ScoredSample(Sample(found.path, "normal"), found)))
    for arguments, message in (
        ((tmp_path / "px.jsonl",), "'px.png' has no places in mm: inspect it with --mm-per-px"),
        ((tmp_path / "none",), "Give the folder of inspect -o"),
        ((results / "0", "--periods-mm", "fast"), "--periods-mm fast is not understood: write MIN,MAX, as 50,3000."),
        ((results / "0", "--periods-mm", "10,3000"), "at least 8 times the tolerance, 24 mm"),
        ((results / "0", "--tolerance-mm", "0"), "tolerance_mm=0 is not allowed"),
        ((results / "0", "--false-alarm-rate", "2"), "false_alarm_rate=2 is not allowed"),
    ):
        done = pellucid_here("trends", *arguments, check=1)
        assert message in " ".join(done.stderr.split())
