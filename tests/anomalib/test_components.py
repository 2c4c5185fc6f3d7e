"""The parts that scripts make by themselves: batches, metrics, post-processing, tables of files, pictures, paths."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

import pellucid
from pellucid import anomalib
from pellucid.anomalib import callbacks, data, metrics, visualization
from pellucid.anomalib._files import give_second_name, newest
from pellucid.anomalib.data.batches import ImageBatch, ImageItem, collate
from pellucid.anomalib.post_processing import PostProcessor
from pellucid.errors import DataError, ParameterError
from pellucid.records.limits import Limit
from pellucid.study.pixels import PixelMetrics

pytestmark = pytest.mark.filterwarnings("ignore::pellucid.anomalib._said.AnomalibWarning")


@pytest.fixture
def batch():
    return ImageBatch(
        image_path=["a.png", "b.png"],
        pred_scores=torch.tensor([1.0, 3.0]),
        label=torch.tensor([0, 1]),
        anomaly_maps=torch.arange(8.0).reshape(2, 1, 2, 2),
    )


def test_a_batch_has_the_keys_of_1_x_and_the_names_of_2_x(batch):
    assert list(batch.keys()) == ["image_path", "pred_scores", "label", "anomaly_maps"]
    assert [key for key, _ in batch.items()] == list(batch.keys())
    assert batch.pred_score is batch["pred_scores"]
    assert batch["pred_score"] is batch["pred_scores"]
    assert (batch["anomaly_maps"].shape, batch.anomaly_map.shape) == ((2, 1, 2, 2), (2, 2, 2))
    assert (batch["label"].dtype, batch.gt_label.dtype) == (torch.int64, torch.bool)
    assert batch.gt_mask is None
    assert batch.get("mask", 5) == 5
    assert "gt_label" in batch
    assert "pred_mask" not in batch
    with pytest.raises(AttributeError, match="has no 'nonsense'; it has image_path, pred_scores"):
        _ = batch.nonsense
    batch.pred_label = torch.tensor([False, True])
    assert batch["pred_labels"].tolist() == [False, True]
    assert dict(batch).keys() == {**batch}.keys() == set(batch.keys())


def test_a_batch_is_its_images(batch):
    assert len(batch) == batch.batch_size == len(batch.items) == 2
    first, second = batch
    assert (first.image_path, second.pred_score.item(), second.gt_label.item()) == ("a.png", 3.0, True)
    assert second.anomaly_map.tolist() == [[4.0, 5.0], [6.0, 7.0]]
    again = collate([ImageItem(image_path=name, image=torch.zeros(3, 2, 2), label=torch.tensor(1)) for name in "ab"])
    assert (again.image.shape, again["label"].tolist(), again.image_path) == ((2, 3, 2, 2), [1, 1], ["a", "b"])


def test_metrics_are_scikit_learns():
    rng = np.random.default_rng(0)
    truth, scores = rng.random(60) < 0.4, rng.normal(size=60).round(1)
    halves = [slice(0, 25), slice(25, 60)]

    def of(metric):
        for half in halves:
            metric.update(torch.from_numpy(scores[half]), torch.from_numpy(truth[half]))
        return metric.compute().item()

    assert of(metrics.AUROC()) == pytest.approx(roc_auc_score(truth, scores))
    assert of(metrics.AUPR()) == pytest.approx(average_precision_score(truth, scores))
    assert of(metrics.F1Score()) == pytest.approx(f1_score(truth, scores > 0.5))
    assert of(metrics.F1Score(threshold=0.1)) == pytest.approx(f1_score(truth, scores > 0.1))
    by_limit = {limit: f1_score(truth, scores >= limit) for limit in set(scores.tolist())}
    assert of(metrics.F1Max()) == pytest.approx(max(by_limit.values()))
    assert by_limit[round(of(metrics.F1AdaptiveThreshold()), 1)] == pytest.approx(max(by_limit.values()))
    assert metrics.ManualThreshold(0.3).compute().item() == pytest.approx(0.3)
    assert math.isnan(metrics.AUROC().compute())
    one = metrics.AUROC()
    assert one(scores[halves[0]], truth[halves[0]]) == pytest.approx(roc_auc_score(truth[:25], scores[:25]))
    one(scores[halves[1]], truth[halves[1]])
    assert one.compute() == pytest.approx(roc_auc_score(truth, scores))
    one.reset()
    assert math.isnan(one.compute())


def test_metrics_of_maps(batch):
    rng = np.random.default_rng(1)
    maps, masks = rng.random((3, 20, 20)).astype(np.float32), np.zeros((3, 20, 20), bool)
    masks[1, 3:9, 4:8] = masks[2, 10:12, 2:19] = True
    maps[masks] += 0.3
    expected = PixelMetrics()
    for one, mask in zip(maps, masks, strict=True):
        expected.add(one, mask if mask.any() else None)
    found = ImageBatch(anomaly_maps=torch.from_numpy(maps)[:, None], mask=torch.from_numpy(masks))
    for metric, value in (
        (metrics.AUPRO, expected.aupro()),
        (metrics.AUROC, roc_auc_score(masks.ravel(), maps.ravel())),
    ):
        made = metric(fields=["anomaly_map", "gt_mask"])
        made.update(found)
        assert made.compute().item() == pytest.approx(value)
        assert made.name == f"pixel_{metric.__name__}"
    with pytest.raises(ParameterError, match="The batch has no gt_mask, which AUROC needs"):
        metrics.AUROC(fields=["anomaly_map", "gt_mask"]).update(batch)
    metrics.AUROC(fields=["anomaly_map", "gt_mask"], strict=False).update(batch)


def test_a_metric_of_somebody_elses():
    class Share:
        def __init__(self):
            self.values = []

        def update(self, predictions, truth):
            self.values += (predictions.bool() == truth.bool()).tolist()

        def compute(self):
            return sum(self.values) / len(self.values)

    made = metrics.create_anomalib_metric(Share)(fields=["pred_score", "gt_label"], prefix="my_")
    evaluator = metrics.Evaluator(test_metrics=[made, metrics.AUROC(fields=["pred_score", "gt_label"])])
    named = evaluator.named({"image_auroc": 0.75}, torch.tensor([0, 1, 1, 0]), torch.tensor([0.0, 2.0, 0.0, 0.0]))
    assert named == {"my_Share": 0.75, "image_AUROC": 0.75}


def test_a_post_processor_puts_the_limit_at_half_and_clamps_nothing():
    limit = Limit(value=8.0, pixel=4.0, false_reject_rate=0.05, scores=(2.0, 3.0, 5.0, 6.0, 7.0), pixel_median=1.0)
    raw, scaled = PostProcessor(enable_normalization=False), PostProcessor()
    scores = torch.tensor([-20.0, 5.0, 8.0, 50.0])
    for one in (raw, scaled):
        one.learn(limit)
        assert one.image_threshold == 8
    assert raw.scores(scores) is scores
    assert raw.normalized_image_threshold == 8
    assert scaled.scores(scores).tolist() == pytest.approx([-25 / 6, 0.0, 0.5, 7.5])
    assert scaled.maps(torch.tensor([[1.0, 4.0]])).tolist() == [[0.0, 0.5]]
    assert (scaled.normalized_image_threshold, scaled.normalized_pixel_threshold) == (0.5, 0.5)
    flat = Limit(value=2.0, pixel=4.0, false_reject_rate=0.05, scores=(2.0, 2.0))
    scaled.learn(flat)
    assert scaled.scores(torch.tensor([1.0, 2.0, 3.0])).tolist() == [-0.5, 0.5, 1.5]


def test_tables_of_files(glass, tmp_path):
    good, bad = sorted((glass / "normal_test").iterdir()), sorted((glass / "abnormal_test").iterdir())
    table = {
        "image_path": [*map(str, good), *map(str, bad)],
        "label_index": [0] * len(good) + [1] * len(bad),
        "split": ["train"] * (len(good) - 1) + ["test"] + ["val"] * len(bad),
    }
    lines = [",".join(table), *(",".join(map(str, row)) for row in zip(*table.values(), strict=True))]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    by_row = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    listed = []
    for given in (table, by_row, tmp_path / "list.csv"):
        module = anomalib.data.Tabular(name="t", samples=given)
        module.setup()
        listed.append(module.samples)
    assert listed[0] == listed[1] == listed[2]
    assert [(one.label, one.split) for one in listed[0][len(good) - 2 : len(good) + 1]] == [
        ("normal", "train"),
        ("normal", "test"),
        ("abnormal", "test"),
    ]
    with pytest.raises(DataError, match="needs the columns image_path and label_index, or label"):
        anomalib.data.Tabular(name="t", samples=[{"image_path": "x"}]).setup()
    with pytest.raises(DataError, match="Cannot read"):
        anomalib.data.Tabular(name="t", samples=tmp_path / "absent.csv").setup()


def test_btech(glass, tmp_path):
    root = tmp_path / "BTech/01"
    for part, source in (("train/ok", "normal_train"), ("test/ok", "normal_test"), ("test/ko", "abnormal_test")):
        shutil.copytree(glass / source, root / part)
    shutil.copytree(glass / "mask", root / "ground_truth/ko")
    module = data.BTech(root=tmp_path / "BTech", category="01")
    module.setup()
    assert {(one.label, one.split) for one in module.samples} == {
        ("normal", "train"),
        ("normal", "test"),
        ("abnormal", "test"),
    }
    assert all(one.mask for one in module.samples if one.label == "abnormal")
    shutil.rmtree(root / "test/ko")
    with pytest.raises(DataError, match="There are no images in"):
        data.BTech(root=tmp_path / "BTech").setup()


def test_a_model_of_a_callback_and_a_loader_says_how_many_make_a_batch(model, glass, tmp_path):
    engine = anomalib.Engine(callbacks=[callbacks.LoadModelCallback(model)], default_root_dir=tmp_path)
    images = anomalib.PredictDataset(glass / "normal_test")
    loader = torch.utils.data.DataLoader(images, batch_size=4, collate_fn=images.collate_fn)
    batches = engine.predict(anomalib.Dfm(), dataloaders=loader)
    assert [len(one) for one in batches] == [4, 2]
    assert engine.model.post_processor.image_threshold == pytest.approx(pellucid.load(model).limit.value)


def test_pictures():
    item = ImageItem(
        image=torch.rand(3, 20, 30), anomaly_map=torch.rand(20, 30), pred_mask=torch.zeros(20, 30, dtype=torch.bool)
    )
    item.pred_mask[5:9, 5:9] = True
    assert visualization.visualize_image_item(item).size == (90, 20)
    assert np.asarray(visualization.visualize_anomaly_map(item.anomaly_map[None], colormap=False)).shape == (20, 30)
    mask = np.asarray(visualization.visualize_pred_mask(item.pred_mask, mode="fill", color=(0, 255, 0), alpha=0.5))
    assert mask[6, 6].tolist() == [0, 255, 0, 128]
    assert mask[0, 0].tolist() == [0, 0, 0, 0]
    outline = np.asarray(visualization.visualize_pred_mask(item.pred_mask, mode="contour"))
    assert outline[5, 5, 3] == 255
    assert outline[7, 7, 3] == 0
    assert np.asarray(visualization.visualize_mask(item.pred_mask)).max() == 255
    over = visualization.superimpose_anomaly_map(item.anomaly_map, np.zeros((40, 60, 3), np.uint8), alpha=1.0)
    assert over.shape == (40, 60, 3)


def test_the_newest_run_and_a_second_name(tmp_path):
    for number in (2, 10, 9):
        (tmp_path / f"v{number}").mkdir()
    assert newest(tmp_path / "latest" / "x.ckpt") == tmp_path / "v10" / "x.ckpt"
    assert newest(tmp_path / "v2" / "latest" / "x") == tmp_path / "v2" / "latest" / "x"
    file, other = tmp_path / "model", tmp_path / "new" / "other"
    for content in (b"first", b"second"):
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        give_second_name(file, other)
        assert other.read_bytes() == content
