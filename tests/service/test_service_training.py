"""Trainings of the service: real ones, that end, fail or are cancelled, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from odd_names import needs_raw_names
from serving import wait_until

from pellucid._io.progress import PROGRESS_VARIABLE, progress_bar, read_progress, track
from pellucid.errors import DataError, ParameterError
from pellucid.records.limits import FalseAlarms
from pellucid.service.access.accounts import LOCAL_ACCOUNT
from pellucid.service.newest import newest_model
from pellucid.service.registry import ModelRegistry
from pellucid.service.storage.record import Database
from pellucid.service.training import TrainingRunner


@pytest.fixture
def trainings(tmp_path, glass):
    data = tmp_path / "data"
    shutil.copytree(glass, data / "line 1" / "panes")
    (data / "few" / "normal").mkdir(parents=True)
    shutil.copy(next((glass / "normal_train").iterdir()), data / "few" / "normal")
    (data / "empty").mkdir()
    (data / ".hidden").mkdir()
    made = TrainingRunner(tmp_path / "models", data)
    yield made
    made.close()


def _start(trainings, data="line 1/panes", name="run", detectors=("dfm",), size=64, false_reject=0.1):
    trainings.start(data, name, detectors, size, false_reject, LOCAL_ACCOUNT)


def test_data_sets_are_found(trainings, tmp_path):
    assert trainings.data_sets() == ["few", "line 1/panes"], "nothing inside of a data set"
    assert TrainingRunner(tmp_path / "models", None).data_sets() == []


@needs_raw_names
def test_odd_files_beside_data_sets_hide_none(trainings, tmp_path, glass):
    data = tmp_path / "data"
    os.mkfifo(data / "pipe.csv")
    os.mkfifo(data / "pipe.png")
    (data / "bytes.csv").write_bytes(b"path,label\n\xff\x00,normal\n")
    (data / "quotes.csv").write_bytes(b'path,label\n"' + b"x" * 200_000)
    (data / "empty.csv").write_bytes(b"")
    (data / "folder.csv").mkdir()
    (data / "loop").symlink_to(data)
    (data / "dangling").symlink_to("/nowhere")
    shutil.copytree(glass / "normal_train", data / os.fsdecode(b"Gl\xe4ser\n") / "normal")
    found = [name for name in trainings.data_sets() if not name.startswith("loop")]
    assert found == [r"Gl\udce4ser\n", "few", "line 1/panes"]
    _start(trainings, data=found[0], detectors=("none",))
    wait_until(lambda: trainings.current().state == "failed")
    assert "none" in trainings.current().log, "the folder was found"
    shutil.rmtree(tmp_path / "models/run")
    assert "The log cannot be read" in trainings.current().log


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"data": "../data/few"}, DataError, "not a data set of this service"),
        ({"data": "/etc"}, DataError, "not a data set of this service"),
        ({"name": "../.."}, ParameterError, "letters and digits"),
        ({"name": "taken"}, ParameterError, "There is a result 'taken' already"),
        ({"detectors": ()}, ParameterError, "Choose at least one detector"),
    ],
)
def test_what_cannot_be_started_is_told(trainings, tmp_path, asked, kind, words):
    (tmp_path / "models" / "taken").mkdir(parents=True)
    with pytest.raises(kind, match=words):
        _start(trainings, **asked)
    assert trainings.current() is None
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["taken"]


@pytest.mark.timeout(1200)
def test_a_training_is_followed_to_its_end(trainings, tmp_path):
    _start(trainings, name="a/../b", detectors=("dfm", "padim"))
    with pytest.raises(ParameterError, match="'a-b' is still running"):
        _start(trainings, name="second")
    seen = []

    def ended() -> bool:
        seen.append(trainings.current())
        return seen[-1].state != "running"

    wait_until(ended, 1000)  # a training yields to all else: beside three other tests it takes minutes
    last = seen[-1]
    assert (last.state, last.done, last.of, last.name) == ("done", 2, 2, "a-b"), last.log
    assert "2 of 2 done" in last.log
    assert any(training.step is not None for training in seen), "what is being counted was shown"
    halfway = [training for training in seen if training.done == 1]
    assert all(training.remaining is not None for training in halfway)
    assert last.seconds == trainings.current().seconds, "the clock stands"
    database = Database(f"sqlite:///{tmp_path / 'r.db'}")
    registry = ModelRegistry(tmp_path / "models", database)
    assert newest_model(registry) in ("a-b.dfm", "a-b.padim")
    assert registry.comparisons() == ["a-b"]
    database.close()


def test_labelled_defects_teach_where_that_is_asked_for(trainings, monkeypatch):
    commands = []
    real = subprocess.Popen

    def note(command, **options):
        commands.append(command)
        return real([sys.executable, "-c", ""], **options)

    monkeypatch.setattr("pellucid.service.training.subprocess.Popen", note)
    _start(trainings)
    wait_until(lambda: trainings.current().state == "done")
    trainings.start("few", "taught", ["dfm"], 64, 0.1, LOCAL_ACCOUNT, learn_defects=True)
    assert [("--learn-defects" in command) for command in commands] == [False, True]


def test_false_alarms_by_area_are_promised_where_that_is_asked_for(trainings, monkeypatch):
    commands = []
    real = subprocess.Popen

    def note(command, **options):
        commands.append(command[command.index("--false-reject") + 2 :])
        return real([sys.executable, "-c", ""], **options)

    monkeypatch.setattr("pellucid.service.training.subprocess.Popen", note)
    asked = {"per-m2": (FalseAlarms(0.5), 0.2), "per-mpx": (FalseAlarms(2.0, "megapixel"), None)}
    for name, (rate, scale) in asked.items():
        trainings.start("few", name, ["padim"], 64, 0.1, LOCAL_ACCOUNT, false_alarms=rate, mm_per_px=scale)
        wait_until(lambda: trainings.current().state == "done")
    assert commands == [
        ["--mm-per-px", "0.2", "--false-alarms-per-m2", "0.5"],
        ["--false-alarms-per-mpx", "2.0"],
    ]
    with pytest.raises(ParameterError, match="False alarms per m2 need the scale of the images"):
        trainings.start("few", "none", ["padim"], 64, 0.1, LOCAL_ACCOUNT, false_alarms=FalseAlarms(0.5))


def test_what_follows_a_command_belongs_to_it(trainings, tmp_path):
    """It goes on until that is done, and fails with it; what was prepared is gone where nothing was begun."""
    go_on, seen = threading.Event(), []

    def finish(folder, succeeded):
        go_on.wait(60)
        seen.append((folder.name, succeeded))
        raise DataError("The end is not good.")

    name = trainings.begin("update", "a b", lambda _: ["--version"], LOCAL_ACCOUNT, finish=finish)
    running = trainings.current()
    assert (name, running.name, running.kind, running.state) == ("a-b", "a-b", "update", "running")
    with pytest.raises(ParameterError, match="'a-b' is still running"):
        _start(trainings)
    go_on.set()
    wait_until(lambda: trainings.current().state != "running")
    assert trainings.current().state == "failed"
    assert trainings.current().log.endswith("error: The end is not good.\n")
    assert seen == [("a-b", True)]

    def refuse(folder):
        (folder / "half").touch()
        raise DataError("There is nothing.")

    with pytest.raises(DataError, match=r"There is nothing\."):
        trainings.begin("update", "second", refuse, LOCAL_ACCOUNT)
    assert not (tmp_path / "models" / "second").exists()
    trainings.begin("update", "third", lambda _: ["fly"], LOCAL_ACCOUNT, finish=lambda *told: seen.append(told[1]))
    wait_until(lambda: trainings.current().state == "failed")
    assert seen[1:] == [False]


def test_a_training_that_fails_says_why(trainings):
    _start(trainings, data="few")
    wait_until(lambda: trainings.current().state != "running")
    assert trainings.current().state == "failed"
    assert "normal" in trainings.current().log


def _processes(folder: Path) -> list[str]:
    """Processes that were told to write to a folder."""
    commands = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK))
    return [command.decode() for command in commands if str(folder).encode() in command]


def test_cancel_ends_all_of_it(trainings, tmp_path):
    _start(trainings, detectors=("stfpm",), size=256)
    wait_until(lambda: trainings.current().log or trainings.current().step)
    assert _processes(tmp_path / "models" / "run")
    trainings.cancel(LOCAL_ACCOUNT)
    assert trainings.current().state == "cancelled"
    wait_until(lambda: not _processes(tmp_path / "models" / "run"))
    trainings.cancel(LOCAL_ACCOUNT)  # once more does nothing
    _start(trainings, name="next")
    trainings.close()
    wait_until(lambda: not _processes(tmp_path / "models" / "next"))


def test_a_program_that_waits_sees_the_step(tmp_path, monkeypatch):
    file = tmp_path / "step.json"
    assert read_progress(file) is None
    monkeypatch.setenv(PROGRESS_VARIABLE, str(file))
    for k in track(range(3), "counting"):
        step = read_progress(file)
        assert (step.description, step.total) == ("counting", 3)
        assert step.completed <= k
    with progress_bar() as progress:
        task = progress.add_task("more", total=None)
        progress.advance(task)
    assert read_progress(file).description == "more"
    assert read_progress(file).total is None
    file.write_text('{"description": "half')
    assert read_progress(file) is None
