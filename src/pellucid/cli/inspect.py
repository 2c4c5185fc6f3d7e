"""Inspecting images with a model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pellucid._io.names import printable
from pellucid.cli._console import err, find_images, out, print_line
from pellucid.cli._models import read_zones
from pellucid.cli._options import (
    Device,
    FailOnReject,
    Ignore,
    Images,
    InspectedMillimetresPerPixel,
    InspectOutput,
    Json,
    Margin,
    MinArea,
    Model,
    Only,
    Runtime,
)
from pellucid.errors import DataError

if TYPE_CHECKING:
    from pellucid.inspector import Inspector
    from pellucid.records import Inspection
    from pellucid.study.results import ScoredSample

MAX_TABLE_ROWS = 200
MAX_TABLE_DEFECTS = 3  # of one image
MAX_WARNED_IMAGES = 20
REJECTED_EXIT_CODE = 3


def inspect(
    model: Model,
    images: Images,
    output: InspectOutput = None,
    ignore: Ignore = None,
    only: Only = None,
    margin: Margin = 0,
    min_area: MinArea = 0,
    runtime: Runtime = "auto",
    device: Device = "auto",
    mm_per_px: InspectedMillimetresPerPixel = None,
    as_json: Json = False,
    fail_on_reject: FailOnReject = False,
) -> None:
    """Score images, show where the flaw is, decide.

    An image is rejected only for defects that count; what is ignored here comes on top of what the model ignores, and
    is listed. Reads a model and images; a file that cannot be read is skipped and counted, one of a kind that is not
    read is passed over and counted. Prints a table, or with --json a line for every image with the columns of
    scores.csv and the defects with all their measures. With -o, writes scores.csv, defects.csv with a line for every
    defect, and images/, where every result is drawn: the image, its map, its defects, the verdict.

    ```
    pellucid inspect glass.pellucid new_images/ -o results
    ```
    """
    from pellucid._io.files import check_writable, write_text
    from pellucid.models.load import load
    from pellucid.reports.defects import defects_csv
    from pellucid.study.scores import scores_csv

    if output is not None:
        check_writable(output / "scores.csv")
    found = find_images(images)
    paths = found.images
    zones = read_zones(ignore, only, margin, min_area, paths[0])
    inspector = load(model, runtime, images=len(paths), device=device).with_scale(mm_per_px)
    inspector = replace(inspector, zones=inspector.zones.and_ignore(zones))
    scored: list[ScoredSample] = []
    skipped: list[str] = []
    for one in _inspections(inspector, paths, output, skipped):
        scored.append(one)
        if as_json:
            print(json.dumps(_json_line(one)))
    if not scored:
        raise DataError(f"None of the {len(paths)} files could be inspected. First: {skipped[0]}")
    if output is not None:
        write_text(output / "scores.csv", scores_csv(scored, Path.cwd(), labelled=False))
        write_text(output / "defects.csv", defects_csv((one.inspection for one in scored), Path.cwd()))
    if not as_json:
        _print_table(scored, output)
    _print_warnings(scored)
    unjudged = sum(bool(one.inspection.reason) for one in scored)
    rejected = sum(one.inspection.verdict == "reject" for one in scored)
    counted = f"{len(scored)} inspected, {rejected} rejected ({unjudged} not judged), {len(skipped)} skipped"
    passed_over = f", {len(found.passed_over)} passed over" if found.passed_over else ""
    computed = f"computed by {inspector.runtime.name} on {inspector.runtime.device}"
    print_line(err if as_json else out, f"{counted}{passed_over}; {computed}")
    if rejected and fail_on_reject:
        raise typer.Exit(REJECTED_EXIT_CODE)


def _inspections(
    inspector: Inspector, paths: Sequence[Path], output: Path | None, skipped: list[str]
) -> Iterator[ScoredSample]:
    """Inspect files, in order, draw the results and collect why files were skipped; maps are not kept in memory."""
    from pellucid._io.files import write_bytes
    from pellucid._io.names import fitting_file_name
    from pellucid._io.progress import track
    from pellucid.records import Sample
    from pellucid.study.results import ScoredSample

    def draw(number: int, inspection: Inspection) -> None:
        if output is not None:
            name = fitting_file_name(f"{number:05d}_{inspection.path.stem}", ".png")
            write_bytes(output / "images" / name, inspection.png())

    def skip(error: DataError) -> None:
        skipped.append(str(error))
        print_line(err, ("skipped:", "yellow"), f" {error}")

    for inspection in track(inspector.inspect_many(paths, finish=draw, skip=skip), "inspecting", len(paths)):
        yield ScoredSample(Sample(inspection.path, "normal"), replace(inspection, map=inspection.map[:0]))


def _print_table(scored: Sequence[ScoredSample], output: Path | None) -> None:
    """A row for every image, as far as a console can show them."""
    from rich.markup import escape
    from rich.table import Table

    from pellucid.study.scores import ignored_text

    table = Table("image", "verdict", "score", "limit", "p", "defects (kind, length x width, contrast, x, y)")
    for one in scored[:MAX_TABLE_ROWS]:
        found = one.inspection
        colour = "red" if found.verdict == "reject" else "green"
        boxes = "; ".join(str(defect) for defect in found.defects[:MAX_TABLE_DEFECTS])
        if (more := len(found.defects) - MAX_TABLE_DEFECTS) > 0:
            boxes += f" and {more} more"
        numbers = (f"{found.score:.5g}", f"{found.limit:.5g}", f"{found.p_value:.3f}")
        if ignored := ignored_text(found):
            boxes += f"{'; ' if boxes else ''}ignored: {ignored}"
        shown = escape(found.reason) or boxes
        table.add_row(escape(printable(found.path.name)), f"[{colour}]{found.verdict}[/]", *numbers, shown)
    out.print(table)
    if len(scored) > MAX_TABLE_ROWS:
        place = "scores.csv with -o DIR" if output is None else output / "scores.csv"
        print_line(out, f"{MAX_TABLE_ROWS} of {len(scored)} images shown; all are in {place}")


def _print_warnings(scored: Sequence[ScoredSample]) -> None:
    """Say what is odd about the images, for the first of them."""
    warned = [one.inspection for one in scored if one.inspection.warnings]
    for inspection in warned[:MAX_WARNED_IMAGES]:
        print_line(err, ("warning:", "yellow"), f" '{inspection.path}': {' '.join(inspection.warnings)}")
    if len(warned) > MAX_WARNED_IMAGES:
        print_line(err, ("warning:", "yellow"), f" {len(warned)} images have warnings; {MAX_WARNED_IMAGES} are shown")


def _json_line(scored: ScoredSample) -> dict[str, Any]:
    """What scores.csv has of one image, and its defects."""
    from pellucid.study.scores import SCORES_COLUMNS, scores_row

    row = scores_row(scored, Path.cwd(), labelled=False)
    found = scored.inspection
    defects = [asdict(defect) for defect in found.defects]
    ignored = [asdict(one.defect) | {"reason": one.reason} for one in found.ignored]
    score = found.score if math.isfinite(found.score) else None  # JSON knows no infinity
    lists = {"score": score, "warnings": found.warnings, "defects": defects, "ignored": ignored}
    return dict(zip(SCORES_COLUMNS, row, strict=True)) | lists
