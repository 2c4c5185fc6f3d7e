"""A limit from a fitted tail, where a rank of few scores would be one of their highest, and luck.

Of a third of the normal scores, the highest, the excess over the next lower one is taken for exponential: so does the
tail of Gumbel's distribution fall off, which that of most others comes near to (Pickands, "Statistical inference using
extreme order statistics", Annals of Statistics 1975). On logarithms of scores it is Weissman's quantile ("Estimation of
parameters and large quantiles based on the k largest observations", JASA 1978). The limit is expected to reject the
asked share of good images if the tail is like that; nothing is guaranteed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_BEYOND_HELD_OUT = 3  # images expected beyond the limit, of n + 1: below 60 at 5 % it is a matter of luck
MAX_BEYOND_APPROXIMATE = 10  # where a rank would promise nothing for certain either: below 200 at 5 %
UPPER_SHARE = 1 / 3  # of the scores: more would bend the tail, less would make it luck again
TIED_VOICES = 1.5  # images of one group may be equal
Values = NDArray[np.float64]


def needs_tail(groups: int, false_reject: float, *, held_out: bool) -> bool:
    """Tell whether a rank of so few scores is so much luck that a fitted tail is better.

    The rate of the limit at a rank is spread by its 1 / sqrt(images beyond it). Where too few are there for the rate to
    be had at all, a tail is not to be trusted either.

    Args:
        groups: how many independent groups of normal images there are.
        false_reject: asked, in (0, 1).
        held_out: the images were not fitted on, so that a rank has a guarantee, which is not given up so soon.
    """
    beyond = (groups + 1) * false_reject
    return 1 - 1e-9 <= beyond <= (MAX_BEYOND_HELD_OUT if held_out else MAX_BEYOND_APPROXIMATE) + 1e-9


def tail_limit(scores: Values, false_reject: float, weights: Values) -> float | None:
    """Return the limit u + c H, with H the mean excess of the k highest of n scores over the next one, u.

    Of exponential excesses the true rate is T exp(-c G / k), T ~ Beta(k + 1, n - k) and G ~ Gamma(k) independent
    (Renyi, "On the theory of order statistics", 1953): its mean is the asked rate for
    c = k (((k + 1) / ((n + 1) rate))^(1/k) - 1), exactly, for every n. Logarithms are taken where the scores are
    positive, as of distances; else the scores themselves, as of likelihoods.

    Args:
        scores: (n,) of normal images.
        false_reject: share of good images that may be rejected, in (0, 1 / 3).
        weights: (n,) of each score, 1 / (size of its group): every group has one voice in n, k and H.

    Returns:
        The limit; None where none can be fitted: scores are tied at u, as those that do not count are, or are too few,
        or the rate is so high that the limit would lie below u.
    """
    order = np.argsort(scores, kind="stable")
    values, weights = np.asarray(scores, np.float64)[order], weights[order]
    positive = bool(values[0] > 0)
    if positive:
        values = np.log(values)
    groups = float(weights.sum())
    upper = int(np.searchsorted(np.cumsum(weights[::-1]), UPPER_SHARE * groups + 0.5))
    level = values[max(len(values) - upper - 1, 0)]
    above, voices = values[values > level] - level, weights[values > level]
    multiple = _multiple(groups, float(voices.sum()), false_reject) if len(above) > 1 else 0.0
    if multiple <= 0 or weights[values == level].sum() > TIED_VOICES:
        return None
    limit = float(level + multiple * np.average(above, weights=voices))
    return float(np.exp(limit)) if positive else limit


def _multiple(groups: float, upper: float, false_reject: float) -> float:
    """How many mean excesses the limit lies above the level."""
    return float(upper * (((upper + 1) / ((groups + 1) * false_reject)) ** (1 / upper) - 1))
