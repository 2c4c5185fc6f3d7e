"""Does the machine's load choose the model? Costs measured idle and beside two busy processes, ten times each.

    python -m benchmarks.choice_under_load

Three detectors are fitted to drawn panes and inspect others, measured as `pellucid compare` measures them. Of every run
the file beside this one says which would be named if they tied in all but cost, so that nothing else decides: by costs
in passes of the reference, and by wall times, as it was before. The last lines count how often each rule named what it
named most often while nothing was started beside it. Other work on the machine meets both kinds of runs; its load
average stands in the rows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._timing import write_rows
from pellucid import detectors
from pellucid.acquisition.images import Pixels, read_image
from pellucid.acquisition.plan import Plan
from pellucid.detectors._device import resolve_device
from pellucid.fitting import fit_split
from pellucid.study.choice import Prefer, choose
from pellucid.study.measure import time_images
from pellucid.study.reference import Reference
from pellucid.synthesis.glass import draw_data_set

RESULTS = Path(__file__).with_suffix(".csv")
BUSY_PROCESSES = 2
DETECTORS = ("patchcore", "padim", "dfm")
PREFERENCES: tuple[Prefer, ...] = ("balanced", "speed")
KINDS = {"passes": ("fit_cost", "image_cost"), "wall time": ("fit_seconds", "ms_per_image_median")}
TIED = {"seeds": 1, "defectives": 0, "normals": 0, "selection_auroc": None, "localisation": None}


def _spin() -> None:
    while True:
        sum(k * k for k in range(10_000))


@contextmanager
def _load(processes: int) -> Iterator[None]:
    """Keep so many processes busy meanwhile."""
    busy = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.terminate()
            process.join()


def measure(plan: Plan, images: list[Pixels], image_size: int, folder: Path) -> list[dict[str, Any]]:
    """Fit every detector and return what each costs, as rows of a leaderboard in which all else ties."""
    reference, rows = Reference(resolve_device()), []
    for name in DETECTORS:
        fit = partial(fit_split, detectors.create(name), plan.split, image_size, false_reject=0.1)
        start = time.perf_counter()
        fit_cost, inspector = reference.cost_of(partial(fit, fitted_images=plan.fitted_images()))
        seconds = time.perf_counter() - start
        inspector.save(folder / name)
        milliseconds, image_cost = time_images(inspector, images, reference)
        measured = {
            "fit_cost": fit_cost,
            "fit_seconds": seconds,
            "image_cost": image_cost,
            "ms_per_image_median": float(np.median(milliseconds)),
            "model_mb": (folder / name).stat().st_size / 1e6,
        }
        rows.append({"name": name, **TIED, **measured})
    return rows


def choices(rows: list[dict[str, Any]]) -> dict[str, str | None]:
    """Say what would be named where nothing but a cost tells models apart."""
    named: dict[str, str | None] = {}
    for kind, (fit, image) in KINDS.items():
        counted = [row | {"fit_cost": row[fit], "image_cost": row[image]} for row in rows]
        named |= {f"{prefer} by {kind}": choose(counted, {}, prefer=prefer).name for prefer in PREFERENCES}
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="Runs idle, and as many under load.")
    parser.add_argument("--image-size", type=int, default=128, help="Size that images are resized to, px.")
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        draw_data_set(Path(folder) / "data", n_train=50, n_test=20, n_per_defect=1)
        plan = Plan.from_data(Path(folder) / "data", false_reject=0.1)
        images = [read_image(sample.path) for sample in plan.split.test]
        for run in range(2 * args.runs):
            busy = BUSY_PROCESSES * (run % 2)  # in turn, so that the machine's own hours meet both
            with _load(busy):
                rows = measure(plan, images, args.image_size, Path(folder))
            costs = {f"{row['name']} {key}": f"{row[key]:.4g}" for row in rows for k in KINDS.values() for key in k}
            told = {"run": run // 2, "busy": busy, "load_average": f"{os.getloadavg()[0]:.1f}"}
            found.append({**told, **choices(rows), **costs})
            write_rows(RESULTS, list(found[0]), found)
            print(*found[-1].values(), flush=True)
    for rule in choices(rows):
        usual = Counter(row[rule] for row in found if not row["busy"]).most_common(1)[0][0]
        same = [sum(r[rule] == usual for r in found if r["busy"] == busy) for busy in (0, BUSY_PROCESSES)]
        print(f"{rule}: {usual} in {same[0]} of {args.runs} idle and in {same[1]} of {args.runs} under load")


if __name__ == "__main__":
    main()
