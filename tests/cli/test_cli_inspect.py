"""Inspecting from the command line."""

from __future__ import annotations

import csv
import json

import pytest
from commands import SCORES_HEADER, pellucid, pellucid_here
from typer.testing import CliRunner

from pellucid import cli
from pellucid.cli import inspect


def test_inspect_gives_the_score_of_scores_csv(compared, glass, tmp_path):
    row = list(csv.DictReader((compared / "patchcore/scores.csv").read_text().splitlines()))[-1]
    done = pellucid("inspect", compared / "patchcore/model.pellucid", glass / row["path"], "--json", "-o", tmp_path)
    found = json.loads(done.stdout)
    assert found["score"] == float(row["score"])
    assert found["verdict"] == row["verdict"]
    (written,) = csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())
    assert found["warnings"] == []
    assert (found["grade"], found["sheet"], written.pop("grade"), written.pop("clauses")) == (None, None, "", "")
    assert {key: str(found[key]) for key in written} == written | {"warnings": "[]", "ignored": "[]"}
    assert "1 inspected, " in done.stderr
    assert "computed by torch on cpu" in done.stderr
    assert (tmp_path / "scores.csv").read_text().splitlines()[0] == SCORES_HEADER
    assert len(list((tmp_path / "images").glob("*.png"))) == 1


def test_defects_have_the_same_measures_in_json_and_csv(compared, glass, tmp_path):
    model = compared / "patchcore/model.pellucid"
    done = pellucid("inspect", model, glass / "abnormal_test", "--json", "--mm-per-px", 0.05, "-o", tmp_path)
    listed = [(line["path"], d) for line in map(json.loads, done.stdout.splitlines()) for d in line["defects"]]
    rows = list(csv.DictReader((tmp_path / "defects.csv").read_text().splitlines()))
    assert len(rows) == len(listed) > 0
    for row, (path, defect) in zip(rows, listed, strict=True):
        assert row.pop("path") == path
        assert row.keys() == defect.keys()
        assert {k: v if k == "kind" else json.loads(v or "null") for k, v in row.items()} == defect
        assert defect["length_mm"] == pytest.approx(0.05 * defect["length_px"])
        assert defect["kind"].split()[-1] in ("line", "point", "area", "ring")
    assert "above 0" in pellucid("inspect", model, glass / "abnormal_test", "--mm-per-px", -1, check=1).stderr


def test_reject_is_exit_code_3(compared, glass):
    model = compared / "patchcore/model.pellucid"
    done = pellucid_here("inspect", model, glass / "abnormal_test", "--json", "--fail-on-reject", check=None)
    verdicts = [json.loads(line)["verdict"] for line in done.stdout.splitlines()]
    assert done.returncode == (3 if "reject" in verdicts else 0)
    assert "reject" in verdicts


def test_bad_files_are_skipped_and_all_bad_is_an_error(compared, glass, tmp_path):
    bad = tmp_path / f"{'b' * 80}[bad].png"  # longer than a line, and like the markup of the console
    bad.write_text("no image")
    good = tmp_path / "good[b].png"
    good.write_bytes(next((glass / "normal_test").glob("*.png")).read_bytes())
    done = pellucid_here("inspect", compared / "dfm/model.pellucid", bad, good)
    assert f"skipped: '{bad}' is not an image" in done.stderr
    assert good.name in done.stdout
    assert "1 skipped; computed by torch on cpu" in done.stdout
    done = pellucid_here("inspect", compared / "dfm/model.pellucid", bad, check=1)
    assert "None of the 1 files could be inspected" in done.stderr


def test_an_empty_folder_is_one_sentence(compared, tmp_path):
    model = compared / "dfm/model.pellucid"
    for arguments in (["inspect", model, tmp_path], ["export", model, "-o", tmp_path / "x", "--check", tmp_path]):
        assert "There are no images in" in pellucid_here(*arguments, check=1).stderr


def test_a_table_that_is_cut_says_where_the_rest_is(compared, glass, tmp_path, monkeypatch):
    monkeypatch.setattr(inspect, "MAX_TABLE_ROWS", 3)
    arguments = ["inspect", str(compared / "dfm/model.pellucid"), str(glass / "abnormal_test")]
    count = len(list((glass / "abnormal_test").glob("*.png")))
    shown = CliRunner().invoke(cli.app, arguments).stdout
    assert f"3 of {count} images shown; all are in scores.csv with -o DIR" in shown
    shown = CliRunner().invoke(cli.app, [*arguments, "-o", str(tmp_path)]).stdout
    assert f"3 of {count} images shown; all are in {tmp_path / 'scores.csv'}" in shown
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == count + 1


def test_an_export_says_what_computed(compared, glass, tmp_path):
    pellucid_here("export", compared / "dfm/model.pellucid", "-o", tmp_path)
    done = pellucid_here("inspect", tmp_path, glass / "abnormal_test")
    assert "computed by openvino on cpu" in done.stdout
