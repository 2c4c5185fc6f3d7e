"""The options that place a limit; see :mod:`pellucid.cli._options`."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.records import limits

FALSE_REJECT_HELP = "Share of good parts that may be rejected, above 0 and below 1; the limit is placed by it"
FalseReject = Annotated[float, typer.Option(metavar="SHARE", help=f"{FALSE_REJECT_HELP}.")]
ComparedFalseReject = Annotated[
    float | None, typer.Option(metavar="SHARE", help=f"{FALSE_REJECT_HELP}; 0.05 by default.")
]
CONFIDENCE_HELP = (
    "Share of models made in this way that keep the share of --false-reject, above 0 and below 1, as in 0.95: 59 good"
    " parts promise 5 %, 149 promise 2 %; by default it is kept on average over such models"
)
Confidence = Annotated[float | None, typer.Option(metavar="SHARE", help=f"{CONFIDENCE_HELP}.")]
FOLDS_HELP = (
    "Learn from all good images and calibrate on all, each scored by one of so many models that have not seen it, at as"
    " many times the training; by default a fifth is held out where that is enough. PatchCore, PaDiM and DFM do so by"
    " themselves, in one fit"
)
Folds = Annotated[int | None, typer.Option(min=2, metavar="K", help=f"{FOLDS_HELP}.")]
LIMIT_METHOD_HELP = (
    "How the limit is placed: conformal by good images alone, so that the promised share holds for new ones, or, of few"
    " images, by a tail fitted to their scores, so that it is expected to; gap higher, at the least expected cost,"
    " where labelled training defects score apart from good images; f1 by these defects as well, which is optimistic"
)
LimitMethod = Annotated[limits.LimitMethod, typer.Option(help=f"{LIMIT_METHOD_HELP}.")]
ComparedLimitMethod = Annotated[
    limits.LimitMethod | None, typer.Option(help=f"{LIMIT_METHOD_HELP}; conformal by default.")
]
CostEscape = Annotated[
    float | None,
    typer.Option(
        metavar="COST",
        help="What a defective part that is passed costs, above 0, in any unit; it places the limit of least cost; 100"
        " by default.",
    ),
]
CostReject = Annotated[
    float | None,
    typer.Option(
        metavar="COST", help="What a good part that is rejected costs, above 0, in the same unit; 1 by default."
    ),
]
DefectRate = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Share of defective parts on the line, between 0 and 1; 0.01 by default."),
]
