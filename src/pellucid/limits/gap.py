"""A limit in the gap between good parts and labelled defects, where there is a gap.

The limit from good parts alone keeps its promise however near the defects are, and so it rejects good parts even where
nothing defective scores anywhere near. Where labelled defects score apart, the limit may go up to where the expected
cost is least. How many of either side lie beyond a limit is read from tails fitted to both: Gumbel's distribution of
extreme values (Gumbel, "Statistics of Extremes", 1958) by the method of moments, on logarithms of scores where all are
positive. Its tail falls off exponentially, slower than the normal distribution's, which errs towards staying.

The limit never goes below the promised one and never past a labelled defect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError
from pellucid.limits.costs import Costs
from pellucid.records.limits import Limit

TRAINING_DEFECTS = "labelled training defects"
PLANTED_FLAWS = "planted flaws"
MIN_DEFECTS = 10  # of fewer, a tail cannot be fitted
TRIED_LIMITS = 1000  # between the promised limit and the lowest defect
MAX_EXPONENT = 50.0  # beyond it a share is 1 in float64
Values = NDArray[np.float64]


@dataclass(frozen=True)
class ExpectedRates:
    """What a limit is expected to do, by the fitted tails.

    Attributes:
        false_reject: share of good parts that are rejected, in [0, 1].
        escape: share of defective parts that are passed, in [0, 1].
    """

    false_reject: float
    escape: float


@dataclass(frozen=True)
class LimitMove:
    """Where the limit could go, and what that would do.

    Attributes:
        limit: that the good parts alone gave.
        proposed: of least expected cost, at least as high; the same where the two sides overlap.
        before: expected at ``limit``.
        after: expected at ``proposed``.
        normals: how many good parts the tail was fitted to.
        defects: how many defects.
        overlapping: how many of these score no higher than the highest good part.
    """

    limit: float
    proposed: float
    before: ExpectedRates
    after: ExpectedRates
    normals: int
    defects: int
    overlapping: int

    @property
    def moves(self) -> bool:
        """Whether the proposed limit is another one."""
        return self.proposed > self.limit

    def sentence(self, on: str = TRAINING_DEFECTS, *, made: bool = False) -> str:
        """Say what the move does, or why there is none.

        Args:
            on: what the defects are: these, or ``planted flaws``, which may not move a limit.
            made: whether it was moved.
        """
        if self.overlapping:
            return (
                f"The limit stays at {self.limit:.5g}: {self.overlapping} of {self.defects} {on} score no higher than"
                " the highest good part, so there is no gap to move it into."
            )
        if not self.moves:
            return f"The limit stays at {self.limit:.5g}: by its expected cost, no higher one is better."
        planted = on == PLANTED_FLAWS
        moved = "has room" if planted else "was moved" if made else "could be moved (--limit gap)"
        before, after = self.before, self.after
        said = (
            f"The limit {moved} from {self.limit:.5g} to {self.proposed:.5g}: by tails fitted to {self.normals} good"
            f" parts and {self.defects} {on}, false rejects are expected to go from {before.false_reject:.2%} to"
            f" {after.false_reject:.2%} and escapes from {before.escape:.2%} to {after.escape:.2%}."
        )
        if planted:
            said += f" Planted flaws are no defects: label at least {MIN_DEFECTS} real ones to move it by."
        return said


def propose_move(limit: Limit, defect_scores: Sequence[float], costs: Costs) -> LimitMove | None:
    """Say where the limit would have the least expected cost; None of fewer than ``MIN_DEFECTS`` defects.

    It stays where one of them scores no higher than the highest good part. Those that were not judged are rejected
    wherever the limit is, and are left out.

    Args:
        limit: chosen from normal images; one that was moved already is taken back first.
        defect_scores: (n,) of labelled training defects or of planted flaws; infinite where they were not judged.
        costs: of an escape and of a false reject.
    """
    normal, defects = np.asarray(limit.scores, np.float64), np.asarray(defect_scores, np.float64)
    defects = defects[np.isfinite(defects)]
    if len(defects) < MIN_DEFECTS:
        return None
    now = limit.value if limit.moved_from is None else limit.moved_from
    overlapping = int((defects <= normal.max()).sum())
    tried = np.linspace(now, max(now, _below(defects.min())), TRIED_LIMITS) if not overlapping else np.array([now])
    false_reject, escape = _tails(normal, limit.weights, defects, tried)
    cost = costs.expected_cost(escape, false_reject)
    best = int(np.argmin(cost))  # the lowest that ties
    before, after = (ExpectedRates(float(false_reject[k]), float(escape[k])) for k in (0, best))
    return LimitMove(now, float(tried[best]), before, after, len(normal), len(defects), overlapping)


def move_into_gap(limit: Limit, defect_scores: Sequence[float], costs: Costs) -> Limit:
    """Move a limit to the least expected cost, where labelled defects score apart from good parts; else it stays.

    Args:
        limit: chosen from normal images.
        defect_scores: (n,) of labelled training defects, finite.
        costs: of an escape and of a false reject.

    Raises:
        DataError: there are fewer than ``MIN_DEFECTS`` defects.
    """
    check_enough_defects(len(defect_scores))
    move = propose_move(limit, defect_scores, costs)
    if move is None or not move.moves:
        return limit
    first = limit.moved_method if limit.method == "gap" else limit.method
    moved = replace(limit, value=move.proposed, method="gap", moved_from=move.limit, moved_method=first)
    return replace(moved, cost_ratio=costs.ratio)


def check_enough_defects(count: int) -> None:
    """Refuse a limit in the gap where there are too few labelled defects for it.

    Args:
        count: of labelled training defects.

    Raises:
        DataError: there are fewer than ``MIN_DEFECTS``.
    """
    if count < MIN_DEFECTS:
        raise DataError(
            f"A limit in the gap needs at least {MIN_DEFECTS} labelled training defects (abnormal_train/ or"
            f" split=train), and there are {count}: label more, or take the limit conformal."
        )


def _tails(normal: Values, weights: Sequence[float], defects: Values, limits: Values) -> tuple[Values, Values]:
    """Shares of good parts above, and of defects at or below each limit."""
    if min(normal.min(), defects.min(), limits.min()) > 0:
        normal, defects, limits = np.log(normal), np.log(defects), np.log(limits)
    voices = np.asarray(weights) if weights else np.ones(len(normal))
    return _beyond(normal, voices, limits), _beyond(-defects, np.ones(len(defects)), -limits)


def _beyond(values: Values, weights: Values, limits: Values) -> Values:
    """Share of a Gumbel distribution with the values' mean and spread that lies above each limit."""
    mean = np.average(values, weights=weights)
    variance = np.average((values - mean) ** 2, weights=weights) * len(values) / max(len(values) - 1, 1)
    scale = math.sqrt(6 * variance) / math.pi
    if scale == 0:  # all values are one
        return np.asarray(limits < mean, np.float64)
    location = mean - np.euler_gamma * scale
    height = np.maximum((limits - location) / scale, -MAX_EXPONENT)
    return np.asarray(-np.expm1(-np.exp(-height)))


def _below(value: float) -> float:
    return float(np.nextafter(value, -math.inf))
