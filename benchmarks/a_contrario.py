"""The a-contrario limit beside the conformal one: what U-Flow rejects of good and flawed images by either.

    python -m benchmarks.a_contrario --data ../shared/data

U-Flow is fitted to each set with its defaults. The conformal limit comes from good images that were held out, for 5 %
of false rejects. The a-contrario one needs none: an image is rejected where a region of its latents has less than one
expected false alarm, NFA < 1, once with the paper's count of all regions and once with that of the region's own size.
Both judge the same test images. A row a set, image size and seed goes to ``a_contrario.csv`` beside this file, or to
``--output``; those that are there are not measured again. Beside the rates stand the AUROC of the NFA, and how far the
latents of good test images are from what the NFA takes them for: the mean of their squares, which should be 1.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks._timing import append_row, read_rows
from pellucid.acquisition.images import read_image
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.views import views_of
from pellucid.detectors.uflow import Uflow
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.limits.a_contrario import Latents, log_nfa
from pellucid.study import metrics

RESULTS = Path(__file__).with_suffix(".csv")
SETS = ("glass_defect", "magnetic_tile", "flatglass_line")
KEYS = ("set", "image_size", "seed")
FALSE_REJECT = 0.05


def latents_of(inspector: Inspector, path: Path) -> list[Latents]:
    """Compute what the flow makes of a file, as its inspector sees it: (C, h, w) of each level."""
    pixels = read_image(path, inspector.fitted_images.bits)
    (view,) = views_of(pixels, inspector.image_size, inspector.fitted_images.framing)
    detector = inspector.detector
    assert isinstance(detector, Uflow)
    return [level[0].numpy() for level in detector.latents(torch.from_numpy(view)[None])]


def measure(plan: Plan, image_size: int, seed: int) -> dict[str, Any]:
    """Fit, and judge the test images by both limits."""
    inspector = fit_split(
        Uflow(seed=seed),
        plan.split,
        image_size,
        fitted_images=plan.fitted_images(),
        seed=seed,
        false_reject=FALSE_REJECT,
        outline="map",
    )
    test = plan.split.test
    bad = [sample.label == "abnormal" for sample in test]
    inspected = list(inspector.inspect_many(sample.path for sample in test))
    scores = [min(one.score, sys.float_info.max) for one in inspected]  # of what is not judged it is infinite
    print(*(f"{one.path.name}: {one.reason}" for one in inspected if one.reason), sep="\n")
    found: dict[str, list[float]] = {"total": [], "by_size": []}
    squares, seconds = [], 0.0
    for sample in test:
        latents = latents_of(inspector, sample.path)
        start = time.process_time()
        found["total"].append(min(float(level.min()) for level in log_nfa(latents)))
        seconds += time.process_time() - start
        found["by_size"].append(min(float(level.min()) for level in log_nfa(latents, "by_size")))
        if sample.label == "normal":
            squares.append(fmean(float((level**2).mean()) for level in latents))
    row: dict[str, Any] = {"good": bad.count(False), "flawed": bad.count(True)}
    row |= rates("conformal", [score > inspector.limit.value for score in scores], bad)
    row["auroc_conformal"] = round(metrics.auroc(bad, scores) or 0.0, 4)
    for count, values in found.items():
        row |= rates(count, [value < 0 for value in values], bad)
        row[f"auroc_{count}"] = round(metrics.auroc(bad, [min(-v, sys.float_info.max) for v in values]) or 0.0, 4)
    return row | {
        "not_judged": sum(bool(one.reason) for one in inspected),
        "mean_square": round(fmean(squares), 3),
        "log_nfa_of_good": round(fmean(v for v, b in zip(found["by_size"], bad, strict=True) if not b), 1),
        "nfa_ms_per_image": round(1000 * seconds / len(test), 1),
    }


def rates(limit: str, rejected: list[bool], bad: list[bool]) -> dict[str, float]:
    """Count false rejects among good images and escapes among flawed ones, as shares of these."""
    wrong = {flawed: fmean(r != b for r, b in zip(rejected, bad, strict=True) if b == flawed) for flawed in set(bad)}
    return {
        f"false_rejects_{limit}": round(wrong.get(False, math.nan), 4),
        f"escapes_{limit}": round(wrong.get(True, math.nan), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the real data sets.")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="Which sets; all three by default.")
    parser.add_argument("--image-size", type=int, default=256, help="Shorter side of what the network sees, px.")
    parser.add_argument("--seeds", type=int, default=3, help="Splits and trainings.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="The CSV file.")
    args = parser.parse_args()
    for seed in range(args.seeds):
        for name in args.sets:
            key = (name, args.image_size, seed)
            if tuple(map(str, key)) in {tuple(row[k] for k in KEYS) for row in read_rows(args.output)}:
                continue
            plan = Plan.from_data(args.data / name, seed=seed)
            append_row(args.output, dict(zip(KEYS, key, strict=True)) | measure(plan, args.image_size, seed))
    rows = read_rows(args.output)
    for name in args.sets:
        mine = [row for row in rows if row["set"] == name]
        means = {
            k: fmean(float(row[k]) for row in mine) for k in mine[0] if k.startswith(("false", "escapes", "auroc"))
        }
        print(name, *(f"{key} {value:.4f}" for key, value in means.items()))


if __name__ == "__main__":
    main()
