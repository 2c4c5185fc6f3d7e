"""Is the embedded backbone better than its teacher? The same detectors, images and seeds on both, one table.

    python -m pretraining.evaluate --teacher ../shared/weights/mobilenet_v2_imagenet.safetensors --data ../shared/data

Image AUROC on real sets and a drawn one; every row goes to ``evaluation.csv`` beside this file as soon as it is
measured, and rows that are there already are not measured again. Nothing is tuned on these test images.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import pellucid
from pellucid.acquisition.folders import read_folder
from pellucid.inspector import Plan
from pellucid.records import Samples
from pellucid.study import metrics
from pellucid.synthesis.glass import draw_data_set

COLUMNS = ("backbone", "weights", "set", "detector", "seed", "image_auroc")
DETECTORS = ("patchcore", "padim")


def by_photo(folder: Path) -> Samples:
    """Tiles grouped by the photo that they were cut from, which their names begin with."""

    def photo(path: Path) -> str:
        match = re.match(r"cam-\d+_ts\d+", path.name)
        return match.group() if match else path.stem

    data = read_folder(folder)
    return replace(data, samples=tuple(replace(s, group=photo(s.path)) for s in data.samples))


def drawn(folder: Path) -> Samples:
    """Drawn panes, more of them to test on than the demo has."""
    if not folder.is_dir():
        draw_data_set(folder, seed=7, normal=100, tested=60, each=15)
    return read_folder(folder)


def sets(data: Path, work: Path) -> dict[str, Callable[[], Samples]]:
    """Every set by name, read when it is needed."""
    return {
        "glass_defect": lambda: read_folder(data / "glass_defect"),
        "magnetic_tile": lambda: read_folder(data / "magnetic_tile"),
        "flatglass_line": lambda: by_photo(data / "flatglass_line"),
        "drawn_glass": lambda: drawn(work / "drawn_glass"),
    }


def auroc(plan: Plan, detector: str, backbone: str, weights: Path | None, seed: int) -> float:
    """Image AUROC on the plan's test images."""
    given = str(weights) if weights else None
    inspector = pellucid.fit(plan, detector, seed=seed, backbone=backbone, weights=given)
    scores = [i.score for i in inspector.inspect_many(s.path for s in plan.split.test)]
    return metrics.auroc([s.label == "abnormal" for s in plan.split.test], scores) or 0.0


def table(rows: list[dict[str, str]]) -> Iterator[str]:
    """The means over seeds as a table in Markdown, one row a backbone and detector, with the mean over sets."""
    names = list(dict.fromkeys(row["set"] for row in rows))
    yield "| backbone | detector | " + " | ".join(names) + " | mean |"
    yield "|---|---|" + "---|" * (len(names) + 1)
    for key in dict.fromkeys((row["backbone"], row["weights"], row["detector"]) for row in rows):
        mine = [row for row in rows if (row["backbone"], row["weights"], row["detector"]) == key]
        means = [np.mean([float(row["image_auroc"]) for row in mine if row["set"] == name]) for name in names]
        cells = " | ".join(f"{mean:.4f}" for mean in (*means, np.mean(means)))
        yield f"| {key[0]} {key[1]} | {key[2]} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="MobileNetV2 weights, safetensors")
    parser.add_argument("--prism", type=Path, help="weights of prism_s instead of the embedded ones")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of glass_defect, magnetic_tile, flatglass_line"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("evaluation.csv"))
    args = parser.parse_args()
    rows: list[dict[str, str]] = []
    if args.output.exists():
        with args.output.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    else:
        args.output.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    done = {tuple(row[c] for c in COLUMNS[:-1]) for row in rows}
    for name, read in sets(args.data, args.work).items():
        for seed in range(args.seeds):
            plan = Plan.of(read(), seed=seed)
            for backbone, weights in (("prism_s", args.prism), ("mobilenet_v2", args.teacher)):
                for detector in DETECTORS:
                    key = (backbone, weights.name if weights else "embedded", name, detector, str(seed))
                    if key in done:
                        continue
                    row = dict(zip(COLUMNS, (*key, repr(auroc(plan, detector, backbone, weights, seed))), strict=True))
                    rows.append(row)
                    with args.output.open("a", newline="", encoding="utf-8") as file:
                        csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
                    print(*row.values(), flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
