"""How well defects are outlined and measured, by the image and by the map, on drawn panes and on images with masks.

    python -m benchmarks.outlines ../shared/data/magnetic_tile ../shared/data/glass_defect -o benchmarks/outlines.csv

Drawn panes: PatchCore is fitted on clean ones; into others flaws of every kind, width and contrast are planted, and
what is rejected is outlined both ways. ``area``, ``length`` and ``width`` are the medians of measured by true; the true
ones are measured on the mask. ``others``: how many defects of an image lie apart from the mask. Data sets: PatchCore is
fitted as ``pellucid fit`` does, and all defective test images with a mask that shows something are compared, rejected
or not. ``model`` is what the fit chose, without test images.
Rows of a seed that the file has already are kept.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import pellucid
from benchmarks._timing import read_rows, write_rows
from pellucid.acquisition.images import Pixels, read_image
from pellucid.acquisition.masks import read_mask
from pellucid.acquisition.plan import Plan
from pellucid.errors import DataError
from pellucid.inspector import Inspector
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.records import Defect
from pellucid.regions.defects import OutlineSource, find_defects
from pellucid.synthesis.flaws import FLAW_SIZES_PX, apply_flaw, draw_contrast_sign, draw_flaw
from pellucid.synthesis.glass import draw_data_set, draw_pane, to_uint8

Mask = NDArray[np.bool_]
WIDTHS_PX = (1, 2, 3, 5, 8, 10)
CONTRASTS = (0.03, 0.05, 0.1, 0.2, 0.3)
FLAWS_PER_CELL = 1
APART_PX = 7  # side of the square that a mask is enlarged by: what does not touch it then is another defect
SOURCES: tuple[OutlineSource, OutlineSource] = ("image", "map")
MEASURES = ("area", "length", "width")
COLUMNS = (
    "set", "seed", "part", "images", "model", "iou_image", "iou_map", "iou_model", "iou_image_median",
    "iou_map_median", "others_image", "others_map",
    *(f"{measure}_{source}" for measure in MEASURES for source in SOURCES),
)  # fmt: skip


def covered_by(defects: tuple[Defect, ...], shape: tuple[int, ...]) -> Mask:
    """What outlines enclose."""
    drawn = np.zeros(shape, np.uint8)
    for defect in defects:
        cv2.drawContours(drawn, [np.array(polygon) for polygon in defect.outline], -1, 1, cv2.FILLED)
    return drawn > 0


def compare(inspector: Inspector, pixels: Pixels, mask: Mask, *, rejected_only: bool) -> dict[str, float] | None:
    """Intersection by union of both ways, and measures of the defect that covers most of the mask by the true ones."""
    found = inspector.inspect(pixels)
    if rejected_only and found.verdict == "ok":
        return None
    limit = segmentation_threshold(found.map, found.pixel_limit, inspector.fitted_images.are_tiled)
    true = max(find_defects(mask.astype(np.float32), 0.5, pixels), key=lambda defect: defect.area_px)
    values: dict[str, float] = {}
    for source in SOURCES:
        margin_px = inspector.outline_margin_px(mask.shape)
        defects = find_defects(
            found.map, limit, pixels, source=source, margin_px=margin_px, usual=inspector.measuring.usual
        )
        covered = covered_by(defects, mask.shape)
        values[f"iou_{source}"] = float((covered & mask).sum() / (covered | mask).sum())
        near = cv2.dilate(mask.astype(np.uint8), np.ones((APART_PX, APART_PX), np.uint8)) > 0
        values[f"others_{source}"] = sum(not (covered_by((one,), mask.shape) & near).any() for one in defects)
        best = max(defects, key=lambda defect: (covered_by((defect,), mask.shape) & mask).sum())
        for measure in MEASURES:
            name = f"{measure}_px"
            values[f"{measure}_{source}"] = (getattr(best, name) or 0) / getattr(true, name)
    return values


def planted(seed: int) -> Iterator[tuple[list[str], Pixels, Mask]]:
    """Panes with a flaw as a camera stores them, what is planted, and where."""
    for kind in FLAW_SIZES_PX:
        for width in WIDTHS_PX:
            for contrast in CONTRASTS:
                for n in range(FLAWS_PER_CELL):
                    rng = np.random.default_rng(
                        (seed, 7, list(FLAW_SIZES_PX).index(kind), width, round(100 * contrast), n)
                    )
                    pane = draw_pane(rng)
                    covered = draw_flaw(rng, kind, width, pane.shape)
                    flawed = to_uint8(apply_flaw(pane, covered, contrast * draw_contrast_sign(rng, kind)))
                    pixels = np.repeat(flawed[..., None].astype(np.float32) / np.float32(255), 3, 2)
                    mask = covered >= min(0.5, float(covered.max()))
                    yield ["all", kind, f"{width} px", f"{contrast:.0%}"], pixels, mask


def rows_of(
    name: str, seed: int, inspector: Inspector, parts: dict[str, list[dict[str, float]]]
) -> list[dict[str, Any]]:
    """A row for every part of a set."""
    rows = []
    for part, values in parts.items():
        row: dict[str, Any] = {"set": name, "seed": seed, "part": part, "images": len(values)}
        row["model"] = inspector.measuring.outline
        for source in SOURCES:
            ious = [value[f"iou_{source}"] for value in values]
            row[f"others_{source}"] = np.mean([value[f"others_{source}"] for value in values])
            row |= {f"iou_{source}": np.mean(ious), f"iou_{source}_median": np.median(ious)}
            row |= {f"{m}_{source}": np.median([value[f"{m}_{source}"] for value in values]) for m in MEASURES}
        row["iou_model"] = row[f"iou_{row['model']}"]
        rows.append({key: f"{value:.3f}" if isinstance(value, float) else value for key, value in row.items()})
    return rows


def measure_panes(seed: int) -> list[dict[str, Any]]:
    """Drawn panes."""
    with tempfile.TemporaryDirectory() as folder:
        draw_data_set(Path(folder), seed=seed, n_train=60, n_test=4, n_per_defect=2)
        inspector = pellucid.fit(folder, "patchcore", seed=seed)
    parts = defaultdict(list)
    for names, pixels, mask in planted(seed):
        if (values := compare(inspector, pixels, mask, rejected_only=True)) is not None:
            for name in names:
                parts[name].append(values)
    return rows_of("drawn panes", seed, inspector, parts)


def measure_set(data: Path, seed: int) -> list[dict[str, Any]]:
    """Images with masks; none where no test image has one."""
    plan = Plan.from_data(data, seed=seed)
    samples = [sample for sample in plan.split.test if sample.label == "abnormal" and sample.mask is not None]
    if not samples:
        print(f"{data.name}: no test image has a mask")
        return []
    inspector = pellucid.fit(plan, "patchcore", seed=seed)
    parts = defaultdict(list)
    for sample in samples:
        pixels = read_image(sample.path, inspector.fitted_images.bits)
        mask = None
        with suppress(DataError):
            mask = read_mask(sample.mask, sample.path, pixels.shape[:2]) if sample.mask else None
        if mask is not None and mask.any():
            values = compare(inspector, pixels, mask, rejected_only=False)
            for name in ("all", sample.type or sample.path.name.partition("_")[0]):
                parts[name].append(values or {})
    return rows_of(data.name, seed, inspector, parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*", help="data sets with masks of their test images")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    rows = read_rows(given.output)
    for seed in range(given.seeds):
        for name, data in (("drawn panes", None), *((data.name, data) for data in given.data)):
            if any((row["set"], row["seed"]) == (name, str(seed)) for row in rows):
                continue
            new = measure_panes(seed) if data is None else measure_set(data, seed)
            rows = [*rows, *({key: str(value) for key, value in row.items()} for row in new)]
            write_rows(given.output, COLUMNS, rows)
    for row in rows:
        if row["part"] == "all":
            print(*(f"{column}={row[column]}" for column in COLUMNS), sep="  ")


if __name__ == "__main__":
    main()
