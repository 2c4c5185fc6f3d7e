"""Odd entries and odd names in the watched folder: one is set aside and named, the rest goes on."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from serving import wait_until

from pellucid._io.names import printable
from pellucid.service.watching import finder
from pellucid.service.watching.listing import Listing, is_image_name
from service.watched import png

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, FIFOs and names of POSIX")


def linked_folder(folder: Path, content: bytes) -> None:
    (folder.parent.parent / "elsewhere").mkdir()
    (folder.parent.parent / "elsewhere" / "behind.png").write_bytes(content)
    (folder / "linked").symlink_to(folder.parent.parent / "elsewhere")


def listening_socket(folder: Path, _: bytes) -> None:
    kept = Path.cwd()
    os.chdir(folder)  # its path must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s.png")
    finally:
        os.chdir(kept)


def unreadable_file(folder: Path, content: bytes) -> None:
    (folder / "locked.png").write_bytes(content)
    (folder / "locked.png").chmod(0)
    if os.access(folder / "locked.png", os.R_OK):
        (folder / "locked.png").unlink()
        pytest.skip("root may read everything")


def unreadable_folder(folder: Path, _: bytes) -> None:
    (folder / "locked").mkdir(mode=0)
    if os.access(folder / "locked", os.R_OK):
        pytest.skip("root may read everything")


ODD = {  # and what the log says of it, if anything
    "dangling link": (lambda f, _: (f / "x.png").symlink_to("/nowhere/at/all.png"), "is a link to nothing"),
    "link to itself": (lambda f, _: (f / "x.png").symlink_to(f / "x.png"), "cannot be read"),
    "links to each other": (
        lambda f, _: ((f / "x.png").symlink_to(f / "y.png"), (f / "y.png").symlink_to(f / "x.png")),
        "cannot be read",
    ),
    "link to the folder": (lambda f, _: (f / "loop").symlink_to(f), "is a link to a folder"),
    "linked folder": (linked_folder, "is a link to a folder"),
    "link to a folder, named as an image": (lambda f, _: (f / "x.png").symlink_to(f), "is a link to a folder"),
    "fifo": (lambda f, _: os.mkfifo(f / "pipe.png"), "is no regular file"),
    "socket": (listening_socket, "is no regular file"),
    "link to a device": (lambda f, _: (f / "x.png").symlink_to("/dev/zero"), "is no regular file"),
    "empty folder named as an image": (lambda f, _: (f / "x.png").mkdir(), None),
    "unreadable file": (unreadable_file, "cannot be read"),
    "unreadable folder": (unreadable_folder, "cannot be listed"),
    "hidden file": (lambda f, content: (f / ".x.png").write_bytes(content), None),
    "hidden folder": (lambda f, content: ((f / ".t").mkdir(), (f / ".t" / "x.png").write_bytes(content)), None),
    "temporary": (lambda f, content: (f / "x.tmp.png").write_bytes(content), None),
    "other kind": (lambda f, _: (f / "x.txt").write_text("notes"), None),
}


@pytest.fixture(scope="module")
def beside_odd_entries(lines, pane):
    """Let all of them lie in one folder, each in a folder of its own between two panes; returns what came of it."""
    line, told = lines(), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("pellucid").addHandler(handler)
    with line.watched(patience_s=0.5) as watcher:
        time.sleep(0.5)
        skipped = set()
        for number, (kind, (make, _)) in enumerate(ODD.items()):
            folder = line.folder / kind
            folder.mkdir()
            (folder / "before.png").write_bytes(png(np.roll(pane, number, axis=0)))
            try:
                make(folder, png(pane))
            except pytest.skip.Exception:
                skipped.add(kind)
            (folder / "after.png").write_bytes(png(np.roll(pane, number, axis=1)))
        wait_until(lambda: len(line.rows()) >= 2 * len(ODD))
    with line.watched(patience_s=0.5) as watcher:  # all over again, by listing
        time.sleep(2.0)
        status = watcher.status()
    logging.getLogger("pellucid").removeHandler(handler)
    return line, told, status, skipped


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_entry_stops_nothing_and_is_named(beside_odd_entries, kind):
    line, told, _, skipped = beside_odd_entries
    if kind in skipped:
        pytest.skip("root may read everything")
    names = {row.file for row in line.rows() if row.file.startswith(f"{kind}/")}
    assert names == {f"{kind}/before.png", f"{kind}/after.png"}
    sentence = ODD[kind][1]
    about = [text for text in told if f"/{kind}/" in text or f"'{kind}/" in text]
    assert all(sentence and sentence in text for text in about)
    assert bool(about) is bool(sentence)


def test_odd_entries_are_counted_and_nothing_is_inspected_twice(beside_odd_entries):
    line, _, status, skipped = beside_odd_entries
    assert sorted(row.file for row in line.rows()) == sorted(
        f"{kind}/{name}.png" for kind in ODD for name in ("before", "after")
    )
    assert status.unready_reasons() == []
    assert status.passed_over == {
        "links": 4,
        "unreadable": 3 + ("unreadable folder" not in skipped),
        "irregular": 3,
        "hidden": 2,
        "temporary": 1,
        "other": 1,
    }
    assert not line.service.supervisor.warnings()


NAMES = {
    "latin-1": (b"pane_\xfc.png", "pane_\\udcfc.png"),
    "utf-8": ("pane_ü.png".encode(), "pane_ü.png"),
    "japanese": ("ガラス.png".encode(), "ガラス.png"),
    "line break": (b"a\n2026-11-26 12:00:00 INFO pellucid.service: forged.png", None),
    "escape sequence": (b"\x1b[31mred.png", "\\x1b[31mred.png"),
    "turned text": ("a\u202egnp.png".encode(), "a\\u202egnp.png"),
    "250 characters": (b"x" * 246 + b".png", "x" * 246 + ".png"),
    "blanks": (b"  two  blanks .png", "  two  blanks .png"),
    "quotes": (b"'\"`$(x);%s{0}.png", "'\"`$(x);%s{0}.png"),
    "capitals": (b"PANE.PNG", "PANE.PNG"),
    "many dots": (b"a.b..png.png", "a.b..png.png"),
    "latin-1 folder": (b"lot_\xe9/a.png", "lot_\\udce9/a.png"),
}


@pytest.fixture(scope="module", params=["events", "listing"])
def with_odd_names(request, lines, pane):
    """Write a pane under each name; returns what was recorded, before and after a restart."""
    if sys.platform != "linux":
        pytest.skip("file names that are bytes")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "listing":
            patch.setattr(finder, "is_local", lambda _: False)
        line = lines()
        with line.watched():
            time.sleep(0.5)
            for number, (name, _) in enumerate(NAMES.values()):
                path = line.folder / os.fsdecode(name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(png(np.roll(pane, number, axis=1)))
            wait_until(lambda: len(line.rows()) == len(NAMES))
        with line.watched():
            time.sleep(1.5)
        return [row.file for row in line.rows()]


@pytest.mark.parametrize("kind", NAMES)
def test_a_file_of_any_name_is_inspected_once(with_odd_names, kind):
    name, shown = NAMES[kind]
    shown = shown or printable(os.fsdecode(name))
    assert with_odd_names.count(shown) == 1
    assert shown.isprintable()
    assert len(with_odd_names) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", True),
        ("A.TIFF", True),
        ("a.b.jpeg", True),
        ("png", False),
        (".png", False),
        (".a.png", False),
        ("~a.png", False),
        ("a.png.tmp", False),
        ("a.tmp.png", False),
        ("a.PART.png", False),
        ("part.png", True),
        ("a.txt", False),
    ],
)
def test_names_of_images(name, expected):
    assert is_image_name(name) is expected


def test_a_listing_counts_what_it_passes_over(tmp_path):
    for name in ("a.png", ".h.png", "b.txt", "c.heic", "d.tmp.png", "e.png.part"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    listing = Listing(tmp_path)
    assert [Path(file.path).name for file in listing.images()] == ["a.png"]
    assert listing.passed_over == {"hidden": 2, "other": 1, "temporary": 1, "unknown": 2}
    assert [problem.rpartition("/")[2] for problem in sorted(listing.problems)] == [
        "c.heic' is no image that can be read.",
        "e.png.part' is no image that can be read.",
    ]
    with pytest.raises(FileNotFoundError):
        list(Listing(tmp_path / "none").images())
