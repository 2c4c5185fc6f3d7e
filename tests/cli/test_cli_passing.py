"""Images that pass in bands, on the command line: raw rows, frames, and files larger than memory should hold."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
import tifffile
from commands import command_line, pellucid_here

import pellucid
from pellucid.cli import _passing
from pellucid.cli._passing import Stream
from pellucid.errors import ParameterError
from pellucid.synthesis.glass import draw_pane, write_pane


def pane(seed, size):
    return np.clip(draw_pane(np.random.default_rng(seed), size), 0, 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiled model, a flawed sheet as a file, and the same as raw rows and as frames that overlap by 20 rows."""
    folder = tmp_path_factory.mktemp("passing")
    for k in range(10):
        write_pane(folder / "good" / "normal" / f"{k:02d}.png", pane(k, (200, 260 + 40 * (k % 2))))
    fitted = pellucid.fit(folder / "good", "padim", tile=384, false_reject=0.1, n_features=30, outline="map")
    fitted.save(folder / "model.pellucid")
    sheet = pane(50, (620, 400))
    for y, x in ((60, 200), (340, 350)):
        sheet[y : y + 8, x : x + 14] *= 0.5
    sheet = (sheet * 255).round().astype(np.uint8)
    tifffile.imwrite(folder / "sheet.tif", sheet)
    (folder / "sheet.raw").write_bytes(sheet.tobytes())
    for k in range(3):
        write_pane(folder / "frames" / f"frame{k}.png", sheet[200 * k : 200 * k + 220] / np.float32(255))
    return folder


def lines_of(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def inspect_here(place, *arguments, check=0):
    return pellucid_here("inspect", place / "model.pellucid", *arguments, "--runtime", "torch", check=check)


def test_every_way_to_pass_gives_the_same_sheet(place, monkeypatch, tmp_path):
    (whole,) = lines_of(inspect_here(place, place / "sheet.tif", "--json"))
    assert whole["verdict"] == "reject"
    ways = [
        (place / "sheet.raw", "--width", 400, "--quiet-seconds", 0),
        (place / "frames", "--overlap", 20),
        (place / "sheet.tif",),
    ]
    monkeypatch.setattr(_passing, "MAX_PIXELS_IN_MEMORY", 400 * 619)
    for way in ways:
        done = inspect_here(place, *way, "--json", "-o", tmp_path / "results")
        *passing, sheet = lines_of(done)
        assert {**sheet, "path": whole["path"]} == whole
        assert {line["passing"] for line in passing} == {str(way[0])}
        told = [line["defect"] for line in passing]
        assert sorted(told, key=lambda one: -one["peak"]) == [
            {**one, "border_px": told_one["border_px"], "border_mm": told_one["border_mm"]}
            for one, told_one in zip(whole["defects"], sorted(told, key=lambda one: -one["peak"]), strict=True)
        ]
        assert (tmp_path / "results" / "defects.csv").is_file()
        assert not (tmp_path / "results" / "images").exists()
        assert "1 inspected, 1 rejected" in done.stderr


def test_defects_appear_while_a_pipe_is_open(place):
    command = command_line(
        *("inspect", place / "model.pellucid", "-", "--width", 400, "--runtime", "torch", "--json", "--fail-on-reject")
    )
    content = (place / "sheet.raw").read_bytes()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(content[: 400 * 612])
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        assert abs(first["defect"]["centroid"][1] - 64) < 30
        assert abs(first["defect"]["centroid"][0] - 207) < 30
        out, _ = process.communicate(content[400 * 612 :], timeout=100)
        assert json.loads(out.splitlines()[-1])["path"] == "-"
    assert process.returncode == 3


def test_defects_are_printed_for_people_and_ignored_ones_are_named(place):
    raw = (place / "sheet.raw", "--width", 400, "--quiet-seconds", 0)
    done = inspect_here(place, *raw)
    assert f"{place / 'sheet.raw'}: defect: " in done.stdout
    assert "reject" in done.stdout
    done = inspect_here(place, *raw, "--margin", 150)
    assert "ignored (margin): " in done.stdout


def test_large_files_pass_between_small_ones_in_order(place, monkeypatch, tmp_path):
    small = sorted((place / "good" / "normal").glob("*.png"))[:2]
    monkeypatch.setattr(_passing, "MAX_PIXELS_IN_MEMORY", 400 * 619)
    done = inspect_here(place, small[0], place / "sheet.tif", small[1], "--json", "-o", tmp_path)
    paths = [line["path"] for line in lines_of(done) if "path" in line]
    assert [path.rpartition("/")[2] for path in paths] == ["00.png", "sheet.tif", "01.png"]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["00000_00.png", "00002_01.png"]
    done = pellucid_here("regrade", tmp_path, "--grade", "en1279", check=1)
    assert "scale" in done.stderr


def test_a_damaged_large_file_is_skipped(place, monkeypatch, tmp_path):
    tifffile.imwrite(tmp_path / "bad.tif", np.zeros((620, 400), np.uint8) + 90, compression="zlib", rowsperstrip=20)
    content = bytearray((tmp_path / "bad.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "bad.tif") as file:
        at = file.pages.first.dataoffsets[20]
    content[at : at + 10] = bytes(10)
    (tmp_path / "bad.tif").write_bytes(content)
    monkeypatch.setattr(_passing, "MAX_PIXELS_IN_MEMORY", 400 * 619)
    done = inspect_here(place, tmp_path / "bad.tif", place / "good" / "normal" / "00.png")
    assert "skipped: " in done.stderr
    assert "damaged" in done.stderr


def test_what_was_printed_while_a_sheet_passed_is_graded_by_its_own_line(place, tmp_path):
    done = inspect_here(place, place / "sheet.raw", "--width", 400, "--quiet-seconds", 0, "--json", "--mm-per-px", 0.2)
    (tmp_path / "results.jsonl").write_text(done.stdout)
    again = pellucid_here("regrade", tmp_path, "--grade", "en1279", "--json")
    assert len(lines_of(again)) == 1


def test_options_that_do_not_fit_together(tmp_path):
    for options, places, message in (
        (Stream(), ["-"], "'-' gives raw rows, which do not say what they are: give --width, and --bits unless"),
        (Stream(), ["a.png", "tcp:/host:5"], r"'tcp:/host:5' gives raw rows"),
        (Stream(bits=12), ["a.png"], "--quiet-seconds describe raw rows: give --width as well"),
        (Stream(width=5), ["-", "a.png"], "With --width or --overlap one place is inspected, not 2"),
        (Stream(width=5, overlap=2), ["-"], "Give --width for raw rows, or --overlap for a folder of frames, not both"),
    ):
        with pytest.raises(ParameterError, match=message):
            options.opener([*map(_passing.Path, places)])
    assert Stream().opener([tmp_path]) is None


def test_an_address_is_read_as_it_was_typed():
    opener = Stream(width=5).opener([_passing.Path("tcp://127.0.0.1:x")])
    with pytest.raises(ParameterError, match=r"'tcp://127.0.0.1:x' is no address"):
        opener(None)


def test_a_model_without_tiles_says_what_to_do(compared, tmp_path):
    (tmp_path / "sheet.raw").write_bytes(bytes(400 * 20))
    model = compared / "dfm/model.pellucid"
    done = pellucid_here("inspect", model, tmp_path / "sheet.raw", "--width", 400, "--quiet-seconds", 0, check=1)
    assert "sees images whole: fit one with --tile" in done.stderr
