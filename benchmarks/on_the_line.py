"""What a line sees: start, images a second from disk, memory of a fit, growth with the images learned from, and how
much of an image's time is its backbone's.

    python benchmarks/on_the_line.py --images ../shared/data/glass_defect --rival runs/rival/bin/python

PatchCore on prism_s at 256 px with its defaults unless a row says otherwise. Every figure is taken in a process of its
own; times are medians. One row a figure goes to ``on_the_line.csv`` beside this file, with the machine.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from against_anomalib import cpu, median_time

HERE = Path(__file__)
COLUMNS = ("figure", "value", "unit", "asked", "cpu", "cores", "date")
SIZE = (256, 256)
IMAGES = 1000  # inspected
BANK = 10_000  # patches that the fits keep whose memory is measured


def files(folder: Path, count: int) -> list[Path]:
    """So many images; those that there are, over and over."""
    from pellucid.acquisition.folders import image_files

    found = [*image_files(folder / "normal_train"), *image_files(folder / "normal_test")]
    return [found[k % len(found)] for k in range(count)]


def prepare(work: Path, images: Path) -> None:
    """A model, its exports in float32 and with an 8-bit backbone."""
    import pellucid

    work.mkdir(parents=True, exist_ok=True)
    inspector = pellucid.fit(images)
    inspector.save(work / "model.pellucid")
    inspector.export(work / "f32")
    inspector.export(work / "int8", int8=images)


# --- figures, each in a process of its own ----------------------------------------------------------------------------


def throughput(work: Path, images: Path, export: str) -> dict[str, float]:
    """Images a second from disk to verdict, from the first one asked for to the last, and how busy the cores were."""
    import pellucid

    inspector = pellucid.load(work / export)
    paths = files(images, IMAGES)
    list(inspector.inspect_many(paths[:32]))  # the graph for many images is made on the first use
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    count = sum(1 for _ in inspector.inspect_many(paths))
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"images/s": count / seconds, "% of the CPU": 100 * busy / seconds / (os.cpu_count() or 1)}


def memory(_: Path, images: Path, count: str) -> dict[str, float]:
    """Peak of a fit from files, a fixed number of patches kept."""
    from pellucid import detectors
    from pellucid.acquisition.images import ImageBatches

    detectors.create("patchcore", coreset_size=BANK).fit(ImageBatches(tuple(files(images, int(count))), SIZE))
    return {"MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def growth(_: Path, images: Path, count: str) -> dict[str, float]:
    """Milliseconds of one image with torch at a fixed bank, learned from so many images."""
    import torch

    from pellucid import detectors
    from pellucid.acquisition.images import ImageBatches

    batches = ImageBatches(tuple(files(images, int(count))), SIZE)
    made = detectors.create("patchcore", coreset_size=2000).fit(batches)
    one = next(iter(ImageBatches(tuple(files(images, 200)[-1:]), SIZE)))
    torch.set_num_threads(1)  # steadier
    return {"ms": 1e3 * median_time(lambda: made.score(one), 41)[0]}


def quickly_fitted(detector: str, images: Path) -> Any:
    """A detector with its defaults but for one epoch, as its scoring takes no less time for that."""
    from pellucid import detectors
    from pellucid.acquisition.images import ImageBatches

    more = {"epochs": 1} if "epochs" in detectors.describe(detector).defaults else {}
    return detectors.create(detector, **more).fit(ImageBatches(tuple(files(images, 100)), SIZE))


def over_backbone(work: Path, images: Path, detector: str) -> dict[str, float]:
    """One image's time over that of its backbone alone, both by OpenVINO in float32."""
    from torch import nn

    from pellucid._io.convert import convert
    from pellucid.acquisition.images import ImageBatches
    from pellucid.models.export import write_graph
    from pellucid.runtimes.openvino import OpenVino

    made = quickly_fitted(detector, images)
    graph, alone = work / f"{detector}.xml", work / f"{detector}-backbone.xml"
    write_graph(made, SIZE, "openvino", graph)
    one = next(iter(ImageBatches(tuple(files(images, 1)), SIZE)))

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
    """Seconds from the start of a process to the verdict on one image."""
    command = [sys.executable, "-m", "pellucid", "inspect", str(work / model), str(files(images, 1)[0]), "--json"]
    return {"s": statistics.median(_seconds(command) for _ in range(5))}


def rival_import(_: Path, __: Path, python: str) -> dict[str, float]:
    """Seconds that importing anomalib takes."""
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
    ("start, import of anomalib alone", rival_import, "", ""),
    ("throughput, float32", throughput, "f32", "120 images/s, 85 %"),
    ("throughput, int8", throughput, "int8", "120 images/s, 85 %"),
    ("memory, fit on 2000 images", memory, "2000", "2000 MB"),
    ("memory, fit on 4000 images", memory, "4000", "10 % more"),
    ("growth, fitted on 20 images", growth, "20", ""),
    ("growth, fitted on 200 images", growth, "200", "5 % more"),
    *((f"over backbone, {name}", over_backbone, name, "1.3") for name in ("patchcore", "padim", "dfm", "stfpm")),
    *((f"over backbone, {name}", over_backbone, name, "1.3") for name in ("fastflow", "reverse_distillation")),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder in the five folders layout")
    parser.add_argument("--rival", help="python of an environment with anomalib")
    parser.add_argument("--work", type=Path, default=Path("runs/on_the_line"))
    parser.add_argument("--figures", nargs="+", default=[name for name, *_ in FIGURES], help="names, or how they begin")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    known = {name: (measure, argument) for name, measure, argument, _ in FIGURES}
    if args.one:
        measure, argument = known[args.one]
        print(json.dumps(measure(args.work, args.images, argument or args.rival)))
        return
    if not (args.work / "int8" / "model.json").exists():
        prepare(args.work, args.images)
    path = HERE.with_suffix(".csv")
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    for name, measure, _, asked in FIGURES:
        if not any(name.startswith(given) for given in args.figures) or (measure is rival_import and not args.rival):
            continue
        command = [sys.executable, str(HERE), "--images", str(args.images), "--work", str(args.work), "--one", name]
        command += ["--rival", args.rival] if args.rival else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
        rows = [row for row in rows if row["figure"] != name]
        for unit, value in json.loads(done.stdout.splitlines()[-1]).items():
            known_here = (cpu(), os.cpu_count(), datetime.date.today().isoformat())
            rows.append(dict(zip(COLUMNS, (name, f"{value:.4g}", unit, asked, *known_here), strict=True)))
            print(name, f"{value:.4g}", unit, flush=True)
        order = [figure for figure, *_ in FIGURES]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: order.index(row["figure"])))


if __name__ == "__main__":
    main()
