"""Every detector on the three real sets: what it costs to fit and to run, how large it is, what it tells apart.

    python -m benchmarks.detectors --data ../shared/data
    python -m benchmarks.detectors --data ../shared/data --detectors patchcore patchcore+padim padim:epsilon=0.1
    python -m benchmarks.detectors --data ../shared/data --papers --image-size 128 --output benchmarks/papers.csv

A detector is a name or a fusion of names, with other hyper-parameters behind a colon, commas between. ``--papers``
measures ours beside the papers' ways, as far as hyper-parameters bring them back; epochs stay ours. A row a set,
detector, image size and seed goes to ``detectors.csv`` beside this file, or to ``--output``; those that are there are
not measured again, so that a killed run goes on. Every seed has splits of its own, the same for all detectors. Seconds
are of the processor, by one thread where OMP_NUM_THREADS is 1; milliseconds are the median over images one by one, file
to verdict. At last the means over seeds and sets at this size are printed, with what each differs from PatchCore.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks._timing import append_row, cpu_name, read_rows
from pellucid import detectors
from pellucid.acquisition.images import read_image
from pellucid.acquisition.plan import Plan
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.study import metrics

RESULTS = Path(__file__).with_suffix(".csv")
SETS = ("glass_defect", "magnetic_tile", "flatglass_line")
FUSIONS = ("patchcore+padim", "patchcore+dfm", "padim+dfm", "patchcore+padim+dfm", "patchcore+padim+subspace")
VARIANTS = ("patchcore:image_score=peak", "padim:image_score=peak")  # the papers' scores
PAPERS = {  # ours, and what makes it the paper's: backbone and length of the training apart
    "padim": "n_features=550,interpolation=nearest,image_score=peak",
    "stfpm": "layers=layer1&layer2&layer3,patchsize=1,combine=product,sigma=0",
    "reverse_distillation": "layers=layer1&layer2&layer3,patchsize=1,baseline=false",
    "fastflow": "combine=likelihood,sigma=0",
    "uflow:combine=above_usual,sigma=4": "",  # the paper's is the default
    "cflow:combine=above_usual,sigma=4": "",
}
KEYS = ("set", "detector", "image_size", "seed")
SLOW = "efficientad"  # an hour of a core a set: only when it is named
BASE = "patchcore"  # that others are compared with
MAX_TIMED_IMAGES = 40


def default_detectors() -> list[str]:
    """Return all but the slow one, those of :data:`FUSIONS` and :data:`VARIANTS`."""
    known = [name for name in detectors.names() if name != SLOW]
    fusions = [name for name in FUSIONS if set(name.split("+")) <= set(known)]
    return [BASE, *fusions, *(name for name in known if name != BASE), *VARIANTS]


def papers() -> list[str]:
    """Return pairs of detectors, ours and the paper's, one after the other."""
    return [
        name for ours, changed in PAPERS.items() for name in (ours, f"{ours.partition(':')[0]}:{changed}".rstrip(":"))
    ]


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Take apart a detector's name and its hyper-parameters, ``name:key=value,key=value``."""
    name, _, settings = text.partition(":")
    parameters = {}
    for setting in filter(None, settings.split(",")):
        key, _, value = setting.partition("=")
        try:
            parameters[key] = json.loads(value)
        except json.JSONDecodeError:
            parameters[key] = tuple(value.split("&")) if key.endswith("layers") else value
    return name, parameters


def measure(plan: Plan, detector: str, image_size: int, seed: int) -> dict[str, Any]:
    """Fit one, weigh it, time it and test it."""
    name, parameters = parse(detector)
    made = detectors.create(name, **parameters, seed=seed)
    start = time.process_time()
    inspector = fit_split(made, plan.split, image_size, fitted_images=plan.fitted_images(), seed=seed, outline="map")
    seconds = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        inspector.save(Path(folder) / "m.pellucid")
        model_mb = (Path(folder) / "m.pellucid").stat().st_size / 1e6
    test = plan.split.test
    inspected = inspector.inspect_many(s.path for s in test)
    scores = [min(found.score, sys.float_info.max) for found in inspected]  # of what is not judged it is infinite
    labels = [s.label == "abnormal" for s in test]
    good = [score for score, bad in zip(scores, labels, strict=True) if not bad]
    flawed = [score for score, bad in zip(scores, labels, strict=True) if bad]
    return {
        "image_auroc": round(metrics.auroc(labels, scores) or 0.0, 4),
        "false_reject_rate": round(fmean(score > inspector.limit.value for score in good), 4),
        "escape_rate": round(fmean(score <= inspector.limit.value for score in flawed), 4),
        "fit_seconds": round(seconds, 1),
        "ms_per_image": round(_milliseconds(inspector, [s.path for s in test[:MAX_TIMED_IMAGES]]), 1),
        "model_mb": round(model_mb, 2),
        "device": inspector.detector.device.type,
        "cpu": cpu_name(),
    }


def _milliseconds(inspector: Inspector, paths: Sequence[Path]) -> float:
    """Return the median time of the processor for an image in memory."""
    images = [read_image(path, inspector.fitted_images.bits) for path in paths]
    inspector.inspect(images[0])
    times = []
    for image in images:
        start = time.process_time()
        inspector.inspect(image)
        times.append(time.process_time() - start)
    return 1000 * median(times)


def summarise(rows: Sequence[dict[str, str]], base: str = BASE) -> None:
    """Print for every detector its mean AUROC by set and over sets, how that differs from the base's, and its cost."""
    sets = [name for name in SETS if any(row["set"] == name for row in rows)]
    known = {
        (name, detector): fmean(float(r["image_auroc"]) for r in rows if (r["set"], r["detector"]) == (name, detector))
        for name, detector in {(row["set"], row["detector"]) for row in rows}
    }
    costs = ("false_reject_rate", "escape_rate", "fit_seconds", "ms_per_image", "model_mb")
    print("detector".ljust(34), *(f"{name:>15}" for name in sets), "   mean  change", *costs)
    names = {row["detector"] for row in rows if all((one, row["detector"]) in known for one in sets)}
    for detector in sorted(names, key=lambda name: -fmean(known[one, name] for one in sets)):
        areas = [known[one, detector] for one in sets]
        changes = [area - known.get((one, base), area) for one, area in zip(sets, areas, strict=True)]
        mine = [row for row in rows if row["detector"] == detector]
        means = [f"{fmean(float(row[cost]) for row in mine):.4g}" for cost in costs]
        shown = (f"{area:.4f} {change:+.4f}".rjust(15) for area, change in zip(areas, changes, strict=True))
        print(detector.ljust(34), *shown, f"{fmean(areas):.4f} {fmean(changes):+.4f}", *means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the real data sets.")
    parser.add_argument(
        "--detectors", nargs="+", help="Which ones; all but efficientad, fusions and variants by default."
    )
    parser.add_argument("--papers", action="store_true", help="Instead of these: ours, each beside its paper's way.")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="Which sets; all three by default.")
    parser.add_argument("--image-size", type=int, default=256, help="Shorter side of what the networks see, px.")
    parser.add_argument("--seeds", type=int, default=3, help="Splits and trainings.")
    parser.add_argument("--output", type=Path, default=RESULTS, help="The CSV file.")
    args = parser.parse_args()
    for seed in range(args.seeds):
        for name in args.sets:
            plan = None
            for detector in args.detectors or (papers() if args.papers else default_detectors()):
                key = (name, detector, args.image_size, seed)
                done = {tuple(row[k] for k in KEYS) for row in read_rows(args.output)}
                if tuple(map(str, key)) in done:
                    continue
                plan = plan or Plan.from_data(args.data / name, seed=seed)
                append_row(
                    args.output,
                    dict(zip(KEYS, key, strict=True)) | measure(plan, detector, args.image_size, seed),
                )
    summarise([row for row in read_rows(args.output) if row["image_size"] == str(args.image_size)])


if __name__ == "__main__":
    main()
