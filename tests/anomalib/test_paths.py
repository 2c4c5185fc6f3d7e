"""Where names are imported from: the paths of 1.x and 2.x, and those of Lightning and torchvision."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pellucid import anomalib
from pellucid.anomalib._absent import absent
from pellucid.anomalib._paths import HOMES, Paths
from pellucid.anomalib.models.table import MODELS
from pellucid.anomalib.scripts import mapped_names, notebook_code, run_script
from pellucid.anomalib.trainer import IDLE_OPTIONS
from pellucid.errors import DataError, ParameterError

PLACES = {  # modules that scripts name, and a name that they take from each
    **dict.fromkeys(
        ("data", "data.image", "data.image.folder", "data.datamodules.image", "data.datamodules"), "Folder"
    ),
    **dict.fromkeys(("data.utils", "data.utils.split"), "ValSplitMode"),
    **dict.fromkeys(("data.predict", "data.datasets"), "PredictDataset"),
    "data.dataclasses": "ImageBatch",
    "data.dataclasses.torch": "InferenceBatch",
    "data.task_type": "TaskType",
    **dict.fromkeys(("models", "models.image", "models.image.patchcore", "models.patchcore"), "Patchcore"),
    "models.image.patchcore.lightning_model": "Patchcore",
    "models.image.efficient_ad.torch_model": "EfficientAdModelSize",
    **dict.fromkeys(("models.components", "models.components.base"), "AnomalibModule"),
    **dict.fromkeys(("engine", "engine.engine"), "Engine"),
    **dict.fromkeys(("deploy", "deploy.inferencers", "deploy.inferencers.torch_inferencer"), "TorchInferencer"),
    "deploy.export": "ExportType",
    **dict.fromkeys(("loggers", "loggers.tensorboard", "utils.loggers"), "AnomalibTensorBoardLogger"),
    **dict.fromkeys(("callbacks", "callbacks.checkpoint", "utils.callbacks"), "ModelCheckpoint"),
    **dict.fromkeys(("metrics", "metrics.auroc", "utils.metrics"), "AUROC"),
    "metrics.threshold": "ManualThreshold",
    "metrics.threshold.f1_adaptive_threshold": "F1AdaptiveThreshold",
    **dict.fromkeys(("pre_processing", "pre_processing.pre_processor"), "PreProcessor"),
    **dict.fromkeys(("post_processing", "post_processing.one_class"), "PostProcessor"),
    "utils.normalization": "NormalizationMethod",
    **dict.fromkeys(("visualization", "visualization.image", "utils.visualization"), "ImageVisualizer"),
    "visualization.image.functional": "visualize_pred_mask",
    "utils.post_processing": "superimpose_anomaly_map",
    "pipelines.benchmark": "Benchmark",
    "": "TaskType",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_name_is_the_same_wherever_it_is_imported_from(place):
    name, home = PLACES[place], f"pellucid.anomalib.{place}".rstrip(".")
    found = getattr(importlib.import_module(home), name)
    with mapped_names():
        assert getattr(importlib.import_module(f"anomalib.{place}".rstrip(".")), name) is found


def test_what_anomalib_does_not_have_is_not_found_either():
    with mapped_names():
        for name in ("anomalib.nonsense", "anomalib.data.nonsense", "anomalib.utils.nonsense"):
            with pytest.raises(ModuleNotFoundError, match=name):
                importlib.import_module(name)
        for place in ("models", "data.utils", "data", "metrics", "engine", "models.image.patchcore", "callbacks"):
            for name in ("Nonsense", "nonsense"):
                with pytest.raises(ImportError, match=f"cannot import name '{name}'"):
                    exec(f"from anomalib.{place} import {name}", {})
        with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
            exec("from lightning.pytorch.callbacks import nonsense", {})


def test_the_names_are_mapped_only_while_a_script_runs():
    finders, modules = list(sys.meta_path), set(sys.modules)
    with mapped_names():
        import anomalib as mapped

        assert mapped.models.Padim is anomalib.Padim
        assert {"anomalib", "anomalib.models"} <= sys.modules.keys() | {"anomalib.models"}
    assert sys.meta_path == finders
    assert not {name for name in set(sys.modules) - modules if name.partition(".")[0] == "anomalib"}


def test_one_line_maps_them_in_a_notebook_that_is_open():
    code = (
        "import pellucid.anomalib as a; a.map_names(); from anomalib.models.image import Padim; print(Padim is a.Padim)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_lightning_and_torchvision_are_found_where_they_are_not_installed():
    others = Paths("others")
    assert others.find_spec("lightning.pytorch.callbacks").origin == "pellucid.anomalib.lightning"
    assert others.find_spec("torchvision.transforms.v2").origin == "pellucid.anomalib.transforms"
    assert others.find_spec("torchvision.models") is None
    with mapped_names():
        assert sys.meta_path[-1].serves == "others"  # asked after everything that is installed


def test_importing_it_imports_nothing_heavy():
    code = "import sys; before = set(sys.modules); import pellucid.anomalib; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign = {name.partition(".")[0] for name in done.stdout.split()} - {"pellucid", *sys.stdlib_module_names}
    assert not foreign
    assert set(dir(anomalib)) >= {"Patchcore", "Engine", "Folder", "models", "data"}
    assert {home for home in HOMES if home} <= {name.rpartition(".")[2] for name in map(str, HOMES)}


def test_the_page_names_what_there_is_and_what_there_is_not():
    page = (Path(__file__).parents[2] / "docs/anomalib.md").read_text(encoding="utf-8")
    modules = [importlib.import_module(f"pellucid.anomalib.{home}") for home in (*HOMES, "lightning") if home]
    absent_names = {name: sentence for module in modules for name, sentence in getattr(module, "ABSENT", {}).items()}
    assert not [name for name in {*MODELS, *absent_names, *IDLE_OPTIONS} if f"`{name}`" not in page]
    said = {sentence.removeprefix(f"{name} is not here: ") for name, sentence in absent_names.items()}
    assert not [sentence for sentence in said if sentence not in page]
    for name, row in MODELS.items():
        renamed = ", ".join(f"`{theirs}` is `{ours}`" for theirs, ours in row.renamed.items())
        assert f"| `{name}` | `{row.detector}` | {renamed} |" in page


def test_a_name_that_cannot_be_had_is_imported_and_not_used():
    gone = absent("Gone", "Take another.")
    for use in (gone, lambda: gone.load_from_checkpoint("x")):
        with pytest.raises(ParameterError, match="Take another"):
            use()
    assert isinstance(gone, type)
    assert not hasattr(gone, "__wrapped__")


def test_a_seed_for_everything(monkeypatch):
    from pellucid.anomalib.lightning import seed_everything
    from pellucid.anomalib.trainer import usual_seed

    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    drawn = []
    for seed in (3, None):
        assert seed_everything(seed) == 3
        drawn.append(torch.rand(2).tolist())
    assert drawn[0] == drawn[1]
    assert (usual_seed(None), usual_seed(5)) == (3, 5)
    with pytest.raises(ParameterError, match="seed=-1 is not allowed: give one from 0 to 4294967295"):
        seed_everything(-1)


def test_transforms_do_what_they_say():
    from pellucid.anomalib import transforms as t

    image = torch.rand(3, 40, 60)
    chain = t.Compose([t.ToTensor(), t.Resize((20, 30)), t.CenterCrop(16), t.Normalize([0.5] * 3, [0.25] * 3)])
    expected = torch.nn.functional.interpolate(image[None], (20, 30), mode="bilinear", antialias=True)[0, :, 2:18, 7:23]
    assert torch.allclose(chain(image), (expected - 0.5) / 0.25)
    assert t.Resize(20)(image).shape == (3, 20, 30)
    assert t.ToDtype(torch.float32, scale=True)(torch.full((1, 2, 2), 255, dtype=torch.uint8)).max() == 1
    with pytest.raises(ParameterError, match="Transforming an image by ColorJitter needs torchvision, which is not"):
        t.ColorJitter(brightness=0.2)(image)


def test_scripts_that_are_not_there_or_no_notebooks(tmp_path):
    with pytest.raises(DataError, match="There is no script"):
        run_script(tmp_path / "absent.py")
    (tmp_path / "text.ipynb").write_text("no notebook")
    with pytest.raises(DataError, match="is no notebook"):
        notebook_code(tmp_path / "text.ipynb")
