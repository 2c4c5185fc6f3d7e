"""Killed commands and full disks: the old file or the new one is there, whole."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import forks
import pytest
from commands import SMALL, command_line, pellucid

STFPM = ("--detector", "stfpm", "--set", "epochs=3", *SMALL)


@pytest.fixture(scope="module")
def trained(glass, tmp_path_factory):
    model = tmp_path_factory.mktemp("trained") / "m.pellucid"
    pellucid("fit", glass, "-o", model, *STFPM)
    return model


def _kill_when(command: list[str], so_far: Callable[[], bool]) -> None:
    """Start a command and kill it when it has come so far; it may have ended just before."""
    process = forks.start(command, output=Path(os.devnull))
    while process.poll() is None and not so_far():
        time.sleep(0.005)
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
@pytest.mark.parametrize(
    "moment", [pytest.param("the work begins", marks=pytest.mark.slow), "an epoch is kept", "the model is written"]
)
def test_a_killed_fit_leaves_the_old_model_or_the_new_one(glass, trained, tmp_path, moment):
    model = Path(shutil.copy(trained, tmp_path))
    before, written_at = model.read_bytes(), model.stat().st_mtime_ns
    progress = tmp_path / "m.pellucid.training"
    progress.mkdir()  # of an earlier fit, which is removed first
    so_far = {
        "the work begins": lambda: not progress.exists(),
        "an epoch is kept": lambda: any(path.suffix != ".part" for path in progress.glob("*")),
        "the model is written": lambda: list(tmp_path.glob("*.part")) or model.stat().st_mtime_ns != written_at,
    }
    _kill_when(command_line("fit", glass, "-o", model, *STFPM), so_far[moment])
    assert model.read_bytes() == before
    pellucid("fit", glass, "-o", model, *STFPM, "--resume")  # resumed or afresh, the result is the same
    assert model.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is of POSIX")
@pytest.mark.parametrize("command", ["fit", pytest.param("compare", marks=pytest.mark.slow), "inspect", "export"])
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(command, compared, glass, tmp_path):
    import resource

    full = partial(
        resource.setrlimit, resource.RLIMIT_FSIZE, (20_000, 20_000)
    )  # a write beyond fails, as on a full disk
    model = Path(shutil.copy(compared / "dfm/model.pellucid", tmp_path / "m.pellucid"))
    old = model.read_bytes()
    arguments = {
        "fit": ["fit", glass, "-o", model, "--detector", "dfm", *SMALL],
        "compare": ["compare", glass, "-o", tmp_path / "out", "--detectors", "dfm", *SMALL],
        "inspect": ["inspect", compared / "dfm/model.pellucid", glass / "abnormal_test", "-o", tmp_path / "found"],
        "export": ["export", compared / "dfm/model.pellucid", "-o", tmp_path / "exported"],
    }[command]
    uncounted = {
        name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")
    }  # it writes, too
    done = pellucid(*arguments, check=1, preexec_fn=full, env=uncounted)
    assert "Cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert model.read_bytes() == old
    assert not list(tmp_path.rglob("*.part"))


def _drawn_anew(drawn: dict[Path, int]) -> int:
    """How many pictures are not from the time that they were."""
    return sum(path.stat().st_mtime_ns != moment for path, moment in drawn.items())


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
@pytest.mark.parametrize("command", ["inspect", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_killed_readers_leave_whole_files(command, compared, glass, tmp_path):
    model = compared / "patchcore/model.pellucid"
    data = glass / "abnormal_test" if command == "inspect" else glass
    arguments = command_line(command, model, data, "-o", tmp_path)
    forks.run(arguments, check=True)
    before = (tmp_path / "scores.csv").read_bytes()
    drawn = {path: path.stat().st_mtime_ns for path in tmp_path.glob("images/*.png")}
    for count in (1, 3):  # pictures that are drawn anew
        anew = partial(_drawn_anew, drawn)
        _kill_when(arguments, lambda enough=count, anew=anew: anew() >= enough)
        assert (tmp_path / "scores.csv").read_bytes() == before
        assert all(cv2.imread(str(path)) is not None for path in drawn)
        drawn = {path: path.stat().st_mtime_ns for path in drawn}
    forks.run(arguments, check=True)
    assert (tmp_path / "scores.csv").read_bytes() == before
