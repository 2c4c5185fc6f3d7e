"""Does every detector do the same on a GPU as on the CPU, and how long does it take there?

    python -m benchmarks.devices --images ../shared/data/glass_defect/normal_train \\
        --defects ../shared/data/glass_defect/abnormal_test --device cuda

Every detector is fitted on the device, scores, is saved and loaded, is fitted again with the same seed, is loaded on
the CPU, is exported (from the device) to ONNX and OpenVINO, and learns from 2,000 images for five epochs at most: the
given ones, each time shifted by another pixel. Another one is fitted on the CPU and loaded on the device. Differences
of scores are the largest found over the images that were not fitted on, relative to the score; verdicts are those of
one limit, and the image whose score is that limit lies on either side of it by rounding. A cell that says why is a step
that could not be done. One row a detector is written to ``devices.csv`` beside this file as soon as it is there.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import pellucid
from pellucid import Inspector, detectors
from pellucid._io.files import csv_text, write_text
from pellucid.acquisition.files import image_files
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import ImageBatches
from pellucid.detectors._device import resolve_device
from pellucid.models.export import Format
from pellucid.records import Sample, Split
from pellucid.runtimes import is_installed
from pellucid.study.measure import peak_ram_mb

ORDER = ("dfm", "padim", "patchcore", "fastflow", "reverse_distillation", "stfpm")  # the quickest first
BATCH = 8  # images of a fit's batch


@dataclass(frozen=True)
class Amounts:
    """Numbers of images, and epochs of what is fitted on the CPU and on many images."""

    fit: int = 60
    held_out: int = 40
    defects: int = 40
    many: int = 2000
    cpu_epochs: int = 2
    many_epochs: int = 5


QUICK = Amounts(fit=8, held_out=20, defects=3, many=24, cpu_epochs=1, many_epochs=1)


@dataclass(frozen=True)
class Data:
    """Files to fit on, to place the limit with, and to compare scores on: normal and with defects."""

    fit: tuple[Path, ...]
    held_out: tuple[Path, ...]
    defects: tuple[Path, ...]

    def split(self) -> Split:
        fit, held_out = (tuple(Sample(p, "normal") for p in paths) for paths in (self.fit, self.held_out))
        return Split(fit, held_out, (), ())

    @property
    def compared(self) -> tuple[Path, ...]:
        return self.held_out + self.defects


@dataclass(frozen=True)
class Shifted:
    """Batches of ``count`` images in [0, 1]: ``images`` (N, 3, H, W) again and again, each round a pixel further."""

    images: Tensor
    count: int

    def __len__(self) -> int:
        return -(-self.count // BATCH)

    def __iter__(self) -> Iterator[Tensor]:
        numbers = torch.arange(self.count)
        for some in numbers.split(BATCH):
            yield torch.stack(
                [self.images[k % len(self.images)].roll(k // len(self.images), -1) for k in some.tolist()]
            )


def fitted(name: str, data: Data, size: int, device: str, **parameters: int) -> Inspector:
    own = {k: v for k, v in parameters.items() if k in detectors.describe(name).defaults}
    return pellucid.fit_split(
        detectors.create(name, **own).to(device), data.split(), size, fitted_images=FittedImages(data_sha256=""), seed=0
    )


def scores_of(inspector: Inspector, paths: Sequence[Path]) -> np.ndarray:
    return np.array([inspection.score for inspection in inspector.inspect_many(paths)])


def compare(inspector: Inspector, other: Inspector, paths: Sequence[Path]) -> tuple[str, str]:
    """Largest relative difference of scores, and how many verdicts are equal."""
    pairs = list(zip(inspector.inspect_many(paths), other.inspect_many(paths), strict=True))
    largest = max(abs(a.score - b.score) / abs(a.score) for a, b in pairs)
    return f"{largest:.2g}", f"{sum(a.verdict == b.verdict for a, b in pairs)}/{len(pairs)}"


def exported(inspector: Inspector, format: Format, folder: Path, paths: Sequence[Path]) -> dict[str, str]:
    """Largest difference of a graph, on the CPU, from the scores on the device, and how long the export took."""
    if not is_installed(format):
        return {f"{format}_difference": "not installed"}
    start = time.perf_counter()
    try:
        inspector.export(folder, format)
        seconds = time.perf_counter() - start
        difference, _ = compare(inspector, pellucid.load(folder), paths)
    except pellucid.PellucidError as error:
        return {f"{format}_difference": str(error)}
    return {f"{format}_difference": difference, f"{format}_seconds": f"{seconds:.1f}"}


def learn_many(name: str, images: Tensor, amounts: Amounts, device: str) -> dict[str, str]:
    """How long a fit of many images takes, and how much memory."""
    own = {"epochs": amounts.many_epochs} if "epochs" in detectors.describe(name).defaults else {}
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # Linux: the peak begins anew
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    detectors.create(name, **own).to(device).fit(Shifted(images, amounts.many))
    return {
        "many_images": str(amounts.many),
        "many_epochs": str(own.get("epochs", "")),
        "many_fit_seconds": f"{time.perf_counter() - start:.1f}",
        "many_ram_mb": f"{peak_ram_mb():.0f}",
        "many_gpu_mb": f"{torch.cuda.max_memory_allocated(device) / 1e6:.0f}" if cuda else "",
    }


def milliseconds(inspector: Inspector, images: np.ndarray) -> float:
    """An image's time in the runtime, in batches of its size: the median of twenty calls."""
    runtime = inspector.runtime
    batch = np.resize(images, (runtime.batch_size, *images.shape[1:]))
    runtime.score(batch)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        runtime.score(batch)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times)) / len(batch)


def row_of(
    name: str, data: Data, images: Tensor, size: int, device: str, work: Path, cpu_epochs: int
) -> dict[str, str]:
    """Every step with one detector."""
    start = time.perf_counter()
    inspector = fitted(name, data, size, device)
    row = {"detector": name, "fit_images": str(len(data.fit)), "fit_seconds": f"{time.perf_counter() - start:.1f}"}
    row["ms_per_image"] = f"{milliseconds(inspector, images[:16].numpy()):.2f}"
    start = time.perf_counter()
    count = len(scores_of(inspector, data.compared))
    row["inspect_ms_per_image"] = f"{1e3 * (time.perf_counter() - start) / count:.1f}"
    inspector.save(work / "m.pellucid")
    row["loaded_difference"], _ = compare(inspector, pellucid.load(work / "m.pellucid", device=device), data.compared)
    row["refit_difference"], _ = compare(inspector, fitted(name, data, size, device), data.compared)
    on_cpu = pellucid.load(work / "m.pellucid", device="cpu")
    row["to_cpu_difference"], row["to_cpu_verdicts"] = compare(on_cpu, inspector, data.compared)
    from_cpu = fitted(name, data, size, "cpu", epochs=cpu_epochs)
    from_cpu.save(work / "cpu.pellucid")
    loaded = pellucid.load(work / "cpu.pellucid", device=device)
    row["from_cpu_difference"], row["from_cpu_verdicts"] = compare(from_cpu, loaded, data.compared)
    for format in ("onnx", "openvino"):
        row |= exported(inspector, format, work / format, data.compared)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of normal images")
    parser.add_argument("--defects", type=Path, required=True, help="folder of images with defects")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--size", type=int, default=256, help="side of the images for the network, px")
    parser.add_argument("--detectors", default=",".join(ORDER), help="names with commas between")
    parser.add_argument("--quick", action="store_true", help="few images and epochs: does it run at all?")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".csv"), help="CSV to write")
    given = parser.parse_args()
    amounts = QUICK if given.quick else Amounts()
    normal = image_files(given.images)[: amounts.fit + amounts.held_out]
    fit = normal[: min(amounts.fit, len(normal) * 3 // 5)]
    data = Data(tuple(fit), tuple(normal[len(fit) :]), tuple(image_files(given.defects)[: amounts.defects]))
    device = str(resolve_device(given.device))
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or device
    images = torch.cat(list(ImageBatches(data.fit, (given.size, given.size))))
    common = {
        "device": gpu,
        "size": str(given.size),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    rows: list[dict[str, str]] = []
    for name in given.detectors.split(","):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as work:
            row = row_of(name, data, images, given.size, device, Path(work), amounts.cpu_epochs) | common
        row |= learn_many(name, images, amounts, device)
        rows.append(row)
        print(f"{name} ({time.perf_counter() - start:.0f} s)", *(f"  {k}: {v}" for k, v in row.items()), sep="\n")
        columns = list(dict.fromkeys(column for row in rows for column in row))
        write_text(given.output, csv_text(columns, [[row.get(column, "") for column in columns] for row in rows]))


if __name__ == "__main__":
    main()
