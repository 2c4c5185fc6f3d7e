"""Every block of code in the documentation runs, in the order of its page, on a small drawn data set."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from page_blocks import ROOT, Block, Desk, blocks_of, needed_programs

import pellucid
from pellucid.study.sweep import Sweep
from pellucid.synthesis.glass import draw_data_set, draw_pane, write_pane

README = [ROOT / "README.md", ROOT / "README.fa.md"]
DOCS = sorted((ROOT / "docs").rglob("*.md"))  # but what was decided, and notebooks, which test_examples.py runs
PAGES = [page for page in DOCS if page.parent.name not in ("decisions", "examples")] + README
WITH_CODE = {page.relative_to(ROOT).as_posix(): blocks_of(page) for page in PAGES}
TESTED_ELSEWHERE = (
    "docs/data.md",  # beside what it is about
    "docs/anomalib.md",  # by tests/anomalib
    "docs/cli.md",  # generated from commands that have tests
    "README.fa.md",  # has the code of README.md, as test_site.py sees
)
RUN = {name: blocks for name, blocks in WITH_CODE.items() if name not in TESTED_ELSEWHERE}


@pytest.fixture(scope="module")
def models() -> dict[tuple[str, ...], bytes]:
    """What pages have fitted, by the command; the data is the same for all."""
    return {}


@pytest.fixture(scope="module")
def drawn(made_once) -> Path:
    """What pages assume: a data set, new images, a new lot."""

    def fill(folder: Path) -> None:
        draw_data_set(folder / "GlassDefect", n_train=24, n_test=8, n_per_defect=6)
        flawed = sorted((folder / "GlassDefect" / "abnormal_test").iterdir())
        for name, files in {"new_images": flawed[::6], "panes": flawed[:1], "sheets": flawed[:1]}.items():
            (folder / name).mkdir()
            for file in files:
                shutil.copy(file, folder / name)
        shutil.copy(flawed[-1], folder / "pane_0412.png")  # a stone
        for n in range(16):
            place = folder / ("new_lot" if n < 8 else "passed")
            write_pane(place / f"lot_{n}.png", draw_pane(np.random.default_rng((9, n))))

    return made_once("desk", fill)


@pytest.fixture
def desk(drawn: Path, tmp_path: Path, monkeypatch, models) -> Iterator[Desk]:
    """A copy to work on."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    desk = Desk(tmp_path, models)
    with desk.stack:
        yield desk


def run(desk: Desk, blocks: list[Block], slow: bool) -> None:
    if lacking := needed_programs(blocks):
        pytest.skip(f"not installed: {', '.join(lacking)}")
    for block in blocks:
        if block.file:
            (desk.folder / block.file).write_text(block.text, encoding="utf-8")
    desk.names["asks"] = any("curl" in block.text for block in blocks)
    if not any("pellucid fit GlassDefect -o glass.pellucid" in block.text for block in blocks):
        desk.command("pellucid fit GlassDefect -o glass.pellucid")
    for block in blocks:
        if block.runs and (slow or block.remark != "slow"):
            desk.run(block)


@pytest.mark.parametrize("name", [name for name, blocks in RUN.items() if any(block.runs for block in blocks)])
def test_a_page_runs(name, desk):
    run(desk, RUN[name], slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, blocks in RUN.items() if any(block.remark == "slow" for block in blocks)])
def test_a_page_runs_with_what_takes_minutes(name, desk):
    run(desk, RUN[name], slow=True)


def test_every_block_says_what_it_is():
    """A block without a kind would not run, and nobody would notice: it is either code or called text."""
    hand_written = {name: blocks for name, blocks in WITH_CODE.items() if name not in TESTED_ELSEWHERE}
    wrong = [f"{name}:{block.line}" for name, blocks in hand_written.items() for block in blocks if not block.kind]
    assert not wrong, ", ".join(wrong)


def test_what_does_not_run_says_why():
    wrong = [
        f"{name}:{block.line}"
        for name, blocks in WITH_CODE.items()
        for block in blocks
        if block.remark.startswith("not run") and len(block.remark.split()) < 4
    ]
    assert not wrong, ", ".join(wrong)


def test_what_python_blocks_call_is_public():
    """Pages show names that stay: those of the package, and of the modules that the reference has."""
    shown = "\n".join(b.text for blocks in WITH_CODE.values() for b in blocks if b.kind == "python")
    used = set(re.findall(r"\bpellucid\.(\w+)", shown))
    assert used <= {*pellucid.__all__, "anomalib", "testing", "synthesis"}, used


def test_the_sweep_of_the_documentation_is_one(desk):
    (block,) = (block for block in WITH_CODE["docs/howto/choose.md"] if block.file == "sweep.toml")
    (desk.folder / "sweep.toml").write_text(block.text, encoding="utf-8")
    cells = Sweep.from_file(desk.folder / "sweep.toml", {}).candidates()
    assert len(cells) == 2 * 2 * 2 + 2 * 2
    assert "patchcore-resnet18-128-coreset_sampling_ratio=0.1" in cells
