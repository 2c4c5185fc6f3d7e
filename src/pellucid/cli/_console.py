"""What commands say, and where: results on standard output, remarks on standard error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pellucid.errors import DataError

if TYPE_CHECKING:
    from pellucid.acquisition.plan import Plan

out = Console(width=None if sys.stdout.isatty() else 150)  # a log file is not 80 columns wide
err = Console(stderr=True)


def print_line(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print text, or (text, style), as one line, however long: it may name files, with brackets in their names."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def planned(data: Path, false_reject: float, seed: int) -> Plan:
    from pellucid.acquisition.plan import Plan

    plan = Plan.from_data(data, false_reject=false_reject, seed=seed)
    announce(plan)
    return plan


def announce(plan: Plan) -> None:
    """Say who does what, and what is odd about the data."""
    split = plan.split
    how = f"{len(split.calibrate)} calibrate" if split.folds is None else f"calibrated by {split.folds} folds"
    tested = sum(s.label == "normal" for s in split.test)
    err.print(
        f"{plan.verified.samples.layout} layout: {len(split.fit)} normal images fit, {how}, {len(split.select)} defects"
        f" select, {tested} normal and {len(split.test) - tested} defective images test",
        highlight=False,
    )
    for note in plan.notes:
        print_line(err, ("note:", "yellow"), f" {note}")


def image_paths(given: list[Path]) -> list[Path]:
    """The image files given, and those in the folders given."""
    from pellucid.acquisition.folders import image_files

    paths = [path for place in given for path in (image_files(place) if place.is_dir() else [place])]
    if not paths:
        raise DataError(f"There are no images in {', '.join(str(place) for place in given)}.")
    return paths
