"""How does last month's model do on this week's labelled parts? Test images alone are enough."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pellucid
from pellucid.acquisition.plan import Plan
from pellucid.errors import DataError
from pellucid.records import Sample, Samples
from pellucid.study.evaluate import plan_test
from pellucid.study.operating import Costs
from pellucid.synthesis.glass import draw_data_set

NORMAL, ABNORMAL = 6, 8  # images of this week


@pytest.fixture(scope="module")
def inspector(model):
    return pellucid.load(model)


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    """Labelled parts of a week that no model has seen."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_data_set(folder, seed=9, n_train=1, n_test=NORMAL, n_per_defect=2)
    shutil.rmtree(folder / "normal_train")
    shutil.rmtree(folder / "abnormal_train")
    return folder


def _as_five_folders(week, folder):
    for name in ("normal_test", "abnormal_test", "mask"):
        shutil.copytree(week / name, folder / name)
    return folder


def _as_mvtec(week, folder):
    shutil.copytree(week / "normal_test", folder / "test/good")
    for path in (week / "abnormal_test").iterdir():
        kind = path.name.split("_")[0]
        (folder / "test" / kind).mkdir(parents=True, exist_ok=True)
        (folder / "ground_truth" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "test" / kind)
        shutil.copy(week / "mask" / path.name, folder / "ground_truth" / kind / f"{path.stem}_mask.png")
    return folder


def _as_plain(week, folder):
    for ours, theirs in (("normal_test", "normal"), ("abnormal_test", "abnormal"), ("mask", "mask")):
        shutil.copytree(week / ours, folder / theirs)
    return folder


def _as_csv(week, folder):
    rows = [["path", "label", "split", "mask"]]
    for label in ("normal", "abnormal"):
        for path in sorted((week / f"{label}_test").iterdir()):
            mask = str(week / "mask" / path.name) if label == "abnormal" else ""
            rows.append([str(path), label, "test", mask])
    folder.mkdir(exist_ok=True)
    with (folder / "week.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return folder / "week.csv"


def _as_samples(week, _):
    samples = [Sample(p, "normal") for p in sorted((week / "normal_test").iterdir())]
    return samples + [Sample(p, "abnormal", mask=week / "mask" / p.name) for p in (week / "abnormal_test").iterdir()]


@pytest.mark.parametrize("arrange", [_as_five_folders, _as_mvtec, _as_plain, _as_csv, _as_samples])
def test_last_months_model_on_this_weeks_parts(arrange, inspector, week, tmp_path):
    result = pellucid.evaluate(inspector, arrange(week, tmp_path / "week"))
    assert (result.metrics["normals"], result.metrics["defectives"]) == (NORMAL, ABNORMAL)
    by_hand = {p: inspector.inspect(p) for name in ("normal_test", "abnormal_test") for p in (week / name).iterdir()}
    rejected = {p.name for p, found in by_hand.items() if found.verdict == "reject"}
    assert {s.sample.path.name for s in result.scored if s.inspection.verdict == "reject"} == rejected
    escapes = sum(p.name not in rejected for p in (week / "abnormal_test").iterdir())
    assert result.metrics["escapes"] == escapes
    assert result.metrics["pixel_auroc"] is not None
    unmarked = arrange in (_as_plain, _as_samples)
    assert any("marked neither as training nor as test images" in note for note in result.notes) == unmarked


def test_defects_alone(inspector, week, tmp_path):
    shutil.copytree(week / "abnormal_test", tmp_path / "abnormal")
    result = pellucid.evaluate(inspector, tmp_path)
    assert (result.metrics["normals"], result.metrics["defectives"]) == (0, ABNORMAL)
    assert result.metrics["image_auroc"] is None
    assert any("need both normal and defective" in note for note in result.notes)


def test_what_the_model_was_fitted_on_is_never_tested(inspector, glass, tmp_path):
    plan = plan_test(inspector, glass)
    assert plan.split == Plan.from_data(glass, false_reject=inspector.false_reject, seed=inspector.seed).split
    assert not {s.path for s in plan.split.test} & {s.path for s in (*plan.split.fit, *plan.split.calibrate)}
    moved = tmp_path / "copy"
    shutil.copytree(glass, moved)
    for path in sorted((moved / "normal_train").iterdir())[:30]:
        path.unlink()  # not the data of the model any more, but what is left is marked as training images
    assert {s.path.parent.name for s in plan_test(inspector, moved).split.test} == {"normal_test", "abnormal_test"}


def test_unmarked_images_are_tested_by_the_models_own_split(glass, tmp_path):
    """In a plain folder only the seed says which normal images were held back for the test."""
    shutil.copytree(glass / "normal_train", tmp_path / "normal")
    shutil.copytree(glass / "abnormal_test", tmp_path / "abnormal")
    plan = Plan.from_data(tmp_path, false_reject=0.1, seed=3)
    inspector = pellucid.fit(plan, "dfm", image_size=64, false_reject=0.1, seed=3)
    tested = plan_test(inspector, tmp_path)
    assert tested.split == plan.split
    assert 0 < sum(s.label == "normal" for s in tested.split.test) < len(plan.split.fit)
    assert not any("marked neither" in note for note in tested.notes)


def test_nothing_to_test_on(inspector, glass, tmp_path):
    shutil.copytree(glass / "normal_train", tmp_path / "normal_train")
    with pytest.raises(DataError, match=r"has no test images \(five folders layout\)"):
        pellucid.evaluate(inspector, tmp_path)
    with pytest.raises(DataError, match="has no test images"):
        pellucid.evaluate(inspector, [])
    with pytest.raises(DataError, match="no normal images to learn from"):
        pellucid.read_folder(shutil.copytree(glass / "normal_test", tmp_path / "week/normal_test").parent)
    samples = Samples(tmp_path, "list of samples", (Sample(next((glass / "normal_test").iterdir()), "normal", "test"),))
    with pytest.raises(DataError, match=r"None of the normal images in .* can be used\.$"):
        Plan.from_data(samples)


def test_costs_reach_the_operating_points(inspector, week):
    result = pellucid.evaluate(inspector, week, costs=Costs(7, 2, 0.5))
    assert any(p.rule == "least cost (escape 7, false reject 2, 50.00% defective)" for p in result.operating_points)


def test_an_evaluation_shows_itself(inspector, week):
    result = pellucid.evaluate(inspector, week)
    counts = f"{result.metrics['escapes']} of {ABNORMAL} escapes, {result.metrics['false_rejects']} of {NORMAL}"
    assert repr(result) == f"Evaluation(image_auroc {result.metrics['image_auroc']:.4f}, {counts} false_rejects)"
    html = result._repr_html_()
    low, high = result.metrics["image_auroc_low"], result.metrics["image_auroc_high"]
    value = f"<td>{result.metrics['image_auroc']:.4f}</td><td>{low:.4f} to {high:.4f}</td>"
    assert f"<tr><td>image_auroc</td>{value}</tr>" in html
    assert "_low<" not in html
    assert "too few to check" in html
    spoilt = pellucid.Evaluation(dict(result.metrics) | {"<b>": 1}, {}, notes=("<script>",))
    assert "<script>" not in spoilt._repr_html_()
    assert "<td>&lt;b&gt;</td>" in spoilt._repr_html_()


def test_evaluate_as_a_command(model, week, tmp_path):
    command = [sys.executable, "-m", "pellucid", "evaluate", str(model), str(week), "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, env={**os.environ})
    assert "five folders layout: 0 normal images fit" in done.stderr
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["metrics"] == dict(pellucid.evaluate(pellucid.load(model), week).metrics)
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert {Path(row["path"]).parent.name for row in rows} == {"normal_test", "abnormal_test"}
    assert len(rows) == NORMAL + ABNORMAL
