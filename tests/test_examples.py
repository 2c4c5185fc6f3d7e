"""The examples: installed as anybody would install them, away from the network, and used by the commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import forks
import pytest

import pellucid

KMEANS = Path(__file__).parents[1] / "examples" / "pellucid-kmeans"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run Python where pellucid-kmeans is installed; what it printed."""
    if missing := {"pip", "hatchling"} - {installed.name for installed in distributions()}:
        pytest.skip(f"{missing.pop()} is not installed: the example cannot be built without the network")
    place = tmp_path_factory.mktemp("installed")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", place, KMEANS], check=True)
    paths = [str(place), str(Path(pellucid.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def printed(*arguments):
        command = [sys.executable, "-m", *map(str, arguments)]
        done = forks.run(command, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return printed


def test_the_commands_know_the_installed_detector(run, glass, tmp_path):
    assert "kmeans  Cluster centres of normal patches" in run("pellucid", "detectors")
    (described,) = json.loads(run("pellucid", "detectors", "kmeans", "--json"))
    assert described["parameters"]["clusters"] == 100
    model, graph, images = tmp_path / "m.pellucid", tmp_path / "graph", glass / "abnormal_test"
    small = ["--image-size", "64", "--false-reject", "0.1", "--set", "clusters=20"]
    run("pellucid", "fit", glass, "--detector", "kmeans", *small, "-o", model)
    run("pellucid", "export", model, "--format", "openvino", "-o", graph)
    header = json.loads((graph / "model.json").read_text("utf-8"))["model"]
    assert (header["detector"], header["versions"]["pellucid-kmeans"]) == ("kmeans", "0.1.0")
    for made, folder in ((model, tmp_path / "a"), (graph, tmp_path / "b")):
        run("pellucid", "inspect", made, images, "-o", folder)
    first, second = ((tmp_path / name / "scores.csv").read_text("utf-8").splitlines() for name in "ab")
    assert len(first) == len(second) == 1 + len(list(images.rglob("*.png")))


def test_the_examples_own_tests_pass(run):
    assert "3 passed" in run("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", KMEANS)
