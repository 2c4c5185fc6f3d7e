"""The examples: a package, installed as anybody would and used by the commands, and notebooks with their pages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import forks
import pytest

import pellucid

ROOT = Path(__file__).parents[1]
KMEANS = ROOT / "examples" / "pellucid-kmeans"
NOTEBOOKS = sorted(file.stem for file in (ROOT / "examples" / "notebooks").glob("*.py"))
OUTPUT = re.compile(r"```text\n.*?\n```\n\n|!\[\]\([^)]*\)\n\n|<div class=\"output\">.*?</div>\n\n", re.S)


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


@pytest.mark.slow
def test_the_examples_own_tests_pass(run):
    assert "3 passed" in run("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", KMEANS)


def without_outputs(page: str) -> str:
    """A page of a notebook without what running it adds."""
    return OUTPUT.sub("", page.rstrip("\n") + "\n\n").rstrip("\n")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_page_of_a_notebook_has_its_code(name):
    pytest.importorskip("jupytext", reason="the extra [docs] is not installed")
    from book import notebooks

    page = (ROOT / "docs" / "examples" / f"{name}.md").read_text("utf-8")
    bare = notebooks.page(notebooks.read(name), name, [])
    assert without_outputs(page) == without_outputs(bare), f"python -m book.notebooks {name}"
    assert page.count("```text") + page.count("![](") > 2


def test_there_are_notebooks():
    assert {"report", "choosing", "new_lot", "own_detector", "sheet"} <= set(NOTEBOOKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path):
    """And shows as many pictures as its page does; a cell that fails ends the command."""
    pytest.importorskip("nbclient", reason="nbclient is not installed: notebooks cannot be run")
    command = [sys.executable, "-m", "book.notebooks", name, "--docs", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [(docs / "examples" / f"{name}.md").read_text("utf-8") for docs in (tmp_path, ROOT / "docs")]
    assert without_outputs(pages[0]) == without_outputs(pages[1])
    pictures = [re.findall(r"\.\./pictures/([\w-]+\.png)", page) for page in pages]
    assert pictures[0] == pictures[1]
    assert sorted(file.name for file in (tmp_path / "pictures").glob("*")) == sorted(pictures[0])
