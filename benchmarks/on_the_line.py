"""What a line sees: start, images a second, memory of a fit, growth with the images, share of the backbone in an image.

    python -m benchmarks.on_the_line --images ../shared/data/glass_defect --anomalib runs/anomalib/bin/python

PatchCore on prism_s at 256 px with its defaults unless a row says otherwise. Every figure is taken in a process of its
own; times are medians. One row a figure goes to ``on_the_line.csv`` beside this file, with the machine.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._timing import cpu_name, median_time, read_rows, write_rows

RESULTS = Path(__file__).with_suffix(".csv")
RESULT_COLUMNS = ("figure", "value", "unit", "target", "cpu", "cores", "date")
IMAGE_SIZE_PX = (256, 256)
N_INSPECTED_IMAGES = 1000
N_KEPT_PATCHES = 10_000  # by the fits whose memory is measured


def list_images(folder: Path, count: int) -> list[Path]:
    """List so many images: those that there are, over and over."""
    from pellucid.acquisition.files import image_files

    found = [*image_files(folder / "normal_train"), *image_files(folder / "normal_test")]
    return [found[k % len(found)] for k in range(count)]


def prepare(work: Path, images: Path) -> None:
    """Write a model and its exports in float32 and with an 8-bit backbone."""
    import pellucid

    work.mkdir(parents=True, exist_ok=True)
    inspector = pellucid.fit(images)
    inspector.save(work / "model.pellucid")
    inspector.export(work / "f32")
    inspector.export(work / "int8", int8=images)


# --- figures, each in a process of its own ----------------------------------------------------------------------------


def throughput(work: Path, images: Path, export: str) -> dict[str, float]:
    """Measure images a second from disk to verdict, and how busy the cores were."""
    import pellucid

    inspector = pellucid.load(work / export)
    paths = list_images(images, N_INSPECTED_IMAGES)
    list(inspector.inspect_many(paths[:32]))  # the graph for many images is made on the first use
    busy_before, start = time.process_time(), time.perf_counter()
    count = sum(1 for _ in inspector.inspect_many(paths))
    seconds, busy_seconds = time.perf_counter() - start, time.process_time() - busy_before
    return {"images/s": count / seconds, "% of the CPU": 100 * busy_seconds / seconds / (os.cpu_count() or 1)}


def memory(_: Path, images: Path, count: str) -> dict[str, float]:
    """Measure the peak memory of a fit from files that keeps a fixed number of patches."""
    from pellucid import detectors
    from pellucid.acquisition.images import ImageBatches
    from pellucid.study.measure import peak_ram_mb

    detectors.create("patchcore", coreset_size=N_KEPT_PATCHES).fit(
        ImageBatches(tuple(list_images(images, int(count))), IMAGE_SIZE_PX)
    )
    return {"MB": peak_ram_mb()}


def growth(_: Path, images: Path, count: str) -> dict[str, float]:
    """Measure one image with torch and a bank of fixed size, fitted on so many images."""
    import torch

    from pellucid import detectors
    from pellucid.acquisition.images import ImageBatches

    batches = ImageBatches(tuple(list_images(images, int(count))), IMAGE_SIZE_PX)
    made = detectors.create("patchcore", coreset_size=2000).fit(batches)
    one = next(iter(ImageBatches(tuple(list_images(images, 200)[-1:]), IMAGE_SIZE_PX)))
    torch.set_num_threads(1)  # steadier
    return {"ms": 1e3 * median_time(lambda: made.score(one), 41)[0]}


def fit_quickly(detector: str, images: Path) -> Any:
    """Fit a detector with its defaults but for one epoch: its scoring takes no less time for that."""
    from pellucid import detectors
    from pellucid.acquisition.images import ImageBatches

    more = {"epochs": 1} if "epochs" in detectors.describe(detector).defaults else {}
    return detectors.create(detector, **more).fit(ImageBatches(tuple(list_images(images, 100)), IMAGE_SIZE_PX))


def over_backbone(work: Path, images: Path, detector: str) -> dict[str, float]:
    """Compare one image's time with that of its backbone alone, both by OpenVINO in float32."""
    from torch import nn

    from pellucid._io.convert import convert
    from pellucid.acquisition.images import ImageBatches
    from pellucid.models.export import write_graph
    from pellucid.runtimes.openvino import OpenVino

    made = fit_quickly(detector, images)
    graph, alone = work / f"{detector}.xml", work / f"{detector}-backbone.xml"
    write_graph(made, IMAGE_SIZE_PX, "openvino", graph)
    one = next(iter(ImageBatches(tuple(list_images(images, 1)), IMAGE_SIZE_PX)))

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = made.backbone_

        def forward(self, pixels: Any) -> tuple[Any, Any]:
            maps = self.backbone(pixels)
            return maps[0], (sum(m.mean() for m in maps[1:]) + maps[0].mean()).reshape(1)

    import openvino

    openvino.save_model(convert(Alone(), one), alone, compress_to_fp16=False)
    runtimes = [OpenVino(path) for path in (graph, alone)]
    turns = [[median_time(partial(runtime.score, one.numpy()), 21)[0] for runtime in runtimes] for _ in range(5)]
    whole, backbone = (statistics.median(times) for times in zip(*turns, strict=True))
    return {"ratio": whole / backbone, "ms": 1e3 * whole}


def start(work: Path, images: Path, model: str) -> dict[str, float]:
    """Measure from the start of a process to the verdict on one image."""
    command = [sys.executable, "-m", "pellucid", "inspect", str(work / model), str(list_images(images, 1)[0]), "--json"]
    return {"s": statistics.median(_seconds(command) for _ in range(5))}


def anomalib_import(_: Path, __: Path, python: str) -> dict[str, float]:
    """Measure the import of anomalib."""
    patch = (
        "import torch; l = torch.library.Library('torchvision', 'DEF');"
        "[l.define(n + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor') for n in ('nms', 'qnms')];"
        "import anomalib.models, anomalib.engine"
    )
    return {"s": statistics.median(_seconds([python, "-W", "ignore", "-c", patch]) for _ in range(3))}


def _seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


FIGURES: list[tuple[str, Callable[[Path, Path, str], dict[str, float]], str, str]] = [
    ("start, exported", start, "f32", "2.5 s"),
    ("start, model file with torch", start, "model.pellucid", "2.5 s"),
    ("start, import of anomalib alone", anomalib_import, "", ""),
    ("throughput, float32", throughput, "f32", "120 images/s, 85 %"),
    ("throughput, int8", throughput, "int8", "120 images/s, 85 %"),
    ("memory, fit on 2000 images", memory, "2000", "2000 MB"),
    ("memory, fit on 4000 images", memory, "4000", "10 % more"),
    ("growth, fitted on 20 images", growth, "20", ""),
    ("growth, fitted on 200 images", growth, "200", "5 % more"),
    *((f"over backbone, {name}", over_backbone, name, "1.3") for name in ("patchcore", "padim", "dfm", "stfpm")),
    *((f"over backbone, {name}", over_backbone, name, "1.3") for name in ("fastflow", "reverse_distillation")),
]


def measure_in_process(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Measure a figure in a process of its own and return its values by their units."""
    command = [sys.executable, "-m", "benchmarks.on_the_line", "--images", str(args.images), "--work", str(args.work)]
    command += ["--one", name, *(["--anomalib", args.anomalib] if args.anomalib else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="Data set in the five-folder layout.")
    parser.add_argument("--anomalib", help="Python of an environment with anomalib.")
    parser.add_argument("--work", type=Path, default=Path("runs/on_the_line"), help="Where models are kept.")
    parser.add_argument(
        "--figures", nargs="+", default=[name for name, *_ in FIGURES], help="Names, or how they begin."
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    known = {name: (measure, argument) for name, measure, argument, _ in FIGURES}
    if args.one:
        measure, argument = known[args.one]
        print(json.dumps(measure(args.work, args.images, argument or args.anomalib)))
        return
    if not (args.work / "int8" / "model.json").exists():
        prepare(args.work, args.images)
    rows: list[dict[str, Any]] = [dict(row) for row in read_rows(RESULTS)]
    order = [figure for figure, *_ in FIGURES]
    for name, measure, _, target in FIGURES:
        is_wanted = any(name.startswith(given) for given in args.figures)
        if not is_wanted or (measure is anomalib_import and not args.anomalib):
            continue
        rows = [row for row in rows if row["figure"] != name]
        for unit, value in measure_in_process(name, args).items():
            machine = (cpu_name(), os.cpu_count(), datetime.date.today().isoformat())
            rows.append(dict(zip(RESULT_COLUMNS, (name, f"{value:.4g}", unit, target, *machine), strict=True)))
            print(name, f"{value:.4g}", unit, flush=True)
        write_rows(RESULTS, RESULT_COLUMNS, sorted(rows, key=lambda row: order.index(row["figure"])))


if __name__ == "__main__":
    main()
