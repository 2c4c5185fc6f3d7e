"""The demo of a whole sheet: drawn, learned from, inspected, measured and graded."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli._console import err, out, print_line, print_text

if TYPE_CHECKING:
    from pellucid.records import Defect, Inspection
    from pellucid.study.drawn_sheets import SheetMatch
    from pellucid.synthesis.sheet import SheetPlan

WIDTH_MM, LENGTH_MM = 307.2, 307.2  # two by two tiles of 1024 px, whose inner 768 count
MM_PER_PX = 0.2
GOOD_SHEETS = 20
TILE_PX = 1024
RULE = "en1279"
COUNTS = {"seed": 5, "stone": 3, "tin drip": 1, "scratch": 3, "bold line": 1, "dust": 5}
MADE_BY_FILE = "sheet.truth.json"  # of whose folder the demo is the owner


def sheet_demo(output: Path, device: str) -> None:
    """Draw good sheets and one with defects, fit a tiled model, inspect, measure, grade, and write a page.

    Args:
        output: folder.
        device: to compute on.

    Raises:
        OutputError: the folder cannot be written to, or holds images that no demo drew.
    """
    import numpy as np

    from pellucid._io.files import check_writable, write_text
    from pellucid.errors import OutputError
    from pellucid.fitting import fit
    from pellucid.reports.drawn_sheet import render_drawn_sheet
    from pellucid.study.drawn_sheets import match_truth
    from pellucid.study.results import ScoredSample
    from pellucid.study.stored import write_results
    from pellucid.synthesis.sheet import Sheet, SheetPlan
    from pellucid.synthesis.sheet_files import write_sheet
    from pellucid.synthesis.sheet_placing import place_defects

    data = output / "data"
    if data.exists() and not (output / MADE_BY_FILE).exists():
        raise OutputError(f"'{data}' is there already, and no demo made it: give another folder with -o.")
    check_writable(output / MADE_BY_FILE)
    plan = SheetPlan(WIDTH_MM, LENGTH_MM, (MM_PER_PX, MM_PER_PX), seed=1)
    sheet = Sheet(plan, place_defects(plan, COUNTS))
    write_sheet(output / "sheet.tif", sheet)
    _draw_good(data / "normal_train", plan)
    print_line(err, f"drew {GOOD_SHEETS} good sheets in {data}, and one with {len(sheet.defects)} defects")
    inspector = fit(data, tile=TILE_PX, mm_per_px=MM_PER_PX, outline="image", device=device).with_grading(RULE)
    model = output / "sheet.pellucid"
    inspector.save(model)
    found = inspector.inspect(output / "sheet.tif")
    write_results([ScoredSample(_sample(output / "sheet.tif"), found)], output)
    matched = match_truth(sheet.defects, found.defects, plan.mm_per_px)
    learned = f"The model learned from {GOOD_SHEETS} good sheets, in tiles of {TILE_PX} px at their own size."
    rows = list(_rows(matched, found.defects, plan.mm_per_px))
    pixels = np.asarray(sheet.rows(0, sheet.shape[0]), np.uint8)
    page = render_drawn_sheet(pixels, found, rows, sentence=matched.sentence, learned=learned)
    write_text(output / "sheet.html", page)
    _tell(output, found, matched, model)


def _sample(path: Path) -> Any:
    from pellucid.records import Sample

    return Sample(path, "normal")


def _draw_good(folder: Path, plan: SheetPlan) -> None:
    import cv2

    from pellucid._io.files import write_bytes
    from pellucid._io.progress import track
    from pellucid.synthesis.sheet_files import good_sheets

    for number, sheet in enumerate(track(good_sheets(plan, GOOD_SHEETS), "drawing good sheets", GOOD_SHEETS)):
        picture = cv2.imencode(".png", sheet.rows(0, sheet.shape[0]))[1].tobytes()
        write_bytes(folder / f"sheet_{number:03d}.png", picture)


def _rows(match: SheetMatch, found: Sequence[Defect], mm_per_px: tuple[float, float]) -> Iterator[dict[str, Any]]:
    """What the page's table has: every drawn defect, then what was marked beside."""
    for one in match.matches:
        yield {
            "number": one.number,
            "kind": one.truth.kind,
            "called": "" if one.found is None else one.found.kind,
            "place": one.truth.centre_mm,
            "size": one.true_size_mm,
            "found_size": one.found_size_mm,
            "contrast": one.truth.contrast,
        }
    for number in sorted((*match.fragments, *match.false_alarms)):
        defect = found[number]
        yield {
            "number": number,
            "kind": "part of another" if number in match.fragments else "nothing",
            "called": defect.kind,
            "place": tuple((c + 0.5) * scale for c, scale in zip(defect.centroid, mm_per_px, strict=True)),
            "size": None,
            "found_size": defect.diameter_mm,
            "contrast": defect.contrast,
        }


def _tell(output: Path, found: Inspection, matched: SheetMatch, model: Path) -> None:
    print_text(
        out, (f"The detector says {found.verdict}; {RULE} says {found.grade.verdict if found.grade else ''}.", "bold")
    )
    for broken in found.grade.broken if found.grade else ():
        print_line(out, f"{broken.verdict}: {broken}")
    print_line(out, matched.sentence)
    missed = [one.truth for one in matched.matches if one.found is None]
    if missed:
        kinds = ", ".join(f"{one.kind} of {one.diameter_mm:.2f} mm at {one.contrast:+.0%}" for one in missed)
        print_line(out, f"not found: {kinds}")
    print_line(out, f"truth: {output / 'sheet.truth.csv'}; found: {output / 'defects.csv'}")
    print_line(out, f"page: {output / 'sheet.html'}")
    again = ["pellucid", "inspect", str(model), str(output / "sheet.tif"), "--grade", RULE, "-o", str(output / "again")]
    print_line(out, f"next: {shlex.join(again)}")
