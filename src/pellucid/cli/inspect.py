"""Inspecting images with a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pellucid._io.names import printable
from pellucid.cli._console import err, find_images, out, print_line
from pellucid.cli._grading_options import CutPlan, Grade, Panes, ScaleFile
from pellucid.cli._models import read_zones, scale_of
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
from pellucid.cli._passing import Stream, inspect_passing, large_bands
from pellucid.cli._sheet_pages import PageWriter, WantsPages
from pellucid.cli._stream_options import Bits, Channels, Height, LineNumbers, Overlap, QuietSeconds, Width
from pellucid.errors import DataError, ParameterError

if TYPE_CHECKING:
    from pellucid._io.cluster import Engine
    from pellucid.acquisition.bands import Bands
    from pellucid.inspector import Inspector
    from pellucid.records import Inspection
    from pellucid.regions.grading import Grading
    from pellucid.regions.zones import Zones
    from pellucid.study.results import ScoredSample

MAX_TABLE_ROWS = 200
MAX_TABLE_DEFECTS = 3  # of one image
MAX_WARNED_IMAGES = 20
REJECTED_EXIT_CODE = 3
InspectEngine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="What computes maps: by default local, this machine; or ray, a worker on every machine of the cluster of"
        " the environment variable RAY_ADDRESS or of one that is started here."
    ),
]


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
    scale_file: ScaleFile = None,
    grade: Grade = None,
    panes: Panes = None,
    cut_plan: CutPlan = None,
    sheet_pages: WantsPages = None,
    as_json: Json = False,
    fail_on_reject: FailOnReject = False,
    width: Width = None,
    height: Height = None,
    bits: Bits = 8,
    channels: Channels = 1,
    line_numbers: LineNumbers = False,
    overlap: Overlap = None,
    quiet_seconds: QuietSeconds = 5.0,
    engine: InspectEngine = "local",
) -> None:
    """Score images, show where the flaw is, decide.

    An image is rejected only for defects that count; what is ignored here comes on top of what the model ignores, and
    is listed. Reads a model and images; what cannot be read is skipped, what is of a kind that is not read is passed
    over, and both are counted. Prints a table, or with --json a line for every image with the columns of scores.csv and
    the defects with all their measures. With -o, writes scores.csv, results.jsonl with the lines of --json,
    defects.csv, images/ with the image, its map, its defects and the verdict of each, and of large images sheets/,
    pages that zoom. With --grade, a rule about sizes, numbers and distances in mm grades what was found: ok, reject, or
    look where the measures leave it open; it says by which clause, and never changes the verdict.

    A model with tiles inspects files of more than 67 million pixels, raw rows (--width) and frames of one image
    (--overlap) band by band, in the memory of some rows. Defects are printed while the image passes, with --json as
    lines that begin with "passing", before the line of the image itself; no picture is drawn of it.

    With --engine ray the maps of tiles and images are computed by a worker on every machine of a Ray cluster, of one
    sheet as of many; they read nothing but what they are sent. All else is done here, in order.

    ```
    pellucid inspect glass.pellucid new_images/ -o results
    grab | pellucid inspect glass.pellucid - --width 16384 --json
    ```
    """
    from pellucid._io.files import check_writable
    from pellucid.acquisition.files import Listing
    from pellucid.acquisition.geometry import read_geometry
    from pellucid.models.load import load
    from pellucid.study.stored import result_text, write_results

    scale = scale_of(mm_per_px)
    if scale is not None and scale_file is not None:
        raise ParameterError("Give --mm-per-px or --scale-file, not both: a scale file has its own mm per px.")
    geometry = None if scale_file is None else read_geometry(scale_file)
    if grade is None and cut_plan is not None:
        raise ParameterError("--cut-plan says what is graded: give --grade as well, the rule to grade it by.")
    if output is not None:
        check_writable(output / "scores.csv")
    opener = Stream(width, height, bits, channels, line_numbers, overlap, quiet_seconds).opener(images)
    found = find_images(images) if opener is None else Listing((), ())
    zones = read_zones(ignore, only, margin, min_area, found.images[0] if found.images else None)
    inspector = load(model, runtime, images=len(found.images) or None, device=device).with_scale(scale)
    inspector = inspector if geometry is None else inspector.with_geometry(geometry)
    inspector = _with_rules(inspector, zones, grade, panes, cut_plan)
    pages, skipped = PageWriter(output, sheet_pages, inspector), list[str]()
    scored: list[ScoredSample] = []
    places: Sequence[Path | Bands] = found.images if opener is None else [opener(inspector)]
    with _computing(inspector, model, engine) as inspector:
        for one in _inspections(inspector, places, output, pages, skipped, as_json):
            scored.append(one)
            if as_json:
                print(result_text(one))
    if not scored:
        raise DataError(f"None of the {len(places)} files could be inspected. First: {skipped[0]}")
    if output is not None:
        write_results(scored, output)
    if not as_json:
        print_results(scored, output)
    _print_warnings(scored)
    for sentence in (*_summary(scored, len(skipped), len(found.passed_over), inspector), *pages.finish()):
        print_line(err if as_json else out, sentence)
    if fail_on_reject and any(_is_rejected(one.inspection) for one in scored):
        raise typer.Exit(REJECTED_EXIT_CODE)


def _computing(inspector: Inspector, model: Path, engine: Engine) -> AbstractContextManager[Inspector]:
    """The inspector that an engine gives while it is open."""
    if engine == "local":
        return nullcontext(inspector)
    from pellucid.models.on_ray import on_ray

    return on_ray(inspector, model)


def _with_rules(
    inspector: Inspector, zones: Zones, grade: str | None, panes: int | None, cut_plan: Path | None
) -> Inspector:
    """An inspector that ignores what either its model or these zones do, and that grades if that is asked for."""
    inspector = replace(inspector, zones=inspector.zones.and_ignore(zones))
    return inspector if grade is None else inspector.with_grading(grade, panes, cut_plan)


def _summary(scored: Sequence[ScoredSample], skipped: int, passed_over: int, inspector: Inspector) -> Iterator[str]:
    """What became of the images, a sentence each for the detector and for a rule."""
    unjudged = sum(bool(one.inspection.reason) for one in scored)
    rejected = sum(one.inspection.verdict == "reject" for one in scored)
    counted = f"{len(scored)} inspected, {rejected} rejected ({unjudged} not judged), {skipped} skipped"
    passed = f", {passed_over} passed over" if passed_over else ""
    yield f"{counted}{passed}; computed by {inspector.runtime.name} on {inspector.runtime.device}"
    if inspector.limit.false_alarms is not None and inspector.promise:
        yield f"the limit promises {inspector.promise} of good glass like that it was placed by"
    if inspector.grading is not None:
        yield graded_sentence(scored, inspector.grading)


def _is_rejected(found: Inspection) -> bool:
    """Whether the detector rejected an image; where a rule grades it, whether that did not find it ok."""
    return found.verdict == "reject" if found.grade is None else found.grade.verdict != "ok"


def _inspections(
    inspector: Inspector,
    places: Sequence[Path | Bands],
    output: Path | None,
    pages: PageWriter,
    skipped: list[str],
    as_json: bool,
) -> Iterator[ScoredSample]:
    """Inspect images, in order, draw the results and collect why files were skipped; maps are not kept in memory."""
    from pellucid._io.files import write_bytes
    from pellucid._io.names import fitting_file_name
    from pellucid._io.progress import track
    from pellucid.records import Sample
    from pellucid.study.results import ScoredSample

    def draw(number: int, inspection: Inspection) -> None:
        if output is not None:
            name = fitting_file_name(f"{number:05d}_{inspection.path.stem}", ".png")
            write_bytes(output / "images" / name, inspection.png())
            pages.write(number, inspection)

    def skip(error: DataError) -> None:
        skipped.append(str(error))
        print_line(err, ("skipped:", "yellow"), f" {error}")

    def inspect_all() -> Iterator[Inspection]:
        number = 0
        for bands, paths in _by_size(places, inspector):
            if bands is None:
                finish = partial(_numbered, draw, number)
                yield from inspector.inspect_many(paths, finish=finish, skip=skip)
            else:
                try:
                    passed = inspect_passing(inspector, bands, as_json)
                except DataError as error:
                    skip(error)
                else:
                    if bands.path.is_file():
                        pages.write(number, passed)
                    yield passed
            number += len(paths)

    for inspection in track(inspect_all(), "inspecting", len(places)):
        yield ScoredSample(Sample(inspection.path, "normal"), replace(inspection, map=inspection.map[:0]))


def _numbered(draw: Callable[[int, Inspection], None], first: int, number: int, inspection: Inspection) -> None:
    draw(first + number, inspection)


def _by_size(places: Sequence[Path | Bands], inspector: Inspector) -> Iterator[tuple[Bands | None, list[Path]]]:
    """Images in bands, one each, and between them all files that are read as a whole."""
    whole: list[Path] = []
    for place in places:
        bands = large_bands(place, inspector) if isinstance(place, Path) else place
        if bands is None and isinstance(place, Path):
            whole.append(place)
            continue
        if whole:
            yield None, whole
            whole = []
        yield bands, [bands.path] if bands else []
    if whole:
        yield None, whole


def print_results(scored: Sequence[ScoredSample], output: Path | None) -> None:
    """A row for every image, as far as a console can show them."""
    from rich.markup import escape
    from rich.table import Table

    from pellucid.study.scores import ignored_text

    graded = any(one.inspection.grade for one in scored)
    columns = ("image", "verdict", *(["grade"] if graded else []), "score", "limit", "p")
    table = Table(*columns, "defects (kind, length x width, contrast, x, y)")
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
        grade = (found.grade.verdict,) if found.grade else ("",) if graded else ()
        table.add_row(escape(printable(found.path.name)), f"[{colour}]{found.verdict}[/]", *grade, *numbers, shown)
    out.print(table)
    _print_grades([one.inspection for one in scored if one.inspection.grade and _is_rejected(one.inspection)])
    if len(scored) > MAX_TABLE_ROWS:
        place = "scores.csv with -o DIR" if output is None else output / "scores.csv"
        print_line(out, f"{MAX_TABLE_ROWS} of {len(scored)} images shown; all are in {place}")


def graded_sentence(scored: Sequence[ScoredSample], grading: Grading) -> str:
    """Count the grades."""
    counts = Counter(one.inspection.grade.verdict for one in scored if one.inspection.grade)
    panes = Counter(pane.verdict for one in scored if one.inspection.grade for pane in one.inspection.grade.by_pane)
    shown, by_pane = (
        ", ".join(f"{found[verdict]} {verdict}" for verdict in ("ok", "look", "reject")) for found in (counts, panes)
    )
    return f"graded by {grading}: {shown}" + (f"; of the panes {by_pane}" if panes else "")


def _print_grades(found: Sequence[Inspection]) -> None:
    """Say by which clauses and which defects, for the first images that are not ok."""
    for one in found[:MAX_WARNED_IMAGES]:
        if one.grade and one.grade.by_pane:
            panes = ", ".join(f"{pane.pane} {pane.verdict}" for pane in one.grade.by_pane)
            print_line(out, f"{one.path.name}, pane by pane: {panes}")
        for broken in one.grade.broken if one.grade else ():
            colour = "red" if broken.verdict == "reject" else "yellow"
            source = f" [{broken.source}]" if broken.source else ""
            print_line(out, (f"{broken.verdict}:", colour), f" {one.path.name}: {broken}{source}")
    if len(found) > MAX_WARNED_IMAGES:
        print_line(out, f"{len(found)} images are not ok; the clauses of {MAX_WARNED_IMAGES} are shown")


def _print_warnings(scored: Sequence[ScoredSample]) -> None:
    """Say what is odd about the images, for the first of them."""
    warned = [one.inspection for one in scored if one.inspection.warnings]
    for inspection in warned[:MAX_WARNED_IMAGES]:
        print_line(err, ("warning:", "yellow"), f" '{inspection.path}': {' '.join(inspection.warnings)}")
    if len(warned) > MAX_WARNED_IMAGES:
        print_line(err, ("warning:", "yellow"), f" {len(warned)} images have warnings; {MAX_WARNED_IMAGES} are shown")
