"""The watched folder: what is one part and what is another, restarts, a record or a folder that is away, many files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from serving import an_inspection_row, rows_of, served, serving_folder, wait_until

from pellucid.acquisition.files import image_files
from pellucid.errors import OutputError, ParameterError, RecordError
from pellucid.service import watch
from pellucid.service.storage import engine
from pellucid.service.watching import events, finder, seen
from pellucid.service.watching.done import move_done
from pellucid.service.watching.listing import state_of
from service.watched import bmp, png

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's events")


@pytest.fixture(params=["events", "listing"])
def way(request, monkeypatch):
    """With the system's events where it has them, and as on a share."""
    if request.param == "listing":
        monkeypatch.setattr(finder, "is_local", lambda _: False)
    elif sys.platform != "linux":
        pytest.skip("Linux's events")
    return request.param


@pytest.fixture
def panes(pane):
    """Contents of panes that differ."""
    return lambda number: png(np.roll(pane, number, axis=1))


def has(line, *names: str):
    return lambda: {row.file for row in line.rows()} >= set(names)


def stays(line, count: int, seconds: float = 1.5) -> bool:
    """Whether nothing more is inspected."""
    time.sleep(seconds)
    return len(line.rows()) == count


def test_a_watched_folder_is_inspected_once(model, cache, tmp_path, glass):
    folder = serving_folder(tmp_path, model)
    watched = tmp_path / "camera"
    watched.mkdir()
    files = image_files(glass / "normal_test")[:4] + image_files(glass / "abnormal_test")[:2]
    for file in files[:3]:
        shutil.copy(file, watched / file.name)
    with served(folder, "--no-pages", "--watch", str(watched), "--watch-settle", "0.2", env=cache):
        wait_until(lambda: len(rows_of(folder)) == 3)
        (watched / ".hidden.png").write_bytes(files[3].read_bytes())
        (watched / "notes.txt").write_text("no image")
        (watched / "broken.png").write_bytes(b"\x89PNG broken")
        (watched / "lot 7").mkdir()
        shutil.copy(files[4], watched / "lot 7" / "a.png")
        wait_until(lambda: len(rows_of(folder)) == 4)
        time.sleep(1.5)
        rows = rows_of(folder)
    assert sorted(r["file"] for r in rows) == sorted([*(f.name for f in files[:3]), "lot 7/a.png"])
    assert {r["source"] for r in rows} == {"watch"}
    shutil.copy(files[5], watched / "next.png")
    with served(folder, "--no-pages", "--watch", str(watched), "--watch-settle", "0.2", env=cache) as service:
        wait_until(lambda: len(rows_of(folder)) == 5)
        time.sleep(1.5)
        assert len(rows_of(folder)) == 5, "a restart inspects none again"
        assert "Traceback" not in service.log()


# --- what is one part -----------------------------------------------------------------------------------------------


def replace_in_place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def replace_by_rename(path: Path, content: bytes) -> None:
    path.with_suffix(".tmp").write_bytes(content)
    path.with_suffix(".tmp").replace(path)


@pytest.mark.parametrize("replace", [replace_in_place, replace_by_rename])
@pytest.mark.parametrize("running", [True, False])
@needs_linux
@pytest.mark.usefixtures("way")
def test_another_content_of_equal_size_and_time_is_another_part(lines, pane, replace, running):
    line = lines()
    path = line.folder / "latest.bmp"
    first, second = bmp(pane), bmp(255 - pane)
    path.write_bytes(first)
    os.utime(path, (1.7e9, 1.7e9))

    def swap() -> None:
        replace(path, second)
        os.utime(path, (1.7e9, 1.7e9))

    with line.watched():
        wait_until(line.rows)
        if running:
            swap()
            wait_until(lambda: len(line.rows()) == 2)
    if not running:
        swap()
        with line.watched():
            wait_until(lambda: len(line.rows()) == 2)
    assert line.contents("latest.bmp") == [first, second]


@pytest.mark.usefixtures("way")
def test_the_same_content_is_the_same_part_under_the_same_name_only(lines, panes):
    line = lines()
    path = line.folder / "a.png"
    with line.watched() as watcher:
        path.write_bytes(panes(0))
        wait_until(line.rows)
        os.utime(path)
        path.chmod(0o600)
        time.sleep(0.6)
        path.write_bytes(panes(0))
        assert stays(line, 1), "touched, or written again as it was"
        assert watcher.status().waiting == 0
        shutil.copy2(path, line.folder / "b.png")
        wait_until(has(line, "a.png", "b.png"))
        path.replace(line.folder / "c.png")
        wait_until(has(line, "a.png", "b.png", "c.png"))
        assert stays(line, 3)


def test_what_an_earlier_version_recorded_is_not_inspected_again(lines, panes):
    line = lines()
    for number in range(5):
        path = line.folder / f"lot é {number}.png"
        path.write_bytes(panes(number))
        status = path.stat()
        key = f"watch:{path.name}:{status.st_size}:{status.st_mtime_ns}"
        line.service.database.add(an_inspection_row(file=path.name, key=key))
    for number in range(2):
        with line.watched():
            assert stays(line, 5 + number)
            (line.folder / f"new {number}.png").write_bytes(panes(9))
            wait_until(has(line, f"new {number}.png"))
    changed = line.folder / "lot é 0.png"
    with line.watched():
        changed.write_bytes(panes(8))
        wait_until(lambda: len(line.rows(changed.name)) == 2)


@pytest.mark.usefixtures("way")
def test_nothing_is_lost_or_done_twice_over_restarts(lines, panes):
    line, names = lines(), []
    for run in range(4):
        for number in range(3):
            names.append(f"{run}-{number}.png")
            (line.folder / names[-1]).write_bytes(panes(len(names)))
        with line.watched():
            wait_until(has(line, *names[: 3 * run + (1, 3)[run % 2]]))  # every other one is stopped half-way
    with line.watched():
        wait_until(has(line, *names))
        assert stays(line, 12)


# --- names and dates -----------------------------------------------------------------------------------------------


def test_two_names_that_are_printed_alike_are_two_parts(lines, panes):
    if sys.platform != "linux":
        pytest.skip("file names that are bytes")
    line = lines()
    for name in (b"pane_\xfc.png", b"pane_\\xfc.png"):
        (line.folder / os.fsdecode(name)).write_bytes(panes(1))
    with line.watched():
        wait_until(lambda: len(line.rows()) == 2)


@pytest.mark.usefixtures("way")
def test_dates_do_not_matter(lines, panes):
    line, moments = lines(), (0.0, -1e6, 1e9, 4e9, time.time() + 86_400 * 3650)
    with line.watched():
        for number, moment in enumerate(moments):
            (line.folder / f"{number}.png").write_bytes(panes(number))
            os.utime(line.folder / f"{number}.png", (moment, moment))
        wait_until(lambda: len(line.rows()) == len(moments))
        (line.folder / "last.png").write_bytes(panes(9))
        wait_until(has(line, "last.png"))
    with line.watched():
        assert stays(line, len(moments) + 1)


@pytest.mark.usefixtures("way")
def test_a_clock_that_jumps_does_not_matter(lines, panes, monkeypatch):
    line = lines()
    with line.watched():
        for number, shift in enumerate((0, -86_400, 86_400)):
            (line.folder / f"{number}.png").write_bytes(panes(number))
            monkeypatch.setattr(time, "time", lambda shift=shift: datetime.now(UTC).timestamp() + shift)
            wait_until(has(line, f"{number}.png"))


# --- what is away ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_a_folder_that_vanishes_is_told_and_waited_for(lines, panes, caplog):
    line = lines()
    away = line.folder.with_name("away")
    with line.watched() as watcher:
        (line.folder / "a.png").write_bytes(panes(1))
        wait_until(line.rows)
        line.folder.rename(away)
        wait_until(lambda: watcher.status().unready_reasons())
        assert "cannot be listed (No such file or directory)" in watcher.status().unready_reasons()[0]
        (away / "b.png").write_bytes(panes(2))
        time.sleep(2.5)
        away.rename(line.folder)
        wait_until(has(line, "a.png", "b.png"))
        (line.folder / "c.png").write_bytes(panes(3))
        wait_until(has(line, "a.png", "b.png", "c.png"))
        assert watcher.status().unready_reasons() == []
        assert stays(line, 3)
    told = [record.getMessage() for record in caplog.records if record.name == "pellucid.watch"]
    assert len([text for text in told if "it is waited for" in text]) == 1


@pytest.mark.usefixtures("way")
def test_a_folder_that_is_back_is_told_before_it_was_listed(tmp_path, panes):
    (tmp_path / "line").mkdir()
    (tmp_path / "line" / "a.png").write_bytes(panes(1))
    found = finder.FileFinder(tmp_path / "line")
    (tmp_path / "line").rename(tmp_path / "away")
    told = []

    def take(files, is_whole):
        told.extend((found.away, Path(file.path).name, is_whole) for file in files)

    found.look(take, everything=True)
    assert found.away == "No such file or directory"
    (tmp_path / "away").rename(tmp_path / "line")
    found.look(take, everything=True)
    found.close()
    assert told == [("", "a.png", False)]


@pytest.mark.usefixtures("way")
def test_a_folder_that_is_made_again_is_listened_to(lines, panes):
    line = lines()
    with line.watched():
        (line.folder / "a.png").write_bytes(panes(1))
        wait_until(line.rows)
        line.folder.rename(line.folder.with_name("old"))
        line.folder.mkdir()
        time.sleep(1.0)
        (line.folder / "b.png").write_bytes(panes(2))
        wait_until(has(line, "b.png"))


@pytest.mark.usefixtures("way")
def test_a_folder_below_that_moves_is_followed(lines, panes):
    line = lines()
    lot = line.folder / "lot 1"
    lot.mkdir()
    with line.watched():
        (lot / "a.png").write_bytes(panes(1))
        wait_until(line.rows)
        lot = lot.rename(line.folder / "lot 2")
        (lot / "b.png").write_bytes(panes(2))
        wait_until(has(line, "lot 2/a.png", "lot 2/b.png"))
        shutil.rmtree(lot)
        lot.mkdir()
        (lot / "c.png").write_bytes(panes(3))
        wait_until(has(line, "lot 2/c.png"))


def test_a_record_that_is_away_loses_nothing(lines, panes, monkeypatch):
    monkeypatch.setattr(engine, "SQLITE_LOCK_TIMEOUT_S", 1)
    line = lines()
    record = line.service.settings.record / "record.db"
    with line.watched() as watcher:
        (line.folder / "0.png").write_bytes(panes(0))
        wait_until(line.rows)
        lock = sqlite3.connect(record, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        for number in range(1, 20):
            (line.folder / f"{number}.png").write_bytes(panes(number))
        wait_until(line.service.supervisor.reasons)  # the lock was waited for more than once
        assert watcher.status().waiting
        lock.execute("ROLLBACK")
        lock.close()
        wait_until(lambda: len(line.rows()) == 20)
        assert stays(line, 20)


@pytest.mark.usefixtures("way")
def test_a_file_that_appears_while_the_record_cannot_be_read_is_found_again(lines, panes, monkeypatch):
    line = lines()
    known = line.service.database.watched_files.known
    failures = iter([RecordError("The record is away.")] * 2)

    def away(digests):
        for error in failures:
            raise error
        return known(digests)

    with line.watched():
        (line.folder / "a.png").write_bytes(panes(1))
        wait_until(line.rows)
        monkeypatch.setattr(line.service.database.watched_files, "known", away)
        (line.folder / "b.png").write_bytes(panes(2))
        wait_until(has(line, "b.png"))


@pytest.mark.parametrize("found", ["when it is listed", "by its event"])
@pytest.mark.parametrize("lost", ["the row's answer", "the digest"])
def test_a_kill_between_two_steps_does_nothing_twice(lines, panes, monkeypatch, lost, found):
    line = lines()
    stored = line.service.database.watched_files
    target, name, error = (
        (stored, "add", RecordError) if lost == "the digest" else (watch.SeenFiles, "add", RuntimeError)
    )

    def fail(*_: object) -> None:
        raise error("killed")

    def write() -> None:
        (line.folder / "a.png").write_bytes(panes(1))

    with monkeypatch.context() as patch:
        patch.setattr(target, name, fail)
        if found == "when it is listed":
            write()
        with line.watched() as watcher:
            if found == "by its event":
                wait_until(lambda: watcher.status().looked_at is not None)
                write()
            wait_until(line.rows)
            time.sleep(1.0)
    with line.watched():
        assert stays(line, 1)


# --- many files -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_a_folder_of_more_files_than_may_wait_is_inspected_oldest_first(lines, panes, monkeypatch):
    for name, value in (("MAX_WAITING", 8), ("MAX_BATCH", 4), ("LISTING_BATCH", 5)):
        monkeypatch.setattr(watch, name, value)
    line = lines()
    order = np.random.default_rng(0).permutation(32)
    for number in order:
        path = line.folder / f"{number:02d}.png"
        path.write_bytes(panes(int(number)))
        os.utime(path, (1.7e9 + number, 1.7e9 + number))
    with line.watched() as watcher:
        wait_until(lambda: len(line.rows()) == 32)
        assert watcher.status().waiting <= 16
        assert stays(line, 32)
    inspected = [int(row.file[:2]) for row in line.rows()]
    displaced = np.abs(np.array(inspected) - np.arange(32))
    assert displaced.mean() <= 4, "within a batch any order; of random ones, a third of all would be between"


@pytest.mark.usefixtures("way")
def test_files_that_memory_forgets_are_not_inspected_again(lines, panes, monkeypatch):
    monkeypatch.setattr(seen, "REMEMBERED_SLOTS", 3)
    line = lines()
    for number in range(12):
        (line.folder / f"{number}.png").write_bytes(panes(number))
    (line.folder / "broken.png").write_bytes(b"no image")
    with line.watched(patience_s=0.5):
        wait_until(lambda: len(line.rows()) == 12)
        assert stays(line, 12)
    with line.watched(patience_s=0.5):
        assert stays(line, 12)


def test_several_files_are_inspected_at_the_same_time(lines, panes):
    line, busiest = lines(), 0
    for number in range(40):
        (line.folder / f"{number}.png").write_bytes(panes(number))
    with line.watched():
        while len(line.rows()) < 40:
            busiest = max(busiest, line.service.queue.under_way)
    assert 2 <= busiest <= watch.INSPECTION_THREADS


@needs_linux
@pytest.mark.parametrize("fault", ["lost", "none left", "too many folders"])
def test_without_events_the_folder_is_listed(lines, panes, caplog, monkeypatch, fault):
    line = lines()
    if fault == "lost":
        reading = iter([None])
        read = events.FolderEvents.read
        monkeypatch.setattr(events.FolderEvents, "read", lambda self: (read(self), next(reading, []))[1])
    elif fault == "none left":

        def none_left(_: object) -> None:
            raise OSError(24, "too many")

        monkeypatch.setattr(events.FolderEvents, "__init__", none_left)
    else:
        monkeypatch.setattr(events, "MAX_FOLDERS", 2)
    for lot in range(4):
        (line.folder / str(lot)).mkdir()
    with line.watched():
        (line.folder / "3" / "a.png").write_bytes(panes(1))
        wait_until(has(line, "3/a.png"))
    assert ("events are not used" in caplog.text) is (fault != "lost")


@pytest.mark.parametrize("error", [RuntimeError("the runtime broke"), RecordError("The record refuses it.")])
def test_files_that_always_fail_are_tried_less_and_less_and_hold_up_nothing(lines, panes, monkeypatch, error):
    line, tries = lines(), []
    inspect = line.service.queue._inspect

    def fail(job, suffix):
        if job.file.startswith("0 poison"):
            tries.append((job.file, time.monotonic()))
            raise error
        return inspect(job, suffix)

    monkeypatch.setattr(line.service.queue, "_inspect", fail)
    monkeypatch.setattr(watch, "FAILURE_PAUSE_S", 0.2)
    with line.watched():
        for number in range(watch.INSPECTION_THREADS + 2):
            (line.folder / f"0 poison {number}.png").write_bytes(panes(number))
        time.sleep(0.3)
        for number in range(5):
            (line.folder / f"{number}.png").write_bytes(panes(number))
        wait_until(lambda: len(line.rows()) == 5 and sum("son 0" in file for file, _ in tries) == 4)
    pauses = np.diff([moment for file, moment in tries if "son 0" in file])
    assert (pauses[1:] > pauses[:-1]).all()


# --- the folder for inspected files ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_inspected_files_are_moved_and_none_is_overwritten(lines, panes):
    line = lines()
    done = line.folder / "done"
    day = done / f"{datetime.now():%Y-%m-%d}"
    with line.watched(done=done):
        for number in range(3):
            (line.folder / "latest.png").write_bytes(panes(number))
            wait_until(lambda number=number: len(line.rows()) == number + 1)
            wait_until(lambda: not (line.folder / "latest.png").exists())
        (line.folder / "lot").mkdir()
        (line.folder / "lot" / "a.png").write_bytes(panes(3))
        (line.folder / "broken.png").write_bytes(b"no image")
        wait_until(has(line, "lot/a.png"))
        assert stays(line, 4), "what was moved is not looked into, though it lies below"
    assert [(day / name).read_bytes() for name in ("latest.png", "latest (2).png", "latest (3).png")] == [
        panes(number) for number in range(3)
    ]
    assert (day / "lot" / "a.png").read_bytes() == panes(3)
    assert (line.folder / "broken.png").exists()


def test_a_file_that_took_the_place_of_an_inspected_one_is_not_moved(tmp_path, monkeypatch):
    path, done = tmp_path / "latest.png", tmp_path / "done"
    path.write_bytes(b"first")
    state = state_of(path.stat())
    replace_by_rename(path, b"second")
    move_done(str(path), state, "latest.png", done)
    assert path.read_bytes() == b"second"
    state = state_of(path.stat())
    rename = Path.rename

    def replaced_meanwhile(self, target):
        replace_by_rename(path, b"third")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", replaced_meanwhile)
    move_done(str(path), state, "latest.png", done)
    assert path.read_bytes() == b"third", "it was put back"

    def replaced_twice(self, target):
        replace_by_rename(path, b"fourth")
        rename(self, target)
        path.write_bytes(b"fifth")

    state = state_of(path.stat())
    monkeypatch.setattr(Path, "rename", replaced_twice)
    with pytest.raises(OutputError, match="has not been inspected: it took the place"):
        move_done(str(path), state, "latest.png", done)
    assert path.read_bytes() == b"fifth"


def test_folders_that_files_cannot_be_moved_to_are_refused(lines, tmp_path):
    line = lines()
    for done in (line.folder, line.folder.parent):
        with pytest.raises(ParameterError, match="is or contains the watched folder"), line.watched(done=done):
            pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file, not a folder"), line.watched(done=tmp_path / "file" / "done"):
        pass
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == line.folder.stat().st_dev:
        pytest.skip("there is no second file system here")
    with pytest.raises(ParameterError, match="lies on another file system"), line.watched(done=other / "pellucid-done"):
        pass
    shutil.rmtree(other / "pellucid-done", ignore_errors=True)
