"""Are the embedded backbones better than their teacher? The same detectors, images and seeds on both, one table.

    python -m pretraining.evaluate --weights ../shared/weights/mobilenet_v2_imagenet.safetensors --data ../shared/data

Image AUROC on three real sets and a drawn one. Every figure goes to ``evaluation.csv`` beside this file as soon as it
is measured, those that are there already are not measured again, and the table goes into ``README.md``. Nothing is
tuned on these test images.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import pellucid
from pellucid import detectors
from pellucid._io.files import write_text
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.plan import Plan
from pellucid.backbones import entry
from pellucid.records import Samples
from pellucid.study import metrics
from pretraining import flaws
from pretraining.train import add_teacher_options, file_sha256, prism_names, run_command

FOLDER = Path(__file__).parent
Compared = tuple[str, Path | None, str]  # a backbone's name, file of weights, and how its SHA-256 begins
KEY_COLUMNS = ("backbone", "sha256", "size", "detector", "set", "seed")


class Measurements:
    """Rows of a CSV file that grows as they are measured, so that a killed run goes on where it stopped.

    Args:
        path: the file; begun if it is not there.
        keys: columns that say what was measured.
        values: columns of what came out.
    """

    def __init__(self, path: Path, keys: Sequence[str], values: Sequence[str]) -> None:
        self.path, self.columns = path, (*keys, *values)
        if not path.exists():
            write_text(path, ",".join(self.columns) + "\n")
        with path.open(newline="", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file))
        self._done = {tuple(row[c] for c in keys) for row in self.rows}

    def __contains__(self, key: tuple[str, ...]) -> bool:
        return key in self._done

    def of(self, backbones: list[Compared]) -> list[dict[str, str]]:
        """Return the rows of these weights; others were measured when they shipped."""
        return [row for row in self.rows if row["sha256"] in {sha256 for _, _, sha256 in backbones}]

    def add(self, key: tuple[str, ...], *values: float) -> None:
        """Write a row and print it."""
        self._done.add(key)
        self.rows.append(dict(zip(self.columns, (*key, *map(repr, values)), strict=True)))
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(self.rows[-1])
        print(*key, *(f"{value:.4f}" for value in values), flush=True)


def compared(teacher: str, weights: Path | None) -> list[Compared]:
    """Return the teacher and the Prisms."""
    return [
        (teacher, weights, (file_sha256(weights) or "from the hub")[:12]),
        *((name, None, str(entry(name).sha256)[:12]) for name in prism_names()),
    ]


def settings(detector: str, backbone: str, weights: Path | None) -> dict[str, Any]:
    """Return a detector's parameters for comparisons, which began when PatchCore kept a tenth of its patches."""
    more = {"coreset_sampling_ratio": 0.1} if detector == "patchcore" else {}
    return {"backbone": backbone, "weights": str(weights) if weights else None, **more}


def by_photo(folder: Path) -> Samples:
    """Read tiles, grouped by the photo that they were cut from, which their names begin with."""

    def photo(path: Path) -> str:
        match = re.match(r"cam-?\d+_ts\d+", path.name)
        return match.group() if match else path.stem

    data = read_folder(folder)
    return replace(data, samples=tuple(replace(s, group=photo(s.path)) for s in data.samples))


def faint(folder: Path) -> Samples:
    """Read drawn panes with faint, small flaws; they are drawn where they are not there yet."""
    if not folder.is_dir():
        flaws.draw_data_set(folder, seed=7)
    return read_folder(folder)


def sets(data: Path, work: Path) -> dict[str, Callable[[], Samples]]:
    """Return every set by name, read when it is needed."""
    return {
        "glass_defect": lambda: read_folder(data / "glass_defect"),
        "magnetic_tile": lambda: read_folder(data / "magnetic_tile"),
        "flatglass_line": lambda: by_photo(data / "flatglass_line"),
        "faint_glass": lambda: faint(work / "faint_glass"),
    }


def auroc(plan: Plan, detector: str, backbone: str, weights: Path | None, size: int, seed: int) -> float:
    """Fit, and return the image AUROC on the plan's test images."""
    inspector = pellucid.fit(plan, detector, image_size=size, seed=seed, **settings(detector, backbone, weights))
    scores = [i.score for i in inspector.inspect_many(s.path for s in plan.split.test)]
    return metrics.auroc([s.label == "abnormal" for s in plan.split.test], scores) or 0.0


def table(rows: list[dict[str, str]]) -> Iterator[str]:
    """Yield a table in Markdown: means over seeds, one row a size, detector and backbone, and the mean over sets."""
    names = list(dict.fromkeys(row["set"] for row in rows))
    yield "| size | detector | backbone | " + " | ".join(names) + " | mean | seeds |"
    yield "|---|---|---|" + "---|" * (len(names) + 2)
    order = ("size", "detector", "backbone", "sha256")
    for key in sorted({tuple(row[c] for c in order) for row in rows}, key=lambda k: (int(k[0]), *k[1:])):
        mine = [row for row in rows if tuple(row[c] for c in order) == key]
        values = [[float(row["image_auroc"]) for row in mine if row["set"] == name] for name in names]
        if not all(values):
            continue  # a set has not been measured yet
        means = [float(np.mean(v)) for v in values]
        cells = " | ".join(f"{mean:.4f}" for mean in (*means, np.mean(means)))
        yield f"| {key[0]} | {key[1]} | {key[2]} | {cells} | {min(len(v) for v in values)} |"


def into_readme(section: str, lines: list[str]) -> None:
    """Put lines between the marks of a section of ``README.md``."""
    path = FOLDER / "README.md"
    start, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->"
    before, rest = path.read_text(encoding="utf-8").split(start)
    after = rest.split(end)[1]
    write_text(path, before + start + "\n".join(lines) + "\n" + end + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_teacher_options(parser)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of glass_defect, magnetic_tile, flatglass_line"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 128, 384])
    parser.add_argument("--detectors", nargs="+", default=["patchcore", "padim"], choices=detectors.names())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"))
    args = parser.parse_args()
    measurements, backbones = (
        Measurements(FOLDER / "evaluation.csv", KEY_COLUMNS, ["image_auroc"]),
        compared(args.teacher, args.weights),
    )
    for seed in range(args.seeds):
        for name, read in sets(args.data, args.work).items():
            plan = Plan.from_data(read(), seed=seed)
            for size, detector, (backbone, weights, sha256) in product(args.sizes, args.detectors, backbones):
                key = (backbone, sha256, str(size), detector, name, str(seed))
                if key not in measurements:
                    measurements.add(key, auroc(plan, detector, backbone, weights, size, seed))
    lines = list(table(measurements.of(backbones)))
    into_readme("evaluation", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    run_command(main)
