"""Defects in mm and a rule to a grade, with the clauses that decided and the defects that broke them.

Measures are uncertain, a scratch may lie in two zones, and what a flaw is made of a camera does not say. So every
clause is read twice: with the defects that it surely takes, at the least they can be, and with all that it may take, at
the most. What the first reading breaks is rejected, what only the second one breaks a person has to look at, and ``ok``
is what neither breaks. This is sound because a clause that some defects break is broken by more, and by larger ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pellucid.errors import DataError, ParameterError
from pellucid.records import Defect, Inspection
from pellucid.records.grades import BrokenClause, Grade, Sheet
from pellucid.regions.rules import AreaClass, Clause, Rules, Size
from pellucid.regions.spacing import most_in_circle, nearest_gaps

Box = tuple[float, float, float, float]  # left, top, right and bottom in mm


class Extent(NamedTuple):
    """What a size of a defect is: at least, as measured (None: it was not), at most; mm."""

    least: float
    measured: float | None
    most: float


class Graded(NamedTuple):
    """A defect as a rule sees it.

    Attributes:
        number: of the defect, from 0.
        kinds: what the rule may call it.
        centre: x and y, mm.
        box: of its pixels.
        zone: that its centre lies in; empty where the rule knows no zones.
        reached: zones that its box reaches.
        sizes: by what the rule measures.
    """

    number: int
    kinds: frozenset[str]
    centre: tuple[float, float]
    box: Box
    zone: str
    reached: frozenset[str]
    sizes: dict[Size, Extent]


@dataclass(frozen=True)
class Grading:
    """A rule, and what it is applied to.

    Attributes:
        rules: to grade by.
        panes: of glass that a unit has, laminated ones included; None: as many as the rule is written for.

    Raises:
        ParameterError: the rule does not count panes, or there is not one at least.
    """

    rules: Rules
    panes: int | None = None

    def __post_init__(self) -> None:
        if self.panes is not None and self.rules.panes is None:
            raise ParameterError(f"The rule '{self.rules.name}' says nothing about several panes: leave them out.")
        if self.panes is not None and self.panes < 1:
            raise ParameterError(f"panes={self.panes} is not allowed: a unit has 1 pane or more.")
        if self.panes is None and self.rules.panes is not None:
            object.__setattr__(self, "panes", self.rules.panes.base)

    def __str__(self) -> str:
        return self.rules.name + ("" if self.panes is None else f" for {self.panes} panes")

    def apply(self, found: Inspection) -> Inspection:
        """Return an inspection with its grade; the detector's verdict stays what it was.

        Raises:
            DataError: the scale of the image is not known.
        """
        if found.sheet is None:
            raise DataError(
                f"'{found.path}' cannot be graded without a scale: inspect it with --mm-per-px, as pellucid calibrate"
                " measures it."
            )
        if found.verdict == "reject" and not found.defects:
            why = found.reason or "The detector rejected it without a defect that could be graded."
            unjudged = BrokenClause("not judged", why, "", "look")
            return replace(found, grade=Grade(self.rules.name, "look", (unjudged,), self.panes))
        return replace(found, grade=grade(found.defects, found.sheet, self))


def grade(defects: Sequence[Defect], sheet: Sheet, grading: Grading) -> Grade:
    """Grade a pane by its defects.

    Args:
        defects: with measures in mm.
        sheet: the pane.
        grading: the rule.
    """
    rules = grading.rules
    measured = [_graded(k, one, sheet, rules) for k, one in enumerate(defects) if one.uncertainty_mm is not None]
    broken = [found for clause in rules.clauses for found in _judge(clause, measured, sheet, grading)]
    uncovered = tuple(one.number for one in measured if not _is_covered(one, rules))
    if uncovered:
        broken.append(BrokenClause("not covered", "No clause speaks of such defects.", "", "look", defects=uncovered))
    unmeasured = tuple(k for k, one in enumerate(defects) if one.uncertainty_mm is None)
    if unmeasured:
        broken.append(BrokenClause("not measured", "These defects have no measures.", "", "look", defects=unmeasured))
    broken.sort(key=lambda one: one.verdict == "look")
    return Grade(rules.name, broken[0].verdict if broken else "ok", tuple(broken), grading.panes)


def _graded(number: int, defect: Defect, sheet: Sheet, rules: Rules) -> Graded:
    across, down = sheet.mm_per_px
    x, y, width, height = defect.box
    centre = (defect.centroid[0] + 0.5) * across, (defect.centroid[1] + 0.5) * down  # a pixel's own lies in its middle
    box = (x * across, y * down, (x + width) * across, (y + height) * down)
    zones = list(_zones(centre, box, sheet, rules, defect.uncertainty_mm or 0.0))
    return Graded(
        number,
        rules.kinds_of(defect.kind),
        centre,
        box,
        next((name for name, holds, _ in zones if holds), ""),
        frozenset(name for name, _, reaches in zones if reaches),
        _sizes(defect, sheet),
    )


def _sizes(defect: Defect, sheet: Sheet) -> dict[Size, Extent]:
    """What a defect may be taken to measure; what the map outlines is at most as large as that."""
    uncertainty = defect.uncertainty_mm or 0.0
    feret = (defect.feret_max_mm, defect.feret_min_mm)
    known: dict[Size, float | None] = {
        "diameter": defect.diameter_mm,
        "mean": None if feret[0] is None or feret[1] is None else (feret[0] + feret[1]) / 2,
        "feret": feret[0],
        "length": defect.length_mm,
        "width": defect.width_mm,
        "halo": None,
    }
    if defect.diameter_mm is not None and defect.halo_px is not None:
        grown = math.sqrt(1 + defect.halo_px / defect.area_px)
        known["halo"] = grown * defect.diameter_mm if defect.halo_px else 0.0
    sizes: dict[Size, Extent] = {}
    for name, size in known.items():
        if size is None:
            sizes[name] = Extent(0.0, None, math.inf)
        else:
            least = 0.0 if sheet.outline == "map" else max(0.0, size - uncertainty)
            sizes[name] = Extent(least, size, size + uncertainty)
    return sizes


def zone_borders(rules: Rules, sheet: Sheet) -> Iterator[tuple[str, Box, Box | None]]:
    """Return the zones of a rule on a pane: name, outer border, inner border; the last one has no inner border."""
    outer = (0.0, 0.0, sheet.width_mm, sheet.height_mm)
    for zone in rules.zones:
        if zone.width_percent is not None:
            inset = (sheet.width_mm * zone.width_percent / 100, sheet.height_mm * zone.width_percent / 100)
        else:
            inset = (zone.width_mm or 0.0,) * 2
        inner = (outer[0] + inset[0], outer[1] + inset[1], outer[2] - inset[0], outer[3] - inset[1])
        yield zone.name, outer, None if zone is rules.zones[-1] else inner
        outer = inner


def _zones(
    centre: tuple[float, float], box: Box, sheet: Sheet, rules: Rules, uncertainty: float
) -> Iterator[tuple[str, bool, bool]]:
    """Every zone with whether it holds the centre and whether the box, as far as it is known, reaches it."""
    held = False
    grown = (box[0] - uncertainty, box[1] - uncertainty, box[2] + uncertainty, box[3] + uncertainty)
    for name, outer, inner in zone_borders(rules, sheet):
        holds = not held and (inner is None or not _lies_in((*centre, *centre), inner))
        meets = grown[0] <= outer[2] and grown[2] >= outer[0] and grown[1] <= outer[3] and grown[3] >= outer[1]
        within = inner is not None and (
            inner[0] < grown[0] and inner[1] < grown[1] and grown[2] < inner[2] and grown[3] < inner[3]
        )
        yield name, holds, holds or (meets and not within)
        held |= holds


def _lies_in(box: Box, other: Box) -> bool:
    """Whether a box lies in another one, whose rim is part of it."""
    return other[0] <= box[0] and other[1] <= box[1] and box[2] <= other[2] and box[3] <= other[3]


def _is_covered(one: Graded, rules: Rules) -> bool:
    """Whether for all that a defect may be called, some clause takes it, by its centre and as it was measured."""

    def takes(clause: Clause, kind: str) -> bool:
        measured = one.sizes[clause.size or rules.size].measured
        return (
            (not clause.kinds or kind in clause.kinds)
            and (not clause.zones or one.zone in clause.zones)
            and (clause.above_mm is None or (measured is not None and measured > clause.above_mm))
            and (clause.up_to_mm is None or (measured is not None and measured <= clause.up_to_mm))
        )

    return all(any(takes(clause, kind) for clause in rules.clauses) for kind in one.kinds or ("",))


def _judge(clause: Clause, measured: Sequence[Graded], sheet: Sheet, grading: Grading) -> Iterator[BrokenClause]:
    """The clause, if it is broken: at the least that its defects can be, or else at the most."""
    if clause.unlimited:
        return
    rules = grading.rules
    size = clause.size or rules.size
    for sure in (True, False):
        members = [one for one in measured if _takes(clause, one, size, sure)]
        if not members:
            continue
        found, numbers = _found(clause, members, size, sure)
        limit = _limit(clause, sheet, grading, sure)
        if found < limit if clause.min_separation_mm is not None else found > limit:
            yield BrokenClause(
                clause.name,
                clause.text,
                rules.sources[clause.source],
                clause.verdict if sure else "look",
                found if math.isfinite(found) else None,
                limit,
                "defects" if clause.max_count is not None else "mm",
                numbers,
            )
            return


def _takes(clause: Clause, one: Graded, size: Size, sure: bool) -> bool:
    """Whether a clause takes a defect, surely or at all."""
    kinds, zones = frozenset(clause.kinds), frozenset(clause.zones)
    least, _, most = one.sizes[size]
    above = -1.0 if clause.above_mm is None else clause.above_mm
    up_to = math.inf if clause.up_to_mm is None else clause.up_to_mm
    if sure:
        named = not kinds or (bool(one.kinds) and one.kinds <= kinds)
        return named and (not zones or one.zone in zones) and least > above and most <= up_to
    return (
        (not kinds or bool(one.kinds & kinds))
        and (not zones or bool(one.reached & zones))
        and most > above
        and (least <= up_to)
    )


def _found(clause: Clause, members: Sequence[Graded], size: Size, sure: bool) -> tuple[float, tuple[int, ...]]:
    """How many, how long or how near defects are that a clause takes, and which of them make it so."""
    numbers = tuple(one.number for one in members)
    centres = np.array([one.centre for one in members])
    if clause.within_circle_mm is not None:
        densest = most_in_circle(centres, clause.within_circle_mm)
        return len(densest), tuple(numbers[k] for k in densest)
    if clause.max_count is not None:
        return len(members), numbers
    if clause.max_sum_mm is not None:
        return math.fsum(one.sizes[size].least if sure else one.sizes[size].most for one in members), numbers
    boxes = np.tile(centres, 2) if sure else np.array([one.box for one in members])
    gaps = nearest_gaps(boxes)
    near = np.flatnonzero(gaps < (clause.min_separation_mm or 0.0))
    return float(gaps.min()), tuple(numbers[k] for k in near)


def _limit(clause: Clause, sheet: Sheet, grading: Grading, sure: bool) -> float:
    """What a clause allows: for a reject, the most that its source can mean; for an ok, the least."""
    if clause.min_separation_mm is not None:
        return clause.min_separation_mm
    classes: tuple[AreaClass, ...] = clause.max_count or clause.max_sum_mm or ()
    ours = next(one for one in classes if one.up_to_m2 is None or sheet.area_m2 <= one.up_to_m2)
    least, most = ours.on(sheet)
    limit = most if sure else least
    if clause.max_count is not None and grading.rules.panes is not None and grading.panes is not None:
        limit = grading.rules.panes.scaled(limit, grading.panes)
    return limit
