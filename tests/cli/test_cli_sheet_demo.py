"""The demo of a whole sheet: drawn, learned from, found, measured, graded, and shown on a page."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid import cli
from pellucid.cli import _sheet_demo
from pellucid.synthesis.sheet_files import read_truth


def test_a_sheet_is_drawn_found_measured_and_graded(tmp_path, monkeypatch):
    small = {"WIDTH_MM": 51.2, "LENGTH_MM": 51.2, "GOOD_SHEETS": 19, "TILE_PX": 512}
    for name, value in (small | {"COUNTS": {"stone": 2, "tin drip": 1, "dust": 1}}).items():
        monkeypatch.setattr(_sheet_demo, name, value)
    done = CliRunner().invoke(cli.app, ["demo", "--sheet", "-o", str(tmp_path)], catch_exceptions=False)
    shown = " ".join(done.stdout.split())
    assert "The detector says reject; en1279 says" in shown
    assert "of 4 drawn defects were found, sizes off by" in shown
    assert len(list((tmp_path / "data/normal_train").glob("*.png"))) == 19
    assert len(read_truth(tmp_path / "sheet.truth.csv")) == 4
    page = next(line for line in done.stdout.splitlines() if line.startswith("page: ")).removeprefix("page: ")
    text = Path(page).read_text("utf-8")
    assert "A drawn sheet: 51.2 x 51.2 mm at 0.2 mm per pixel" in text
    assert text.count('href="#defect-') == len((tmp_path / "defects.csv").read_text().splitlines()) - 1
    following = shlex.split(done.stdout.splitlines()[-1].removeprefix("next: "))
    assert following[:2] == ["pellucid", "inspect"]
    assert all(Path(path).is_file() for path in following[2:4])
    again = CliRunner().invoke(cli.app, [*following[1:]], catch_exceptions=False)
    assert again.exit_code == 0


def test_a_sheet_demo_draws_into_no_folder_of_somebody_else(tmp_path, monkeypatch, capsys):
    mine = tmp_path / "data" / "normal_train" / "sheet_000.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    monkeypatch.setattr("sys.argv", ["pellucid", "demo", "--sheet", "-o", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert "and no demo made it: give another folder" in " ".join(capsys.readouterr().err.split())
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [mine]
