"""Which files below a folder are images, which are hidden, which are passed over and counted."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from odd_images import GREY, PICTURE, opencv, pillow

import pellucid
from pellucid._io.names import printable
from pellucid.acquisition.files import is_hidden, list_images, note_passed_over, sort_by_name
from pellucid.acquisition.images import open_image
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.verify import verify
from pellucid.errors import DataError, join_names

PNG = pillow(GREY, "PNG")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def _write(path: Path, content: bytes = PNG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


HIDDEN = [
    *(".ipynb_checkpoints", ".thumbnails", "__MACOSX", ".Trash-1000", ".Trash", "@eaDir", "$RECYCLE.BIN", ".git"),
    *("System Volume Information", "#recycle", "lost+found", ".hidden.png", "._1.png", "Thumbs.db", "desktop.ini"),
]


@pytest.mark.parametrize("name", HIDDEN)
def test_what_systems_put_beside_images_is_hidden(tmp_path, name):
    assert is_hidden(name)
    assert is_hidden(name.upper())
    _write(tmp_path / "normal/1.png")
    if "." in name[1:]:
        _write(tmp_path / f"normal/{name}")
    else:
        _write(tmp_path / f"normal/{name}/2.png")
        _write(tmp_path / f"normal/deep/{name}/3.heic")
    data = pellucid.read_folder(tmp_path)
    assert [sample.path.name for sample in data.samples] == ["1.png"]
    assert not any("passed over" in note for note in data.notes)


@pytest.mark.parametrize("parent", [".cache", "__MACOSX", "@eaDir"])
def test_a_data_set_inside_a_hidden_folder_is_read(tmp_path, parent):
    _write(tmp_path / parent / "glass/normal/1.png")
    assert len(pellucid.read_folder(tmp_path / parent / "glass").samples) == 1
    assert len(list_images(tmp_path / parent).images) == 1


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX"])
@pytest.mark.parametrize("layout", ["normal_train", "train/good", "normal"])
def test_hidden_folders_are_in_no_layout(tmp_path, layout, hidden):
    _write(tmp_path / layout / "1.png")
    _write(tmp_path / layout / hidden / "1-checkpoint.png")
    _write(tmp_path / "test" / hidden / "2.png")
    assert [sample.path.name for sample in pellucid.read_folder(tmp_path).samples] == ["1.png"]


NAMES = {
    "image": ["a.png", "a.JPG", "a.b.Tiff", "a.jpeg", "a.pgm", "a.WEBP", "a.jp2", "a.bmp"],
    "companion": ["a.txt", "a.JSON", "a.xml", "a.csv", "a.toml", "readme.md", "a.png.md5", "model.pellucid"],
    "unknown": ["a.heic", "a.gif", "a.exr", "a.png.bak", "a.raw", "a.dng", "a", "a.part", "a.npy"],
    "hidden": [".a.png", "Thumbs.db", ".DS_Store", "desktop.ini"],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_names_tell_kinds(kind, name):
    assert sort_by_name(name) == kind


def test_what_is_passed_over_is_counted_and_named(tmp_path):
    _write(tmp_path / "normal/1.png")
    _write(tmp_path / "normal/2.PNG")
    _write(tmp_path / "normal/no_suffix")
    _write(tmp_path / "normal/3", b"\0\0\0\x18ftypheic" + bytes(40))
    for name in ("a.heic", "b.gif", "c.exr", "d.dng", "e.png.bak", "f.avif"):
        _write(tmp_path / "normal/sub" / name)
    for name in ("notes.txt", "labels.json", "Makefile", ".DS_Store"):
        _write(tmp_path / "normal" / name, b"text")
    data = pellucid.read_folder(tmp_path)
    assert [sample.path.name for sample in data.samples] == ["1.png", "2.PNG", "no_suffix"]
    (note,) = [note for note in data.notes if "passed over" in note]
    assert note.startswith("7 files are no images that can be read and are passed over: 3, a.heic, b.gif, c.exr, d.dng")
    assert "and 2 more" in note
    assert note_passed_over([Path("a.heic")])[0].startswith("1 file is no image that can be read and is passed over")


@pytest.mark.parametrize(
    ("layout", "stray", "message"),
    [
        ("train/good", "train/bad/2.png", "1 images lie where the MVTec layout takes none from .*: train/bad/2.png"),
        ("train/good", "test/2.png", "1 images lie where the MVTec layout takes none from .*: test/2.png"),
        (
            "normal_train",
            "abnormal_tests/2.png",
            "1 images lie in folders that the five folders layout does not have .*: abnormal_tests",
        ),
        ("normal", "defects/2.png", "1 images lie in folders that the plain layout does not have .*: defects"),
    ],
)
def test_images_that_a_layout_does_not_use_are_counted(tmp_path, layout, stray, message):
    _write(tmp_path / layout / "1.png")
    _write(tmp_path / stray)
    assert any(re.match(message, note) for note in pellucid.read_folder(tmp_path).notes)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def _folder(path: Path) -> None:
    path.mkdir()


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage")


ODD = {
    "x.png is a folder": (_folder, "it is a folder"),
    "a FIFO": (_fifo, "no regular file but a FIFO"),
    "a socket": (_socket, "no regular file but a FIFO, a socket"),
    "a dangling link": (_dangling, "No such file"),
    "a link to itself": (_loop, "Too many levels"),
    "garbage": (_garbage, "not an image"),
}


@posix
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ODD)
def test_one_odd_file_is_skipped_and_counted(tmp_path, monkeypatch, kind):
    make, message = ODD[kind]
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        _write(tmp_path / f"normal/{number}.png", opencv(PICTURE[number:], ".png"))
    make(tmp_path / "normal/x.png")
    checked = verify(pellucid.read_folder(tmp_path))
    assert len(checked.samples.samples) == 3
    (note,) = [note for note in checked.samples.notes if "skipped" in note]
    assert note.startswith("1 files are skipped: Cannot read" if kind != "garbage" else "1 files are skipped: '")
    assert re.search(message, note)
    note.encode()


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_counted(tmp_path):
    _write(tmp_path / "normal/1.png")
    (tmp_path / "normal/closed").mkdir(mode=0)
    assert any("passed over: closed" in note for note in pellucid.read_folder(tmp_path).notes)


@posix
def test_linked_folders_are_followed_once(tmp_path):
    _write(tmp_path / "elsewhere/2.png")
    _write(tmp_path / "normal/1.png")
    (tmp_path / "normal/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "normal/circle").symlink_to(tmp_path / "normal")
    assert [path.name for path in list_images(tmp_path / "normal").images] == ["1.png", "2.png"]


def test_a_file_that_vanishes_is_skipped(tmp_path):
    for number in range(3):
        _write(tmp_path / f"normal/{number}.png", opencv(PICTURE[number:], ".png"))
    data = pellucid.read_folder(tmp_path)
    (tmp_path / "normal/1.png").unlink()
    checked = verify(data)
    assert len(checked.samples.samples) == 2
    assert any("1 files are skipped: Cannot read" in note and "No such file" in note for note in checked.samples.notes)


def test_a_cut_list_of_problems_says_so(tmp_path):
    for number in range(9):
        _write(tmp_path / f"normal/{number}.png", opencv(PICTURE[number:], ".png") if number < 2 else b"x")
    (note,) = [note for note in verify(pellucid.read_folder(tmp_path)).samples.notes if "skipped" in note]
    assert note.startswith("7 files are skipped: ")
    assert note.endswith(" And 2 more.")


def test_what_is_left_out_of_images_is_counted(tmp_path):
    for number in range(30):
        alpha = np.full(PICTURE.shape[:2], 100 if number % 10 == 0 else 255, np.uint8)
        _write(tmp_path / f"normal/{number:02d}.png", opencv(np.dstack([np.roll(PICTURE, number, 0), alpha]), ".png"))
    notes = Plan.from_data(tmp_path).notes
    assert "3 images: It has an alpha channel that is not opaque: it is left out. (00.png, 10.png, 20.png)" in notes


def test_a_null_byte_in_a_name_is_one_sentence():
    with pytest.raises(DataError, match=r"Cannot read 'a\\x00\.png'"):
        open_image(Path("a\0.png"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\udcfcb", "a\\udcfcb"),
        ("شیشه\u200cها", "شیشه\u200cها"),
        ("ü ß", "ü ß"),
        ("\u202egnp", "\\u202egnp"),
    ],
)
def test_names_are_shown_in_one_line(name, shown):
    assert printable(name) == shown
    assert join_names([name]) == shown


@pytest.mark.parametrize(
    "folders",
    [
        ("normal_train", "normal_test/lot 1", "abnormal_test/scratch", "mask/scratch", "labels", "strays"),
        ("train/good", "test/good", "test/scratch", "ground_truth/scratch", "annotations/deep", "train/strays"),
        ("normal/lot 1", "abnormal/scratch", "mask/scratch", "strays/deep"),
    ],
)
def test_each_folder_is_looked_into_once(tmp_path, monkeypatch, folders):
    for folder in folders:
        _write(tmp_path / folder / "1.png")
    visits = Counter()

    def counted(look):
        return lambda place=".": visits.update([Path(place)]) or look(place)

    monkeypatch.setattr(os, "scandir", counted(os.scandir))
    monkeypatch.setattr(os, "listdir", counted(os.listdir))
    data = pellucid.read_folder(tmp_path)
    assert len(data.samples) == sum(not name.startswith(("mask", "ground", "labels", "ann")) for name in folders) - 1
    assert set(visits) >= {tmp_path, *(tmp_path / folder for folder in folders)}
    assert set(visits.values()) == {1}
