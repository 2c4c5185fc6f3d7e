"""A file is complete when it is: many ways of writing, each a real writer, and what is told about the rest."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from serving import wait_until

from pellucid.service import watch
from pellucid.service.watching import finished
from pellucid.service.watching.finished import MIN_END_GAP_BYTES, MIN_GAP_BYTES, has_gap, is_local
from service.watched import LINUX_ONLY, PATIENCE_S, PIECES, WAYS, bmp, jpeg, png, tiff


@pytest.fixture(scope="module")
def written(lines, pane):
    """Write in every way at the same time; returns the line, with what each way wrote."""
    line, contents = lines(), {}
    with line.watched(), ThreadPoolExecutor(len(WAYS)) as writers:
        waiting = []
        for name, (write, encode, suffix) in WAYS.items():
            contents[name] = encode(pane)
            assert len(contents[name]) > PIECES * MIN_GAP_BYTES
            waiting.append(writers.submit(write, line.folder / f"{name}{suffix}", contents[name]))
        for writer in waiting:
            writer.result()
        wait_until(lambda: len({row.file for row in line.rows()}) >= len(WAYS))
        time.sleep(PATIENCE_S + 1)  # whatever would be inspected again
    return line, contents


@pytest.mark.parametrize("name", WAYS)
def test_a_file_is_inspected_once_and_whole_however_it_is_written(written, name):
    if name in LINUX_ONLY and sys.platform != "linux":
        pytest.skip("only Linux tells who has a file open for writing")
    line, contents = written
    assert line.contents(f"{name}{WAYS[name][2]}") == [contents[name]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open for writing")
def test_nothing_but_the_files_is_recorded(written):
    line, _ = written
    assert sorted(row.file for row in line.rows()) == sorted(f"{name}{suffix}" for name, (*_, suffix) in WAYS.items())
    assert len({row.verdict for row in line.rows()}) == 1, "one pane, one verdict"


BLACK = {
    "bottom half": (slice(128, None), bmp),
    "top half": (slice(None, 128), bmp),
    "last rows of a tiff": (slice(250, None), tiff),
    "all of a tiff": (slice(None), tiff),
}


def test_a_picture_that_is_black_in_part_is_inspected_in_the_end(lines, pane):
    line, contents, patience_s = lines(), {}, 1.5
    with line.watched(patience_s=patience_s):
        start = time.monotonic()
        for part, (rows, encode) in BLACK.items():
            dark = pane.copy()
            dark[rows] = 0
            contents[f"{part}.{encode.__name__[:3]}"] = encode(dark)
            (line.folder / f"{part}.{encode.__name__[:3]}").write_bytes(encode(dark))
        wait_until(line.rows)
        assert time.monotonic() - start > patience_s
        wait_until(lambda: len(line.rows()) == len(BLACK))
    assert {name: line.contents(name) for name in contents} == {name: [kept] for name, kept in contents.items()}


UNFINISHED = {
    "a png": (lambda pane: png(pane)[:-2000], "truncated"),
    "a bmp": (lambda pane: bmp(pane)[:-2000], "truncated"),
    "a jpeg": (lambda pane: jpeg(pane)[:-2000], "truncated"),
    "a tiff": (lambda pane: tiff(pane)[:-2000], "truncated"),
    "nothing": (lambda _: b"", "empty"),
    "text": (lambda _: b"no image at all", "not an image"),
    "far too much": (lambda _: bytes(10_000_001), "has 10 MB; up to 10 are allowed"),
}


def test_files_that_stay_unfinished_are_named_once_and_taken_when_they_change(lines, pane, monkeypatch):
    sentences: list[str] = []
    monkeypatch.setattr(watch.log, "warning", lambda text, *values: sentences.append(text % values))
    line = lines()
    with line.watched(patience_s=0.5) as watcher:
        for kind, (content, _) in UNFINISHED.items():
            (line.folder / f"{kind}.png").write_bytes(content(pane))
        wait_until(lambda: watcher.status().refused == len(UNFINISHED))
        assert f"{len(UNFINISHED)} files in" in watcher.status().warnings()[-1]
        time.sleep(1.5)
        for kind, (_, told) in UNFINISHED.items():
            (sentence,) = (one for one in sentences if f"{kind}.png" in one)
            assert told in sentence, kind
        assert not line.rows()
        for number, kind in enumerate(UNFINISHED):
            (line.folder / f"{kind}.png").write_bytes(png(np.roll(pane, number, axis=1)))
        wait_until(lambda: len(line.rows()) == len(UNFINISHED))
    for number, kind in enumerate(UNFINISHED):
        assert line.contents(f"{kind}.png") == [png(np.roll(pane, number, axis=1))]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open for writing")
def test_a_file_that_its_program_keeps_open_is_told_and_taken_in_the_end(lines, pane):
    line = lines()
    with line.watched(patience_s=1.5) as watcher, (line.folder / "open.png").open("wb") as file:
        file.write(png(pane))
        file.flush()
        wait_until(lambda: watcher.status().held)
        assert watcher.status().held == ("'open.png' is not inspected yet: a program has it open for writing.",)
        assert not line.rows()
        wait_until(line.rows)
    assert line.contents("open.png") == [png(pane)]


def test_a_gap_is_found_wherever_it_is():
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 255, 40_000, np.uint8).tobytes()
    for low in (0, 1, 4096, 17_777):
        for length, gap in ((MIN_GAP_BYTES - 1, False), (MIN_GAP_BYTES, True), (9000, True)):
            assert has_gap(noise[:low] + bytes(length) + noise[low + length :]) is gap
    for length, gap in ((MIN_END_GAP_BYTES - 1, False), (MIN_END_GAP_BYTES, True)):
        assert has_gap(b"BM" + noise + bytes(length)) is gap
        assert has_gap(b"\x89PNG" + noise + bytes(length)) is False
        assert has_gap(b"\xff\xd8" + noise + bytes(length)) is False


MOUNTS = """22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /mnt/share rw shared:3 - cifs //pc/camera rw
31 22 0:41 / /mnt/with\\040space rw - nfs4 server:/export rw
32 30 0:42 / /mnt/share/fast rw - tmpfs none rw
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's list of mounts")
@pytest.mark.parametrize(
    ("folder", "local"),
    [
        ("/data/camera", True),
        ("/mnt/share", False),
        ("/mnt/share/lot", False),
        ("/mnt/share/fast/lot", True),
        ("/mnt/shared", True),
        ("/mnt/with space", False),
    ],
)
def test_shares_are_told_from_file_systems_of_this_machine(monkeypatch, tmp_path, folder, local):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(finished, "MOUNTS", tmp_path / "mountinfo")
    assert is_local(type(tmp_path)(folder)) is local
