"""What stored results have in common: defects that repeat."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid._io.names import printable
from pellucid.cli._console import out, print_line
from pellucid.cli._options import Json
from pellucid.cli._trends_options import FalseAlarmRate, Gap, Periods, Tolerance, TrendsResults
from pellucid.errors import ParameterError

if TYPE_CHECKING:
    from pellucid.records import Inspection
    from pellucid.regions.repeats import Repeat

MAX_SHOWN_DEFECTS = 12  # of one repeat


def trends(
    results: TrendsResults,
    gap_mm: Gap = None,
    tolerance_mm: Tolerance = 3.0,
    periods_mm: Periods = "50,3000",
    false_alarm_rate: FalseAlarmRate = 0.05,
    as_json: Json = False,
) -> None:
    """Find defects that repeat: at an even distance along travel, from a roller, or at one place across it.

    Reads what `pellucid inspect` wrote about images whose scale was known, and no image and no model; writes nothing.
    Each image is a sheet, and travel is down. Prints a table: the place across, a roller's circumference with its
    uncertainty and its diameter, how often it marked, and how rarely defects that lie anywhere look like that.

    ```
    pellucid trends results
    ```
    """
    from pellucid.regions.repeats import find_repeats
    from pellucid.regions.ribbons import SheetPlaces
    from pellucid.study.stored import read_results

    found = [one.inspection for place in results for one in read_results(place)]
    sheets, start = [], 0.0
    for one in found:
        sheets.append(SheetPlaces.of(one, None if gap_mm is None else start))
        start += sheets[-1].height_mm + (gap_mm or 0.0)
    repeats = find_repeats(
        sheets, tolerance_mm=tolerance_mm, periods_mm=_periods(periods_mm), false_alarm_rate=false_alarm_rate
    )
    defects = sum(len(one.defects) for one in found)
    if as_json:
        listed = [_as_dict(one, found, sheets) for one in repeats]
        said = {"sheets": len(found), "defects": defects, "false_alarm_rate": false_alarm_rate, "repeats": listed}
        print(json.dumps(said, indent=2))
        return
    _print_table(repeats, found)
    print_line(
        out,
        f"{len(found)} sheet{'s' * (len(found) != 1)}, {defects} defects, {len(repeats)} repeats; sheets whose defects"
        f" lie anywhere raise an alarm in at most {false_alarm_rate:.3g} of searches like this one",
    )


def _periods(text: str) -> tuple[float, float]:
    try:
        smallest, largest = map(float, text.split(","))
    except ValueError:
        raise ParameterError(f"--periods-mm {text} is not understood: write MIN,MAX, as 50,3000.") from None
    return smallest, largest


def _as_dict(one: Repeat, found: Sequence[Inspection], sheets: Sequence[Any]) -> dict[str, Any]:
    """A repeat as JSON, with the images and the places of its defects."""
    members = [
        {"path": printable(str(_shown(found[sheet].path))), "sheet": sheet, "defect": number}
        | dict(zip(("x_mm", "y_mm"), map(float, sheets[sheet].places[number]), strict=True))
        | {"kind": found[sheet].defects[number].kind}
        for sheet, number in one.members
    ]
    diameter = None if one.period_mm is None else one.period_mm / pi
    return asdict(one) | {"roller_diameter_mm": diameter, "members": members}


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _print_table(repeats: Sequence[Repeat], found: Sequence[Inspection]) -> None:
    """A row for every repeat, and below which defects it has."""
    from rich.table import Table

    if not repeats:
        return
    table = Table("number", "what", "x mm", "repeats every mm", "roller's diameter mm", "seen", "kinds", "by chance")
    for number, one in enumerate(repeats, 1):
        kinds = Counter(found[sheet].defects[defect].kind or "defect" for sheet, defect in one.members)
        shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        on = len({sheet for sheet, _ in one.members})
        seen = f"{len(one.members)} on {on} sheet{'s' * (on != 1)}"
        period = diameter = ""
        if one.period_mm is not None:
            period = f"{one.period_mm:.2f} ± {one.period_uncertainty_mm:.2g}"
            diameter = f"{one.period_mm / pi:.1f}"
            seen += f", of {one.expected} turns"
        what = "roller" if one.kind == "roller" else "place across"
        chance = f"{one.false_alarm_rate:.1g}"
        table.add_row(str(number), what, f"{one.x_mm:.1f}", period, diameter, seen, shown, chance)
    out.print(table)
    for number, one in enumerate(repeats, 1):
        named = [f"{found[sheet].path.name} {defect}" for sheet, defect in one.members[:MAX_SHOWN_DEFECTS]]
        more = len(one.members) - len(named)
        print_line(out, f"{number}: {', '.join(named)}{f' and {more} more' if more else ''} (image, number of defect)")
