"""The same work by pellucid and by anomalib 2.7: times, ratio, and whether the scores agree.

    python3 -m venv runs/rival
    runs/rival/bin/pip install torch==2.13.0 torchvision==0.28.0 anomalib==2.7.0
    python benchmarks/against_anomalib.py --rival runs/rival/bin/python --images ../shared/data/glass_defect

Both get the same images and the same random backbone weights, each side in processes of its own, one after the other in
turns; a row is the median over turns. anomalib is called at its torch models, without its engine, which is to its
advantage. One row a piece of work goes to ``against_anomalib.csv`` beside this file, with the machine and the versions.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__)
COLUMNS = (
    *("work", "pellucid_seconds", "runtime", "anomalib_seconds", "ratio", "asked", "score_difference"),
    *("cpu", "cores", "torch", "anomalib", "date"),
)
IMAGES = 200  # fitted on
STEPS = 500  # of anomalib's coreset at 256 px, from which the whole is extrapolated
ASKED = {
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


def median_time(call: Callable[[], Any], repeats: int = 7) -> tuple[float, Any]:
    """Median seconds of a call after two that warm up, and what it returned."""
    for _ in range(2):
        result = call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def pixels(work: Path, size: int, count: int) -> Any:
    """(count, 3, size, size) in [0, 1], prepared once for both sides."""
    import numpy as np
    import torch

    return torch.from_numpy(np.load(work / f"pixels-{size}.npy")[:count])


def detector_of(name: str) -> tuple[str, str, Sequence[str]]:
    detector = name.split("_")[0]
    backbone = "wide_resnet50_2" if detector == "patchcore" else "resnet18"
    layers = {"patchcore": ("layer2", "layer3"), "dfm": ("layer3",)}.get(detector, ("layer1", "layer2", "layer3"))
    return detector, backbone, layers


# --- ours -------------------------------------------------------------------------------------------------------------


def prepare(work: Path, images: Path) -> None:
    """Pixels, those beyond the first ``IMAGES`` held out from fits, and random weights for both sides."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from pellucid.acquisition.folders import image_files
    from pellucid.acquisition.images import as_planes, read_image
    from pellucid.backbones import network

    work.mkdir(parents=True, exist_ok=True)
    paths = [*image_files(images / "normal_train"), *image_files(images / "normal_test")]
    for size in (128, 256):
        np.save(work / f"pixels-{size}.npy", np.stack([as_planes(read_image(path), (size, size)) for path in paths]))
    for name in ("wide_resnet50_2", "resnet18"):
        torch.manual_seed(0)
        save_file(network(name).state_dict(), work / f"{name}.safetensors")


def ours(name: str, work: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    from pellucid import detectors
    from pellucid.detectors._training import FeatureCache, native_precision
    from pellucid.models.export import write_graph
    from pellucid.models.quantise import quantise
    from pellucid.runtimes.openvino import OpenVino
    from pellucid.runtimes.torch import Torch

    detector, backbone, layers = detector_of(name)
    size = 128 if name.endswith("128") else 256
    given = {"backbone": backbone, "layers": layers, "weights": str(work / f"{backbone}.safetensors")}
    if detector == "patchcore":
        given["coreset_sampling_ratio"] = 0.1  # anomalib's, not ours
    if name.endswith("_fit") or "_fit_" in name:
        batches = list(pixels(work, size, IMAGES).split(8))
        made = detectors.create(detector, **given)
        start = time.perf_counter()
        made.fit(batches)
        seconds = time.perf_counter() - start
        if detector == "patchcore":
            np.save(work / f"bank-{size}.npy", made.bank_.numpy())
        return {"seconds": seconds, "scores": None, "runtime": "torch"}
    if name.endswith("_step"):
        from torch.optim import SGD

        made = detectors.create(detector, **given, epochs=1, batch_size=8)
        made.fit([pixels(work, size, 16)])
        parameters = made.student_.parameters() if detector == "stfpm" else made.flows_.parameters()
        optimizer = SGD(parameters, lr=1e-4)
        see = made._extract if detector == "stfpm" else made.backbone_

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=native_precision() == "bf16-mixed"):
                loss = made._loss(*lessons[torch.arange(8)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        # A fit computes what is frozen once, before its first epoch; anomalib does in every step.
        with FeatureCache([pixels(work, size, 8)], see, made.device) as lessons:
            return {"seconds": median_time(step)[0], "scores": None, "runtime": f"torch {native_precision()}"}
    made = detectors.create(detector, **given, **({"epochs": 1} if detector in ("stfpm", "fastflow") else {}))
    state = work / f"{detector}-state.pt"
    if state.exists():
        made.load_state(torch.load(state))
    else:
        made.fit(list(pixels(work, size, IMAGES).split(8)))
        torch.save(made.state(), state)
    image = pixels(work, size, 1)
    if name.endswith(("openvino", "int8")):
        graph = work / f"{detector}.xml"
        if not graph.exists():
            write_graph(made, (size, size), "openvino", graph)
        precision = "int8" if name.endswith("int8") else "f32"
        if precision == "int8":
            whole, graph = graph, work / f"{detector}-int8.xml"
            if not graph.exists():
                every = list(np.load(work / f"pixels-{size}.npy"))
                quantise(whole, Torch(made), every[: IMAGES // 2], every[IMAGES:], graph)
        run = OpenVino(graph)
        seconds, (_, score) = median_time(lambda: run.score(image.numpy()))
        return {"seconds": seconds, "scores": [float(score[0])], "runtime": f"openvino {precision}"}
    seconds, (_, score) = median_time(lambda: made.score(image))
    if detector == "padim":
        np.save(work / "channels.npy", made.channels_.numpy())
    return {"seconds": seconds, "scores": [float(score[0])], "runtime": "torch"}


# --- theirs -----------------------------------------------------------------------------------------------------------


def theirs(name: str, work: Path) -> dict[str, Any]:
    import numpy as np
    import torch
    from safetensors.torch import load_file

    operators = torch.library.Library("torchvision", "DEF")  # its compiled ones do not load beside a CPU-only torch
    for operator in ("nms", "qnms"):
        operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm

    build = timm.create_model  # some of its models ask for trained weights whatever is said, and there is no network
    timm.create_model = lambda *a, **k: build(*a, **{**k, "pretrained": False})
    from anomalib.models.components import KCenterGreedy
    from anomalib.models.image.dfm.torch_model import DFMModel
    from anomalib.models.image.fastflow.loss import FastflowLoss
    from anomalib.models.image.fastflow.torch_model import FastflowModel
    from anomalib.models.image.padim.torch_model import PadimModel
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from anomalib.models.image.stfpm.loss import STFPMLoss
    from anomalib.models.image.stfpm.torch_model import STFPMModel

    detector, backbone, layers = detector_of(name)
    size = 128 if name.endswith("128") else 256
    torch.manual_seed(0)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    images = (pixels(work, size, IMAGES) - mean) / std
    weights = load_file(work / f"{backbone}.safetensors")

    def given(model: Any) -> Any:
        """The same weights in every copy of the backbone."""
        for module in model.modules():
            if hasattr(module, "conv1") and hasattr(module, "layer1") and hasattr(module, "bn1"):
                module.load_state_dict(weights, strict=False)
        return model

    if detector == "patchcore":
        model = given(PatchcoreModel(layers=layers, backbone=backbone, pre_trained=False))
        if "_fit_" in name:
            model.train()
            start = time.perf_counter()
            for batch in images.split(8):
                model(batch)
            if size == 128:
                model.subsample_embedding(0.1)
                return {"seconds": time.perf_counter() - start, "scores": None}
            embeddings = torch.vstack(model.embedding_store)
            features = time.perf_counter() - start
            count = int(len(embeddings) * 0.1)
            sampler = KCenterGreedy(embedding=embeddings, sampling_ratio=STEPS / len(embeddings))
            start = time.perf_counter()
            sampler.select_coreset_idxs()
            return {"seconds": features + (time.perf_counter() - start) * count / STEPS, "scores": None}
        model.memory_bank = torch.from_numpy(np.load(work / "bank-256.npy"))
        model.eval()
    elif detector == "padim":
        model = given(PadimModel(backbone=backbone, layers=layers, pre_trained=False, n_features=100))
        model.idx = torch.from_numpy(np.load(work / "channels.npy")) if (work / "channels.npy").exists() else model.idx
        model.train()
        start = time.perf_counter()
        for batch in images.split(8):
            model(batch)
        model.fit()
        seconds = time.perf_counter() - start
        if name.endswith("_fit"):
            return {"seconds": seconds, "scores": None}
        model.eval()
    elif detector == "dfm":
        model = given(DFMModel(backbone=backbone, layer=layers[0], pre_trained=False))
        model.train()
        start = time.perf_counter()
        for batch in images.split(8):
            model(batch)
        model.fit()
        return {"seconds": time.perf_counter() - start, "scores": None}
    else:
        if detector == "stfpm":
            model, loss = STFPMModel(layers=layers, backbone=backbone), STFPMLoss()
        else:
            model, loss = FastflowModel((size, size), backbone, pre_trained=False), FastflowLoss()
        given(model)
        if name.endswith("_step"):
            model.train()
            optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)

            def step() -> None:
                value = loss(*model(images[:8]))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()

            return {"seconds": median_time(step)[0], "scores": None}
        model.eval()
    with torch.no_grad():
        seconds, found = median_time(lambda: model(images[:1]))
    comparable = detector == "patchcore"  # the others blur maps their own way, or have weights of their own
    return {"seconds": seconds, "scores": [float(found.pred_score)] if comparable else None}


# --- the comparison ---------------------------------------------------------------------------------------------------


def run(python: str, side: str, name: str, work: Path) -> dict[str, Any]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [python, str(HERE), "--side", side, "--work", name, "--folder", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{side} {name} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line for line in lines if line.startswith("flags")), "")
    best = next((kind for kind in ("avx512_bf16", "avx512f", "avx2") if f" {kind}" in flags), "")
    return f"{model} {best}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival", help="python of an environment with anomalib")
    parser.add_argument("--images", type=Path, help="folder with normal_train and normal_test")
    parser.add_argument("--work", nargs="+", default=list(ASKED), choices=list(ASKED))
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/against_anomalib"))
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps({"ours": ours, "theirs": theirs}[args.side](args.work[0], args.folder)))
        return
    if not (args.folder / "resnet18.safetensors").exists():
        prepare(args.folder, args.images)
    path = HERE.with_suffix(".csv")
    rows: dict[str, dict[str, Any]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["work"]: row for row in csv.DictReader(file)}
    import torch

    for name in args.work:
        turns = 1 if "patchcore_fit" in name else args.turns
        both = [
            (run(sys.executable, "ours", name, args.folder), run(args.rival, "theirs", name, args.folder))
            for _ in range(turns)
        ]
        mine, rival = (statistics.median(turn[k]["seconds"] for turn in both) for k in (0, 1))
        a, b = both[-1][0]["scores"], both[-1][1]["scores"]
        off = max(abs(x - y) / abs(y) for x, y in zip(a, b, strict=True)) if a and b else ""
        rows[name] = dict(
            zip(
                COLUMNS,
                (
                    name,
                    f"{mine:.4g}",
                    both[-1][0]["runtime"],
                    f"{rival:.4g}",
                    f"{rival / mine:.2f}",
                    ASKED[name],
                    off if off == "" else f"{off:.1e}",
                    cpu(),
                    os.cpu_count(),
                    torch.__version__,
                    "2.7.0",
                    datetime.date.today().isoformat(),
                ),
                strict=True,
            )
        )
        print(*(f"{k}={rows[name][k]}" for k in COLUMNS[:7]), flush=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[n] for n in ASKED if n in rows)


if __name__ == "__main__":
    main()
