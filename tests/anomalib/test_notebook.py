"""The report's notebook as a script, with only the import line changed, on the report's kind of data."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import forks
import pytest

NOTEBOOK = """
from pellucid.anomalib import Folder, Engine, Patchcore, Padim, Stfpm, Dfm, Fastflow, ReverseDistillation
from pellucid.anomalib import AnomalibTensorBoardLogger

def make(normal, abnormal):
    datamodule = Folder(name="GlassDefect", root=ROOT, normal_dir=normal, abnormal_dir=abnormal,
                        task="classification", image_size=(SIZE, SIZE), num_workers=1)
    datamodule.setup()
    return datamodule

train_datamodule = make("normal_train", "abnormal_train")
test_datamodule = make("normal_test", "abnormal_test")

def training(model, train_datamodule, test_datamodule, ckpt=None):
    logger = AnomalibTensorBoardLogger("tb_logs", name=model.__class__.__name__)
    engine = Engine(max_epochs=EPOCHS, logger=logger)
    engine.fit(datamodule=train_datamodule, model=model)
    results = engine.test(datamodule=test_datamodule, model=model, ckpt_path=ckpt)
    return engine, results

model_list = [Patchcore(backbone=BACKBONE), Padim(), Stfpm(), Dfm(), Fastflow(), ReverseDistillation()]
for model in model_list:
    engine, results = training(model, train_datamodule, test_datamodule)
    print(model.__class__.__name__, results[0]["image_AUROC"], results[0]["image_F1Score"])
    path = engine.trainer.checkpoint_callback.best_model_path
    predictions = engine.predict(datamodule=test_datamodule, model=model, ckpt_path=path, return_predictions=True)
    scores, labels = predictions[0]["pred_scores"], predictions[0]["label"]
    assert scores.shape == labels.shape
    assert (predictions[0].pred_score == scores).all() and (predictions[0].gt_label == labels).all()
    assert predictions[0]["anomaly_maps"].shape[1:] == (1, SIZE, SIZE)
"""
MODELS = ("Patchcore", "Padim", "Stfpm", "Dfm", "Fastflow", "ReverseDistillation")


def _run(root: Path, folder: Path, epochs: int, side: int) -> str:
    script = folder / "notebook.py"
    values = f"ROOT = {str(root)!r}\nEPOCHS = {epochs}\nSIZE = {side}\nBACKBONE = 'prism_s'\n"
    script.write_text(values + NOTEBOOK, encoding="utf-8")
    done = forks.run([sys.executable, str(script)], cwd=folder)
    assert done.returncode == 0, done.stderr
    for name in MODELS:
        assert list((folder / "tb_logs" / name / "version_0").glob("events*"))
        run = folder / "results" / name / "GlassDefect" / "v0"
        assert (run / "weights/model.pellucid").exists()
        assert (run / "config.json").exists()
        assert list((run / "images").glob("*.png"))
    return done.stdout


def test_notebook_on_drawn_glass(glass, tmp_path):
    few = tmp_path / "glass"  # six detectors learn from them
    for folder, count in (("normal_train", 25), ("abnormal_train", 2), ("normal_test", 2), ("abnormal_test", 3)):
        (few / folder).mkdir(parents=True)
        for file in sorted((glass / folder).iterdir())[:count]:
            shutil.copy(file, few / folder)
    _run(few, tmp_path, epochs=1, side=64)


@pytest.mark.slow
def test_notebook_on_glass_defect(shared, tmp_path):
    printed = _run(shared / "data" / "glass_defect", tmp_path, epochs=10, side=128)
    aurocs = {
        line.split()[0]: float(line.split()[1])
        for line in printed.splitlines()
        if line.split()[:1] and line.split()[0] in MODELS
    }
    assert set(aurocs) == set(MODELS)
    assert aurocs["Patchcore"] > 0.9
    assert aurocs["Padim"] > 0.9


def test_mistakes(glass):
    from pellucid.anomalib import Engine, Folder, Padim
    from pellucid.errors import DataError, NotFittedError, ParameterError

    with pytest.raises(ParameterError, match="did you mean 'n_features'"):
        Padim(n_feature=3)
    data = Folder(name="x", root=glass, normal_dir="absent")
    with pytest.raises(DataError, match="There are no images in"):
        data.setup()
    good = Folder(name="x", root=glass, normal_dir="normal_train")
    with pytest.raises(NotFittedError, match="has not been fitted"):
        Engine().predict(Padim(), good)


def test_names_lie_where_anomalib_has_them():
    import pellucid.anomalib as package
    from pellucid.anomalib import data, engine, loggers, models

    homes = {data: {"Folder", "MVTec", "PredictDataset", "TaskType", "TestSplitMode", "ValSplitMode"}}
    homes |= {engine: {"Engine", "ExportType"}, models: {*MODELS, "Cfa", "Dfkde", "EfficientAd", "Supersimplenet"}}
    homes[loggers] = {"AnomalibMLFlowLogger", "AnomalibTensorBoardLogger", "AnomalibWandbLogger"}
    assert set().union(*homes.values()) <= set(package.__all__)
    for module, names in homes.items():
        for name in names:
            assert getattr(module, name) is getattr(package, name)
