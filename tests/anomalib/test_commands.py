"""Anomalib's command line: configurations of 1.x and 2.x, options before them, and what is said of mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import pellucid
from pellucid.anomalib.cli import main, parse, run_command
from pellucid.anomalib.configuration import read_configuration
from pellucid.errors import DataError, ParameterError

pytestmark = pytest.mark.filterwarnings("ignore::pellucid.anomalib._said.AnomalibWarning")
OF_2 = """
seed_everything: 4
model:
  class_path: anomalib.models.Padim
  init_args:
    n_features: 20
    pre_processor:
      class_path: anomalib.pre_processing.PreProcessor
      init_args:
        transform:
          class_path: torchvision.transforms.v2.Resize
          init_args: {size: [64, 64]}
data:
  class_path: anomalib.data.Folder
  init_args: {name: glass, normal_dir: normal_train, abnormal_dir: abnormal_test, normal_test_dir: normal_test}
trainer:
  max_epochs: 1
  callbacks:
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: image_AUROC}
"""
OF_1 = """
data:
  class_path: anomalib.data.Folder
  init_args: {name: glass, normal_dir: normal_train, task: classification, image_size: [64, 64]}
model: {class_path: anomalib.models.Dfm}
normalization: {normalization_method: min_max}
metrics: {image: [AUROC], pixel: null, threshold: {class_path: anomalib.metrics.F1AdaptiveThreshold}}
task: classification
results_dir: {path: of_1, unique: false}
logging: {log_graph: false}
seed_everything: false
"""


@pytest.fixture
def place(glass, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    (tmp_path / "of_2.yaml").write_text(OF_2)
    (tmp_path / "of_1.yaml").write_text(OF_1)
    shutil.copytree(glass, tmp_path / "data")
    return tmp_path


def test_train_test_predict_and_export_by_a_configuration(place, capsys):
    options = ["--config", "of_2.yaml", "--data.root", "data", "--default_root_dir=runs"]
    (metrics,) = run_command("train", options)
    assert metrics["image_AUROC"] > 0.5
    model = place / "runs/Padim/glass/v0/weights/lightning/model.ckpt"
    inspector = pellucid.load(model)
    assert (inspector.image_size, inspector.seed) == ((64, 64), 4)
    loaded = [*options, "--ckpt_path", str(model)]
    assert run_command("test", loaded) == [metrics]
    capsys.readouterr()
    assert main(["predict", *loaded, "--data", "data/abnormal_test"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines() if line.count("\t") == 2]
    assert len(lines) == 8
    for path, score, verdict in lines:
        found = inspector.inspect(path)
        assert (float(score), verdict) == (pytest.approx(found.score, rel=1e-4), found.verdict)
    written = run_command("export", ["--model", "Padim", "--export_type", "torch", "--ckpt_path", str(model)])
    assert pellucid.load(written).limit == inspector.limit


def test_a_configuration_of_1_x(place):
    asked = read_configuration(["of_1.yaml"], {"data.root": "data"})
    assert asked.engine["default_root_dir"] == "of_1"
    assert asked.engine["normalization"] == "min_max"
    assert run_command("fit", ["--config", "of_1.yaml", "--data.root", "data"]) is None
    assert (place / "of_1/Dfm/glass/v0/weights/model.pellucid").exists()


@pytest.mark.usefixtures("place")
def test_options_alone_and_before_files():
    options = ["--model", "Dfm", "--model.layer", "layer2", "--data", "Folder", "--data.name", "glass"]
    paths, given = parse([*options, "--data.init_args.normal_dir=normal_train", "--verbose"])
    asked = read_configuration(paths, given)
    assert asked.model().hparams == {"layers": ("layer2",)}
    assert asked.datamodule().normal_dir == "normal_train"
    assert given["verbose"] is True
    both = read_configuration(["of_2.yaml"], {"model.n_features": 7, "data.init_args.root": "x"})
    assert both.model().hparams["n_features"] == 7
    assert both.datamodule().root == Path("x")
    engine, model, data = pellucid.anomalib.Engine.from_config("of_2.yaml", **{"trainer.max_epochs": 3})
    assert (engine.max_epochs, model.name, data.name) == (3, "Padim", "glass")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "The configuration names no model: give it, as in --model Patchcore, or in --config FILE.yaml"),
        (["train", "--model", "Dfm"], "names no data: give it, as in --data Folder --data.normal_dir good"),
        (["train", "--modle", "Dfm"], "Unknown entry of a configuration 'modle': did you mean 'model'"),
        (["train", "Dfm"], "'Dfm' is not understood: options are --name value, as in --model Patchcore"),
        (["train", "--model", "Dfn"], "Unknown model 'Dfn': did you mean 'Dfm'"),
        (["train", "--model", "Dfm", "--data", "Folder4"], "Unknown data module 'Folder4': did you mean 'Folder'"),
        (
            ["train", "--model", "Dfm", "--trainer.callbacks.class_path", "anomalib.callbacks.No"],
            "there is no such class",
        ),
        (["fit", "--config", "absent.yaml"], "Cannot read the configuration 'absent.yaml'"),
        (["install"], "Nothing is left to install for pellucid.anomalib"),
        (["benchmark"], "Models are compared by `pellucid compare DATA`"),
        (["tran"], "Unknown command 'tran': did you mean 'train'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_files_that_are_no_configurations(tmp_path):
    for text, message in (("a: [", "Cannot read the configuration"), ("- 1", "holds no entries: give model, data")):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(DataError, match=message):
            read_configuration([tmp_path / "x.yaml"], {})
    with pytest.raises(ParameterError, match="Unknown entry of a configuration 'modell': did you mean 'model'"):
        read_configuration([], {"modell": 1})


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "python -m pellucid.anomalib SCRIPT.py|NOTEBOOK.ipynb" in capsys.readouterr().out
    assert main([]) == 2
