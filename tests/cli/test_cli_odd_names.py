"""One image with an odd name never stops a command, and none is lost."""

from __future__ import annotations

import csv
import json
import os
import shutil

import pytest
from commands import COMPARED, SMALL, pellucid, pellucid_here
from odd_names import ODD_STEMS, needs_raw_names, odd_name

from pellucid._io.names import MAX_FILE_NAME_BYTES, printable

pytestmark = needs_raw_names


@pytest.fixture(scope="module")
def odd_folder(glass, tmp_path_factory):
    """A good image under every odd name, and one that is none."""
    folder = tmp_path_factory.mktemp("odd")
    image = next((glass / "normal_test").glob("*.png")).read_bytes()
    for kind in ODD_STEMS:
        (folder / odd_name(kind)).write_bytes(image)
    (folder / os.fsdecode(b"broken\n\xfc.png")).write_bytes(b"no image")
    return folder


def test_inspect_reads_draws_and_writes_all(model, odd_folder, tmp_path):
    done = pellucid_here("inspect", model, odd_folder, "-o", tmp_path, "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = {printable(odd_name(kind)) for kind in ODD_STEMS}
    assert {line["path"].rpartition("/")[2] for line in found} == shown
    assert [row["path"] for row in rows] == [line["path"] for line in found]
    drawn = [path.name for path in (tmp_path / "images").iterdir()]
    assert len(drawn) == len(ODD_STEMS)
    assert all(len(name.encode()) <= MAX_FILE_NAME_BYTES and name.endswith(".png") for name in drawn)
    assert f"{len(ODD_STEMS)} inspected, " in done.stderr
    assert r"broken\n\udcfc.png' is not an image" in done.stderr
    assert not any(line.startswith("2026-11-26") for line in done.stderr.splitlines())


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_table_holds_all_in_any_console(model, odd_folder, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "1000"}
    done = pellucid("inspect", model, odd_folder, env=environment)
    assert "\x1b[31mred" not in done.stdout
    assert r"a\x1b[31mred\x07\x7f\r.png" in done.stdout
    assert "%s%n{0}[red]x&<b>.png" in done.stdout
    assert f"{len(ODD_STEMS)} inspected, " in done.stdout


@pytest.mark.slow
def test_compare_fits_tests_and_reports_them(glass, tmp_path):
    data = tmp_path / os.fsdecode(b"Scheiben_\xfc")
    shutil.copytree(glass, data)
    train, test = (sorted((data / name).glob("*.png")) for name in ("normal_train", "normal_test"))
    for place, paths in (("normal_train", train), ("normal_test", test)):
        for path, kind in zip(paths, ODD_STEMS, strict=False):
            path.rename(data / place / odd_name(kind))
    pellucid("compare", data, "-o", tmp_path / "out", *COMPARED)
    (row,) = [row for row in json.loads((tmp_path / "out/leaderboard.json").read_text()) if row["name"] == "dfm"]
    assert row["normals"] == len(test)
    assert r"pane_\udcfc" in (tmp_path / "out/splits.csv").read_text("utf-8")
    assert (tmp_path / "out/report.html").read_text("utf-8").count("<img")
    pellucid("compare", tmp_path / "out/config.toml", "-o", tmp_path / "again", *SMALL, "--detectors", "dfm")
