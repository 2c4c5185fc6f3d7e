"""Killed commands and full disks: the old file or the new one is there, whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from commands import SMALL, command_line, pellucid

STFPM = ("--detector", "stfpm", "--set", "epochs=3", *SMALL)


@pytest.fixture(scope="module")
def trained(glass, tmp_path_factory):
    model = tmp_path_factory.mktemp("trained") / "m.pellucid"
    pellucid("fit", glass, "-o", model, *STFPM)
    return model


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
@pytest.mark.parametrize("delay", [1.0, 3.0, 4.5])
def test_a_killed_fit_leaves_the_old_model_or_the_new_one(glass, trained, tmp_path, delay):
    model = Path(shutil.copy(trained, tmp_path))
    before = model.read_bytes()
    command = command_line("fit", glass, "-o", model, *STFPM)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert model.read_bytes() == before
    pellucid("fit", glass, "-o", model, *STFPM, "--resume")  # resumed or afresh, the result is the same
    assert model.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is of POSIX")
@pytest.mark.parametrize("command", ["fit", "compare", "inspect", "export"])
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(command, compared, glass, tmp_path):
    import resource

    def full() -> None:  # every write beyond this size fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    model = tmp_path / "m.pellucid"
    model.write_bytes(b"old")
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
    assert model.read_bytes() == b"old"
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
@pytest.mark.parametrize("command", ["inspect", "evaluate"])
def test_killed_readers_leave_whole_files(command, compared, glass, tmp_path):
    model = compared / "patchcore/model.pellucid"
    data = glass / "abnormal_test" if command == "inspect" else glass
    arguments = command_line(command, model, data, "-o", tmp_path)
    subprocess.run(arguments, check=True, capture_output=True)
    before = (tmp_path / "scores.csv").read_bytes()
    for delay in (2.0, 2.5, 3.0):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
        assert (tmp_path / "scores.csv").read_bytes() == before
        assert all(cv2.imread(str(path)) is not None for path in tmp_path.glob("images/*.png"))
    subprocess.run(arguments, check=True, capture_output=True)
    assert (tmp_path / "scores.csv").read_bytes() == before
