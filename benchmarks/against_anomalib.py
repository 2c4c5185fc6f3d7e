"""The same work by pellucid and by anomalib 2.7: times, ratio, and whether the scores agree.

    python3 -m venv runs/anomalib
    runs/anomalib/bin/pip install torch==2.13.0 torchvision==0.28.0 anomalib==2.7.0
    python -m benchmarks.against_anomalib --anomalib runs/anomalib/bin/python --images ../shared/data/glass_defect

Both get the same images and the same random backbone weights, each side in processes of its own, one after the other in
turns; a row is the median over turns. anomalib is called at its torch models, without its engine, which is to its
advantage. One row a piece of work goes to ``against_anomalib.csv`` beside this file, with the machine and the versions.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._timing import cpu_name, median_time, read_rows, write_rows

RESULTS = Path(__file__).with_suffix(".csv")
RESULT_COLUMNS = (
    *("work", "pellucid_seconds", "runtime", "anomalib_seconds", "ratio", "target", "score_difference"),
    *("cpu", "cores", "torch", "anomalib", "date"),
)
N_FITTED_IMAGES = 200
N_EXTRAPOLATED_STEPS = 500  # of anomalib's coreset at 256 px, from which the whole is extrapolated
CORESET_SHARE = 0.1  # anomalib's, not ours
TARGET_RATIOS = {
    "patchcore_fit_128": 20,
    "patchcore_fit_256": 120,
    "patchcore_image": 4,
    "patchcore_image_openvino": 10,
    "patchcore_image_int8": 10,
    "padim_fit": 6,
    "padim_image": 3,
    "padim_image_openvino": 3,
    "padim_image_int8": 3,
    "dfm_fit": 4,
    "stfpm_step": 1.5,
    "stfpm_image_openvino": 3,
    "fastflow_step": 1.5,
    "fastflow_image_openvino": 3,
}


# --- both sides -------------------------------------------------------------------------------------------------------


def load_pixels(folder: Path, size: int, count: int) -> Any:
    """Load images (count, 3, size, size) in [0, 1], prepared once for both sides."""
    import numpy as np
    import torch

    return torch.from_numpy(np.load(folder / f"pixels-{size}.npy")[:count])


def describe_work(work: str) -> tuple[str, str, Sequence[str], int]:
    """Return a piece of work's detector, backbone, layers and image size in px."""
    detector = work.split("_")[0]
    backbone = "wide_resnet50_2" if detector == "patchcore" else "resnet18"
    layers = {"patchcore": ("layer2", "layer3"), "dfm": ("layer3",)}.get(detector, ("layer1", "layer2", "layer3"))
    return detector, backbone, layers, 128 if work.endswith("128") else 256


# --- pellucid ---------------------------------------------------------------------------------------------------------


def prepare(folder: Path, images: Path) -> None:
    """Write pixels and random weights for both sides; a fit sees the first ``N_FITTED_IMAGES``."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from pellucid.acquisition.files import image_files
    from pellucid.acquisition.images import as_planes, read_image
    from pellucid.backbones import network

    folder.mkdir(parents=True, exist_ok=True)
    paths = [*image_files(images / "normal_train"), *image_files(images / "normal_test")]
    for size in (128, 256):
        np.save(folder / f"pixels-{size}.npy", np.stack([as_planes(read_image(path), (size, size)) for path in paths]))
    for name in ("wide_resnet50_2", "resnet18"):
        torch.manual_seed(0)
        save_file(network(name).state_dict(), folder / f"{name}.safetensors")


def measure_pellucid(work: str, folder: Path) -> dict[str, Any]:
    """Measure a piece of work in this process."""
    detector, backbone, layers, _ = describe_work(work)
    parameters = {"backbone": backbone, "layers": layers, "weights": str(folder / f"{backbone}.safetensors")}
    if detector == "patchcore":
        parameters |= {"coreset_sampling_ratio": CORESET_SHARE, "image_score": "peak"}  # anomalib's
    if detector == "stfpm":
        parameters |= {"patchsize": 1, "combine": "product"}  # likewise
    if "_fit" in work:
        return _time_fit(work, folder, parameters)
    return _time_step(work, folder, parameters) if work.endswith("_step") else _time_image(work, folder, parameters)


def _time_fit(work: str, folder: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from pellucid import detectors

    name, _, _, size = describe_work(work)
    batches = list(load_pixels(folder, size, N_FITTED_IMAGES).split(8))
    detector = detectors.create(name, **parameters)
    start = time.perf_counter()
    detector.fit(batches)
    seconds = time.perf_counter() - start
    if name == "patchcore":
        np.save(folder / f"bank-{size}.npy", detector.bank_.numpy())
    return {"seconds": seconds, "scores": None, "runtime": "torch"}


def _time_step(work: str, folder: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """A fit computes what is frozen once, before its first epoch; anomalib does in every step."""
    import torch
    from torch.optim import SGD

    from pellucid import detectors
    from pellucid.detectors._training import FeatureCache, native_precision

    name, _, _, size = describe_work(work)
    detector = detectors.create(name, **parameters, epochs=1, batch_size=8)
    detector.fit([load_pixels(folder, size, 16)])
    trained = detector.student_ if name == "stfpm" else detector.flows_
    optimizer = SGD(trained.parameters(), lr=1e-4)
    extract = detector._extract if name == "stfpm" else detector.backbone_

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=native_precision() == "bf16-mixed"):
            loss = detector._loss(*cache[torch.arange(8)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with FeatureCache([load_pixels(folder, size, 8)], extract, detector.device) as cache:
        return {"seconds": median_time(step)[0], "scores": None, "runtime": f"torch {native_precision()}"}


def _time_image(work: str, folder: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    import torch

    from pellucid import detectors

    name, _, _, size = describe_work(work)
    detector = detectors.create(name, **parameters, **({"epochs": 1} if name in ("stfpm", "fastflow") else {}))
    state = folder / f"{name}-state.pt"
    if state.exists():
        detector.load_state(torch.load(state))
    else:
        detector.fit(list(load_pixels(folder, size, N_FITTED_IMAGES).split(8)))
        torch.save(detector.state(), state)
    image = load_pixels(folder, size, 1)
    if work.endswith(("openvino", "int8")):
        runtime = _open_graph(detector, folder, name, size, int8=work.endswith("int8"))
        seconds, (_, score) = median_time(lambda: runtime.score(image.numpy()))
        return {
            "seconds": seconds,
            "scores": [float(score[0])],
            "runtime": f"openvino {'int8' if work.endswith('int8') else 'f32'}",
        }
    seconds, (_, score) = median_time(lambda: detector.score(image))
    if name == "padim":
        np.save(folder / "channels.npy", detector.channels_.numpy())
    return {"seconds": seconds, "scores": [float(score[0])], "runtime": "torch"}


def _open_graph(detector: Any, folder: Path, name: str, size: int, *, int8: bool) -> Any:
    """Open a detector's graph in OpenVINO, of float32 or with an 8-bit backbone, as it was written before or anew."""
    import numpy as np

    from pellucid.models.export import write_graph
    from pellucid.models.quantise import quantise
    from pellucid.runtimes.openvino import OpenVino
    from pellucid.runtimes.torch import Torch

    graph, integers = folder / f"{name}.xml", folder / f"{name}-int8.xml"
    if not graph.exists():
        write_graph(detector, (size, size), "openvino", graph)
    if int8 and not integers.exists():
        images = list(np.load(folder / f"pixels-{size}.npy"))
        quantise(graph, Torch(detector), images[: N_FITTED_IMAGES // 2], images[N_FITTED_IMAGES:], integers)
    return OpenVino(integers if int8 else graph)


# --- anomalib ---------------------------------------------------------------------------------------------------------


def measure_anomalib(work: str, folder: Path) -> dict[str, Any]:
    """Measure a piece of work in this process, which has anomalib but no pellucid."""
    operators = _let_anomalib_import()  # noqa: F841 - they are gone when their library is
    import torch

    name, _, _, size = describe_work(work)
    torch.manual_seed(0)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    images = (load_pixels(folder, size, N_FITTED_IMAGES) - mean) / std
    prepare_model = {"patchcore": _anomalib_patchcore, "padim": _anomalib_padim, "dfm": _anomalib_dfm}
    model, seconds = prepare_model.get(name, _anomalib_trained)(work, folder, images)
    if seconds is not None:
        return {"seconds": seconds, "scores": None}
    model.eval()
    with torch.no_grad():
        seconds, found = median_time(lambda: model(images[:1]))
    comparable = name == "patchcore"  # the others blur maps their own way, or have weights of their own
    return {"seconds": seconds, "scores": [float(found.pred_score)] if comparable else None}


def _let_anomalib_import() -> Any:
    """Define what torchvision would, and keep timm from the network."""
    import torch

    operators = torch.library.Library("torchvision", "DEF")  # its compiled ones do not load beside a CPU-only torch
    for operator in ("nms", "qnms"):
        operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm

    build = timm.create_model  # some of its models ask for trained weights whatever is said, and there is no network
    timm.create_model = lambda *a, **k: build(*a, **{**k, "pretrained": False})
    return operators


def _with_shared_weights(model: Any, work: str, folder: Path) -> Any:
    """Load the same weights into every copy of the backbone."""
    from safetensors.torch import load_file

    weights = load_file(folder / f"{describe_work(work)[1]}.safetensors")
    for module in model.modules():
        if hasattr(module, "conv1") and hasattr(module, "layer1") and hasattr(module, "bn1"):
            module.load_state_dict(weights, strict=False)
    return model


def _extract_all(model: Any, images: Any) -> float:
    """Let a model see every image, as before its fit, and return when that began."""
    model.train()
    start = time.perf_counter()
    for batch in images.split(8):
        model(batch)
    return start


def _anomalib_patchcore(work: str, folder: Path, images: Any) -> tuple[Any, float | None]:
    """Make the model ready to score, or return the seconds of its fit."""
    import numpy as np
    import torch
    from anomalib.models.components import KCenterGreedy
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    _, backbone, layers, size = describe_work(work)
    model = _with_shared_weights(PatchcoreModel(layers=layers, backbone=backbone, pre_trained=False), work, folder)
    if "_fit" not in work:
        model.memory_bank = torch.from_numpy(np.load(folder / "bank-256.npy"))
        return model, None
    start = _extract_all(model, images)
    if size == 128:
        model.subsample_embedding(CORESET_SHARE)
        return model, time.perf_counter() - start
    embeddings = torch.vstack(model.embedding_store)
    feature_seconds = time.perf_counter() - start
    sampler = KCenterGreedy(embedding=embeddings, sampling_ratio=N_EXTRAPOLATED_STEPS / len(embeddings))
    start = time.perf_counter()
    sampler.select_coreset_idxs()
    steps = int(len(embeddings) * CORESET_SHARE)
    return model, feature_seconds + (time.perf_counter() - start) * steps / N_EXTRAPOLATED_STEPS


def _anomalib_padim(work: str, folder: Path, images: Any) -> tuple[Any, float | None]:
    """Fit the model; return its seconds if they are what is asked for."""
    import numpy as np
    import torch
    from anomalib.models.image.padim.torch_model import PadimModel

    _, backbone, layers, _ = describe_work(work)
    model = PadimModel(backbone=backbone, layers=layers, pre_trained=False, n_features=100)
    model = _with_shared_weights(model, work, folder)
    if (folder / "channels.npy").exists():
        model.idx = torch.from_numpy(np.load(folder / "channels.npy"))
    start = _extract_all(model, images)
    model.fit()
    return model, time.perf_counter() - start if work.endswith("_fit") else None


def _anomalib_dfm(work: str, folder: Path, images: Any) -> tuple[Any, float | None]:
    """Fit the model and return its seconds."""
    from anomalib.models.image.dfm.torch_model import DFMModel

    _, backbone, layers, _ = describe_work(work)
    model = _with_shared_weights(DFMModel(backbone=backbone, layer=layers[0], pre_trained=False), work, folder)
    start = _extract_all(model, images)
    model.fit()
    return model, time.perf_counter() - start


def _anomalib_trained(work: str, folder: Path, images: Any) -> tuple[Any, float | None]:
    """Make STFPM or FastFlow; return the seconds of a training step if they are what is asked for."""
    import torch
    from anomalib.models.image.fastflow.loss import FastflowLoss
    from anomalib.models.image.fastflow.torch_model import FastflowModel
    from anomalib.models.image.stfpm.loss import STFPMLoss
    from anomalib.models.image.stfpm.torch_model import STFPMModel

    name, backbone, layers, size = describe_work(work)
    if name == "stfpm":
        model, loss = STFPMModel(layers=layers, backbone=backbone), STFPMLoss()
    else:
        model, loss = FastflowModel((size, size), backbone, pre_trained=False), FastflowLoss()
    _with_shared_weights(model, work, folder)
    if not work.endswith("_step"):
        return model, None
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        value = loss(*model(images[:8]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return model, median_time(step)[0]


# --- the comparison ---------------------------------------------------------------------------------------------------


def run_side(python: str, side: str, work: str, folder: Path) -> dict[str, Any]:
    """Measure one side of a piece of work in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [python, "-m", "benchmarks.against_anomalib", "--side", side, "--work", work, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{side} {work} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare_sides(work: str, python: str, folder: Path, turns: int) -> dict[str, Any]:
    """Measure a piece of work on both sides in turns and return its row."""
    import torch

    turns = 1 if "patchcore_fit" in work else turns
    both = [
        (run_side(sys.executable, "pellucid", work, folder), run_side(python, "anomalib", work, folder))
        for _ in range(turns)
    ]
    pellucid_seconds, anomalib_seconds = (statistics.median(turn[k]["seconds"] for turn in both) for k in (0, 1))
    a, b = both[-1][0]["scores"], both[-1][1]["scores"]
    difference = f"{max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True)):.1e}" if a and b else ""
    values = (
        *(work, f"{pellucid_seconds:.4g}", both[-1][0]["runtime"], f"{anomalib_seconds:.4g}"),
        *(f"{anomalib_seconds / pellucid_seconds:.2f}", TARGET_RATIOS[work], difference),
        *(cpu_name(), os.cpu_count(), torch.__version__, "2.7.0", datetime.date.today().isoformat()),
    )
    return dict(zip(RESULT_COLUMNS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anomalib", help="Python of an environment with anomalib.")
    parser.add_argument("--images", type=Path, help="Data set with the folders normal_train and normal_test.")
    parser.add_argument("--work", nargs="+", default=list(TARGET_RATIOS), choices=list(TARGET_RATIOS))
    parser.add_argument(
        "--turns", type=int, default=2, help="How often both sides do the work; 1 for PatchCore's fits."
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/against_anomalib"), help="Where states are kept.")
    parser.add_argument("--side", choices=["pellucid", "anomalib"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        measure = measure_pellucid if args.side == "pellucid" else measure_anomalib
        print(json.dumps(measure(args.work[0], args.folder)))
        return
    if not (args.folder / "resnet18.safetensors").exists():
        prepare(args.folder, args.images)
    rows: dict[str, dict[str, Any]] = {row["work"]: dict(row) for row in read_rows(RESULTS)}
    for work in args.work:
        rows[work] = compare_sides(work, args.anomalib, args.folder, args.turns)
        print(*(f"{k}={rows[work][k]}" for k in RESULT_COLUMNS[:7]), flush=True)
        write_rows(RESULTS, RESULT_COLUMNS, (rows[n] for n in TARGET_RATIOS if n in rows))


if __name__ == "__main__":
    main()
