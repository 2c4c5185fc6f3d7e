"""Odd files on the command line: counted and named, no traceback, no hang, no word of a decoder."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from commands import SMALL, pellucid, pellucid_here

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
HEIC = b"\0\0\0\x18ftypheic" + bytes(40)


def _fill(folder: Path, good: Path) -> Path:
    """A folder of good images, with everything beside them that cameras, systems and networks leave there."""
    names = sorted(good.glob("*.png"))
    shutil.copytree(good, folder, dirs_exist_ok=True)
    for hidden in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        (folder / hidden).mkdir()
        shutil.copy(names[0], folder / hidden / "copy.png")
    for name in ("a.heic", "b.gif", "c.exr"):
        (folder / name).write_bytes(HEIC)
    (folder / "notes.txt").write_text("text")
    (folder / "x.png").mkdir()
    (folder / "y.png").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "z.png")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xfc.png")).write_bytes(names[0].read_bytes())
    picture = cv2.imread(str(names[0]))
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) * 3 // 4] + b"\xff\xd9")
    png = names[0].read_bytes()
    (folder / "broken.png").write_bytes(png[: len(png) // 2] + bytes(20) + png[len(png) // 2 + 20 :])
    tifffile.imwrite(folder / "pages.tif", np.stack([picture[..., 0]] * 2))
    (folder / "cut.tif").write_bytes(cv2.imencode(".tif", picture)[1].tobytes()[:-900])
    return folder


ODD_FILES = 7  # that are named like images and cannot be read


def _told_without_noise(stderr: str, count: int) -> None:
    assert "3 files are no images that can be read and are passed over: a.heic, b.gif, c.exr" in stderr
    assert "Traceback" not in stderr
    for noise in ("WARN", "ERROR:", "global ", "libpng", "Corrupt JPEG", "TIFF_"):
        assert noise not in stderr.replace("Corrupt JPEG data: premature end of data segment)", "")
    assert stderr.count("skipped: ") == count or f"{count} files are skipped: " in stderr


@posix
def test_inspect_counts_and_names_what_it_does_not_inspect(model, glass, tmp_path):
    folder = _fill(tmp_path / "in", glass / "normal_test")
    done = pellucid("inspect", model, folder, "-o", tmp_path / "out")
    good = len(list((glass / "normal_test").glob("*.png"))) + 1  # and one with a name that is not UTF-8
    _told_without_noise(done.stderr, ODD_FILES)
    assert f"{good} inspected, " in done.stdout
    assert f" not judged), {ODD_FILES} skipped, 3 passed over; computed by" in done.stdout
    assert "pages.tif' holds 2 images: save each in a file of its own" in done.stderr
    rows = list(csv.DictReader((tmp_path / "out/scores.csv").read_text("utf-8").splitlines()))
    assert len(rows) == good
    assert not any("copy" in row["path"] for row in rows)


@posix
@pytest.mark.parametrize("command", ["fit", "evaluate", pytest.param("compare", marks=pytest.mark.slow)])
def test_commands_that_read_data_sets_do_too(model, glass, tmp_path, command):
    data = tmp_path / "data"
    shutil.copytree(glass, data)
    read = "normal_test" if command == "evaluate" else "normal_train"  # evaluating reads no training image
    _fill(data / read, glass / read)
    arguments = {
        "fit": ("fit", data, "-o", tmp_path / "m.pellucid", "--detector", "dfm", *SMALL),
        "evaluate": ("evaluate", model, data, "-o", tmp_path / "out"),
        "compare": ("compare", data, "-o", tmp_path / "out", "--detectors", "dfm", *SMALL),
    }
    done = pellucid(*arguments[command])
    _told_without_noise(done.stderr + done.stdout, ODD_FILES)


@posix
def test_only_other_kinds_is_an_error_that_names_them(model, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / f"in/{name}.heic").write_bytes(HEIC)
    done = pellucid_here("inspect", model, tmp_path / "in", check=1)
    assert "There are no images in" in done.stderr
    assert "2 files are no images that can be read and are passed over: a.heic, b.heic" in done.stderr


@posix
@pytest.mark.parametrize("name", ["missing.png", "fifo.png", "folder.csv", "a.heic"])
def test_one_file_that_cannot_be_read_is_one_sentence(model, tmp_path, name):
    path = tmp_path / name
    if name.startswith("fifo"):
        os.mkfifo(path)
    elif name.startswith("folder"):
        path.mkdir()
    elif name.endswith("heic"):
        path.write_bytes(HEIC)
    done = pellucid_here("inspect", model, path, check=1)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
