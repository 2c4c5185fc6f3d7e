"""Faults put into a real service: what it says, what it keeps, and that it ends."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import forks
import pytest
from odd_names import ODD_STEMS, needs_raw_names, odd_name
from serving import answers, free_port, full_disk, rows_of, served, serving_folder, wait_until

import pellucid as package
from pellucid.models.file import read_header

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals and files")


def start_fails(folder, *options: str) -> str:
    """What a service says that does not start: one sentence, exit code 1."""
    command = [sys.executable, "-m", "pellucid", "serve", "--port", str(free_port()), "--no-pages", *options]
    done = forks.run(command, cwd=folder)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line]
    return line


def damage(database, pages: range) -> None:
    """Overwrite pages of a database, not the first one."""
    with database.open("r+b") as file:
        for page in pages:
            file.seek(page * 4096)
            file.write(os.urandom(4096))


def test_a_damaged_record_is_refused_at_the_start(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        for _ in range(3):
            assert service.inspect(good).status_code == 200
    damage(folder / "record/record.db", range(2, (folder / "record/record.db").stat().st_size // 4096))
    sentence = start_fails(folder)
    assert re.search(r"record\.db (is damaged|cannot be used now) \(.*\)", sentence)


def test_a_record_that_is_damaged_while_it_runs_is_not_ready(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        assert service.inspect(good).status_code == 200
        with sqlite3.connect(folder / "record/record.db") as other:
            other.execute("ALTER TABLE inspections RENAME TO away")
        assert service.inspect(good).status_code == 503
        ready = service.http.get("/ready")
        assert ready.status_code == 503
        assert any("'writer' does not get on" in reason for reason in ready.json()["reasons"])
        assert 'pellucid_thread_works{thread="writer"} 0.0' in service.http.get("/metrics").text
        with sqlite3.connect(folder / "record/record.db") as other:
            other.execute("ALTER TABLE away RENAME TO inspections")
        wait_until(lambda: answers(service, ready=True))
        assert service.inspect(good).status_code == 200
        assert any("'writer' failed" in warning for warning in service.http.get("/ready").json()["warnings"])
        assert "Traceback" not in service.log()
    assert len(rows_of(folder)) == 2, "trying left no row"


@posix_only
def test_a_record_folder_that_cannot_be_written_is_one_sentence(model, tmp_path):
    folder = serving_folder(tmp_path, model)
    (folder / "record").write_text("a file")
    assert "a file, not a folder" in start_fails(folder)
    (folder / "record").unlink()
    (folder / "record").mkdir()
    with full_disk(folder / "record", 1):
        subprocess.run(["mount", "-o", "remount,ro", str(folder / "record")], check=True)
        assert "Read-only file system" in start_fails(folder)
        assert "Read-only file system" in start_fails(folder, "--models", "record/models")


@posix_only
@pytest.mark.parametrize(
    "fault",
    [
        # the writer stalls in the middle of a row, the follower in a system call
        "import os, time; from pellucid.service.storage.writer import InspectionWriter as W\n"
        "from pellucid.service.registry import ModelRegistry as R\n"
        "W._insert = lambda self, batch: time.sleep(1000)\n"
        "os.mkfifo('pipe'); R.follow = lambda self: open('pipe').read()",
        # an inspection never ends
        "import time; from pellucid.service.queue import InspectionQueue as Q\n"
        "Q._inspect = lambda *_: time.sleep(1000)",
    ],
    ids=["writer and follower", "inspection"],
)
def test_a_stop_ends_whatever_hangs(model, cache, tmp_path, good, fault):
    folder = serving_folder(tmp_path, model)
    quick = "import pellucid.service.app as a; a.CLOSE_TIMEOUT_S = 4; a.STOP_MARGIN_S = 1\n"
    quick += "import pellucid.service.storage.writer as w; w.CLOSE_TIMEOUT_S = w.ADD_TIMEOUT_S = 1\n"
    quick += (
        "import pellucid.service.supervise as s; s.Worker.close.__defaults__ = s.Worker.join.__defaults__ = (1.0,)\n"
    )
    with served(folder, "--no-pages", "--timeout", "2", env=cache, fault=quick + fault) as service:
        assert service.inspect(good).status_code in (503, 504)
        start = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(120)
        assert time.monotonic() - start < 90, "what hangs hangs for 1000 s"
        assert re.search("it is left|not stopped within", service.log())
    assert rows_of(folder) == []


@posix_only
def test_threads_that_are_hit_go_on_and_lose_nothing(model, cache, tmp_path, good):
    """SystemExit is raised in every thread of the service, wherever it is, whenever two more answers are there."""
    folder = serving_folder(tmp_path, model)
    fault = """
import ctypes, random, threading, time
import pellucid.service.storage.writer as w
write, written = w.InspectionWriter._write, threading.Semaphore(0)
def counted(writer, batch):
    write(writer, batch)
    written.release(len(batch))
w.InspectionWriter._write = counted
def hit():
    while True:
        written.acquire(), written.acquire(), time.sleep(random.uniform(0, 1))
        for thread in threading.enumerate():
            if thread.name in ("writer", "follow", "retention", "load", "watch", "memory"):
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
threading.Thread(target=hit, daemon=True).start()
w.ADD_TIMEOUT_S = 3
"""
    with served(folder, "--no-pages", env=cache, fault=fault) as service:
        answered, failures, end = [], 0, time.monotonic() + 300
        while (len(answered) <= 5 or failures == 0) and time.monotonic() < end:
            answer = service.inspect(good)
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 200:
                answered += [answer.json()["items"][0]["id"]]
            threads = {thread["name"]: thread for thread in service.http.get("/ready").json()["threads"]}
            failures = threads["writer"]["failures"] + threads["follow"]["failures"]
        assert len(answered) > 5
        assert failures > 0
    assert set(answered) <= {row["id"] for row in rows_of(folder)}


@posix_only
def test_odd_entries_among_the_models_do_not_stop_the_service(model, cache, tmp_path, good, glass):
    folder = serving_folder(tmp_path, model)
    models = folder / "models"
    for number, content in enumerate((b"[{}]", b"null", b"[" * 100_000, b'[{"name": "\xff"}]')):
        (models / f"run{number}").mkdir()
        (models / f"run{number}/leaderboard.json").write_bytes(content)
    (models / "folder.pellucid").mkdir()
    os.mkfifo(models / "fifo.pellucid")
    (models / "dangling.pellucid").symlink_to("/nowhere")
    (models / "half.pellucid").write_bytes(model.read_bytes()[:2000])
    (models / os.fsdecode(b"odd\xff\n.pellucid")).write_bytes(b"no model")
    with served(folder, env=cache) as service:
        listed = {item["name"]: item for item in service.http.get("/models").json()["items"]}
        assert {name for name, item in listed.items() if item["error"] is None} == {"pane"}
        assert len(listed) == 6
        assert service.inspect(good).status_code == 200, "the only one that can be used needs no name"
        assert [c["rows"] for c in service.http.get("/comparisons").json()["items"]] == [[]] * 4
        for page in ("/ui/inspect", "/ui/models", "/ui/trends"):
            assert service.http.get(page, follow_redirects=True).status_code == 200
        wait_until(lambda: len(service.http.get("/ready").json()["warnings"]) == 9)
        assert service.http.get("/ready").status_code == 200

        package.fit(glass, "padim", image_size=64, false_reject=0.1, n_features=20).save(models / "new.pellucid")
        before = listed["pane"]
        (models / "new.pellucid").replace(models / "pane.pellucid")
        pane = next(m for m in service.http.get("/models").json()["items"] if m["name"] == "pane")
        assert (pane["sha256"], pane["detector"], pane["changed"]) == (before["sha256"], "dfm", True)
        assert pane["file_sha256"] == read_header(models / "pane.pellucid")[1]
        assert service.inspect(good, model="pane").json()["items"][0]["model_sha256"] == before["sha256"]
        (models / "pane.pellucid").unlink()
        pane = next(m for m in service.http.get("/models").json()["items"] if m["name"] == "pane")
        assert (pane["sha256"], pane["loaded"], pane["changed"]) == (before["sha256"], True, True)
        assert pane["error"]
        assert service.inspect(good, model="pane").status_code == 200
        assert service.http.get("/models/pane/limit").status_code == 200
        ready = service.http.get("/ready")
        assert (ready.status_code, ready.json()["models"]) == (200, ["pane"])
        wait_until(lambda: "serves on as it was" in service.http.get("/ready").text)
        assert "Traceback" not in service.log()


@needs_raw_names
def test_a_watched_file_of_any_name_is_kept_and_forges_no_log_line(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    camera = folder / "camera"
    camera.mkdir()
    for number, kind in enumerate(ODD_STEMS):
        (camera / odd_name(kind)).write_bytes(good.read_bytes() if number % 2 else b"no image")
    (camera / "last.png").write_bytes(good.read_bytes())
    with served(folder, "--no-pages", "--watch", "camera", env=cache) as service:
        wait_until(lambda: len(rows_of(folder)) == len(ODD_STEMS) // 2 + 1, told=service.log)
        wait_until(lambda: service.log().count("not inspected") >= (len(ODD_STEMS) + 1) // 2, told=service.log)
        assert service.http.get("/ready").status_code == 200
        listed = service.http.get("/inspections", params={"count": 100}).json()["items"]
        assert len(listed) == len(ODD_STEMS) // 2 + 1
        log = service.log()
    assert all(re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ \w|    )", line) for line in log.splitlines())
    assert not re.search(r"^\S+ \S+ INFO pellucid\.service: FORGED", log, re.M)
    assert "\x1b" not in log


@posix_only
def test_leftovers_of_a_kill_are_removed_at_the_start(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        row = service.inspect(good).json()["items"][0]
    record = folder / "record"
    day = next((record / "pictures").iterdir())
    old = time.time() - 7200
    leftovers = [record / ".pellucid-00ff.part", record / ".decisions-abc.zip", record / "tmpabcdefgh.zip"]
    leftovers += [day / "120000-0000.png", day / ".pellucid-11.part", record / ".export-xyz/images/1.png"]
    kept = [record / "notes.txt", record / "my.zip", record / ".hidden", day / "120000-0001.png"]
    for path in leftovers + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
        os.utime(path, (old, old))
    os.utime(record / ".export-xyz", (old, old))
    os.utime(kept[-1])  # it may be another process's, which has not written its row yet
    for path in day.iterdir():
        if path not in kept:
            os.utime(path, (old, old))
    with served(folder, "--no-pages", env=cache) as service:
        wait_until(lambda: not any(path.exists() for path in leftovers))
        assert all(path.exists() for path in kept)
        assert service.http.get(row["picture"]).content == good.read_bytes()
        assert service.http.get(row["map"]).status_code == 200
        assert "6 leftovers of an earlier run were removed" in service.log()
