"""Chances of counts, and bounds on them: how rarely defects that lie anywhere line up by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def binomial_tails(hits: NDArray[np.int64], counts: int | NDArray[np.int64], share: float | Numbers) -> Numbers:
    """Compute the chances of so many hits or more.

    Args:
        hits: (n,).
        counts: of tries, at least as many as hits; one number or (n,).
        share: chance of a hit, in [0, 1]; one number or (n,).
    """
    from scipy.special import bdtrc  # imported when somebody looks: the slim runtime lacks SciPy

    return np.where(hits > 0, bdtrc(np.maximum(hits - 1, 0), np.maximum(counts, 1), share), 1.0)


def binomial_tail(hits: int, count: int, share: float) -> float:
    """Compute the chance of so many hits or more of ``count``."""
    return float(binomial_tails(np.array([hits]), count, share)[0])


def own_chances(count: int, share: float) -> Numbers:
    """Compute the chances that 0, 1, ... of ``count`` or more lie in a share of the sheet, (count + 1,)."""
    return binomial_tails(np.arange(count + 1), count, share)


def phase_chances(count: int, share: float) -> Numbers:
    """Bound the chances that, seen from the best of ``count``, 0, 1, ... others or more are in phase with it, (count,).

    Args:
        count: of defects, at least 2.
        share: of the sheet that is in phase with one of them.
    """
    bounds = np.minimum(1.0, count * binomial_tails(np.arange(count), count - 1, share))
    bounds[0] = 1.0
    bounds[1] = min(bounds[1], math.comb(count, 2) * share)  # a pair is one, from either end
    return np.minimum.accumulate(bounds)


def chance_of_sum(chances: Sequence[Numbers], least: int) -> float:
    """Compute the chance that independent counts add up to ``least`` or more.

    Args:
        chances: of each that it is 0, 1, ... or larger; bounds on them give a bound.
        least: of the sum.
    """
    parts = [-np.diff([*one, 0.0]) for one in chances]
    total = parts[0]
    for part in parts[1:]:
        total = np.convolve(total, part)
    return float(total[least:].sum())
