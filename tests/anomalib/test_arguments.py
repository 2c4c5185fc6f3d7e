"""The arguments of anomalib 1.x and 2.x: each does what it says, or is refused with what to use instead."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

import pellucid
from pellucid import anomalib
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.errors import DataError, ParameterError

SMALL = {"image_size": 64, "seed": 0}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def engine(tmp_path):
    return anomalib.Engine(default_root_dir=tmp_path / "results", false_reject=0.1)


@pytest.fixture
def tested(tmp_path):
    """Names of the images that pictures were written of, and of the test's last run."""

    def find():
        run = max((tmp_path / "results").glob("*/*/v*"), key=lambda path: path.stat().st_mtime)
        return {path.name[6:] for path in (run / "images").glob("*.png")}

    return find


def folder(glass, **more):
    return anomalib.Folder(name="glass", root=glass, normal_dir="normal_train", **SMALL | more)


def test_scores_are_the_papers_unless_others_are_asked_for():
    assert anomalib.Patchcore().parameters["image_score"] == "peak"
    assert anomalib.Padim(n_features=10).parameters == {"image_score": "peak", "n_features": 10}
    assert anomalib.Padim(image_score="top").parameters["image_score"] == "top"
    assert anomalib.Dfm().parameters == {}


# --- what is tested ---------------------------------------------------------------------------------------------------


def seen_names(glass, inspector):
    """Names of the images that the model was made from."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (glass / "normal_train").iterdir()}
    return {name for name, digest in digests.items() if inspector.fitted_images.contain(digest)}


def test_one_datamodule_is_tested_on_what_was_not_fitted_on(engine, tested, glass, capsys):
    model, data = anomalib.Padim(n_features=10), folder(glass, abnormal_dir="abnormal_test")
    results = engine.train(model=model, datamodule=data)
    seen = seen_names(glass, model.inspector)
    assert len(seen) == 40  # a fifth of 50 is left for the test
    assert tested() == names(glass / "normal_train") - seen | names(glass / "abnormal_test")
    assert results[0]["image_AUROC"] > 0.5
    said = " ".join(capsys.readouterr().out.split())
    assert "40 images are not tested on, because the model was fitted on them or calibrated with them" in said
    assert engine.validate(model=model, datamodule=data) == results
    predicted = engine.predict(model=model, datamodule=data)
    assert sum(len(batch["pred_scores"]) for batch in predicted) == 50 + len(names(glass / "abnormal_test"))


def test_normal_test_images_of_a_datamodule_are_those_that_are_tested_on(engine, tested, glass):
    model = anomalib.Padim(n_features=10)
    data = folder(glass, abnormal_dir="abnormal_test", normal_test_dir="normal_test", mask_dir="mask")
    results = engine.train(model=model, datamodule=data)
    assert len(seen_names(glass, model.inspector)) == 50
    assert tested() == names(glass / "normal_test") | names(glass / "abnormal_test")
    assert results[0]["pixel_AUROC"] > 0.5


def test_another_datamodule_that_holds_images_of_the_first(engine, tested, glass, tmp_path):
    """Copied, renamed, and mixed among others."""
    model = anomalib.Padim(n_features=10)
    engine.fit(model=model, datamodule=folder(glass))
    assert len(seen_names(glass, model.inspector)) == 50  # without abnormal images none is held out
    mixed = shutil.copytree(glass / "normal_test", tmp_path / "mixed")
    for n, path in enumerate(sorted((glass / "normal_train").iterdir())[:7]):
        shutil.copy(path, mixed / f"copy_{n}.png")
    other = anomalib.Folder(name="other", normal_dir=mixed, abnormal_dir=glass / "abnormal_test", **SMALL)
    for path in (None, engine.trainer.checkpoint_callback.best_model_path):
        engine.test(model=model, datamodule=other, ckpt_path=path)
        assert tested() == names(glass / "normal_test") | names(glass / "abnormal_test")
    with pytest.raises(DataError, match=r"no image to test on\. 50 images are not tested on, because the model was"):
        engine.test(model=model, datamodule=folder(glass))


def test_all_normal_images_are_fitted_on_when_none_is_asked_to_test(engine, glass):
    model = anomalib.Padim(n_features=10)
    data = folder(glass, abnormal_dir="abnormal_test", test_split_mode=anomalib.TestSplitMode.NONE)
    engine.fit(model=model, datamodule=data)
    assert len(seen_names(glass, model.inspector)) == 50
    assert engine.test(model=model, datamodule=data)[0]["image_AUROC"] is None  # no normal image is left


def test_a_model_that_does_not_know_its_images_says_so(engine, model, glass, tmp_path, capsys):
    inspector = pellucid.load(model)
    object.__setattr__(inspector, "fitted_images", FittedImages(data_sha256=inspector.fitted_images.data_sha256))
    inspector.save(tmp_path / "older.pellucid")
    data = anomalib.Folder(name="x", root=glass, normal_dir="normal_test", abnormal_dir="abnormal_test", image_size=64)
    engine.test(model=anomalib.Dfm(), datamodule=data, ckpt_path=tmp_path / "older.pellucid")
    assert "does not know which images it was fitted on" in " ".join(capsys.readouterr().out.split())


# --- data -------------------------------------------------------------------------------------------------------------


def test_lists_of_folders_and_extensions(glass, tmp_path):
    for n, path in enumerate(sorted((glass / "normal_train").iterdir())[:9]):
        (tmp_path / "abc"[n % 3]).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "abc"[n % 3] / path.with_suffix([".png", ".PNG", ".jpg"][n % 3]).name)
    data = anomalib.Folder(name="x", root=tmp_path, normal_dir=["a", tmp_path / "b"], normal_test_dir=("c",))
    data.setup()
    assert [sample.split for sample in data.samples] == [None] * 6 + ["test"] * 3
    for extensions, count in (((".png",), 6), ("png", 6), ([".jpg", ".png"], 9), ((".JPG",), 3)):
        data = anomalib.Folder(name="x", root=tmp_path, normal_dir=".", extensions=extensions)
        data.setup()
        assert len(data.samples) == count, extensions
    once = anomalib.Folder(name="x", root=tmp_path, normal_dir=["a", "."])
    once.setup()
    assert len(once.samples) == 9
    with pytest.raises(DataError, match=r"There are no images in '.*c' with the extension \.png"):
        anomalib.Folder(name="x", root=tmp_path, normal_dir=["a", "c"], extensions=".png").setup()


def test_masks_are_paired_by_their_place_first_and_by_a_stem_of_one_alone(glass, tmp_path):
    image, mask = next((glass / "abnormal_test").iterdir()), next((glass / "mask").iterdir())
    for kind in ("crack", "hole"):
        for place, source, name in (("test", image, "000.png"), ("ground_truth", mask, "000_mask.png")):
            (tmp_path / place / kind).mkdir(parents=True)
            shutil.copy(source, tmp_path / place / kind / name)
    shutil.copy(image, tmp_path / "test/hole/alone.png")
    shutil.copy(mask, tmp_path / "ground_truth/alone.png")
    shutil.copytree(tmp_path / "test/crack", tmp_path / "test/other")  # a stem that two masks have
    shutil.copytree(glass / "normal_test", tmp_path / "good")
    data = anomalib.Folder(name="x", root=tmp_path, normal_dir="good", abnormal_dir="test", mask_dir="ground_truth")
    data.setup()
    found = {s.path.relative_to(tmp_path / "test").as_posix(): s.mask for s in data.samples if s.label == "abnormal"}
    assert {name: mask and mask.relative_to(tmp_path / "ground_truth").as_posix() for name, mask in found.items()} == {
        "crack/000.png": "crack/000_mask.png",
        "hole/000.png": "hole/000_mask.png",
        "hole/alone.png": "alone.png",
        "other/000.png": None,
    }


@pytest.mark.parametrize(
    "accepted",
    [
        {"test_split_mode": "from_dir"}, {"test_split_mode": "none"}, {"test_split_ratio": 0.2},
        {"test_split_mode": anomalib.TestSplitMode.FROM_DIR}, {"val_split_mode": "from_train"},
        {"val_split_mode": anomalib.ValSplitMode.FROM_TRAIN}, {"val_split_ratio": 0.2}, {"normal_split_ratio": 0.2},
        {"transform": None}, {"train_transform": None, "eval_transform": None}, {"augmentations": None},
        {"train_augmentations": None, "val_augmentations": None, "test_augmentations": None},
        {"task": "segmentation"}, {"task": anomalib.TaskType.CLASSIFICATION}, {"image_size": [96, 64]},
    ],
    ids=str,
)  # fmt: skip
def test_arguments_that_mean_what_is_done(accepted, glass):
    data = anomalib.Folder(name="x", root=glass, normal_dir="normal_train", **accepted)
    data.setup()
    assert len(data.samples) == 50


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ({"test_split_mode": "synthetic"}, "give from_dir, to test on images that lie there, or none"),
        ({"test_split_mode": anomalib.TestSplitMode.SYNTHETIC}, "test_split_mode='synthetic' is not allowed"),
        ({"test_split_ratio": 0.5}, "0.2 of the normal images are tested on; leave it out"),
        ({"normal_split_ratio": 0.4}, "normal_split_ratio=0.4 is not allowed"),
        ({"val_split_mode": "same_as_test"}, "never from those that are tested on; leave it out, or give from_train"),
        ({"val_split_mode": "from_test"}, "val_split_mode='from_test' is not allowed"),
        ({"val_split_mode": anomalib.ValSplitMode.SYNTHETIC}, "val_split_mode='synthetic' is not allowed"),
        ({"val_split_ratio": 0.5}, "0.2 of the training images choose the limit; leave it out"),
        ({"transform": "a transform"}, "transform is not taken: images are brought to image_size"),
        ({"eval_transform": "a transform"}, "eval_transform is not taken"),
        ({"train_augmentations": "a transform"}, "train_augmentations is not taken"),
        ({"task": "detection"}, "give classification or segmentation"),
        ({"extensions": (".gif",)}, r"extensions=\['.gif'\] is not allowed: files of the kinds .png"),
        ({"extensions": ()}, "is not allowed: files of the kinds .png"),
        ({"eval_batch_size": 0}, "it has to be at least 1"),
        ({"image_size": 8}, "sides of at least 32"),
    ],
    ids=str,
)
def test_arguments_that_mean_something_else_are_refused(refused, message):
    with pytest.raises(ParameterError, match=message):
        anomalib.Folder(name="x", normal_dir=".", **refused)


def test_an_argument_that_does_not_exist():
    with pytest.raises(TypeError, match="has no argument 'nonsense'"):
        anomalib.Folder(name="x", normal_dir=".", nonsense=1)


def test_mvtec(engine, tested, glass, tmp_path):
    root = tmp_path / "MVTec/pane"
    shutil.copytree(glass / "normal_train", root / "train/good")
    shutil.copytree(glass / "normal_test", root / "test/good")
    shutil.copytree(glass / "abnormal_test", root / "test/flaw")
    model = anomalib.Padim(n_features=10)
    engine.train(model=model, datamodule=anomalib.MVTec(root=tmp_path / "MVTec", category="pane", image_size=64))
    assert tested() == names(root / "test/good") | names(root / "test/flaw")
    with pytest.raises(DataError, match="does not exist, and nothing is downloaded: bring the data set there"):
        anomalib.MVTec(root=tmp_path).setup()
    with pytest.raises(ParameterError, match="val_split_mode='same_as_test' is not allowed"):
        anomalib.MVTec(val_split_mode="same_as_test")


# --- models and engine ------------------------------------------------------------------------------------------------


def test_parameters_by_anomalibs_names():
    assert anomalib.EfficientAd(lr=0.0001).parameters == {"lr": 0.0001}
    assert anomalib.Cfa(num_neighbors=2, num_hard_negatives=1).parameters["num_neighbors"] == 2
    assert anomalib.Supersimplenet(perlin_threshold=0.3).parameters == {"perlin_threshold": 0.3}
    assert anomalib.Cflow(coupling_blocks=4, fiber_batch_size=64).parameters["fiber_batch_size"] == 64
    assert anomalib.Uflow(flow_steps=2).parameters == {"flow_steps": 2}
    assert anomalib.Dfkde(n_components=4).parameters == {"n_components": 4}
    assert anomalib.Dfm(layer="layer2").parameters == {"layers": ("layer2",)}
    assert anomalib.Dfm(layers=("layer2",), pre_trained=True).parameters == {"layers": ("layer2",)}
    assert anomalib.Dfm(pre_processor=True, post_processor=None, evaluator=True, visualizer=True).parameters == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: anomalib.Dfm(layer="layer1", layers=("layer2",)), "layer and layers are the same"),
        (lambda: anomalib.Dfm(layer=3), "has to be of the kind of its default"),
        (lambda: anomalib.Padim(pre_trained=False), "features of random weights show little"),
        (
            lambda: anomalib.Padim(pre_processor="a transform"),
            "pre_processor is not taken: image_size of the data module",
        ),
        (lambda: anomalib.Padim(post_processor="a transform"), r"Engine\(false_reject=...\) says where the limit goes"),
        (lambda: anomalib.Padim(n_features=0), "n_features=0 is not allowed"),
        (lambda: anomalib.Patchcore(num_neighbour=3), "did you mean 'num_neighbors'"),
        (lambda: anomalib.Engine(nonsense=3), "Unknown argument of Engine 'nonsense'"),
        (lambda: anomalib.Engine(max_epoch=3), "did you mean 'max_epochs'"),
        (lambda: anomalib.Engine(threshold="F1AdaptiveThreshold"), r"Engine\(false_reject=0.05\) says where the limit"),
        (lambda: anomalib.Engine(false_reject=2), "between 0 and 1"),
        (lambda: anomalib.Engine().train(anomalib.Padim(), None, ckpt_path="m"), "ckpt_path is not taken by train"),
        (lambda: anomalib.Engine().predict(anomalib.Padim()), "Give one of datamodule, dataset and data_path"),
        (lambda: anomalib.Engine().export(anomalib.Padim(), "tensorrt"), "give torch, onnx, openvino"),
        (lambda: anomalib.Engine().export(anomalib.Padim(), "onnx", compression_type="int8"), "pellucid export MODEL"),
    ],
)
def test_models_and_engines_refuse_with_what_to_use(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


def test_options_that_need_nothing_here_are_accepted():
    anomalib.Engine(accelerator="auto", devices=1, callbacks=[], normalization="min_max", task="segmentation")


def test_images_without_labels_are_predicted_on_and_not_tested_on(engine, model, glass):
    fitted, folder = anomalib.Dfm(), glass / "normal_test"
    fitted.inspector = pellucid.load(model)
    dataset = anomalib.PredictDataset(path=folder, image_size=(256, 256))
    by_dataset, by_path = engine.predict(model=fitted, dataset=dataset), engine.predict(model=fitted, data_path=folder)
    assert (by_dataset[0]["pred_scores"] == by_path[0]["pred_scores"]).all()
    assert len(by_path[0]["image_path"]) == len(names(folder))
    assert "label" not in by_path[0]
    one = engine.predict(model=fitted, data_path=next(folder.iterdir()))
    assert len(one[0]["image_path"]) == 1
    assert engine.predict(model=fitted, data_path=folder, return_predictions=False) is None
    with pytest.raises(DataError, match=r"have no labels to test by: use engine\.predict"):
        engine.test(model=fitted, datamodule=dataset)
    with pytest.raises(DataError, match="Cannot read"):
        engine.predict(model=fitted, data_path=glass / "absent")


@pytest.mark.parametrize("kind", list(anomalib.ExportType))
def test_an_export_inspects_as_its_model(kind, engine, model, glass, tmp_path):
    if kind == "onnx":
        pytest.importorskip("onnx")
    fitted = anomalib.Dfm()
    fitted.inspector = pellucid.load(model)
    written = engine.export(model=fitted, export_type=kind, export_root=tmp_path / "exported")
    assert written.is_file()
    image = next((glass / "abnormal_test").iterdir())
    exported = pellucid.load(written if kind == "torch" else written.parent)
    assert exported.inspect(image).score == pytest.approx(fitted.inspector.inspect(image).score, rel=1e-3)
