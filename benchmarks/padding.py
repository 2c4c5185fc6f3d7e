"""What to pad with: how much higher good images score where the rest of the view is mirrored, repeated or their mean.

    python -m benchmarks.padding --data ../shared/data

A model of square good images inspects other good ones, once whole and once cut to 0.6 of their width or half of their
height, so that the rest of the view is padded. What is neutral to the detector leaves scores, rejects and the map's
peak as they are. One row a set, detector and padding goes to ``padding.csv`` beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks._timing import write_rows
from pellucid import detectors, fit_split
from pellucid.acquisition import views
from pellucid.acquisition.files import image_files
from pellucid.acquisition.images import Pixels, Size, read_image
from pellucid.inspector import Inspector
from pellucid.records import Inspection, Sample, Split

RESULTS = Path(__file__).with_suffix(".csv")
SETS = {"flatglass_line": "normal", "glass_defect": "normal_train"}
DETECTORS: dict[str, dict[str, Any]] = {"patchcore": {"coreset_size": 400}, "padim": {}, "dfm": {}}
N_FITTED, N_CALIBRATING, N_TESTED, SIDE_PX = 45, 15, 30, 128
Pad = Callable[[Pixels, slice, slice, Size], Pixels]


def pad(border: int | None, pixels: Pixels, rows: slice, columns: slice, view: Size) -> Pixels:
    """Pad an image with one of OpenCV's borders, or with its mean colour."""
    margins = rows.start, view[0] - rows.stop, columns.start, view[1] - columns.stop
    if border is None:
        mean = [float(value) for value in pixels.mean((0, 1))]
        return np.asarray(cv2.copyMakeBorder(pixels, *margins, cv2.BORDER_CONSTANT, value=mean), np.float32)
    return np.asarray(cv2.copyMakeBorder(pixels, *margins, border), np.float32)


PADDINGS: dict[str, Pad] = {
    "mirrored": partial(pad, cv2.BORDER_REFLECT_101),
    "repeated": partial(pad, cv2.BORDER_REPLICATE),
    "mean": partial(pad, None),
}


def inspect_parts(inspector: Inspector, path: Path) -> list[Inspection]:
    """Inspect the left 0.6 and the lower half of an image."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    return [inspector.inspect(pixels[:, : int(0.6 * width)]), inspector.inspect(pixels[height // 2 :])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the real data sets.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, folder in SETS.items():
        files = image_files(args.data / name / folder)
        chosen = files[:: len(files) // (N_FITTED + N_CALIBRATING + N_TESTED)]
        learned, tested = [path for k, path in enumerate(chosen) if k % 3 < 2], chosen[2::3]
        good = [Sample(path, "normal") for path in learned]
        split = Split(tuple(good[:N_FITTED]), tuple(good[N_FITTED:]), (), ())
        for detector, parameters in DETECTORS.items():
            inspector = fit_split(detectors.create(detector, **parameters), split, SIDE_PX, false_reject=0.1)
            whole = [inspector.inspect(path) for path in tested]
            for padding, function in PADDINGS.items():
                views._pad = function
                parts = [
                    (part, one)
                    for path, one in zip(tested, whole, strict=True)
                    for part in inspect_parts(inspector, path)
                ]
                row = {
                    "set": name,
                    "detector": detector,
                    "padding": padding,
                    "score_by_whole": f"{np.median([part.score / one.score for part, one in parts]):.3f}",
                    "map_peak_by_whole": f"{np.median([part.map.max() / one.map.max() for part, one in parts]):.3f}",
                    "rejected_parts": f"{np.mean([part.verdict == 'reject' for part, _ in parts]):.3f}",
                    "rejected_whole": f"{np.mean([one.verdict == 'reject' for one in whole]):.3f}",
                }
                rows.append(row)
                print(*row.values(), flush=True)
    write_rows(RESULTS, list(rows[0]), rows)


if __name__ == "__main__":
    main()
