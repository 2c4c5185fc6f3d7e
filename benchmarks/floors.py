"""How far is the code from what this machine can do in float32?

    python benchmarks/floors.py --images ../shared/data/glass_defect

A floor is the multiplications that a piece of work asks for over the rate at which this machine multiplies, and what it
has to read that no cache holds over the rate at which memory is read. Both rates are measured here: that of OpenVINO's
fastest convolution and that of a sum. The floor of a fit is that of its features alone. Beside it stand the times that
``against_anomalib.py`` and ``on_the_line.py`` measured (run them first, on the same machine), and the ratio that was
asked for, as it is and as it would be at the floor. One row a piece of work goes to ``floors.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from against_anomalib import ASKED, IMAGES, cpu, detector_of, median_time
from on_the_line import quickly_fitted

from pellucid._io.files import csv_text, write_text

HERE = Path(__file__)
COLUMNS = (
    *("work", "gflop", "mb", "floor_seconds", "seconds", "over_floor", "ratio_at_floor", "ratio", "asked"),
    *("gflop_per_second", "gb_per_second", "cpu", "cores", "date"),
)
TABLES = {"padim": ("mean_", "whiten_")}  # read whole for every image, as no bank of patches is
CONVOLUTIONS = ((64, 64), (128, 64), (256, 32), (256, 64))  # channels and side, of which one is fastest


@dataclass(frozen=True)
class Machine:
    """Floating-point operations a second, two for a multiplication with its addition; bytes of memory a second."""

    operations: float
    bytes: float


@dataclass(frozen=True)
class Needs:
    """Floating-point operations, and bytes that are read from memory."""

    operations: int
    bytes: int = 0

    def floor(self, machine: Machine) -> float:
        """Seconds."""
        return self.operations / machine.operations + self.bytes / machine.bytes


def convolving(channels: int, side: int) -> float:
    """Operations a second of a 3x3 convolution by OpenVINO."""
    import openvino
    import torch
    from torch import nn

    from pellucid._io.convert import convert

    layer, x = nn.Conv2d(channels, channels, 3, padding=1), torch.rand(1, channels, side, side)
    compiled = openvino.Core().compile_model(convert(layer, x), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request, pixels = compiled.create_infer_request(), [x.numpy()]
    return operations(lambda: layer(x)) / median_time(lambda: request.infer(pixels), 51)[0]


def reading() -> float:
    """Bytes a second of a sum."""
    import torch

    table = torch.ones(1 << 27)
    return table.nbytes / median_time(table.sum, 15)[0]


def operations(call: Callable[[], Any]) -> int:
    """Of the products and convolutions in a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def of_image(made: Any, name: str) -> Needs:
    """Of one image, with the tables that are read for it."""
    import torch

    height, width = (int(side) for side in made.size_)
    image = torch.rand(1, 3, height, width)
    tables = sum(getattr(made, table).nbytes for table in TABLES.get(name, ()))
    return Needs(operations(lambda: made.score(image)), tables)


def of_backbone(net: Any, side: int) -> Needs:
    """Of one image's features."""
    import torch

    with torch.inference_mode():
        return Needs(operations(lambda: net(torch.rand(1, 3, side, side))))


def beside_anomalib(folder: Path) -> Iterator[tuple[str, Needs]]:
    """The rows of ``against_anomalib.csv`` in float32, but for the training steps, which have what was asked for."""
    import torch

    from pellucid import backbones, detectors

    for work in ASKED:
        name, backbone, layers = detector_of(work)
        if "_fit" in work:
            net = backbones.create(backbone, layers=layers, pretrained=False)
            once = of_backbone(net, 128 if work.endswith("128") else 256)
            yield work, Needs(IMAGES * once.operations)
        elif "_image" in work and not work.endswith("int8"):
            made = detectors.create(name, backbone=backbone, layers=layers)
            yield work, of_image(made.load_state(torch.load(folder / f"{name}-state.pt")), name)


def over_backbone(images: Path) -> Iterator[tuple[str, Needs, Needs]]:
    """The detectors of ``on_the_line.csv`` by name: an image of each, and of its backbone alone."""
    from pellucid import detectors

    for name in detectors.names():
        made = quickly_fitted(name, images)
        yield name, of_image(made, name), of_backbone(made.backbone_, 256)


def table(name: str, *keys: str) -> dict[tuple[str, ...], dict[str, str]]:
    """The rows of another benchmark's file by some of their columns."""
    with HERE.with_name(name).open(newline="", encoding="utf-8") as file:
        return {tuple(row[key] for key in keys): row for row in csv.DictReader(file)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/against_anomalib"), help="of against_anomalib.py")
    parser.add_argument("--images", type=Path, required=True, help="of on_the_line.py")
    args = parser.parse_args()
    machine = Machine(max(convolving(*shape) for shape in CONVOLUTIONS), reading())
    rows: list[tuple[object, ...]] = []

    def add(work: str, needs: Needs, seconds: float, at_floor: float, ratio: float, asked: str) -> None:
        floor = needs.floor(machine)
        rows.append(
            (
                *(work, f"{needs.operations / 1e9:.4g}", f"{needs.bytes / 1e6:.3g}", f"{floor:.3g}", f"{seconds:.3g}"),
                *(f"{seconds / floor:.2f}", f"{at_floor:.2f}", f"{ratio:.2f}", asked),
                *(f"{machine.operations / 1e9:.0f}", f"{machine.bytes / 1e9:.1f}", cpu(), os.cpu_count()),
                datetime.date.today().isoformat(),
            )
        )
        print(*(f"{k}={v}" for k, v in zip(COLUMNS[:11], rows[-1], strict=False)), flush=True)

    rival = table("against_anomalib.csv", "work")
    for work, needs in beside_anomalib(args.folder):
        row = rival[work,]
        mine, its = (float(row[f"{who}_seconds"]) for who in ("pellucid", "anomalib"))
        add(work, needs, mine, its / needs.floor(machine), its / mine, row["asked"])
    line = table("on_the_line.csv", "figure", "unit")
    for name, needs, alone in over_backbone(args.images):
        figure = f"over backbone, {name}"
        seconds, ratio = float(line[figure, "ms"]["value"]) / 1e3, float(line[figure, "ratio"]["value"])
        at_floor = needs.floor(machine) / alone.floor(machine)
        add(figure, needs, seconds, at_floor, ratio, line[figure, "ratio"]["asked"])
    write_text(HERE.with_suffix(".csv"), csv_text(COLUMNS, rows))


if __name__ == "__main__":
    main()
