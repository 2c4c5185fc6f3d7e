"""How far is the code from what this machine can do in float32?

    python -m benchmarks.floors --images ../shared/data/glass_defect

A floor is the multiplications that a piece of work asks for over the rate at which this machine multiplies, and what it
has to read that no cache holds over the rate at which memory is read. Both rates are measured here: that of OpenVINO's
fastest convolution and that of a sum. The floor of a fit is that of its features alone. Beside it stand the times that
``against_anomalib`` and ``on_the_line`` measured (run them first, on the same machine), and the ratio that was
asked for, as it is and as it would be at the floor. One row a piece of work goes to ``floors.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._timing import cpu_name, median_time, read_rows
from benchmarks.against_anomalib import N_FITTED_IMAGES, TARGET_RATIOS, describe_work
from benchmarks.on_the_line import fit_quickly
from pellucid._io.files import csv_text, write_text

RESULTS = Path(__file__).with_suffix(".csv")
RESULT_COLUMNS = (
    *("work", "gflop", "mb", "floor_seconds", "seconds", "over_floor", "ratio_at_floor", "ratio", "target"),
    *("gflop_per_second", "gb_per_second", "cpu", "cores", "date"),
)
TABLES_READ_WHOLE = {"padim": ("mean_", "whiten_")}  # for every image, as no bank of patches is
CONVOLUTION_SHAPES = ((64, 64), (128, 64), (256, 32), (256, 64))  # channels and side in px, of which one is fastest


@dataclass(frozen=True)
class Machine:
    """What the machine does in a second; a multiplication with its addition counts as two operations."""

    operations_per_second: float
    bytes_per_second: float


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of a piece of work, and bytes that it reads from memory."""

    operations: int
    bytes: int = 0

    def floor_seconds(self, machine: Machine) -> float:
        """Compute the seconds that a machine needs at least."""
        return self.operations / machine.operations_per_second + self.bytes / machine.bytes_per_second


def measure_convolution(channels: int, side: int) -> float:
    """Measure the operations a second of a 3x3 convolution by OpenVINO."""
    import openvino
    import torch
    from torch import nn

    from pellucid._io.convert import convert

    layer, x = nn.Conv2d(channels, channels, 3, padding=1), torch.rand(1, channels, side, side)
    compiled = openvino.Core().compile_model(convert(layer, x), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request, pixels = compiled.create_infer_request(), [x.numpy()]
    return count_operations(lambda: layer(x)) / median_time(lambda: request.infer(pixels), 51)[0]


def measure_reading() -> float:
    """Measure the bytes a second of a sum."""
    import torch

    table = torch.ones(1 << 27)
    return table.nbytes / median_time(table.sum, 15)[0]


def count_operations(call: Callable[[], Any]) -> int:
    """Count the operations of the products and convolutions in a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def cost_of_image(made: Any, name: str) -> Cost:
    """Count what one image costs, with the tables that are read for it."""
    import torch

    height, width = (int(side) for side in made.size_)
    image = torch.rand(1, 3, height, width)
    tables = sum(getattr(made, table).nbytes for table in TABLES_READ_WHOLE.get(name, ()))
    return Cost(count_operations(lambda: made.score(image)), tables)


def cost_of_backbone(net: Any, side: int) -> Cost:
    """Count what the features of one image cost."""
    import torch

    with torch.inference_mode():
        return Cost(count_operations(lambda: net(torch.rand(1, 3, side, side))))


def costs_beside_anomalib(folder: Path) -> Iterator[tuple[str, Cost]]:
    """Count the work of ``against_anomalib.csv`` in float32, but for training steps, which reached their targets."""
    import torch

    from pellucid import backbones, detectors

    for work in TARGET_RATIOS:
        name, backbone, layers, size = describe_work(work)
        if "_fit" in work:
            net = backbones.create(backbone, layers=layers, pretrained=False)
            once = cost_of_backbone(net, size)
            yield work, Cost(N_FITTED_IMAGES * once.operations)
        elif "_image" in work and not work.endswith("int8"):
            made = detectors.create(name, backbone=backbone, layers=layers)
            yield work, cost_of_image(made.load_state(torch.load(folder / f"{name}-state.pt")), name)


def costs_over_backbone(images: Path) -> Iterator[tuple[str, Cost, Cost]]:
    """Count, for each detector of ``on_the_line.csv``, an image of it and one of its backbone alone."""
    from pellucid import detectors

    for name in detectors.names():
        made = fit_quickly(name, images)
        yield name, cost_of_image(made, name), cost_of_backbone(made.backbone_, 256)


def read_table(name: str, *keys: str) -> dict[tuple[str, ...], dict[str, str]]:
    """Read the rows of another benchmark's file by some of their columns."""
    return {tuple(row[key] for key in keys): row for row in read_rows(RESULTS.with_name(name))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/against_anomalib"), help="The folder of benchmarks.against_anomalib."
    )
    parser.add_argument("--images", type=Path, required=True, help="The data set of benchmarks.on_the_line.")
    args = parser.parse_args()
    machine = Machine(max(measure_convolution(*shape) for shape in CONVOLUTION_SHAPES), measure_reading())
    rows: list[tuple[object, ...]] = []

    def add(work: str, cost: Cost, seconds: float, at_floor: float, ratio: float, target: str) -> None:
        floor = cost.floor_seconds(machine)
        speeds = f"{machine.operations_per_second / 1e9:.0f}", f"{machine.bytes_per_second / 1e9:.1f}"
        rows.append(
            (
                *(work, f"{cost.operations / 1e9:.4g}", f"{cost.bytes / 1e6:.3g}", f"{floor:.3g}", f"{seconds:.3g}"),
                *(f"{seconds / floor:.2f}", f"{at_floor:.2f}", f"{ratio:.2f}", target),
                *(*speeds, cpu_name(), os.cpu_count(), datetime.date.today().isoformat()),
            )
        )
        print(*(f"{k}={v}" for k, v in zip(RESULT_COLUMNS[:11], rows[-1], strict=False)), flush=True)

    measured = read_table("against_anomalib.csv", "work")
    for work, cost in costs_beside_anomalib(args.folder):
        row = measured[work,]
        ours, theirs = float(row["pellucid_seconds"]), float(row["anomalib_seconds"])
        add(work, cost, ours, theirs / cost.floor_seconds(machine), theirs / ours, row["target"])
    line = read_table("on_the_line.csv", "figure", "unit")
    for name, cost, alone in costs_over_backbone(args.images):
        figure = f"over backbone, {name}"
        seconds, ratio = float(line[figure, "ms"]["value"]) / 1e3, float(line[figure, "ratio"]["value"])
        at_floor = cost.floor_seconds(machine) / alone.floor_seconds(machine)
        add(figure, cost, seconds, at_floor, ratio, line[figure, "ratio"]["target"])
    write_text(RESULTS, csv_text(RESULT_COLUMNS, rows))


if __name__ == "__main__":
    main()
