"""What commands say, and where: results on standard output, remarks on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pellucid._io.names import printable
from pellucid.errors import DataError

if TYPE_CHECKING:
    from pellucid.acquisition.files import Listing
    from pellucid.acquisition.plan import Plan

LOG_WIDTH_CHARS = 150  # of what is printed to a file, which is not 80 columns wide

out = Console(width=None if sys.stdout.isatty() else LOG_WIDTH_CHARS)
err = Console(stderr=True)


def print_line(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print text, or (text, style), as one line, however long: it may name files, with anything in their names."""
    console.print(_one_line(parts), soft_wrap=True)


def print_text(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print text, or (text, style), wrapped between words."""
    console.print(_one_line(parts))


def _one_line(parts: tuple[str | tuple[str, str], ...]) -> Text:
    texts = (part if isinstance(part, tuple) else (part, "") for part in parts)
    return Text.assemble(*((printable(text), style) for text, style in texts))


def read_plan(
    data: Path,
    false_reject: float,
    seed: int,
    *,
    confidence: float | None = None,
    folds: int | None = None,
    leaves_out: bool | None = None,
) -> Plan:
    """Read, verify and split a data set, and say how; :func:`print_plan` says what ``leaves_out`` is."""
    from pellucid.acquisition.plan import Plan

    plan = Plan.from_data(data, false_reject=false_reject, confidence=confidence, folds=folds, seed=seed)
    print_plan(plan, leaves_out=leaves_out)
    return plan


def print_plan(plan: Plan, *, leaves_out: bool | None = None) -> None:
    """Say which images do what, and what is odd about the data.

    Args:
        plan: what to print.
        leaves_out: whether the detector can leave images out of what it has learned; None: there are several detectors.
    """
    split = plan.split
    calibration = f"{len(split.calibrate)} calibrate" if split.folds is None else f"calibrated by {split.folds} folds"
    fit = f"{len(split.fit)} normal images fit, {calibration}"
    if leaves_out:
        fit = f"{len(split.normals)} normal images fit, and each of them, left out, calibrates"
    elif leaves_out is None:
        fit += f" (all {len(split.normals)} do both where a detector can leave each out)"
    normal_tests = sum(sample.label == "normal" for sample in split.test)
    print_text(
        err,
        f"{plan.verified.samples.layout} layout: {fit},"
        f" {len(split.select)} defects select, {normal_tests} normal and {len(split.test) - normal_tests} defective"
        " images test",
    )
    print_notes(plan.notes)


def print_notes(notes: Iterable[str]) -> None:
    """Say what is odd about data, a line each."""
    for note in notes:
        print_line(err, ("note:", "yellow"), f" {note}")


def find_images(places: list[Path]) -> Listing:
    """Return the files among these places, and the images below the folders among them; say what is passed over.

    Raises:
        DataError: there are no images.
    """
    from pellucid.acquisition.files import Listing, list_images, note_passed_over

    listings = [list_images(place) if place.is_dir() else Listing((place,), ()) for place in places]
    images = tuple(path for listing in listings for path in listing.images)
    passed_over = tuple(path for listing in listings for path in listing.passed_over)
    notes = note_passed_over(passed_over)
    if not images:
        named = ", ".join(str(place) for place in places)
        raise DataError(" ".join((f"There are no images in {named}.", *notes)))
    for note in notes:
        print_line(err, ("note:", "yellow"), f" {note}")
    return Listing(images, passed_over)
