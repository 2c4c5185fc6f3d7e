"""How does last month's model do on this week's labelled parts? Test images alone are enough."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.plan import Plan
from pellucid.errors import DataError
from pellucid.limits.costs import Costs
from pellucid.records import Sample, Samples
from pellucid.study.evaluate import plan_test
from pellucid.synthesis.glass import draw_data_set, write_pane

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


@pytest.fixture
def opened(monkeypatch):
    """How often each file is read."""
    counts: Counter[Path] = Counter()
    read_bytes = Path.read_bytes

    def counting(path):
        counts[path] += 1
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    return counts


@pytest.mark.parametrize("arrange", [_as_five_folders, _as_mvtec, _as_plain, _as_csv, _as_samples])
def test_last_months_model_on_this_weeks_parts(arrange, inspector, week, tmp_path, opened):
    data = arrange(week, tmp_path / "week")
    opened.clear()
    result = pellucid.evaluate(inspector, data)
    again = {path for path, count in opened.items() if count == 2}  # for the outline of defects
    assert again == {s.sample.path for s in result.scored if s.inspection.defects}
    assert set(opened.values()) == {1, 2}  # masks as well
    assert sum(path.suffix == ".png" for path in opened) == NORMAL + 2 * ABNORMAL
    assert (result.metrics["normals"], result.metrics["defectives"]) == (NORMAL, ABNORMAL)
    by_hand = {p: inspector.inspect(p) for name in ("normal_test", "abnormal_test") for p in (week / name).iterdir()}
    rejected = {p.name for p, found in by_hand.items() if found.verdict == "reject"}
    assert {s.sample.path.name for s in result.scored if s.inspection.verdict == "reject"} == rejected
    escapes = sum(p.name not in rejected for p in (week / "abnormal_test").iterdir())
    assert result.metrics["escapes"] == escapes
    assert result.metrics["pixel_auroc"] is not None
    assert not any("not tested on" in note or "marked neither" in note for note in result.notes)


@pytest.mark.parametrize(
    ("parts", "names", "normals", "defectives"),
    [
        (("normal_test",), ("normal_test",), NORMAL, 0),
        (("normal_test",), ("test/good",), NORMAL, 0),
        (("normal_test",), ("normal",), NORMAL, 0),
        (("abnormal_test",), ("abnormal_test",), 0, ABNORMAL),
        (("abnormal_test",), ("abnormal",), 0, ABNORMAL),
        (("abnormal_test",), ("abnormal/scratch",), 0, ABNORMAL),
        (("abnormal_test",), ("test/scratch",), 0, ABNORMAL),
        (("normal_test", "abnormal_test"), ("normal", "abnormal/flaw"), NORMAL, ABNORMAL),
        (("normal_test", "abnormal_test"), ("normal_test", "abnormal_train"), NORMAL, 0),
    ],
)
def test_any_subset_of_any_layout_is_tested_whole(parts, names, normals, defectives, inspector, week, tmp_path):
    for part, name in zip(parts, names, strict=True):
        shutil.copytree(week / part, tmp_path / name)
    result = pellucid.evaluate(inspector, tmp_path)
    assert (result.metrics["normals"], result.metrics["defectives"]) == (normals, defectives)
    if not (normals and defectives):
        assert result.metrics["image_auroc"] is None
        assert any("need both normal and defective" in note for note in result.notes)


def test_training_images_of_the_data_are_not_opened(inspector, glass, opened):
    plan = plan_test(inspector, glass)
    assert not opened
    split = Plan.from_data(glass, false_reject=inspector.false_reject, seed=inspector.seed).split
    assert (plan.test, plan.select) == (split.test, split.select)
    opened.clear()
    pellucid.evaluate(inspector, glass)
    assert set(opened.values()) == {1, 2}  # what has defects to be outlined is read again
    assert {p.parent.name for p in opened} == {"normal_test", "abnormal_test", "abnormal_train", "mask"}


@pytest.mark.parametrize("as_what", ["normal_test", "abnormal_test", "normal", "abnormal/odd", "test/good"])
def test_what_the_model_was_made_from_is_recognised_by_its_content(as_what, inspector, glass, week, tmp_path):
    """Renamed, moved, and even with another label."""
    known = sorted((glass / "normal_train").iterdir())
    other = {"normal_test": "abnormal_test", "abnormal_test": "normal_test", "test/good": "test/flaw"}
    other |= {"normal": "abnormal", "abnormal/odd": "normal"}
    for folder, source in ((as_what, "normal_test"), (other[as_what], "abnormal_test")):
        shutil.copytree(week / source, tmp_path / folder)
    for n, path in enumerate(known[::7]):
        shutil.copy(path, tmp_path / as_what / f"new_{n}.png")
    result = pellucid.evaluate(inspector, tmp_path)
    assert len(result.scored) == NORMAL + ABNORMAL
    assert not any(s.sample.path.name.startswith("new_") for s in result.scored)
    said = next(note for note in result.notes if "not tested on" in note)
    assert said.startswith(f"{len(known[::7])} images are not tested on, because the model was fitted on them or")
    assert "new_0.png" in said


def test_a_csv_and_a_list_that_name_images_of_the_model(inspector, glass, week, tmp_path):
    known = sorted((glass / "normal_train").iterdir())[:3]
    samples = [*_as_samples(week, None), *(Sample(path, "normal", "test") for path in known)]
    rows = "".join(f"{s.path},{s.label},test\n" for s in samples)
    (tmp_path / "week.csv").write_text(f"path,label,split\n{rows}")
    for data in (samples, tmp_path / "week.csv"):
        result = pellucid.evaluate(inspector, data)
        assert (result.metrics["normals"], result.metrics["defectives"]) == (NORMAL, ABNORMAL)
        assert any(note.startswith("3 images are not tested on") for note in result.notes)


def test_nothing_but_images_of_the_model(inspector, glass, tmp_path):
    shutil.copytree(glass / "normal_train", tmp_path / "normal")
    with pytest.raises(DataError, match=r"has no image to test on\. 50 images are not tested on, because"):
        pellucid.evaluate(inspector, tmp_path)


def test_unmarked_images_of_the_models_own_data_are_those_that_it_has_not_seen(glass, tmp_path):
    shutil.copytree(glass / "normal_train", tmp_path / "normal")
    shutil.copytree(glass / "abnormal_test", tmp_path / "abnormal")
    plan = Plan.from_data(tmp_path, false_reject=0.1, seed=3)
    inspector = pellucid.fit(plan, "dfm", image_size=64, false_reject=0.1, seed=3)
    result = pellucid.evaluate(inspector, tmp_path)
    assert {s.sample for s in result.scored} == set(plan.split.test)
    assert 0 < result.metrics["normals"] < len(plan.split.fit)
    older = replace(inspector, fitted_images=FittedImages(data_sha256=inspector.fitted_images.data_sha256))
    assert plan_test(older, tmp_path).test == plan.split.test  # by its split: it does not know its images
    another = replace(inspector, fitted_images=FittedImages(data_sha256="0" * 64))
    tested = plan_test(another, tmp_path)
    assert len(tested.test) == len(list(tmp_path.rglob("*.png")))
    assert any("marked neither as training nor as test images" in note for note in tested.samples.notes)


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


@pytest.mark.parametrize("place", [".", "monday", "monday/shift_1", "file"])
def test_images_without_labels_are_told_what_to_do_with(place, inspector, week, tmp_path):
    shutil.copytree(week / "normal_test", tmp_path / "parts" / place.replace("file", "."), dirs_exist_ok=True)
    data = next((tmp_path / "parts").iterdir()) if place == "file" else tmp_path / "parts"
    count = 1 if place == "file" else NORMAL
    with pytest.raises(DataError, match=f"holds {count} images without labels: `pellucid inspect` says what a model"):
        pellucid.evaluate(inspector, data)


@pytest.mark.parametrize("name", ["absent", "absent.png", "empty", "text.txt"])
def test_what_is_no_data_set_is_said(name, inspector, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("some text")
    with pytest.raises(DataError, match=r"does not exist|is empty|neither a folder nor a CSV"):
        pellucid.evaluate(inspector, tmp_path / name)


def test_files_and_masks_that_cannot_be_read_are_counted_and_the_rest_is_tested(inspector, week, tmp_path):
    data = _as_five_folders(week, tmp_path / "week")
    images, masks = sorted((data / "normal_test").iterdir()), sorted((data / "mask").iterdir())
    images[0].write_bytes(b"no image")
    (data / "normal_test/empty.png").write_bytes(b"")
    for path in (masks[0], data / "mask" / sorted((data / "abnormal_test").iterdir())[0].name):
        path.write_bytes(b"")
    write_pane(data / "mask" / sorted((data / "abnormal_test").iterdir())[1].name, np.ones((5, 7), np.float32))
    result = pellucid.evaluate(inspector, data)
    assert (result.metrics["normals"], result.metrics["defectives"]) == (NORMAL - 1, ABNORMAL)
    assert any(note.startswith("2 files are skipped: ") and images[0].name in note for note in result.notes)
    assert any(note.startswith("2 masks cannot be used, and their images count for") for note in result.notes)
    assert sum(s.defect_px is not None for s in result.scored) == ABNORMAL - 2
    for path in (data / "normal_test").iterdir():
        path.write_bytes(b"")
    shutil.rmtree(data / "abnormal_test")
    with pytest.raises(DataError, match=r"has no image to test on\. \d files are skipped: "):
        pellucid.evaluate(inspector, data)


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
    assert f"five folders layout: {NORMAL} normal and {ABNORMAL} defective images to test on" in done.stderr
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["metrics"] == dict(pellucid.evaluate(pellucid.load(model), week).metrics)
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert {Path(row["path"]).parent.name for row in rows} == {"normal_test", "abnormal_test"}
    assert len(rows) == NORMAL + ABNORMAL
