"""Sweeps as real processes: seeds, kills, the cluster, and planted flaws."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import SMALL, pellucid, pellucid_here

from pellucid.acquisition.plan import Plan
from pellucid.errors import DataError, ParameterError
from pellucid.models.load import load
from pellucid.records.limits import FalseAlarms
from pellucid.study.detectability import Detectability, PlantedFlaws, measure_detectability, unseen_normal
from pellucid.study.sweep import Sweep
from pellucid.synthesis.glass import draw_pane, write_pane

MEASURED = (
    *("fit_seconds", "fit_cost", "ms_per_image_median", "ms_per_image_p95", "image_cost", "peak_ram_mb"),
    *("recommended", "pareto"),
)
SWEEP = """
data = {data}
detectors = ["dfm", "padim"]
image_size = [64]
false_reject = 0.1
seeds = 2
prefer = "size"

[grid.padim]
n_features = [10]
"""


def table(out):
    """The leaderboard by name, without what a clock or a scale measured."""
    rows = json.loads((out / "leaderboard.json").read_text())
    return {r["name"]: {k: v for k, v in r.items() if k not in MEASURED} for r in rows}


@pytest.fixture(scope="module")
def sweep(glass, tmp_path_factory):
    file = tmp_path_factory.mktemp("sweep") / "sweep.toml"
    file.write_text(SWEEP.format(data=json.dumps(str(glass))))
    return file


@pytest.fixture(scope="module")
def swept(sweep, tmp_path_factory):
    out = tmp_path_factory.mktemp("swept")
    pellucid_here("compare", sweep, "-o", out)
    return out


def test_a_sweep_keeps_every_model_and_averages_over_seeds(swept, glass):
    rows = table(swept)
    assert set(rows) == {"dfm-64", "padim-64-n_features=10"}
    for name, row in rows.items():
        metrics = []
        for folder in (swept / name, swept / "seed-1" / name):
            assert load(folder / "model.pellucid").image_size == (64, 64)
            metrics.append(json.loads((folder / "metrics.json").read_text())["metrics"])
        assert row["seeds"] == 2
        assert row["image_auroc"] == pytest.approx(sum(m["image_auroc"] for m in metrics) / 2)
        spread = abs(metrics[0]["false_reject_rate"] - metrics[1]["false_reject_rate"]) / 2**0.5
        assert row["false_reject_rate_sd"] == pytest.approx(spread)
    splits = [(folder / "splits.csv").read_text() for folder in (swept, swept / "seed-1")]
    assert splits[0] != splits[1]
    again = Sweep.from_file(swept / "config.toml", {})
    assert set(again.candidates()) == set(rows)
    assert again.data == glass.resolve()


def test_the_seed_reaches_the_detector_and_the_split(swept):
    first, second = (load(f / "padim-64-n_features=10/model.pellucid") for f in (swept, swept / "seed-1"))
    assert (first.seed, second.seed) == (0, 1)
    assert (first.detector.seed, second.detector.seed) == (0, 1)
    assert (swept / "splits.csv").read_text("utf-8") != (swept / "seed-1/splits.csv").read_text("utf-8")


def test_selection_csv_has_what_the_choice_looked_at(swept):
    rows = list(csv.DictReader((swept / "dfm-64/selection.csv").read_text().splitlines()))
    model = load(swept / "dfm-64/model.pellucid")
    normal = [float(r["score"]) for r in rows if r["label"] == "normal"]
    assert len(normal) == 10
    assert set(normal) < set(model.limit.scores)  # those that every detector's limit is placed by
    roles = {r["path"]: r["role"] for r in csv.DictReader((swept / "splits.csv").read_text().splitlines())}
    assert {roles[r["path"]] for r in rows} == {"calibrate", "select"}
    root = Sweep.from_file(swept / "config.toml", {}).data
    scores = [model.inspect(root / r["path"]).score for r in rows if r["label"] == "normal"]
    assert np.mean(np.less(scores, normal)) > 0.9  # left out for the limit, and learned from


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_a_killed_sweep_goes_on_and_gives_the_same_table(sweep, swept, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "pellucid", "compare", str(sweep), "-o", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "padim-64-n_features=10/model.pellucid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "leaderboard.json").exists()
    finished = (tmp_path / "dfm-64/cost.json").stat().st_mtime_ns
    said = pellucid_here("compare", sweep, "-o", tmp_path).stderr
    assert (tmp_path / "dfm-64/cost.json").stat().st_mtime_ns == finished
    assert "\ndfm-64: fitting" not in said
    assert "seed-1/dfm-64: fitting" in said
    assert table(tmp_path) == table(swept)


@pytest.mark.slow
def test_a_cell_whose_settings_changed_is_run_again_and_no_other(sweep, swept, tmp_path):
    longer = tmp_path / "longer.toml"
    longer.write_text(sweep.read_text().replace("[10]", "[10, 20]").replace("seeds = 2", "seeds = 1"))
    said = pellucid_here("compare", longer, "-o", swept).stderr
    assert said.count(": fitting") == 1
    assert "padim-64-n_features=20: fitting" in said
    pellucid_here("compare", sweep, "-o", swept)


@pytest.mark.slow
def test_ray_gives_the_same_results(sweep, swept, tmp_path):
    pellucid("compare", sweep, "-o", tmp_path, "--engine", "ray", "--seeds", 1)
    assert set(table(tmp_path)) == set(table(swept))
    for name in table(tmp_path):
        for file in ("model.pellucid", "metrics.json", "scores.csv", "selection.csv", "config.toml"):
            assert (tmp_path / name / file).read_bytes() == (swept / name / file).read_bytes()


def test_ray_tells_why_a_cell_failed(glass, tmp_path):
    arguments = ("compare", glass, "-o", tmp_path, "--detectors", "patchcore", *SMALL, "--engine", "ray")
    done = pellucid(*arguments, check=1, env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"})
    assert "No Ray cluster at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_cell_is_a_note_and_the_others_go_on(glass, tmp_path):
    file = tmp_path / "sweep.toml"
    text = SWEEP.format(data=json.dumps(str(glass))).replace("seeds = 2", "seeds = 1")
    text = text.replace('"padim"', '"fastflow"').replace("grid.padim", "grid.fastflow")
    file.write_text(text.replace("n_features = [10]", "lr = [0.001, 1e6]\nflow_steps = [1]\nepochs = [1]"))
    pellucid_here("compare", file, "-o", tmp_path / "out")
    diverged = "fastflow-64-lr=1000000.0-flow_steps=1-epochs=1"
    assert set(table(tmp_path / "out")) == {"dfm-64", "fastflow-64-lr=0.001-flow_steps=1-epochs=1"}
    reason = f"{diverged} failed: The training of fastflow diverged"
    assert reason in (tmp_path / "out/report.html").read_text()
    assert not (tmp_path / "out" / diverged / "model.pellucid").exists()


# --- planted flaws ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_detectability_finds_bold_flaws_and_not_what_is_hardly_there(swept, glass, tmp_path):
    inspector = load(swept / "dfm-64/model.pellucid")
    plan = Plan.from_data(glass, false_reject=0.1, seed=0)
    normal = unseen_normal(plan, inspector)
    fitted = {s.path for s in plan.split.fit}
    assert not fitted & {s.path for s in normal}
    found = measure_detectability(inspector, normal, flaws_per_cell=2)
    assert found.images <= 2
    shares = {(c.kind, c.size_px, c.contrast): c.share for c in found.cells}
    kinds = found.kinds()
    assert kinds == ["scratch", "bold line", "seed", "stone", "dust"]
    largest = {kind: max(c.size_px for c in found.cells if c.kind == kind) for kind in kinds}
    assert largest["scratch"] == 20  # panes of 256 px, a network of 64
    assert shares["bold line", largest["bold line"], 0.4] == 1
    faint = [c for c in found.cells if c.contrast == 0.02]
    bold = [c for c in found.cells if c.contrast == 0.4]
    assert sum(c.found for c in faint) < sum(c.found for c in bold)
    done = pellucid_here("detectability", swept / "dfm-64/model.pellucid", glass, "-o", tmp_path, "--flaws-per-cell", 2)
    assert "Smallest flaw found nine times in ten" in done.stdout
    written = json.loads((tmp_path / "detectability.json").read_text())
    assert len(written["cells"]) == 5 * 4 * 5
    assert [c["found"] for c in written["cells"]] == [c.found for c in found.cells]  # one seed, one result
    assert (tmp_path / "detectability.png").stat().st_size > 0
    rows = list(csv.DictReader((tmp_path / "detectability.csv").read_text().splitlines()))
    assert [float(r["share"]) for r in rows] == [c["share"] for c in written["cells"]]


def test_the_smallest_is_the_one_from_which_all_larger_are_found():
    cells = tuple(
        PlantedFlaws("dust", size, 0.1, 10, found, 0.0, 1.0) for size, found in ((2, 10), (4, 8), (7, 9), (12, 10))
    )
    made = Detectability(1.0, 10, 0, cells)
    assert made.smallest("dust", 0.1) == 7  # 2 px were found by chance: 4 px were not
    assert Detectability(1.0, 10, 0, (PlantedFlaws("dust", 2, 0.1, 10, 8, 0.0, 1.0),)).smallest("dust", 0.1) is None


def test_detectability_needs_good_images_that_are_passed(swept, glass):
    inspector = load(swept / "dfm-64/model.pellucid")
    defects = [s for s in Plan.from_data(glass, false_reject=0.1).split.test if s.label == "abnormal"]
    rejected = [s for s in defects if inspector.inspect(s.path).verdict == "reject"]
    with pytest.raises(DataError, match="good images are rejected without a flaw"):
        measure_detectability(inspector, rejected)


def test_folds_of_a_sweep_are_kept_and_reach_every_seed(glass, tmp_path):
    sweep = Sweep.from_file(glass, {"folds": 3, "seeds": 2, "detectors": ["stfpm"]})
    (tmp_path / "again.toml").write_text(sweep.to_toml(), "utf-8")
    assert Sweep.from_file(tmp_path / "again.toml", {}).folds == 3
    plan = Plan.from_data(glass, false_reject=0.1, folds=3)
    assert plan.split.folds == plan.resplit(false_reject=0.1, folds=3, seed=1).split.folds == 3
    with pytest.raises(ParameterError, match="folds"):
        Sweep.from_file(glass, {"folds": 1})


def test_a_sweep_by_area_holds_out_as_few_images_as_it_needs(glass, tmp_path):
    by_area = {"false_alarms_per_m2": 0.5, "mm_per_px": (0.2, 0.25), "tile": 384}
    sweep = Sweep.from_file(glass, by_area)
    (tmp_path / "again.toml").write_text(sweep.to_toml(), "utf-8")
    again = Sweep.from_file(tmp_path / "again.toml", {})
    assert again.false_alarms() == FalseAlarms(0.5, "m2")
    assert again.mm_per_px == (0.2, 0.25)
    assert (again.split_rate, Sweep.from_file(glass, {}).split_rate) == (0.5, 0.05)
    for wrong, words in (
        ({"mm_per_px": None}, "need the scale of the images"),
        ({"false_alarms_per_mpx": 1.0}, "not both"),
        ({"false_alarms_per_m2": 0}, "give a rate above 0"),
        ({"limit": "gap"}, "leave --limit gap out"),
        ({"mm_per_px": (0.1, 1)}, "more than 4 times as long as wide"),
    ):
        with pytest.raises(ParameterError, match=words):
            Sweep.from_file(glass, by_area | wrong)


@pytest.mark.slow
def test_models_of_a_sweep_promise_false_alarms_by_area(tmp_path):
    data = tmp_path / "sheets"
    for k in range(8):
        pixels = np.clip(draw_pane(np.random.default_rng(k), (256, 400)), 0, 1)
        write_pane(data / "normal" / f"{k}.png", pixels)
        pixels[100:112, 200:220] *= 0.5
        write_pane(data / "abnormal" / f"{k}.png", pixels)
    options = ("--detectors", "padim", "--tile", 384, "--false-alarms-per-m2", 100, "--mm-per-px", 0.5)
    pellucid("compare", data, "-o", tmp_path / "out", *options)
    inspector = load(tmp_path / "out/padim/model.pellucid")
    assert inspector.limit.false_alarms == FalseAlarms(100)
    assert inspector.measuring.mm_per_px == 0.5
    report = (tmp_path / "out/report.html").read_text("utf-8")
    assert "at most 100 false alarms per m² on average" in report
