"""Are the normal test images like those that the limit was chosen from? If not, its promise does not hold for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import betabinom, cramervonmises_2samp

from pellucid.limits.promise import promise_of
from pellucid.records.limits import Limit
from pellucid.study.results import Shift

ALPHA = 0.05  # level of the tests: a smaller p-value is called a difference


def shift(limit: Limit, scores: Sequence[float]) -> Shift | None:
    """Compare normal test scores with the limit's own; None when there are fewer than two of either.

    The first p-value is that of Cramér and von Mises for two samples: any difference counts. The second asks for what
    costs money: exchangeable images above a split-conformal limit are beta-binomial in number (Vovk, ACML 2012), where
    a group of images counts as one.
    """
    held_out, tested = np.asarray(limit.scores), np.asarray(scores, np.float64)
    if min(len(held_out), len(tested)) < 2:
        return None
    p_value = float(cramervonmises_2samp(held_out, tested).pvalue)
    pairs = np.searchsorted(held_out, tested, "left") + np.searchsorted(held_out, tested, "right")
    win_rate = float(pairs.mean() / (2 * len(held_out)))
    above = int((tested > limit.value).sum())
    weights = np.asarray(limit.weights or np.ones(len(held_out)))
    allowed = float(weights[held_out > limit.value].sum())
    tail = float(betabinom.sf(above - 1, len(tested), allowed + 1, max(limit.groups - allowed, 1)))
    return Shift(p_value, win_rate, tail, _message(p_value, win_rate, tail, above, len(tested), limit))


def _message(p_value: float, win_rate: float, tail: float, above: int, count: int, limit: Limit) -> str:
    seen = f"{above} of {count} normal test images were rejected"
    rate = f"{limit.false_reject_rate:.1%} {'expected' if promise_of(limit) is None else 'promised'}"
    if p_value >= ALPHA and tail >= ALPHA:
        return (
            f"Normal test images score like the normal images that the limit was chosen from (p = {p_value:.2g});"
            f" {seen}, which does not contradict the {rate}."
        )
    how = "higher than" if win_rate > 0.5 else "lower than"
    said = (
        f"Normal test images are not like the normal images that the limit was chosen from: they score {how} those in"
        f" {max(win_rate, 1 - win_rate):.0%} of pairs (p = {p_value:.2g}), and {seen}."
    )
    if tail < ALPHA:
        return (
            f"{said} That is more than the {rate} allows by chance (p = {tail:.2g}):"
            " calibrate on images of the line as it is now."
        )
    return f"{said} The rate of {rate} does not carry over to them."
