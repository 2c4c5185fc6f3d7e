"""Grading by rules in mm: the scale of a camera, the rules that there are, and stored results under another one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from pellucid.cli._console import out, print_line, print_text
from pellucid.cli._grading_options import (
    Chart,
    ChartImage,
    CutPlan,
    Panes,
    Pattern,
    RegradeOutput,
    RequiredGrade,
    Results,
    RulesArgument,
    ScaleOutput,
    SquareMillimetres,
)
from pellucid.cli._options import Json
from pellucid.errors import DataError


def calibrate(
    image: ChartImage,
    square_mm: SquareMillimetres,
    chart: Chart = "chessboard",
    pattern: Pattern = None,
    output: ScaleOutput = None,
    as_json: Json = False,
) -> None:
    """Measure the scale of a camera by a picture of a chart that lies where the glass lies.

    Reads one picture, taken and stored as the images to inspect are; the chart may be turned and should fill it.
    Prints the mm per px along both axes with their uncertainty, and how large an error the angle between the axes,
    perspective and lens leave at a constant scale. With -o, writes a scale file, by which `inspect --scale-file`
    corrects them.

    ```
    pellucid calibrate chart.png --square-mm 10
    ```
    """
    from pellucid._io.files import check_writable, write_text
    from pellucid.acquisition.chart import calibrate as measure
    from pellucid.acquisition.chart import parse_pattern
    from pellucid.acquisition.geometry import MIN_LENS_CORNERS

    if output is not None:
        check_writable(output)
    found = measure(image, square_mm, chart, parse_pattern(pattern))
    if output is not None:
        if found.geometry is None:
            raise DataError(f"'{image}' shows too few corners to correct a lens: at least {MIN_LENS_CORNERS}.")
        write_text(output, found.geometry.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    if as_json:
        geometry = None if found.geometry is None else found.geometry.model_dump(exclude_defaults=True)
        print(json.dumps(asdict(found) | {"geometry": geometry}, indent=2))
        return
    for axis, scale, uncertainty in zip("xy", found.mm_per_px, found.uncertainty, strict=True):
        print_line(out, f"along {axis}: {scale:.6g} mm per px, ± {uncertainty:.2g} (19 of 20)")
    print_line(
        out, f"from {found.corners[0]}x{found.corners[1]} corners; the axes are {90 + found.skew_degrees:.2f}° apart"
    )
    print_line(
        out,
        f"what a constant scale leaves: positions are off by up to {found.position_error_mm:.3g} mm, lengths by up to"
        f" {found.length_error_percent:.2g} %",
    )
    if found.corrected_error_mm is not None:
        print_line(out, f"corrected for lens and perspective: {found.corrected_error_mm:.3g} mm")
    print_line(out, f"to measure with it: --mm-per-px {found.option}")
    if output is not None:
        print_line(out, f"corrected: --scale-file {output}")


def rules(name: RulesArgument = None, as_json: Json = False) -> None:
    """List the grading rules that pellucid brings, or print one to change and to grade by.

    Reads and writes nothing. Every number in a rule has its published source beside it.

    ```
    pellucid rules en1279
    ```
    """
    from pellucid.regions.rules import read_rules, shipped_names, shipped_text

    known = [(name, read_rules(name)) for name in ([name] if name else shipped_names())]
    if as_json:
        print(json.dumps([one.model_dump(mode="json", exclude_none=True) for _, one in known], indent=2))
    elif name:
        print(shipped_text(name), end="")
    else:
        for short, one in known:
            print_text(out, (short, "bold"), f"  {one.title}")


def regrade(
    results: Results,
    grade: RequiredGrade,
    output: RegradeOutput = None,
    panes: Panes = None,
    cut_plan: CutPlan = None,
    as_json: Json = False,
) -> None:
    """Grade stored results by another rule: what would the new customer's table have rejected?

    Reads what `pellucid inspect` wrote about images whose scale was known, and no image and no model. Verdicts stay
    those of the detector; grades are made anew. Prints a table, or the lines of --json; with -o, writes scores.csv,
    results.jsonl and defects.csv.

    ```
    pellucid regrade results --grade en1279
    ```
    """
    from pellucid._io.files import check_writable
    from pellucid.cli.inspect import graded_sentence, print_results
    from pellucid.regions.cut_plan import read_cut_plan
    from pellucid.regions.grading import Grading
    from pellucid.regions.rules import read_rules
    from pellucid.study.stored import read_results, result_text, write_results

    grading = Grading(read_rules(grade), panes, None if cut_plan is None else read_cut_plan(cut_plan))
    if output is not None:
        check_writable(output / "scores.csv")
    scored = [replace(one, inspection=grading.apply(one.inspection)) for one in read_results(results)]
    if output is not None:
        write_results(scored, output)
    if as_json:
        print(*map(result_text, scored), sep="\n")
    else:
        print_results(scored, output)
        print_line(out, graded_sentence(scored, grading))
