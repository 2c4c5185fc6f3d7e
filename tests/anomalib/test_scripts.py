"""Scripts and notebooks in the style of anomalib's users, 1.2 and 2.0 to 2.7, run as they are on small drawn glass."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

import pellucid
from pellucid.anomalib._said import AnomalibWarning
from pellucid.anomalib.cli import main
from pellucid.anomalib.scripts import run_script
from pellucid.synthesis.glass import draw_data_set

SCRIPTS = Path(__file__).parent / "scripts"
PAGE = (Path(__file__).parents[2] / "docs/anomalib.md").read_text(encoding="utf-8")
KINDS = {"seed": "bubble", "stone": "stain", "scratch": "scratch"}  # of drawn flaws, and what the scripts call them


def _lay_out(folder: Path) -> None:
    """The drawn panes as a category of MVTec's, and some of them in one folder."""
    drawn, pane = folder / "drawn", folder / "MVTec" / "pane"
    draw_data_set(drawn, seed=3, n_train=24, n_test=4, n_per_defect=3)
    shutil.copytree(drawn / "normal_train", pane / "train/good")
    shutil.copytree(drawn / "normal_test", pane / "test/good")
    for kind, name in KINDS.items():
        for part, source, suffix in (("test", "abnormal_test", ""), ("ground_truth", "mask", "_mask")):
            (pane / part / name).mkdir(parents=True)
            for file in sorted((drawn / source).glob(f"{kind}_2_*.png")):
                shutil.copy(file, pane / part / name / f"{file.stem}{suffix}.png")
    (folder / "mix").mkdir()
    for part, start in (("good", "good"), ("stain", "bad")):
        for file in sorted((pane / "test" / part).iterdir()):
            shutil.copy(file, folder / "mix" / f"{start}_{file.name}")
    shutil.rmtree(drawn)


@pytest.fixture(scope="session")
def datasets(made_once):
    return made_once("anomalib_datasets", _lay_out)


@pytest.fixture
def place(datasets, tmp_path, monkeypatch):
    """A folder to work in, with ``datasets`` in it."""
    shutil.copytree(datasets, tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setattr("pellucid.anomalib._said._said", set())
    return tmp_path


@pytest.fixture
def run(place):
    """Run one of the scripts in that folder; its names when it ended, and what was said once."""
    assert (place / "datasets").is_dir()

    def run_one(name, *arguments):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = run_script(SCRIPTS / name, arguments)
        own = [str(one.message) for one in said if issubclass(one.category, AnomalibWarning)]
        others = [str(one.message) for one in said if not issubclass(one.category, AnomalibWarning)]
        assert not [one for one in others if not one.startswith("__array__")]  # matplotlib's and torch's affair
        return found, own

    return run_one


def test_1_2_getting_started(run, place):
    found, said = run("v1_2_getting_started.py")
    assert found["data"]["image"].shape == (4, 3, 64, 64)
    assert found["keys"] == ["image", "image_path", "label"]  # normal images choose the limit: they have no masks
    assert found["results"][0]["image_AUROC"] > 0.5
    assert len(found["labels"]) == 4 + 9
    assert sum(found["labels"]) == 9
    inspector = pellucid.load(place / "results/Patchcore/MVTec/pane/v0/weights/model.pellucid")
    path = found["first"]["image_path"][0]
    assert found["scores"][0] == pytest.approx(inspector.inspect(path).score, rel=1e-4)  # raw, in float32
    assert set(found["rejected"]) == {
        p for b in found["predictions"] for p in b.image_path if inspector.inspect(p).verdict == "reject"
    }
    assert found["anomaly_map"].shape == (64, 64)
    assert any(sentence.startswith("Scores are in the detector's own unit") for sentence in said)


@pytest.mark.slow
def test_1_2_folders_with_callbacks(run, place):
    found, said = run("v1_2_folder_callbacks.py")
    lines = dict(line.split(": ") for line in (place / "metrics.txt").read_text().splitlines())
    assert {"image_AUROC", "image_AUPR", "image_F1Score", "image_F1Max"} <= lines.keys()
    assert 0 <= float(lines["image_AUROC"]) <= 1
    assert Path(found["checkpoint"].best_model_path) == Path("checkpoints/stfpm_best.ckpt")
    assert pellucid.load("checkpoints/stfpm_best.ckpt").detector.epochs == 1
    assert found["exported"] == Path("weights_here/weights/onnx/model.onnx")
    assert pellucid.load(found["exported"].parent).limit.value == pytest.approx(float(found["threshold"]))
    assert list(Path(found["logger"].log_dir).glob("events*"))
    for sentence in (
        "val_split_mode='same_as_test' is taken without effect: the limit is chosen from held-out normal",
        "val_split_ratio=0.6 is taken without effect: 0.2 of the training images choose the limit.",
        "The callback EarlyStopping is taken without effect",
        "train_batch_size=4 is taken without effect in a fit: its network is trained by 8 images at a time",
        "Engine takes threshold without effect: Engine(false_reject=0.05) says where the limit goes.",
    ):
        assert any(one.startswith(sentence) for one in said), sentence
    assert len(said) == len(set(said))


def test_1_2_openvino(run):
    found, _ = run("v1_2_openvino.py")
    own = found["model"].inspector.inspect(found["image_path"])
    assert found["predictions"].pred_score == pytest.approx(own.score, rel=1e-3)
    assert isinstance(found["predictions"].pred_score, float)
    shape = cv2.imread(str(found["image_path"])).shape
    assert found["heat_map"].shape == found["marked"].shape == shape
    assert found["mask"].shape == shape[:2]
    assert cv2.imread("result.png").shape == (shape[0], 3 * shape[1], 3)


def test_1_2_torch_inferencer(run, place):
    found, _ = run("v1_2_torch_inferencer.py")
    for name, score, label, _ in found["rows"]:
        own = found["model"].inspector.inspect(next((place / "datasets/MVTec/pane/test").rglob(name)))
        assert (score, label) == (pytest.approx(own.score), own.verdict == "reject")
        assert cv2.imread(f"overlays/{name}").shape == (*own.map.shape, 3)


@pytest.mark.slow  # networks are trained, six times each where so few images calibrate
def test_1_2_many_models(run):
    found, _ = run("v1_2_many_models.py")
    assert {row[0] for row in found["rows"]} == {"Padim", "Dfkde", "Cfa", "Fastflow", "ReverseDistillation"}
    assert all(row[4] > 0 and 0 <= row[1] <= 1 for row in found["rows"])
    assert [row[1] for row in found["rows"]] == sorted((row[1] for row in found["rows"]), reverse=True)


def test_2_0_getting_started(run):
    found, _ = run("v2_0_getting_started.py")
    assert found["count"] == len(found["image_paths"]) == 13
    assert [len(batch) for batch in found["predictions"]] == [3, 3, 3, 3, 1]
    assert found["item"].anomaly_map.shape == (256, 256)
    assert 0.5 < found["test_results"][0]["image_AUROC"] <= 1


def test_2_0_components(run, place):
    found, said = run("v2_0_components.py")
    results = found["results"][0]
    assert list(results) == ["image_AUROC", "image_F1Score", "pixel_AUROC", "pixel_AUPRO"]
    assert all(0 <= value <= 1 for value in results.values())
    assert found["model"].inspector.image_size == (64, 64)
    assert len(list((place / "pictures").glob("*.png"))) == 4 + 6
    assert (found["over_half"] == found["labels"]).all()
    assert found["scores"].max() > 1 or found["scores"].min() < 0  # on a line, and nothing is clamped
    assert any("Folder takes train_augmentations without effect" in sentence for sentence in said)
    assert not any("Normalize" in sentence for sentence in said)


def test_2_1_predict(run):
    found, _ = run("v2_1_predict.py")
    assert found["checkpoints"] == [Path("results/Dfm/MVTecAD/pane/v0/weights/lightning/model.ckpt")]
    scores = [
        [float(score) for batch in found[name] for score in batch.pred_score]
        for name in ("by_path", "by_dataset", "by_loader", "again")
    ]
    assert scores[0] == scores[1] == scores[2] == scores[3]
    assert len(scores[0]) == 3
    assert len(found["one"]) == len(found["one"][0]) == 1


def test_2_2_look_at_data(run, place):
    found, said = run("v2_2_look_at_data.py")
    data = found["datamodule"]
    assert (len(data.train_data), len(data.val_data), len(data.test_data)) == (19, 19, 5 + 3)
    assert found["batch"].image.shape == (6, 3, 64, 96)
    assert not found["batch"].gt_label.any()
    assert found["counts"] == {0: 5, 1: 3}
    assert found["item"].gt_mask.shape == (64, 96)
    assert (place / "batch.png").exists()
    assert "test_split_ratio=0.3 is taken without effect: 0.2 of the normal images are tested on." in said


def test_2_3_metrics(run):
    found, _ = run("v2_3_metrics.py")
    computed = found["computed"]
    assert computed["AUROC"] == pytest.approx(found["by_sklearn"])
    assert computed["AUROC"] == pytest.approx(found["validated"][0]["image_AUROC"])
    assert computed["F1Score"] == pytest.approx(found["validated"][0]["image_F1Score"])
    assert computed["F1Max"] == pytest.approx(found["validated"][0]["image_F1Max"])
    assert computed["AUPR"] == pytest.approx(found["validated"][0]["image_AUPR"])
    assert computed["MinMax"] == pytest.approx([min(found["scores"]), max(found["scores"])])
    assert found["pixel_auroc"] == pytest.approx(found["validated"][0]["pixel_AUROC"], abs=0.05)  # at another size
    assert found["matrix"].sum() == 13


def test_2_4_tensors(run):
    found, _ = run("v2_4_tensors.py")
    score = found["scores"].pop("path")
    assert all(other == pytest.approx(score, rel=1e-5) for other in found["scores"].values())
    assert found["output"].pred_score.item() == pytest.approx(score, rel=1e-5)
    assert found["total"] > found["trainable"] >= 0
    assert found["state"].keys() == found["model"].inspector.detector.state().keys()
    assert pellucid.load("model.ckpt").limit == found["model"].inspector.limit
    assert Path(found["exported"]) == Path("results/Patchcore/MVTecAD/pane/v0/weights/torch/model.pt")


def test_2_5_openvino(run):
    found, said = run("v2_5_openvino.py")
    assert len(found["y_true"]) == len(found["y_pred"]) == 4 + 3
    assert found["path"] == Path("optimised/weights/openvino/model.xml")
    paths = sorted(Path("datasets/mix").iterdir())
    own = [int(found["model"].inspector.inspect(path).verdict == "reject") for path in paths]
    assert found["y_pred"] == own
    assert any(sentence.startswith("device='GPU' is taken as 'CPU'") for sentence in said)


@pytest.mark.slow
def test_2_6_a_script_with_arguments(place):
    """In a process of its own, by the command, as a stranger types it."""
    command = [sys.executable, "-m", "pellucid.anomalib", SCRIPTS / "v2_6_arguments.py"]
    command += ["--data", "datasets/MVTec/pane", "--size", "64", "64", "--output", "of_mine.csv"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert len((place / "of_mine.csv").read_text().splitlines()) == 1 + 4 + 9
    config = json.loads((place / "runs/Padim/pane/v0/config.json").read_text())
    assert (config["seed"], config["image_size"]) == (7, [64, 64])
    assert done.stderr.count("val_split_mode='from_test' is taken without effect") == 1


def test_2_7_compare(run, place):
    found, _ = run("v2_7_compare.py")
    assert found["major"] == 2
    written = json.loads((place / "comparison.json").read_text())
    assert {row["model"] for row in written["all"]} == {"Padim", "Dfm"}
    assert found["failed"] == {
        "Ganomaly": "Ganomaly is not here: ReverseDistillation rebuilds features instead of pixels.",
        "WinClip": "WinClip is not here: a model is fitted here, on 20 normal images or more.",
    }


def test_2_7_tabular(run):
    pytest.importorskip("pandas")
    found, _ = run("v2_7_tabular.py")
    assert 0 <= found["results"][0]["image_AUROC"] <= 1
    assert "pixel_AUROC" in found["results"][0]


def test_2_7_loaders(run, place):
    found, _ = run("v2_7_loaders.py")
    assert found["metric"] == pytest.approx(found["results"][0]["image_AUROC"])
    assert found["picture"].size[0] == 3 * found["picture"].size[1]
    assert np.asarray(found["heat"]).shape == (*found["item"].anomaly_map.shape, 3)
    assert (place / "kept/model.ckpt").exists()


def test_2_7_a_notebook(run, place):
    found, _ = run("v2_7_walkthrough.ipynb")
    assert "never_run" not in found
    assert (place / "walk.png").exists()
    assert (place / "item.png").exists()
    assert math.isfinite(found["results"][0]["image_AUROC"])


def test_a_script_that_takes_half_for_the_limit_needs_one_line(run, place):
    """Unchanged it runs, and says what its 0.5 is not."""
    found, said = run("one_line_half.py")
    assert any("puts the limit at 0.5" in sentence for sentence in said)
    changed = place / "changed.py"
    text = (SCRIPTS / "one_line_half.py").read_text(encoding="utf-8")
    line = "model.post_processor = PostProcessor()"
    text = text.replace(
        "datamodule = ", f"from anomalib.post_processing import PostProcessor; {line}\ndatamodule = ", 1
    )
    changed.write_text(text, encoding="utf-8")
    with_line = run_script(changed)
    assert with_line["by_half"] == with_line["by_label"] == found["by_label"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("refused_zero_shot.py", "WinClip is not here: a model is fitted here, on 20 normal images or more."),
        ("refused_own_module.py", "Images come from pellucid's own data modules"),
    ],
)
def test_scripts_that_are_refused(name, sentence, place, capsys):
    assert main([str(SCRIPTS / name)]) == 1
    assert (place / "datasets").is_dir()
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_the_page_counts_and_names_every_script():
    named = re.findall(r"^\| `([\w.]+)` \|.*\| (unchanged|one line|refused) \|$", PAGE, re.M)
    assert dict(named).keys() == {path.name for path in SCRIPTS.iterdir() if path.suffix in (".py", ".ipynb")}
    for how, beginning in (("unchanged", "v"), ("one line", "one_line"), ("refused", "refused")):
        names = [name for name, said in named if said == how]
        assert all(name.startswith(beginning) for name in names)
        assert f"**{len(names)} {how}**" in PAGE
