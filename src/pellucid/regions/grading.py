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
from pellucid.records.grades import BrokenClause, Grade, GradeVerdict, PaneGrade, Sheet
from pellucid.regions.cut_plan import Box, CutPlan, Pane, whole_pane
from pellucid.regions.rules import AreaClass, Clause, Rules, Size
from pellucid.regions.spacing import most_in_circle, nearest_gaps

WORST: tuple[GradeVerdict, ...] = ("reject", "look", "ok")


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
        is_inside: whether its centre lies on the pane.
        zone: that its centre lies in; empty where the rule knows no zones.
        reached: zones that its box reaches.
        sizes: by what the rule measures.
    """

    number: int
    kinds: frozenset[str]
    centre: tuple[float, float]
    box: Box
    is_inside: bool
    zone: str
    reached: frozenset[str]
    sizes: dict[Size, Extent]


@dataclass(frozen=True)
class Grading:
    """A rule, and what it is applied to.

    Attributes:
        rules: to grade by.
        panes: of glass that a unit has, laminated ones included; None: as many as the rule is written for.
        plan: what the sheet is cut into; None: the image is one pane.

    Raises:
        ParameterError: the rule does not count panes, there is not one at least, or the plan does not go with the rule.
    """

    rules: Rules
    panes: int | None = None
    plan: CutPlan | None = None

    def __post_init__(self) -> None:
        if self.panes is not None and self.rules.panes is None:
            raise ParameterError(f"The rule '{self.rules.name}' says nothing about several panes: leave them out.")
        if self.panes is not None and self.panes < 1:
            raise ParameterError(f"panes={self.panes} is not allowed: a unit has 1 pane or more.")
        if self.panes is None and self.rules.panes is not None:
            object.__setattr__(self, "panes", self.rules.panes.base)
        if self.plan is not None:
            self.plan.check_rules(self.rules)

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
            panes = () if self.plan is None else tuple(_told(pane, "look", ()) for pane in self.plan.placed())
            return replace(found, grade=Grade(self.rules.name, "look", (unjudged,), self.panes, panes))
        return replace(found, grade=grade(found.defects, found.sheet, self))


def grade(defects: Sequence[Defect], sheet: Sheet, grading: Grading) -> Grade:
    """Grade a pane, or all panes of a sheet, by their defects.

    Args:
        defects: with measures in mm.
        sheet: the image.
        grading: the rule, and the panes.
    """
    if grading.plan is None:
        broken = _grade_pane(defects, whole_pane(sheet), sheet, grading)
        return Grade(grading.rules.name, broken[0].verdict if broken else "ok", tuple(broken), grading.panes)
    places = [_place(one, sheet) for one in defects]
    all_broken: list[BrokenClause] = []
    told = []
    panes = grading.plan.placed()
    for pane in panes:
        broken = [replace(one, pane=pane.name) for one in _grade_pane(defects, pane, sheet, grading)]
        inside = tuple(k for k, (centre, _) in enumerate(places) if pane.holds(centre))
        told.append(_told(pane, broken[0].verdict if broken else "ok", inside))
        all_broken += broken
    all_broken.sort(key=lambda one: one.verdict == "look")
    worst = next(verdict for verdict in WORST if any(one.verdict == verdict for one in told))
    away = tuple(k for k, (_, box) in enumerate(places) if not any(pane.reaches(box) for pane in panes))
    return Grade(grading.rules.name, worst, tuple(all_broken), grading.panes, tuple(told), away)


def _told(pane: Pane, verdict: GradeVerdict, inside: tuple[int, ...]) -> PaneGrade:
    return PaneGrade(pane.name, verdict, inside, pane.corners, pane.area_m2)


def _grade_pane(defects: Sequence[Defect], pane: Pane, sheet: Sheet, grading: Grading) -> list[BrokenClause]:
    """Clauses that a pane breaks or may break, those that reject first."""
    rules = grading.rules
    ours = [(k, one) for k, one in enumerate(defects) if not pane.name or pane.reaches(_place(one, sheet)[1])]
    measured = [_graded(k, one, pane, sheet, rules) for k, one in ours if one.uncertainty_mm is not None]
    broken = [found for clause in rules.clauses for found in _judge(clause, measured, pane, grading)]
    uncovered = tuple(one.number for one in measured if one.is_inside and not _is_covered(one, rules))
    if uncovered:
        broken.append(BrokenClause("not covered", "No clause speaks of such defects.", "", "look", defects=uncovered))
    unmeasured = tuple(k for k, one in ours if one.uncertainty_mm is None)
    if unmeasured:
        broken.append(BrokenClause("not measured", "These defects have no measures.", "", "look", defects=unmeasured))
    tolerance = max(sheet.mm_per_px)
    seen = (-tolerance, -tolerance, sheet.width_mm + tolerance, sheet.height_mm + tolerance)
    if pane.name and not whole_pane(sheet).encloses(pane.box) and not Pane.of_box("", seen).encloses(pane.box):
        broken.append(BrokenClause("not seen", "A part of this pane lies beyond the image.", "", "look"))
    return sorted(broken, key=lambda one: one.verdict == "look")


def _place(defect: Defect, sheet: Sheet) -> tuple[tuple[float, float], Box]:
    """The centre of a defect, and the box of its pixels, mm."""
    if defect.centre_mm is not None and defect.box_mm is not None:
        return defect.centre_mm, defect.box_mm
    across, down = sheet.mm_per_px
    x, y, width, height = defect.box
    centre = (defect.centroid[0] + 0.5) * across, (defect.centroid[1] + 0.5) * down  # a pixel's own lies in its middle
    return centre, (x * across, y * down, (x + width) * across, (y + height) * down)


def _graded(number: int, defect: Defect, pane: Pane, sheet: Sheet, rules: Rules) -> Graded:
    """A defect of a pane; what of it lies beyond the pane's rim may be any part of it."""
    centre, box = _place(defect, sheet)
    is_whole = not pane.name
    zones = list(pane.zones(centre, box, rules, defect.uncertainty_mm or 0.0))
    is_inside = is_whole or pane.holds(centre)
    sizes = _sizes(defect, sheet)
    if not (is_whole or pane.encloses(box)):
        sizes = {name: extent._replace(least=0.0) for name, extent in sizes.items()}
    return Graded(
        number,
        rules.kinds_of(defect.kind),
        centre,
        box,
        is_inside,
        next((name for name, holds, _ in zones if holds), "") if is_inside else "",
        frozenset(name for name, _, reaches in zones if reaches),
        sizes,
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


def _judge(clause: Clause, measured: Sequence[Graded], pane: Pane, grading: Grading) -> Iterator[BrokenClause]:
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
        limit = _limit(clause, pane, grading, sure)
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
        return one.is_inside and named and (not zones or one.zone in zones) and least > above and most <= up_to
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


def _limit(clause: Clause, pane: Pane, grading: Grading, sure: bool) -> float:
    """What a clause allows: for a reject, the most that its source can mean; for an ok, the least."""
    if clause.min_separation_mm is not None:
        return clause.min_separation_mm
    classes: tuple[AreaClass, ...] = clause.max_count or clause.max_sum_mm or ()
    ours = next(one for one in classes if one.up_to_m2 is None or pane.area_m2 <= one.up_to_m2)
    least, most = ours.on(pane.area_m2, pane.perimeter_m)
    limit = most if sure else least
    if clause.max_count is not None and grading.rules.panes is not None and grading.panes is not None:
        limit = grading.rules.panes.scaled(limit, grading.panes)
    return limit
