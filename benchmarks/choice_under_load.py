"""Does the machine's load choose the model? The same comparison idle and beside two busy processes, ten times each.

    python -m benchmarks.choice_under_load

Models are compared on drawn panes, each training and measuring in a process of its own, as `pellucid compare` does it.
Of every run the file beside this one says what was chosen as it is, what cost alone would choose among those that tie
(so that nothing but the measured costs decides), and what wall times would, as they did before. The last lines count
how often each chose what it chose most often while nothing else ran. Other work on the machine meets both kinds of
runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._timing import write_rows
from pellucid.study.choice import Prefer, choose
from pellucid.study.compare import compare
from pellucid.study.sweep import Sweep
from pellucid.synthesis.glass import draw_data_set

RESULTS = Path(__file__).with_suffix(".csv")
BUSY_PROCESSES = 2
DETECTORS = ["patchcore", "padim", "dfm", "stfpm"]
PARAMETERS = {"stfpm": {"epochs": 3}}
PREFERENCES: tuple[Prefer, ...] = ("balanced", "speed")
COST, WALL = "by cost alone", "by wall time alone"


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


def choices(rows: list[dict[str, Any]], chosen: str | None) -> dict[str, str | None]:
    """Say what would be named: as it is, and where nothing but a cost tells models apart."""
    alike = [row | {"selection_auroc": None, "localisation": None} for row in rows]
    walls = [r | {"image_cost": r["ms_per_image_median"], "fit_cost": r["fit_seconds"]} for r in alike]
    named = {"as it is": chosen}
    for prefer in PREFERENCES:
        named[f"{COST}, {prefer}"] = choose(alike, {}, prefer=prefer).name
        named[f"{WALL}, {prefer}"] = choose(walls, {}, prefer=prefer).name
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="Runs idle, and as many under load.")
    parser.add_argument("--image-size", type=int, default=128, help="Size that images are resized to, px.")
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        draw_data_set(data, n_train=50, n_test=10, n_per_defect=4)
        sweep = Sweep(
            data=data, detectors=DETECTORS, parameters=PARAMETERS, image_size=args.image_size, false_reject=0.1
        )
        for run in range(2 * args.runs):
            busy = BUSY_PROCESSES * (run % 2)  # in turn, so that the machine's own hours meet both
            with _load(busy):
                comparison = compare(sweep, Path(folder) / "out")
            costs = {
                f"{row['name']} {key}": round(row[key], 4)
                for row in sorted(comparison.rows, key=lambda r: str(r["name"]))
                for key in ("fit_cost", "fit_seconds", "image_cost", "ms_per_image_median")
            }
            found.append({"run": run // 2, "busy": busy, **choices(comparison.rows, comparison.choice.name), **costs})
            write_rows(RESULTS, list(found[0]), found)
            print(*list(found[-1].items())[:7], flush=True)
    for rule in choices(comparison.rows, None):
        usual = Counter(row[rule] for row in found if not row["busy"]).most_common(1)[0][0]
        same = {busy: sum(r[rule] == usual for r in found if r["busy"] == busy) for busy in (0, BUSY_PROCESSES)}
        print(f"{rule}: {usual} in {same[0]} of {args.runs} idle and {same[BUSY_PROCESSES]} of {args.runs} under load")


if __name__ == "__main__":
    main()
