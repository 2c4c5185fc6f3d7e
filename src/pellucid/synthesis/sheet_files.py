"""Drawn sheets as files: a TIFF that is written strip by strip, its truth beside it, and good glass to learn from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from pellucid._io.files import csv_text, replacing, write_text
from pellucid._io.progress import track
from pellucid.errors import DataError
from pellucid.synthesis.sheet import Pixels, Sheet, SheetPlan

STRIP_ROWS = 256
CLASSIC_TIFF_BYTES = 2**32 - 2**25  # a TIFF that is larger has to be a BigTIFF
CROP_STREAM = 4  # of the plan's seed
TRUTH_COLUMNS = (
    "number",
    "kind",
    "across_mm",
    "down_mm",
    "length_mm",
    "width_mm",
    "diameter_mm",
    "area_mm2",
    "halo_mm",
    "contrast",
    "nuisance",
    "series",
    "period_mm",
)


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write a sheet as an uncompressed grey TIFF, and its truth as ``NAME.truth.csv`` and ``NAME.truth.json``.

    Memory holds one strip, whatever the sheet's size. Above 4 GiB it is a BigTIFF.

    Args:
        path: of the TIFF; made with its folder, replaced if it exists.
        sheet: to be drawn.

    Raises:
        OutputError: the place cannot be written to; DiskFullError when it is full.
    """
    rows, columns = sheet.shape
    large = rows * columns * np.dtype(sheet.dtype).itemsize > CLASSIC_TIFF_BYTES
    strips = track(sheet.bands(STRIP_ROWS), f"drawing {path.name}", -(-rows // STRIP_ROWS))
    across, down = sheet.plan.mm_per_px
    with replacing(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=large) as file:
        file.write(
            (strip.pixels for strip in strips),
            shape=(rows, columns),
            dtype=sheet.dtype,
            photometric="minisblack",
            rowsperstrip=STRIP_ROWS,
            resolution=(10 / across, 10 / down),
            resolutionunit="CENTIMETER",
            metadata=None,
        )
    write_text(path.with_name(f"{path.stem}.truth.csv"), csv_text(TRUTH_COLUMNS, map(list, _truth_rows(sheet))))
    write_text(path.with_name(f"{path.stem}.truth.json"), json.dumps(truth_of(sheet), indent=1) + "\n")


def _truth_rows(sheet: Sheet) -> Iterator[tuple[Any, ...]]:
    for number, one in enumerate(sheet.defects, start=1):
        measures = (
            *one.centre_mm,
            one.length_mm,
            one.width_mm,
            one.diameter_mm,
            one.area_mm2,
            one.halo_mm,
            one.contrast,
        )
        series = ("", "") if one.series is None else (one.series, one.period_mm)
        yield number, one.kind, *(round(float(value), 5) for value in measures), int(one.is_nuisance), *series


def truth_of(sheet: Sheet) -> dict[str, Any]:
    """Return what ``NAME.truth.json`` holds: the plan, the image, the pieces of glass and every defect."""
    rows, columns = sheet.shape
    return {
        "plan": asdict(sheet.plan),
        "image": {"rows": rows, "columns": columns, "mm_per_px": list(sheet.plan.mm_per_px)},
        "glass": [one._asdict() for one in sheet.plan.glass_mm],
        "defects": [dict(zip(TRUTH_COLUMNS, row, strict=True)) for row in _truth_rows(sheet)],
    }


def read_truth(path: Path) -> list[dict[str, Any]]:
    """Read ``NAME.truth.csv``: a row for each defect, numbers as numbers.

    Args:
        path: of the CSV file.

    Raises:
        DataError: it cannot be read, or is of another kind.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != TRUTH_COLUMNS:
                raise DataError(f"'{path}' is not the truth of a drawn sheet: its first line names other columns.")
            return [
                {name: value if name == "kind" or not value else float(value) for name, value in row.items()}
                for row in reader
            ]
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from None


def good_sheets(plan: SheetPlan, count: int) -> Iterator[Sheet]:
    """Yield clean sheets of the same line, each with noise, wander and lamp of its own.

    Args:
        plan: of the sheet that is to be inspected; those that are yielded have other seeds.
        count: how many.
    """
    for number in range(count):
        yield Sheet(replace(plan, seed=int(np.random.SeedSequence((plan.seed, number, 1)).generate_state(1)[0])))


def crops(sheet: Sheet, side: int, count: int) -> Iterator[Pixels]:
    """Yield squares from random places of a sheet, (side, side) grey.

    Args:
        sheet: to cut from; at least ``side`` px wide and long.
        side: px.
        count: how many.

    Raises:
        DataError: the sheet is smaller.
    """
    rows, columns = sheet.shape
    if side > min(rows, columns):
        raise DataError(f"A sheet of {columns}x{rows} px has no crop of {side} px: take smaller ones.")
    rng = np.random.default_rng((sheet.plan.seed, CROP_STREAM, 1))
    for _ in range(count):
        top, left = int(rng.integers(rows - side + 1)), int(rng.integers(columns - side + 1))
        yield sheet.rows(top, top + side)[:, left : left + side]
