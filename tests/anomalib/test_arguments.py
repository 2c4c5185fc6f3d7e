"""The arguments of anomalib 1.x and 2.x: each does what it says, or is refused with what to use instead."""

from __future__ import annotations

import gc
import hashlib
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from pellucid import anomalib
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import read_image
from pellucid.acquisition.masks import read_mask
from pellucid.anomalib._said import AnomalibWarning
from pellucid.anomalib.models.table import MODELS
from pellucid.anomalib.trainer import IDLE_OPTIONS
from pellucid.errors import DataError, ModelFileError, NotFittedError, ParameterError

pytestmark = pytest.mark.filterwarnings("ignore::pellucid.anomalib._said.AnomalibWarning")
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
        images = max((tmp_path / "results").rglob("images"), key=lambda path: path.parent.stat().st_mtime)
        return {path.name[6:] for path in images.glob("*.png")}

    return find


def folder(glass, **more):
    return anomalib.Folder(name="glass", root=glass, normal_dir="normal_train", **SMALL | more)


def test_scores_are_the_papers_unless_others_are_asked_for():
    assert anomalib.Patchcore().hparams["image_score"] == "peak"
    assert anomalib.Padim(n_features=10).hparams == {"image_score": "peak", "n_features": 10}
    assert anomalib.Padim(image_score="top").hparams["image_score"] == "top"
    assert anomalib.Dfm().hparams == {}


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
    assert sum(len(batch["pred_scores"]) for batch in predicted) == 10 + len(names(glass / "abnormal_test"))


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
    assert math.isnan(engine.test(model=model, datamodule=data)[0]["image_AUROC"])  # no normal image is left


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


@pytest.fixture
def nothing_said(monkeypatch):
    """As in a process that has not said anything yet."""
    monkeypatch.setattr("pellucid.anomalib._said._said", set())


@pytest.mark.parametrize(
    "accepted",
    [
        {"test_split_mode": "from_dir"}, {"test_split_mode": "none"}, {"test_split_ratio": 0.2},
        {"test_split_mode": anomalib.TestSplitMode.FROM_DIR}, {"val_split_mode": "from_train"},
        {"val_split_mode": anomalib.ValSplitMode.FROM_TRAIN}, {"val_split_ratio": 0.2}, {"normal_split_ratio": 0.2},
        {"transform": None}, {"train_transform": None, "eval_transform": None}, {"augmentations": None},
        {"train_augmentations": None, "val_augmentations": None, "test_augmentations": None},
        {"task": "segmentation"}, {"task": anomalib.TaskType.CLASSIFICATION}, {"image_size": [96, 64]},
        {"train_batch_size": 4, "eval_batch_size": 8},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.filterwarnings("error::pellucid.anomalib._said.AnomalibWarning")
@pytest.mark.usefixtures("nothing_said")
def test_arguments_that_mean_what_is_done(accepted, glass):
    data = anomalib.Folder(name="x", root=glass, normal_dir="normal_train", **accepted)
    data.setup()
    assert len(data.samples) == 50


@pytest.mark.parametrize(
    ("taken", "sentence"),
    [
        (
            {"test_split_ratio": 0.5},
            "test_split_ratio=0.5 is taken without effect: 0.2 of the normal images are tested",
        ),
        ({"normal_split_ratio": 0.4}, "normal_split_ratio=0.4 is taken without effect"),
        ({"val_split_ratio": 0.5}, "val_split_ratio=0.5 is taken without effect: 0.2 of the training images choose"),
        (
            {"val_split_mode": "same_as_test"},
            "'same_as_test' is taken without effect: the limit is chosen from held-out",
        ),
        ({"val_split_mode": "from_test"}, "never from those that are tested on"),
        ({"val_split_mode": anomalib.ValSplitMode.SYNTHETIC}, "val_split_mode='synthetic' is taken without effect"),
        ({"transform": "a transform"}, "Folder takes transform without effect: images are brought to image_size"),
        ({"eval_transform": "a transform"}, "Folder takes eval_transform without effect"),
        ({"train_augmentations": "a transform"}, "Folder takes train_augmentations without effect"),
        ({"num_workers": 8}, "Folder takes num_workers without effect: images are read ahead by as many threads"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("nothing_said")
def test_arguments_without_effect_say_so_once(taken, sentence, glass):
    with pytest.warns(AnomalibWarning, match=sentence):
        anomalib.Folder(name="x", root=glass, normal_dir="normal_train", **taken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = anomalib.Folder(name="x", root=glass, normal_dir="normal_train", **taken)
    data.setup()
    assert len(data.samples) == 50


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ({"test_split_mode": "from_dirs"}, "Unknown test_split_mode 'from_dirs': did you mean 'from_dir'"),
        ({"val_split_mode": "from_trains"}, "Unknown val_split_mode 'from_trains': did you mean 'from_train'"),
        ({"task": "detection"}, "give classification or segmentation"),
        ({"extensions": (".gif",)}, r"extensions=\['.gif'\] is not allowed: files of the kinds .png"),
        ({"extensions": ()}, "is not allowed: files of the kinds .png"),
        ({"eval_batch_size": 0}, "eval_batch_size=0 is not allowed: it has to be at least 1"),
        ({"train_batch_size": -1}, "train_batch_size=-1 is not allowed: it has to be at least 1"),
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


def test_flaws_are_planted_where_there_are_no_defects(engine, glass, monkeypatch):
    monkeypatch.setattr("pellucid.anomalib._said._said", set())
    data = folder(glass, test_split_mode=anomalib.TestSplitMode.SYNTHETIC)
    with pytest.warns(AnomalibWarning, match="tests on 10 good images with a drawn flaw each, and on the same without"):
        data.setup()
    planted = [sample for sample in data.samples if sample.label == "abnormal"]
    held_out = {sample.path.stem for sample in data.samples if (sample.label, sample.split) == ("normal", "test")}
    assert (len(planted), len(held_out)) == (10, 10)
    numbered = sorted((glass / "normal_train").iterdir())
    for sample in planted:
        original = numbered[int(sample.path.stem[:5])]
        changed = np.abs(read_image(sample.path) - read_image(original)).max(2) > 1.5 / 255
        assert original.stem in held_out
        marked = read_mask(sample.mask, sample.path, changed.shape)
        assert changed[marked].mean() > 0.9
        assert changed[~marked].mean() < 0.1
    model = anomalib.Padim(n_features=10)
    assert engine.train(model=model, datamodule=data)[0]["pixel_AUROC"] > 0.5
    assert len(seen_names(glass, model.inspector)) == 40
    written, engine.trainer.datamodule = planted[0].path.parent, None
    assert written.is_dir()
    del data
    gc.collect()
    assert not written.exists()


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


# --- models and engine ------------------------------------------------------------------------------------------------


def test_parameters_by_anomalibs_names():
    assert anomalib.EfficientAd(lr=0.0001).hparams == {"lr": 0.0001}
    assert anomalib.Cfa(num_neighbors=2, num_hard_negatives=1).hparams["num_neighbors"] == 2
    assert anomalib.Supersimplenet(perlin_threshold=0.3).hparams == {"perlin_threshold": 0.3}
    assert anomalib.Cflow(coupling_blocks=4, fiber_batch_size=64).hparams["fiber_batch_size"] == 64
    assert anomalib.Uflow(flow_steps=2).hparams == {"flow_steps": 2}
    assert anomalib.Dfkde(n_components=4).hparams == {"n_components": 4}
    assert anomalib.Dfm(layer="layer2").hparams == {"layers": ("layer2",)}
    assert anomalib.Dfm(layers=("layer2",), pre_trained=True).hparams == {"layers": ("layer2",)}
    assert anomalib.Dfm(pre_processor=True, post_processor=None, evaluator=True, visualizer=True).hparams == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: anomalib.Dfm(layer="layer1", layers=("layer2",)), "layer and layers are the same"),
        (lambda: anomalib.Dfm(layer=3), "has to be of the kind of its default"),
        (lambda: anomalib.Padim(pre_trained=False), "features of random weights show little"),
        (lambda: anomalib.Padim(pre_processor="a transform"), "give a PreProcessor, or leave it out"),
        (lambda: anomalib.Padim(post_processor="one"), r"Engine\(false_reject=...\) says where the limit goes"),
        (lambda: anomalib.Padim(evaluator="one"), "give an Evaluator, or leave it out"),
        (lambda: anomalib.Padim(visualizer="one"), "give an ImageVisualizer, or False for no pictures"),
        (lambda: anomalib.Padim(backbone=object()), "backbone=object is not allowed: give one by name"),
        (lambda: anomalib.EfficientAd(model_size="medium"), "the teacher that is here is the small one; leave it out"),
        (lambda: anomalib.Supersimplenet(supervised=True), "--learn-defects` learns labelled defects"),
        (lambda: anomalib.models.Csflow(), "Csflow is not here: Fastflow is the flow that is here"),
        (lambda: anomalib.data.Folder3D(name="x"), "give the colour images of the set as a Folder"),
        (lambda: anomalib.models.get_model("padim3"), "Unknown model 'padim3': did you mean"),
        (lambda: anomalib.models.get_model("ganomaly"), "ReverseDistillation rebuilds features instead of pixels"),
        (lambda: anomalib.metrics.PGn(), "pellucid evaluate gives the escape rate at any false-reject rate"),
        (lambda: anomalib.metrics.AUROC().update({}), "is updated with a batch: say which fields"),
        (lambda: anomalib.loggers.AnomalibCometLogger(), "Comet is not logged to"),
        (lambda: anomalib.Engine(logger="tensorboard"), "logger='tensorboard' is not allowed"),
        (lambda: anomalib.Padim(n_features=0), "n_features=0 is not allowed"),
        (lambda: anomalib.Patchcore(num_neighbour=3), "did you mean 'num_neighbors'"),
        (lambda: anomalib.Engine(nonsense=3), "Unknown argument of Engine 'nonsense'"),
        (lambda: anomalib.Engine(max_epoch=3), "did you mean 'max_epochs'"),
        (lambda: anomalib.Engine(false_reject=2), "between 0 and 1"),
        (lambda: anomalib.Engine().train(anomalib.Padim(), ckpt_path="m"), "ckpt_path is not taken by fit"),
        (
            lambda: anomalib.Engine().predict(anomalib.Padim()),
            "datamodule, dataset, data_path and dataloaders: 0 are given",
        ),
        (lambda: anomalib.Engine().fit(anomalib.Padim(), [1, 2]), "Images cannot be taken from a list: give a Folder"),
        (lambda: anomalib.Engine().test(datamodule=anomalib.PredictDataset(".")), "No model is given, and this engine"),
        (lambda: anomalib.Engine().export(anomalib.Padim(), "tensorrt"), "give torch, onnx, openvino"),
        (lambda: anomalib.Engine().export(anomalib.Padim(), "onnx", compression_type="int9"), "give fp16, int8"),
    ],
)
def test_models_and_engines_refuse_with_what_to_use(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


@pytest.mark.filterwarnings("error::pellucid.anomalib._said.AnomalibWarning")
@pytest.mark.usefixtures("nothing_said")
def test_options_that_ask_for_what_is_done_say_nothing():
    anomalib.Engine(accelerator="auto", devices=1, callbacks=[], normalization="min_max", strategy="auto", logger=False)


@pytest.mark.parametrize("name", sorted(IDLE_OPTIONS))
@pytest.mark.usefixtures("nothing_said")
def test_options_without_effect_say_so(name):
    with pytest.warns(AnomalibWarning, match=f"Engine takes {name} without effect: "):
        anomalib.Engine(**{name: "something"})


def test_a_model_has_no_networks_before_its_fit():
    with pytest.raises(NotFittedError, match=r"call engine\.fit or give ckpt_path; before, it has no networks"):
        sum(parameter.numel() for parameter in anomalib.Padim().parameters())


def test_every_model_of_the_table_is_made_or_says_that_its_detector_is_not_there(monkeypatch):
    for name, row in MODELS.items():
        if row.detector in pellucid.detectors.names():
            assert getattr(anomalib, name)().detector == row.detector
        unknown = (
            [new for new in row.renamed.values() if new not in pellucid.detectors.describe(row.detector).defaults]
            if row.detector in pellucid.detectors.names()
            else []
        )
        assert not unknown, (name, unknown)
    monkeypatch.setattr(pellucid.detectors, "names", lambda: ["dfm"])
    with pytest.raises(
        ParameterError, match="Padim is not here yet: there is no detector 'padim'; `pellucid detectors`"
    ):
        anomalib.Padim()


def test_images_without_labels_are_predicted_on_and_not_tested_on(engine, model, glass):
    fitted, folder = anomalib.Dfm(), glass / "normal_test"
    fitted.adopt(pellucid.load(model))
    dataset = anomalib.PredictDataset(path=folder, image_size=(256, 256))
    by_dataset, by_path = engine.predict(model=fitted, dataset=dataset), engine.predict(model=fitted, data_path=folder)
    assert [batch.pred_score for batch in by_dataset] == [batch.pred_score for batch in by_path]
    assert [len(batch) for batch in by_path] == [1] * len(names(folder))  # as there: a script says float(pred_score)
    assert "label" not in by_path[0]
    one = engine.predict(model=fitted, data_path=next(folder.iterdir()))
    assert len(one[0]["image_path"]) == 1
    assert engine.predict(model=fitted, data_path=folder, return_predictions=False) is None
    with pytest.raises(DataError, match=r"have no labels to test by: use engine\.predict"):
        engine.test(model=fitted, datamodule=dataset)
    with pytest.raises(DataError, match="Cannot read"):
        engine.predict(model=fitted, data_path=glass / "absent")


def test_ten_images_are_enough_to_try(glass, tmp_path):
    for path in sorted((glass / "normal_train").iterdir())[:10]:
        (tmp_path / "few").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "few")
    data = anomalib.Folder(name="few", root=tmp_path, normal_dir="few", image_size=64)
    model, engine = anomalib.Dfm(), anomalib.Engine(default_root_dir=tmp_path / "results")
    engine.fit(model=model, datamodule=data)
    assert model.inspector.limit.false_reject_rate == pytest.approx(1 / 11)
    with pytest.raises(DataError, match=r"10 normal training images are too few for a false-reject rate of 0\.01"):
        anomalib.Engine(default_root_dir=tmp_path, false_reject=0.01).fit(model=model, datamodule=data)


def test_loaders_over_something_else_and_what_a_model_says_of_tensors(model, tmp_path):
    fitted = anomalib.Dfm.load_from_checkpoint(model, map_location="cpu")
    with pytest.raises(ParameterError, match=r"Tensors alone are no model: take Dfm\.load_from_checkpoint\(path\)"):
        fitted.load_state_dict({})
    with pytest.raises(DataError, match="undo its normalisation first"):
        fitted(torch.full((1, 3, 64, 64), -2.0))
    torch.save({"state_dict": {}}, tmp_path / "model.ckpt")
    with pytest.raises(ModelFileError, match=r"is a checkpoint of torch's.*fit the model again with engine\.fit"):
        anomalib.Dfm.load_from_checkpoint(tmp_path / "model.ckpt")
    with pytest.raises(ParameterError, match="Networks are pellucid's own: the attribute `model` of a fitted model"):
        anomalib.models.PatchcoreModel(backbone="resnet18")


@pytest.mark.parametrize("kind", list(anomalib.ExportType))
def test_an_export_inspects_as_its_model(kind, engine, model, glass, tmp_path):
    if kind == "onnx":
        pytest.importorskip("onnx")
    fitted = anomalib.Dfm()
    fitted.adopt(pellucid.load(model))
    written = engine.export(model=fitted, export_type=kind, export_root=tmp_path / "exported")
    assert written.is_file()
    assert written.parent == tmp_path / "exported" / "weights" / kind
    image = next((glass / "abnormal_test").iterdir())
    exported = pellucid.load(written if kind == "torch" else written.parent)
    assert exported.inspect(image).score == pytest.approx(fitted.inspector.inspect(image).score, rel=1e-3)
