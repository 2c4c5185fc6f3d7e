"""How sure a number is: Wilson intervals for rates, the bootstrap over images for areas and their differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
RESAMPLES_PER_BLOCK = 200  # computed at a time

Interval = tuple[float, float]


def wilson(count: int, total: int) -> Interval | None:
    """Return the 95 % interval of a rate, seen as ``count`` of ``total`` (Wilson, JASA 1927); None of nothing."""
    from scipy.stats import binomtest

    if total == 0:
        return None
    found = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def auroc_interval(auroc: float, positives: int, negatives: int) -> Interval:
    """Return the 95 % interval of an AUROC, one that does not collapse where nothing was ranked wrongly.

    Resampled images cannot show a mistake that was not made. This interval holds all values from which the one seen is
    at most 1.96 of *their* standard errors away; the standard error is Hanley and McNeil's with
    (positives + negatives) / 2 - 1 for both counts (Newcombe, Statistics in Medicine 2006, method 5).

    Args:
        auroc: the value seen, in [0, 1].
        positives: number of defective images, at least 1.
        negatives: number of normal images, at least 1.
    """
    from scipy.optimize import brentq

    z, extra = 1.959963984540054, (positives + negatives) / 2 - 1

    def lowest(seen: float) -> float:
        def too_far(value: float) -> float:
            spread = 1 + extra * ((1 - value) / (2 - value) + value / (1 + value))
            return (value - seen) ** 2 - z**2 * value * (1 - value) * spread / (positives * negatives)

        return float(brentq(too_far, 0, seen - 1e-9)) if seen > 1e-6 else 0.0

    return lowest(auroc), 1 - lowest(1 - auroc)  # a ranking and its reverse are scored alike


def resamples(
    labels: Sequence[bool], groups: Sequence[str | None] | None = None, *, count: int = RESAMPLES, seed: int = 0
) -> NDArray[np.uint16]:
    """Return how often each image is drawn in each of ``count`` resamples, (count, n).

    Defective and normal images are drawn apart, so that no resample lacks one of them, and images of one group
    together. Defective images are drawn first: two sets with the same defects and one seed share their draws.

    Args:
        labels: (n,), true where defective.
        groups: (n,), None where an image belongs to none.
        count: number of resamples.
        seed: of the draws, at least 0.
    """
    rng = np.random.default_rng(seed)
    chosen = np.asarray(labels, bool)
    names = [f"image {n}" if g is None else f"group {g}" for n, g in enumerate(groups or [None] * len(chosen))]
    drawn = np.zeros((count, len(chosen)), np.uint16)
    for label in (True, False):
        places = np.flatnonzero(chosen == label)
        if not len(places):
            continue
        _, unit = np.unique([names[k] for k in places], return_inverse=True)
        units = int(unit.max()) + 1
        draws = rng.integers(0, units, (count, units)) + np.arange(count)[:, None] * units
        counts = np.bincount(draws.ravel(), minlength=count * units).reshape(count, units)
        drawn[:, places] = counts[:, unit]
    return drawn


def areas(
    labels: Sequence[bool], scores: Sequence[float], drawn: NDArray[np.uint16]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AUROC and average precision of every resample, (count,) each; both classes have to be there."""
    positive, values = np.asarray(labels, bool), np.asarray(scores, np.float64)
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)  # of every run of equal scores
    auroc, precision = [], []
    for start in range(0, len(drawn), RESAMPLES_PER_BLOCK):
        weights = drawn[start : start + RESAMPLES_PER_BLOCK, order].astype(np.float64)
        found = np.cumsum(weights * positive[order], 1)[:, last]
        false = np.cumsum(weights * ~positive[order], 1)[:, last]
        step = np.diff(found, prepend=0)
        area = ((found - step / 2) * np.diff(false, prepend=0)).sum(1)
        auroc.append(area / (found[:, -1] * false[:, -1]))
        precision.append((step * found / np.maximum(found + false, 1)).sum(1) / found[:, -1])
    return np.concatenate(auroc), np.concatenate(precision)


def auroc_bounds(auroc: float, draws: NDArray[np.float64], labels: Sequence[bool]) -> Interval:
    """Return the 95 % interval of an AUROC: from resamples, which know of groups, and as wide as chance at least.

    Args:
        auroc: the value seen, in [0, 1].
        draws: of every resample, from :func:`areas`.
        labels: (n,), true where defective; both classes have to be there.
    """
    positives = sum(labels)
    low, high = auroc_interval(auroc, positives, len(labels) - positives)
    resampled = interval(draws)
    return min(resampled[0], low), max(resampled[1], high)


def interval(values: NDArray[np.float64]) -> Interval:
    """Return the ends of the middle 95 % of resampled values."""
    low, high = np.quantile(values, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)
