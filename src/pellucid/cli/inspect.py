"""Inspecting images with a model, and exporting it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from pellucid.cli._console import err, image_paths, out, print_line
from pellucid.cli._options import (
    Json,
    Runtime,
)
from pellucid.errors import DataError

if TYPE_CHECKING:
    from pellucid.records import Inspection


CHECKED = 32  # images that an export is compared with torch on, at most


def inspect(
    model: Annotated[Path, typer.Argument(help="model file, or the folder of an exported model")],
    images: Annotated[list[Path], typer.Argument(help="image files or folders")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="scores.csv and result pictures go here")
    ] = None,
    runtime: Runtime = "auto",
    as_json: Json = False,
    fail_on_reject: Annotated[
        bool, typer.Option("--fail-on-reject", help="exit with 3 when an image is rejected")
    ] = False,
) -> None:
    """Score images, show where the flaw is, decide."""
    from pellucid._io.files import check_writable, write_bytes, write_text
    from pellucid._io.progress import track
    from pellucid.models.load import load
    from pellucid.records import Sample
    from pellucid.study.results import ScoredSample
    from pellucid.study.scores import scores_csv

    if output is not None:
        check_writable(output / "scores.csv")
    paths = image_paths(images)
    inspector = load(model, runtime, images=len(paths))
    judged: list[ScoredSample] = []
    skipped: list[str] = []
    rejected = 0

    def draw(number: int, found: Inspection) -> None:
        if output is not None:
            write_bytes(output / "images" / f"{number:05d}_{found.path.stem}.png", found.png())

    def skip(error: DataError) -> None:
        skipped.append(str(error))
        print_line(err, ("skipped:", "yellow"), f" {error}")

    inspections = inspector.inspect_many(paths, finish=draw, skip=skip)
    for found in track(inspections, "inspecting", len(paths)):
        rejected += found.verdict == "reject"
        kept = replace(found, map=found.map[:0])  # maps are not kept: memory stays flat
        judged.append(ScoredSample(Sample(found.path, "normal"), kept))
        if as_json:
            print(json.dumps(_as_json(found)))
    if not judged:
        raise DataError(f"None of the {len(paths)} files could be inspected. First: {skipped[0]}")
    if output is not None:
        write_text(output / "scores.csv", scores_csv(judged, Path.cwd(), labelled=False))
    if not as_json:
        _print_inspections(judged)
        out.print(f"{len(judged)} inspected, {rejected} rejected, {len(skipped)} skipped")
    if rejected and fail_on_reject:
        raise typer.Exit(3)


def export(
    model: Annotated[Path, typer.Argument(help="model file")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    format: Annotated[Literal["openvino", "onnx"], typer.Option(help="of the graph")] = "openvino",
    check: Annotated[
        Path | None, typer.Option(help="images to compare the graph with torch on; else drawn panes of glass")
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="8-bit backbone; DATA is what the model was fitted on and gives a new limit"),
    ] = None,
) -> None:
    """Write a model as one graph, from pixels to map and score, that inspects without torch."""
    from pellucid.models.export import TOLERANCE
    from pellucid.models.load import load
    from pellucid.models.quantise import MIN_RANK_CORRELATION

    images = [] if check is None else image_paths([check])
    images = images[:: -(-len(images) // CHECKED) or 1]
    written = load(model).export(output, format, images=images, int8=int8)
    compared, off = f"{len(images)} images" if images else "drawn panes of glass", written.max_difference
    out.print(f"differs from torch by at most {off:.1e} on {compared} ({TOLERANCE:g} allowed)", highlight=False)
    if written.rank_correlation is not None:
        limit = written.model.limit
        out.print(
            f"int8 ranks {len(limit.scores)} held-out normal images as float32 does (correlation"
            f" {written.rank_correlation:.3f}, {MIN_RANK_CORRELATION:g} asked);"
            f" limit {limit.value:.6g} from their scores",
            highlight=False,
        )
    print_line(out, f"wrote {output}; its limit may be edited in {output / 'model.json'}")


def _print_inspections(judged: list[Any]) -> None:
    table = Table("image", "verdict", "score", "limit", "p", "defects (x, y, width, height)")
    for j in judged[:200]:
        i: Inspection = j.inspection
        colour = "red" if i.verdict == "reject" else "green"
        boxes = "; ".join(str(d.box) for d in i.defects[:3]) + (" ..." if len(i.defects) > 3 else "")
        verdict = f"[{colour}]{i.verdict}[/]"
        table.add_row(escape(i.path.name), verdict, f"{i.score:.5g}", f"{i.limit:.5g}", f"{i.p_value:.3f}", boxes)
    out.print(table)


def _as_json(i: Inspection) -> dict[str, Any]:
    defects = [{"box": d.box, "area_px": d.area_px, "peak": d.peak, "centroid": d.centroid} for d in i.defects]
    known = {"path": str(i.path), "score": i.score, "limit": i.limit, "p_value": i.p_value, "verdict": i.verdict}
    return known | {"defects": defects}
