"""The arguments and options of grading; see :mod:`pellucid.cli._options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

GRADE_HELP = "Rule of `pellucid rules`, or a TOML file of your own, that grades what was found by sizes in mm"
Grade = Annotated[str | None, typer.Option(metavar="NAME|RULES.toml", help=f"{GRADE_HELP}; none by default.")]
RequiredGrade = Annotated[str, typer.Option("--grade", metavar="NAME|RULES.toml", help=f"{GRADE_HELP}.")]
Panes = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="COUNT",
        help="Panes of glass that the unit has, 1 or more, where the rule counts them; by default as many as the rule"
        " is written for.",
    ),
]
ScaleFile = Annotated[
    Path | None,
    typer.Option(
        "--scale-file",
        metavar="SCALE.json|toml",
        help="Scale with what corrects lens, perspective and seams of cameras, as `pellucid calibrate -o` writes it, in"
        " place of --mm-per-px; by default one scale holds everywhere.",
    ),
]
ScaleOutput = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="SCALE.json",
        help="File for the scale with what corrects lens and perspective, for --scale-file; nothing is written by"
        " default.",
    ),
]
CutPlan = Annotated[
    Path | None,
    typer.Option(
        "--cut-plan",
        metavar="PLAN.toml|json",
        help="Panes that the sheet is cut into, rectangles or polygons in mm, each graded by itself with --grade; by"
        " default the image is one pane from border to border.",
    ),
]
Results = Annotated[
    Path,
    typer.Argument(
        metavar="RESULTS", help="Folder that `pellucid inspect -o` wrote, or a file of what `inspect --json` printed."
    ),
]
RulesArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="One rule, whose TOML text is then printed; all rules, a line each, by default."
    ),
]
RegradeOutput = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help="Folder for scores.csv, results.jsonl and defects.csv; nothing is written by default.",
    ),
]
ChartImage = Annotated[
    Path,
    typer.Argument(
        metavar="CHART", help="Picture of a chessboard or of a grid of circles, with a bright rim around it."
    ),
]
SquareMillimetres = Annotated[
    float,
    typer.Option(
        metavar="MM",
        help="Side of a square of the chart, or distance of two circles' centres, in mm, above 0; measure it, printers"
        " scale.",
    ),
]
Chart = Annotated[Literal["chessboard", "circles"], typer.Option(help="What the chart is.")]
Pattern = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMNSxROWS",
        help="Inner corners of the chessboard, or circles, along both sides, each 3 or more; needed for circles, by"
        " default all corners that are found.",
    ),
]
