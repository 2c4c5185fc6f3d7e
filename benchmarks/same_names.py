"""Ten detectors beside anomalib 2.7's of the same name, in one process; ``against_anomalib.py`` has the others.

    python3 -m venv runs/anomalib
    runs/anomalib/bin/pip install torch==2.13.0 torchvision==0.28.0 anomalib==2.7.0 --editable .[vit]
    OMP_NUM_THREADS=1 runs/anomalib/bin/python -m benchmarks.same_names --images ../shared/data/glass_defect

Both get the same images of 256 px and a network of random weights, a resnet18 or a DINOv2-S (252 px), whose layers and
widths are the same, and take turns call by call; a row is the medians of the processor's seconds, and their ratio. A
step is one of training on 8 images, in the precision that the side has by itself: ours computes what is frozen once,
before the first epoch, anomalib in every step. An image is map and score of one. anomalib is called at its torch
models, without its engine, which is to its advantage. Ours has the paper's parameters where it has others by default:
SuperSimpleNet enlarges its features, DRAEM works on pixels; DRAEM as it is by default is a row of its own. Networks of
EfficientAD are as large as each side has them: our teacher describes a patch by 192 numbers and drawings of 128 px
stand for ImageNet's pictures, theirs by 384 and of 256 px. No step of CFLOW-AD is compared, of which anomalib's goes
through every vector of its images and ours through a sample, and none of DRAEM, which takes minutes. SubspaceAD has no
counterpart there. Rows go to ``same_names.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks._timing import cpu_name, read_rows, write_rows
from benchmarks.against_anomalib import _let_anomalib_import
from pellucid import detectors
from pellucid.acquisition.files import image_files
from pellucid.acquisition.images import as_planes, read_image
from pellucid.backbones import network
from pellucid.detectors import _training

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = (
    "work",
    "pellucid_seconds",
    "anomalib_seconds",
    "ratio",
    "turns",
    "cpu",
    "cores",
    "torch",
    "anomalib",
    "date",
)
SIDE_PX, BATCH = 256, 8
LAYERS = ("layer1", "layer2", "layer3")
TOKENS_PX = 252  # a multiple of DINOv2's patches near the others' side
BLOCKS = range(2, 10)  # of DINOv2's twelve, counted from 0, that Dinomaly rebuilds
OURS: dict[str, dict[str, Any]] = {  # hyper-parameters beside the weights
    "cfa": {"layers": LAYERS},
    "cflow": {"layers": LAYERS},
    "uflow": {"layers": LAYERS},
    "dfkde": {"layers": ("layer3",)},
    "supersimplenet": {"layers": ("layer2", "layer3"), "enlarge": True},
    "draem": {"space": "pixels", "width": 128, "discriminative_width": 64, "depth": 4},
    "draem-default": {"layers": ("layer2", "layer3")},
    "efficientad": {"backbone": "pdn_s", "penalty_images": BATCH, "batch_size": BATCH},
    "anomaly_dino": {"backbone": "dinov2_small", "layers": ("block12",), "coreset_size": 0},
    "dinomaly": {"backbone": "dinov2_small", "layers": tuple(f"block{k + 1}" for k in BLOCKS), "decoder_depth": 8},
}
WORKS = (
    *("cfa_step", "cfa_image", "uflow_step", "uflow_image", "supersimplenet_step", "supersimplenet_image"),
    *("cflow_image", "dfkde_fit", "dfkde_image", "draem_image", "draem-default_image"),
    *("efficientad_step", "efficientad_image", "anomaly_dino_fit", "anomaly_dino_image"),
    *("dinomaly_step", "dinomaly_image"),
)
FITTED = ("dfkde", "anomaly_dino")  # that learn without steps
Call = Callable[[], Any]


def pellucid_call(work: str, pixels: torch.Tensor, folder: Path) -> Call:
    """Make ready what is timed on our side."""
    name, _, kind = work.rpartition("_")
    parameters = {"backbone": "resnet18"} | OURS[name]
    weights = folder / f"{parameters['backbone']}.safetensors"
    parameters |= {"weights": str(weights) if weights.exists() else None}
    name = name.partition("-")[0]
    if kind == "fit":
        return lambda: detectors.create(name, **parameters).fit(list(pixels.split(BATCH)))
    detector = detectors.create(name, **parameters, **({} if name in FITTED else {"epochs": 1}))
    with patch.object(sys.modules[type(detector).__module__], "train", _first_step, create=True):
        detector.fit([pixels[:BATCH]] if name not in FITTED else list(pixels.split(BATCH)))
    return _STEPS.pop() if kind == "step" else lambda: detector.score(pixels[:1])


_STEPS: list[Call] = []


def _first_step(
    module: Any, optimizer: Any, images: Any, extract: Any, *, precision: str, clip: float | None = None, **_: Any
) -> None:
    """Stand in for :func:`pellucid.detectors._training.train`: keep one step of it, on the first batch, to be timed."""
    loss_of, device = _training._loss_of(module, precision), next(module.parameters()).device
    with _training.FeatureCache(images, extract, device) as cache:
        maps = cache[torch.arange(BATCH)]
    kept: Any = {0: maps}

    def step() -> None:
        _training._train_epoch(module, loss_of, optimizer, kept, [0], clip, 0)  # type: ignore[list-item]

    _STEPS[:] = [step]


def anomalib_call(work: str, pixels: torch.Tensor) -> Call:
    """Make ready what is timed on anomalib's side."""
    name, _, kind = work.rpartition("_")
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    images = (pixels - mean) / std
    if kind == "fit":
        return lambda: _fitted(name, images)
    if name in FITTED:
        model, loss_of = _fitted(name, images), None
    else:
        model, loss_of = _anomalib_model(name.partition("-")[0], images[:BATCH])
    if kind == "step" and loss_of is not None:
        model.train()
        learned = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learned, lr=1e-4)

        def step() -> None:
            loss = loss_of()
            optimizer.zero_grad()
            loss.backward(retain_graph=name == "cfa")  # as its own module has to
            optimizer.step()

        return step
    model.eval()

    def score() -> Any:
        with torch.no_grad():
            return model(images[:1])

    return score


def _anomalib_model(name: str, images: torch.Tensor) -> tuple[Any, Callable[[], torch.Tensor] | None]:
    """Make a model, and what computes the loss of its training for a batch; None where no step is timed."""
    if name == "cfa":
        from anomalib.models.image.cfa.loss import CfaLoss
        from anomalib.models.image.cfa.torch_model import CfaModel
        from torchvision import models

        untrained = models.resnet18  # of which it asks for trained weights whatever is said, and there is no network
        with patch.object(models, "resnet18", lambda weights: untrained()):  # noqa: ARG005
            cfa = CfaModel("resnet18", 1, 1, 3, 3, 1e-5)
        cfa.initialize_centroid([SimpleNamespace(image=images)])
        cfa_loss = CfaLoss(3, 3, 1e-5)
        return cfa, lambda: cfa_loss(cfa(images))
    if name == "uflow":
        from anomalib.models.image.uflow.loss import UFlowLoss
        from anomalib.models.image.uflow.torch_model import UflowModel

        uflow, uflow_loss = UflowModel((SIDE_PX, SIDE_PX), backbone="resnet18"), UFlowLoss()
        return uflow, lambda: uflow_loss(*uflow(images))
    if name == "supersimplenet":
        from anomalib.models.image.supersimplenet.loss import SSNLoss
        from anomalib.models.image.supersimplenet.torch_model import SupersimplenetModel

        simple, simple_loss, good = SupersimplenetModel(backbone="resnet18"), SSNLoss(), torch.zeros(len(images))

        def loss() -> torch.Tensor:
            found: torch.Tensor = simple_loss(*simple(images, None, good))
            return found

        return simple, loss
    if name == "cflow":
        from anomalib.models.image.cflow.torch_model import CflowModel

        return CflowModel("resnet18", LAYERS, pre_trained=False), None
    if name == "efficientad":
        from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel

        efficient, pictures = EfficientAdModel(), torch.rand(images.shape)
        efficient.teacher.requires_grad_(False)
        return efficient, lambda: torch.stack(efficient(images, pictures)).sum()
    if name == "dinomaly":
        from anomalib.models.image.dinomaly.torch_model import DinomalyModel

        dinomaly = DinomalyModel("vit_small_patch14_dinov2", target_layers=list(BLOCKS))
        return dinomaly, lambda: dinomaly(images, global_step=1)
    from anomalib.models.image.draem.torch_model import DraemModel

    return DraemModel(), None


def _fitted(name: str, images: torch.Tensor) -> Any:
    """Make one of :data:`FITTED`, and fit it; DFKDE needs more images than it has components."""
    if name == "dfkde":
        from anomalib.models.image.dfkde.torch_model import DfkdeModel

        model = DfkdeModel("resnet18", ("layer3",), pre_trained=False)
    else:
        from anomalib.models.image.anomaly_dino.torch_model import AnomalyDINOModel

        model = AnomalyDINOModel()
    model.train()
    for batch in images.split(BATCH):
        model(batch)
    model.fit()
    return model


def in_turns(calls: tuple[Call, Call], turns: int) -> tuple[float, float]:
    """Call both so many times after one another, and return the median of each one's seconds of the processor."""
    for call in calls:
        call()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for call, seconds in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="Data set with the folder normal_train.")
    parser.add_argument("--work", nargs="+", default=WORKS, choices=WORKS, help="Which pieces of work; all by default.")
    parser.add_argument("--turns", type=int, default=5, help="How often each side does the work, after a first time.")
    parser.add_argument("--folder", type=Path, default=Path("runs/same_names"), help="Where random weights are kept.")
    args = parser.parse_args()
    operators = _let_anomalib_import()  # noqa: F841 - they are gone when their library is
    from safetensors.torch import save_file

    args.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name in ("resnet18", "dinov2_small"):
        state = {key.removeprefix("pretrained."): values for key, values in network(name).state_dict().items()}
        save_file(state, args.folder / f"{name}.safetensors")
    paths = list(image_files(args.images / "normal_train"))[: 5 * BATCH]
    pixels = torch.from_numpy(np.stack([as_planes(read_image(path), (SIDE_PX, SIDE_PX)) for path in paths]))
    rows: dict[str, dict[str, Any]] = {row["work"]: dict(row) for row in read_rows(RESULTS)}
    for work in args.work:
        seen = pixels if "dino" not in work else pixels[..., :TOKENS_PX, :TOKENS_PX]
        ours, theirs = in_turns((pellucid_call(work, seen, args.folder), anomalib_call(work, seen)), args.turns)
        values = (work, f"{ours:.4g}", f"{theirs:.4g}", f"{theirs / ours:.2f}", args.turns, cpu_name(), os.cpu_count())
        values += (torch.__version__, "2.7.0", datetime.date.today().isoformat())
        rows[work] = dict(zip(COLUMNS, values, strict=True))
        print(*values[:4], flush=True)
        write_rows(RESULTS, COLUMNS, (rows[name] for name in WORKS if name in rows))


if __name__ == "__main__":
    main()
