"""What a squeeze to a square costs images that are not square: image AUROC and time, against views that keep the shape.

    python -m benchmarks.aspect --data ../shared/data

Three views of each set: ``squeezed``, every image resized to 256x256 as before format 4; ``same pixels``, a rectangle
of the images' shape with as many pixels; ``default``, the shorter side 256. The sets are those of ../shared/data that
are not square, and drawn panes of 1:2.5 with faint flaws of 1 to 7 px. Times are seconds of one thread's work, decoding
left out. One row a set, seed, detector and view goes to ``aspect.csv`` beside this file; rows that are there already
are not computed again.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._timing import append_row, read_rows
from pellucid import Plan, detectors, fit_split
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.images import read_image
from pellucid.acquisition.views import STEP_PX, Framing, ImageSize, lay_out
from pellucid.inspector import Inspector
from pellucid.study import metrics
from pellucid.synthesis.fields import log_uniform
from pellucid.synthesis.flaws import apply_flaw, draw_contrast_sign, draw_flaw
from pellucid.synthesis.glass import draw_pane, write_pane

RESULTS = Path(__file__).with_suffix(".csv")
SIDE_PX = 256
PANE_SIZE_PX = (320, 800)
FLAW_SIZES_PX = {"scratch": (1, 3), "seed": (2, 7), "dust": (2, 7)}  # width or diameter, from and to
CONTRASTS = (0.05, 0.3)  # shares of the light around, from and to
N_LEARNED, N_TESTED = 60, 40  # panes; as many with a flaw as without are tested
TIMED_IMAGES = 20


def draw_oblong_panes(folder: Path) -> None:
    """Write clean panes of 1:2.5, and such with one faint flaw."""
    for n in range(N_LEARNED + N_TESTED):
        part = "normal_train" if n < N_LEARNED else "normal_test"
        write_pane(folder / part / f"pane_{n:03}.png", draw_pane(np.random.default_rng((29, 0, n)), PANE_SIZE_PX))
    for n in range(N_TESTED):
        rng = np.random.default_rng((29, 1, n))
        kind = list(FLAW_SIZES_PX)[n % len(FLAW_SIZES_PX)]
        covered = draw_flaw(rng, kind, rng.uniform(*FLAW_SIZES_PX[kind]), PANE_SIZE_PX)
        contrast = draw_contrast_sign(rng, kind) * log_uniform(rng, *CONTRASTS)
        flawed = apply_flaw(draw_pane(rng, PANE_SIZE_PX), covered, contrast)
        write_pane(folder / "abnormal_test" / f"{kind}_{n:03}.png", flawed)


def views(framing: Framing) -> Iterator[tuple[str, ImageSize, Framing | None]]:
    """Yield what is compared: its name, the image size to ask for, and how images fill it; None squeezes them."""
    yield "squeezed", (SIDE_PX, SIDE_PX), None
    height = SIDE_PX * math.sqrt(framing.height / framing.width)
    rows = STEP_PX * round(height / STEP_PX)
    yield "same pixels", (rows, STEP_PX * round(SIDE_PX**2 / rows / STEP_PX)), framing
    yield "default", SIDE_PX, framing


def measure(plan: Plan, detector: str, seed: int, image_size: ImageSize, framing: Framing | None) -> dict[str, Any]:
    """Fit, and test on the plan's test images."""
    fitted_images = plan.fitted_images().model_copy(update={"framing": framing})
    start = time.thread_time()
    made = detectors.create(detector, seed=seed).to("cpu")
    inspector = fit_split(made, plan.split, image_size, fitted_images=fitted_images, seed=seed)
    fit_seconds = time.thread_time() - start
    found = list(inspector.inspect_many(sample.path for sample in plan.split.test))
    defective = [sample.label == "abnormal" for sample in plan.split.test]
    rejected = [[f.verdict == "reject" for f, d in zip(found, defective, strict=True) if d == kind] for kind in (0, 1)]
    seen = [lay_out(f.map.shape, inspector.image_size, inspector.fitted_images.framing) for f in found]  # type: ignore[arg-type]
    return {
        "view_px": "x".join(map(str, inspector.image_size)),
        "views_per_image": f"{np.mean([len(layout.corners) for layout in seen]):.2f}",
        "image_auroc": f"{metrics.auroc(defective, [min(f.score, 1e30) for f in found]):.4f}",
        "false_reject_rate": f"{np.mean(rejected[0]):.3f}",
        "escape_rate": f"{1 - np.mean(rejected[1]):.3f}",
        "fit_seconds": f"{fit_seconds:.1f}",
        "ms_per_image": f"{_milliseconds(inspector, plan):.0f}",
    }


def _milliseconds(inspector: Inspector, plan: Plan) -> float:
    """Median milliseconds of work of one thread from pixels to inspection."""
    times = []
    for sample in plan.split.test[:: max(1, len(plan.split.test) // TIMED_IMAGES)]:
        pixels = read_image(sample.path)
        start = time.thread_time()
        inspector.inspect(pixels)
        times.append(1000 * (time.thread_time() - start))
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the real data sets.")
    parser.add_argument("--sets", nargs="+", default=["oblong_panes", "magnetic_tile"])
    parser.add_argument("--detectors", nargs="+", default=["patchcore", "padim", "dfm"])
    parser.add_argument("--seeds", type=int, default=3, help="Splits of each set.")
    parser.add_argument("--work", type=Path, default=Path("runs/aspect"), help="Where drawn panes are kept.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not (args.work / "oblong_panes").exists():
        draw_oblong_panes(args.work / "oblong_panes")
    keys = ("set", "seed", "detector", "view")
    for name in args.sets:
        folder = args.work / name if name == "oblong_panes" else args.data / name
        plan = Plan.from_data(read_folder(folder))
        for seed in range(args.seeds):
            plan = plan.resplit(seed=seed)
            framing = plan.fitted_images().framing
            assert framing is not None
            for detector in args.detectors:
                for view, image_size, filling in views(framing):
                    key = dict(zip(keys, (name, str(seed), detector, view), strict=True))
                    if not any(key.items() <= row.items() for row in read_rows(RESULTS)):
                        append_row(RESULTS, key | measure(plan, detector, seed, image_size, filling))


if __name__ == "__main__":
    main()
