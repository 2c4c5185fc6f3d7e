"""Rollers: defects that return at an even distance along travel, at one place across it.

Given where defects lie across, each lies anywhere along its sheet. Two that share a place across give a period for
every whole number of turns between them. Of the others at that place, so many lie where a turn ends; that so many or
more do by chance has a binomial tail. It is multiplied by the pairs and by the turns that were tried (a union bound,
which is always on the safe side). Sheets whose distance is not known have a phase each: for every other sheet the best
of its own defects is taken for a turn's end, which is bounded in the same way, and what sheets have is added up by
convolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.regions.chances import Numbers, binomial_tail, chance_of_sum, own_chances, phase_chances
from pellucid.regions.ribbons import Ribbon, Whole, in_travel

MAX_WORK = 2_000_000  # defects that are looked at for all pairs; of more pairs, some are drawn
MAX_PROMISING = 4  # periods of a pair whose chance is computed
LEAST_SHARE = 0.3  # of a turn's ends on a sheet that are not the pair's
PLAUSIBLE = 0.001  # chance of what lies at a slower roller's turns between; periods were chosen to have much of it
STRAY = 0.01  # chance of the turns without a defect that part a member from the others; below it is none
SMALLEST_COUNT = 3  # of a roller's defects
MAX_REFITS = 10  # until a roller's defects stay the same ones; seldom more than twice


class Roller(NamedTuple):
    """A roller as all of its defects have it.

    Attributes:
        x_mm: place across, the mean of its defects.
        members: its defects, sheet and number, in the order of travel.
        false_alarm_rate: of the search that found it, at most.
        period_mm: its circumference.
        period_uncertainty_mm: of the period, for 19 of 20.
        expected: how often it touched the sheets that are in step with it.
        explained: on each ribbon, what it explains, members or not.
    """

    x_mm: float
    members: tuple[tuple[int, int], ...]
    false_alarm_rate: float
    period_mm: float
    period_uncertainty_mm: float
    expected: int
    explained: list[NDArray[np.bool_]]


class _Candidate(NamedTuple):
    """What may be a roller: a pair of its defects, the turns between them, and what else lies where turns end."""

    ribbon: int
    x_mm: float
    anchor_mm: float
    period_mm: float
    hits: int  # beside the pair
    strip: int  # defects at that place across, without the pair
    false_alarm_rate: float


def find_roller(
    ribbons: Sequence[Ribbon], tolerance_mm: float, periods_mm: tuple[float, float], false_alarm_rate: float, tests: int
) -> Roller | None:
    """Find the roller that is least likely to be chance, if it is less likely than a rate.

    Args:
        ribbons: with their defects.
        tolerance_mm: how far from its place, across and along, a repeat may lie.
        periods_mm: the smallest and the largest period to look for.
        false_alarm_rate: how often defects that lie anywhere along travel may show one, for all tests together.
        tests: that share the rate, this one among them.
    """
    places = np.concatenate([one.places for one in ribbons])
    ribbon = np.repeat(np.arange(len(ribbons)), [len(one.places) for one in ribbons])
    order = np.argsort(places[:, 0], kind="stable")
    places, ribbon = places[order], ribbon[order]
    pairs = _pairs(places[:, 0], ribbon, tolerance_mm)
    found: list[_Candidate] = []
    for pair in pairs:
        top, bottom = sorted(places[pair, 1])
        turns = np.arange(math.ceil((bottom - top) / periods_mm[1]), math.floor((bottom - top) / periods_mm[0]) + 1)
        turns = turns[turns > 0]
        if not len(turns):
            continue
        own, middle = int(ribbon[pair[0]]), float(places[pair, 0].mean())
        begin, end = np.searchsorted(places[:, 0], (middle - tolerance_mm, middle + tolerance_mm))
        inside = np.setdiff1d(np.arange(begin, end), pair)
        strip = _Strip.of(places[inside, 1], ribbon[inside], own, (top, bottom))
        tried = tests * len(pairs) * len(turns)
        for period, hits, tail in _tails(
            ribbons, strip, (bottom - top) / turns, tolerance_mm, false_alarm_rate / tried
        ):
            chance = tail * tried
            if chance <= false_alarm_rate:
                found.append(_Candidate(own, middle, top, period, hits, len(inside), chance))
    if not found:
        return None
    likeliest = min(found, key=lambda one: one.false_alarm_rate)
    return _fit(ribbons, _slowest(likeliest, found, tolerance_mm), tolerance_mm)


def _slowest(best: _Candidate, found: Sequence[_Candidate], tolerance_mm: float) -> _Candidate:
    """The roller whose period is a multiple, if what lies at its turns between is no more than chance puts there."""
    share = 2 * tolerance_mm / best.period_mm
    for one in sorted(found, key=lambda one: (-one.period_mm, one.false_alarm_rate)):
        times = round(one.period_mm / best.period_mm)
        is_multiple = times > 1 and abs(one.period_mm - times * best.period_mm) <= tolerance_mm
        at_place = abs(one.x_mm - best.x_mm) <= 2 * tolerance_mm
        left = best.hits - one.hits
        if is_multiple and at_place and binomial_tail(left, max(best.strip - one.hits, left), share) > PLAUSIBLE:
            return one
    return best


def _pairs(x: Numbers, ribbon: Whole, tolerance_mm: float) -> Whole:
    """Pairs of one ribbon that share a place across, (n, 2); x rises. Chosen without a look along travel."""
    if not len(x):
        return np.empty((0, 2), np.int64)
    ends = np.searchsorted(x, x + tolerance_mm, "right")
    first = np.repeat(np.arange(len(x)), ends - np.arange(len(x)) - 1)
    second = np.concatenate([np.arange(k + 1, end) for k, end in enumerate(ends)])
    same = ribbon[first] == ribbon[second]
    pairs = np.stack([first[same], second[same]], axis=1)
    middle = x[pairs].mean(1)
    work = np.searchsorted(x, middle + tolerance_mm) - np.searchsorted(x, middle - tolerance_mm)  # defects to look at
    if work.sum() > MAX_WORK:  # draw: of crowded places fewer, where a roller has many pairs
        order = np.argsort(np.random.default_rng(0).exponential(size=len(work)) * work, kind="stable")
        pairs = pairs[order[np.cumsum(work[order]) <= MAX_WORK]]
    return pairs


@dataclass(frozen=True)
class _Strip:
    """Where along travel defects lie that share a place across with a pair.

    Attributes:
        pair: where the pair lies.
        ribbon: of the pair.
        own: the others of its ribbon.
        others: those of other ribbons that have two at least, ribbon by ribbon.
        ribbons: these ribbons.
        starts: where in ``others`` each begins.
    """

    pair: tuple[float, float]
    ribbon: int
    own: Numbers
    others: Numbers
    ribbons: Whole
    starts: Whole

    @classmethod
    def of(cls, along: Numbers, ribbon: Whole, own: int, pair: tuple[float, float]) -> _Strip:
        """Sort defects by ribbon."""
        order = np.argsort(ribbon, kind="stable")
        names, counts = np.unique(ribbon, return_counts=True)
        names = names[(counts > 1) & (names != own)]
        others = order[np.isin(ribbon[order], names)]
        return cls(pair, own, along[ribbon == own], along[others], names, np.searchsorted(ribbon[others], names))


def _tails(
    ribbons: Sequence[Ribbon], strip: _Strip, periods: Numbers, tolerance_mm: float, rarest: float
) -> Iterator[tuple[float, int, float]]:
    """Of the most promising periods: how many lie at ends of turns, and the chance that as many or more do.

    It is not computed where it is clearly above ``rarest``.
    """
    hits = _at_ends(strip.own, strip.pair[0], periods, tolerance_mm).sum(0)
    if len(strip.others):
        hits += (_in_phase(strip, periods, tolerance_mm) - 1).sum(1)
    usual = (len(strip.own) + len(strip.others)) * 2 * tolerance_mm / periods
    promising = np.argsort(-(hits - usual) / np.sqrt(usual + 0.1), kind="stable")[:MAX_PROMISING]
    shares = LEAST_SHARE * 2 * tolerance_mm / periods[promising]
    for number in promising[(hits[promising] > 0) & (shares ** hits[promising] <= rarest)]:
        period = float(periods[number])
        extents = ribbons[strip.ribbon].extents
        turns = ribbons[strip.ribbon].turns(strip.pair[0], period, tolerance_mm)
        for end in strip.pair:  # which are known
            turns -= (extents[:, 0] <= end) & (end <= extents[:, 1])
        share = min(1.0, float((turns * 2 * tolerance_mm / np.diff(extents)[:, 0]).max()))
        chances = [own_chances(len(strip.own), share)]
        for ribbon, count in zip(strip.ribbons, np.diff([*strip.starts, len(strip.others)]), strict=True):
            lengths = np.diff(ribbons[ribbon].extents)[:, 0]
            most = np.floor((lengths + 2 * tolerance_mm) / period) + (len(lengths) > 1)
            chances.append(phase_chances(int(count), min(1.0, float((most * 2 * tolerance_mm / lengths).max()))))
        yield period, int(hits[number]), chance_of_sum(chances, int(hits[number]))


def _at_ends(along: Numbers, anchor: float, periods: Numbers, tolerance_mm: float) -> Whole:
    """Which lie at the ends of turns from an anchor, but not at the anchor's own place, (n, periods), 0 or 1."""
    away = (along - anchor)[:, None] / periods
    ends = np.round(away)
    near: Whole = ((np.abs(away - ends) * periods <= tolerance_mm) & (ends != 0)).astype(np.int64)
    return near


def _in_phase(strip: _Strip, periods: Numbers, tolerance_mm: float) -> Whole:
    """The most of each other ribbon that are in phase with one of them, itself among them, (periods, ribbons).

    Defects at one place across lie further apart than the tolerance: see NEAR_TOLERANCES. So none is in phase with
    another because the two are one.
    """
    step = 3 * periods.max() + 2 * tolerance_mm  # keeps ribbons and periods apart on one axis
    ribbon = np.repeat(np.arange(len(strip.ribbons)), np.diff([*strip.starts, len(strip.others)]))
    shift = step * (np.arange(len(periods))[:, None] * len(strip.ribbons) + ribbon)
    phases = np.sort(strip.others % periods[:, None] + shift, axis=1)
    axis = phases.ravel()
    counts = np.zeros(axis.shape, np.int64)
    for turn in (-1, 0, 1):
        middle = (phases + turn * periods[:, None]).ravel()
        counts += np.searchsorted(axis, middle + tolerance_mm, "right") - np.searchsorted(axis, middle - tolerance_mm)
    most: Whole = np.maximum.reduceat(counts.reshape(phases.shape), strip.starts, axis=1)
    return most


# --- what a roller is -----------------------------------------------------------------------------------------------


def _fit(ribbons: Sequence[Ribbon], roller: _Candidate, tolerance_mm: float) -> Roller:
    """Measure a roller by all of its defects."""
    period, x = roller.period_mm, roller.x_mm
    anchors: dict[int, float] = {roller.ribbon: roller.anchor_mm}
    for number, one in enumerate(ribbons):
        along = one.places[np.abs(one.places[:, 0] - x) <= tolerance_mm, 1]
        anchor, count = _best_anchor(along, period, tolerance_mm)
        if number not in anchors and count > 1:
            anchors[number] = anchor
    members: dict[int, Whole] = {}
    uncertainty = math.inf
    for _ in range(MAX_REFITS):
        near = {k: _members(ribbons[k], x, anchor, period, tolerance_mm) for k, anchor in anchors.items()}
        near = {k: own for k, own in near.items() if len(own) > 1}
        if sum(map(len, near.values())) < SMALLEST_COUNT or _are_same(near, members):
            break
        members = near
        x = float(np.mean(np.concatenate([ribbons[k].places[own, 0] for k, own in members.items()])))
        period, anchors, uncertainty = _least_squares(ribbons, members, anchors, period)
    who = np.concatenate([ribbons[k].who[own] for k, own in members.items()])
    along = np.concatenate([ribbons[k].places[own, 1] for k, own in members.items()])
    expected = sum(int(ribbons[k].turns(anchors[k], period, 0.0).sum()) for k in members)
    explained = []
    for number, one in enumerate(ribbons):  # what lies a little beside a turn's end is no other roller's
        gone = np.abs(one.places[:, 0] - x) <= 2 * tolerance_mm
        anchor = (
            anchors[number] if number in members else _best_anchor(one.places[gone, 1], period, 2 * tolerance_mm)[0]
        )
        gone &= _from_ends(one.places[:, 1], anchor, period) <= 2 * tolerance_mm
        if number in members:
            gone[members[number]] = True
        explained.append(gone)
    return Roller(x, in_travel(who, along), roller.false_alarm_rate, period, uncertainty, expected, explained)


def _from_ends(along: Numbers, anchor: float, period: float) -> Numbers:
    """How far each lies from the nearest end of a turn."""
    away = along - anchor
    return np.asarray(np.abs(away - np.round(away / period) * period))


def _best_anchor(along: Numbers, period: float, tolerance_mm: float) -> tuple[float, int]:
    """The one that most are in phase with, and how many these are, itself among them; of none, not a number and 0."""
    counts = [int((_from_ends(along, anchor, period) <= tolerance_mm).sum()) for anchor in along]
    best = int(np.argmax(counts)) if counts else 0
    return (float(along[best]), counts[best]) if counts else (math.nan, 0)


def _are_same(some: dict[int, Whole], others: dict[int, Whole]) -> bool:
    return some.keys() == others.keys() and all(np.array_equal(own, others[k]) for k, own in some.items())


def _members(one: Ribbon, x: float, anchor: float, period: float, tolerance_mm: float) -> Whole:
    """Numbers of a ribbon's defects that lie at ends of turns, the nearest one to each."""
    turns = np.round((one.places[:, 1] - anchor) / period)
    off = _from_ends(one.places[:, 1], anchor, period)
    inside = np.flatnonzero((off <= tolerance_mm) & (np.abs(one.places[:, 0] - x) <= tolerance_mm))
    inside = inside[np.argsort(off[inside], kind="stable")]
    ends, nearest = np.unique(turns[inside], return_index=True)
    return inside[nearest][_without_strays(ends)]


def _without_strays(ends: Numbers) -> slice:
    """Leave out what lies so far before or behind the others that a roller which marks as it does has not marked it.

    Args:
        ends: whole numbers of turns of the members, which rise.
    """
    first, last = 0, len(ends)
    while last - first > SMALLEST_COUNT:
        for begin, end, gap in (
            (first + 1, last, ends[first + 1] - ends[first]),
            (first, last - 1, ends[last - 1] - ends[last - 2]),
        ):
            marks = (end - begin) / (ends[end - 1] - ends[begin] + 2)  # a turn, of the others
            if (1 - marks) ** (gap - 1) < STRAY:
                first, last = begin, end
                break
        else:
            break
    return slice(first, last)


def _least_squares(
    ribbons: Sequence[Ribbon], members: dict[int, Whole], anchors: dict[int, float], period: float
) -> tuple[float, dict[int, float], float]:
    """One period for all ribbons and a phase for each; how uncertain the period is, for 19 of 20."""
    from scipy.special import stdtrit

    along = {k: ribbons[k].places[own, 1] for k, own in members.items()}
    turns = {k: np.round((y - anchors[k]) / period) for k, y in along.items()}
    spread = sum(float(((t - t.mean()) ** 2).sum()) for t in turns.values())
    fitted = sum(float(((turns[k] - turns[k].mean()) * along[k]).sum()) for k in along) / spread
    phases = {k: float(along[k].mean() - fitted * turns[k].mean()) for k in along}
    residual = sum(float(((along[k] - phases[k] - fitted * turns[k]) ** 2).sum()) for k in along)
    freedom = sum(map(len, along.values())) - len(along) - 1
    uncertainty = float(stdtrit(freedom, 0.975)) * math.sqrt(residual / freedom / spread) if freedom > 0 else math.inf
    return fitted, phases, uncertainty
