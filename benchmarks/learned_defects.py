"""What --learn-defects gains on defects of types that were labelled, and loses on a type that was not.

    python -m benchmarks.learned_defects --data ../shared/data

Of each set, 10, 20 and 40 labelled defects are drawn three times from all types but one, another one each time, and
teach a detector that is fitted on the set's good training images. All other defects, those of the left-out type among
them, and the good test images are scored with what was taught and without it. A row a set, detector, number of defects
and seed goes to ``learned_defects.csv`` beside this file, and those that are there are not measured again. For the
first seed the detector is fitted without defects, too: ``fit_ratio`` is what learning costs, in processor seconds.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks._timing import append_row, read_rows
from pellucid import detectors
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.plan import Plan
from pellucid.detectors._learns_defects import LearnsDefects
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.records import Sample, Samples
from pellucid.runtimes.torch import Torch
from pellucid.study import metrics

RESULTS = Path(__file__).with_suffix(".csv")
SETS = ("magnetic_tile", "glass_defect")
DETECTORS = ("patchcore", "padim")
COUNTS = (10, 20, 40)
KEYS = ("set", "detector", "image_size", "labelled", "seed")


def with_types(samples: Samples) -> Samples:
    """Name the type of every defect; in glass_defect it is the first part of the file's name."""
    named = (
        s if s.type or s.label == "normal" else replace(s, type=s.path.name.split("_")[0]) for s in samples.samples
    )
    return replace(samples, samples=tuple(named))


def label(samples: Samples, count: int, left_out: str, seed: int) -> Samples:
    """Let so many defects, drawn from all types but one, be for training, and all others for the test."""
    others = [s for s in samples.samples if s.label == "abnormal" and s.type != left_out]
    order = np.random.default_rng(seed).permutation(len(others))
    drawn = {others[k] for k in order[:count]}
    parted = (
        s if s.label == "normal" else replace(s, split="train" if s in drawn else "test") for s in samples.samples
    )
    return replace(samples, samples=tuple(parted))


def fit(plan: Plan, detector: str, image_size: int, seed: int, *, learn_defects: bool) -> tuple[float, Inspector]:
    """Fit; return the processor seconds that it took as well."""
    start = time.process_time()
    made = detectors.create(detector, seed=seed)
    known = plan.fitted_images()
    inspector = fit_split(
        made, plan.split, image_size, fitted_images=known, learn_defects=learn_defects, seed=seed, outline="map"
    )
    return time.process_time() - start, inspector


def untaught(inspector: Inspector, plan: Plan, name: str, image_size: int, seed: int) -> Inspector:
    """Return the same without what the labelled defects taught; networks that they trained are fitted again."""
    if isinstance(inspector.detector, LearnsDefects):
        return fit(plan, name, image_size, seed, learn_defects=False)[1]
    detector = copy.copy(inspector.detector)
    detector.head_direction_ = None
    return replace(inspector, runtime=Torch(detector))


def measure(samples: Samples, detector: str, image_size: int, count: int, seed: int) -> dict[str, Any]:
    """Fit with so many labelled defects, and score the rest with and without them."""
    types = sorted({s.type for s in samples.samples if s.type})
    left_out = types[(len(COUNTS) * seed + COUNTS.index(count)) % len(types)]
    plan = Plan.from_data(label(samples, count, left_out, seed), seed=seed)
    seconds, inspector = fit(plan, detector, image_size, seed, learn_defects=True)
    taught = inspector.taught
    assert taught is not None  # it was asked for
    device = inspector.detector.device.type
    row: dict[str, Any] = {"device": device, "left_out": left_out, "weight": taught.weight}
    alone = untaught(inspector, plan, detector, image_size, seed)
    scored = {when: _scores(one, plan.split.test) for when, one in (("without", alone), ("with", inspector))}
    for kind in ("known", "unknown"):
        for when, scores in scored.items():
            kept = [s.label == "normal" or (s.type == left_out) == (kind == "unknown") for s in plan.split.test]
            labels = [s.label == "abnormal" for s, keep in zip(plan.split.test, kept, strict=True) if keep]
            mine = [score for score, keep in zip(scores, kept, strict=True) if keep]
            row[f"{kind}_auroc_{when}"] = round(metrics.auroc(labels, mine) or 0.0, 4)
    promised = [
        value and round(value, 4) for key, value in taught.to_dict().items() if key.startswith(("known", "unknown"))
    ]
    row |= dict(zip(("cv_known_without", "cv_known_with", "cv_known_se", *_CV_UNKNOWN), promised, strict=True))
    good = [score for s, score in zip(plan.split.test, scored["with"], strict=True) if s.label == "normal"]
    row["false_reject_rate"] = round(float(np.mean(np.array(good) > inspector.limit.value)), 4)
    without = fit(plan, detector, image_size, seed, learn_defects=False)[0] if seed == 0 else None
    return row | {"fit_ratio": "" if without is None else round(seconds / without, 2)}


_CV_UNKNOWN = ("cv_unknown_without", "cv_unknown_with", "cv_unknown_se")


def _scores(inspector: Inspector, samples: Sequence[Sample]) -> list[float]:
    return [found.score for found in inspector.inspect_many(s.path for s in samples)]


def summarise(rows: Sequence[dict[str, str]]) -> None:
    """Print the mean change of AUROC for every set, detector and number of labelled defects, and the worst one."""
    print("set detector size labelled: known mean, unknown mean, unknown worst; weights")
    for key in sorted({tuple(row[k] for k in KEYS[:-1]) for row in rows}):
        mine = [row for row in rows if tuple(row[k] for k in KEYS[:-1]) == key]
        change = {
            kind: [float(row[f"{kind}_auroc_with"]) - float(row[f"{kind}_auroc_without"]) for row in mine]
            for kind in ("known", "unknown")
        }
        worst = min(change["unknown"])
        print(
            *key,
            f"{fmean(change['known']):+.4f} {fmean(change['unknown']):+.4f} {worst:+.4f}",
            [r["weight"] for r in mine],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the real data sets.")
    parser.add_argument("--image-size", type=int, default=256, help="Shorter side of what the networks see, px.")
    parser.add_argument("--seeds", type=int, default=3, help="Draws of labelled defects, splits and trainings.")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="Which sets; both by default.")
    parser.add_argument("--detectors", nargs="+", default=DETECTORS, help="Which detectors.")
    args = parser.parse_args()
    done = {tuple(row[k] for k in KEYS) for row in read_rows(RESULTS)}
    for name in args.sets:
        samples = with_types(read_folder(args.data / name))
        for seed in range(args.seeds):
            for count in COUNTS:
                for detector in args.detectors:
                    key = (name, detector, args.image_size, count, seed)
                    if tuple(map(str, key)) not in done:
                        row = measure(samples, detector, args.image_size, count, seed)
                        append_row(RESULTS, dict(zip(KEYS, key, strict=True)) | row)
    summarise(read_rows(RESULTS))


if __name__ == "__main__":
    main()
