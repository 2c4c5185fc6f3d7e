"""The notebook's masks: paired by name, checked, and told when something is odd; nothing of it stops a test."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from pellucid.anomalib import Dfm, Engine, Folder

pytestmark = pytest.mark.filterwarnings("ignore::pellucid.anomalib._said.AnomalibWarning")


@pytest.fixture
def data(glass, tmp_path):
    shutil.copytree(glass, tmp_path / "data")
    for path in sorted((tmp_path / "data/mask").glob("*.png")):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    return Folder(
        "m", "normal_test", tmp_path / "data", "abnormal_test", mask_dir="mask", image_size=64, task="segmentation"
    )


def _test(data, model, tmp_path):
    engine = Engine(default_root_dir=tmp_path / "results")
    return engine, engine.test(Dfm(), data, ckpt_path=model)[0]


def test_masks_with_a_suffix_are_found(data, model, tmp_path, capsys):
    engine, metrics = _test(data, model, tmp_path)
    assert all(sample.mask for sample in data.samples if sample.label == "abnormal")
    assert metrics["pixel_AUROC"] > 0.5
    assert "masks have no image" in " ".join(capsys.readouterr().out.split())  # those of abnormal_train
    batch = engine.predict(Dfm(), data, ckpt_path=model)[0]
    marked, defective = batch["mask"].flatten(1).any(1), batch["label"].bool()
    assert marked[defective].any()  # a few pixels may be lost where images are made smaller
    assert not marked[~defective].any()


@pytest.mark.parametrize("damage", ["size", "text", "empty"])
def test_a_mask_that_is_of_no_use_is_told(data, model, tmp_path, capsys, damage):
    path = min((tmp_path / "data/mask").glob("*_mask.png"), key=lambda p: (not _is_tested(data, p), p))
    if damage == "text":
        path.write_text("no image")
    else:
        cv2.imwrite(str(path), cv2.imread(str(path), 0) * 0 if damage == "empty" else np.zeros((30, 30), np.uint8))
    _, metrics = _test(data, model, tmp_path)
    assert "pixel_AUROC" in metrics
    printed = " ".join(capsys.readouterr().out.split())
    assert ("1 masks of defective images are empty" if damage == "empty" else "1 masks cannot be used") in printed


def _is_tested(data, mask):
    return (data.root / "abnormal_test" / f"{mask.stem.removesuffix('_mask')}.png").exists()


def test_annotations_serve_a_notebook_without_masks(glass, model, tmp_path):
    shutil.copytree(glass, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/mask")
    for path in (tmp_path / "data/abnormal_test").glob("*.png"):
        path.with_suffix(".txt").write_text("0 0.5 0.5 0.2 0.2\n")
    data = Folder("m", "normal_test", tmp_path / "data", "abnormal_test", image_size=64)
    _, metrics = _test(data, model, tmp_path)
    assert "pixel_AUROC" in metrics
    assert data.notes[-1] == "The YOLO annotations of 8 images say where these are defective."
