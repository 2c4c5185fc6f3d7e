"""The README: its commands, its sweep and its Python run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import pellucid_here
from serving import served

from pellucid.study.sweep import Sweep

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


COMMANDS = [line.split("#")[0].split() for line in re.findall(r"^pellucid .*", README, re.M) if "finds the" not in line]


@pytest.fixture(scope="module")
def desk(glass, tmp_path_factory):
    """A folder with what the README assumes."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(glass, folder / "GlassDefect")
    for file in sorted((folder / "GlassDefect" / "normal_train").iterdir())[20:]:  # 20 allow the usual rate
        file.unlink()
    shutil.copytree(glass / "abnormal_test", folder / "new_images")
    shutil.copy(next((glass / "abnormal_test").glob("*.png")), folder / "pane_0412.png")
    return folder


def test_the_commands_of_the_readme_run(desk, monkeypatch):
    monkeypatch.chdir(desk)
    names = ["compare", "fit", "inspect", "evaluate", "detectability", "export", "inspect", "account", "serve"]
    assert [c[1] for c in COMMANDS] == names
    for command in COMMANDS[1:-1]:
        command += ["--flaws-per-cell", "2"] if command[1] == "detectability" else []  # 20 are a minute's work
        pellucid_here(*command[1:])
    assert (desk / "results/scores.csv").exists()
    with served(desk, *COMMANDS[-1][2:]) as service:
        answer = service.inspect(desk / "pane_0412.png", model="glass").json()["items"][0]
        assert answer["verdict"] in ("ok", "reject")
        names = [model["name"] for model in service.http.get("/models").json()["items"]]
        assert names == ["exported", "glass"]


def test_the_sweep_of_the_readme_is_one(desk):
    (block,) = re.findall(r"```toml\n(.*?)```", README, flags=re.S)
    (desk / "sweep.toml").write_text(block)
    cells = Sweep.from_file(desk / "sweep.toml", {}).candidates()
    assert len(cells) == 2 * 2 * 2 + 2 * 2
    assert "patchcore-resnet18-128-coreset_sampling_ratio=0.1" in cells


@pytest.mark.slow
def test_the_comparison_of_the_readme_runs(desk):
    subprocess.run([sys.executable, "-m", *COMMANDS[0]], cwd=desk, check=True, capture_output=True)
    assert len(json.loads((desk / "out/leaderboard.json").read_text())) == 6


def test_the_python_of_the_readme_runs(desk, monkeypatch):
    monkeypatch.chdir(desk)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert blocks
    for block in blocks:
        exec(block, {})
