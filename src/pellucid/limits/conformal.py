"""Score to decision: limits from normal images that were not fitted on.

Split-conformal prediction (Vovk et al., "Algorithmic Learning in a Random World", 2005; Bates et al., "Testing for
outliers with conformal p-values", Annals of Statistics 2023). For exchangeable normals the probability of a false
reject is at most the stated rate, whatever the detector.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError
from pellucid.limits.tail import needs_tail, tail_limit
from pellucid.records.limits import Limit

ConformalMethod = Literal["conformal", "leave-one-out", "cross-conformal"]


def conformal_limit(
    scores: Sequence[float] | NDArray[np.floating],
    false_reject: float,
    weights: Sequence[float] = (),
    confidence: float | None = None,
) -> float:
    """Return the limit t = s_(k), k = ceil((n + 1)(1 - rate)): the k-th smallest of n normal scores; reject s > t.

    Scores of one group (frames of a part, tiles of a photo) are no independent witnesses. With weights 1 / (size of the
    group), every one of K groups has one voice: t is the lowest score that groups of weight (K + 1)(1 - rate) do not
    exceed. An image of a group that is exchangeable with these, as the next part's, is then rejected with at most the
    rate (Lee, Barber, Willett, "Distribution-free inference with hierarchical data", arXiv 2306.06342, theorem 1; see
    Dunn, Wasserman, Ramdas, "Distribution-free prediction sets for two-layer hierarchical models", JASA 2022). It needs
    as many groups as the limit without groups needs images.

    Args:
        scores: (n,) of normal images that were not fitted on.
        false_reject: promised rate, in (0, 1).
        weights: of each score, 1 / (size of its group); nothing where every image is a group of its own.
        confidence: in (0, 1): k is the lowest rank for which the true rate of this one limit, which is distributed as
            Beta(n + 1 - k, k), is at most the stated one with this probability (Vovk, "Conditional validity of
            inductive conformal predictors", ACML 2012); None promises it on average.

    Raises:
        DataError: there are too few scores, or groups of them, for any to be high enough to keep the promise.
    """
    values = np.asarray(scores, np.float64)
    order = np.argsort(values, kind="stable")
    voices = np.cumsum(np.asarray(weights)[order]) if len(weights) else np.arange(1.0, len(values) + 1)
    groups = round(float(voices[-1])) if len(values) else 0
    rank = (groups + 1) * (1 - false_reject) if confidence is None else _sure_rank(groups, false_reject, confidence)
    k = int(np.searchsorted(voices, rank - 1e-9))  # whatever the rounding of the product
    if k >= len(values):
        sure = "" if confidence is None else f" with confidence {confidence:g}"
        raise DataError(f"{groups} normal scores cannot promise a false-reject rate of {false_reject:g}{sure}.")
    return float(values[order[k]])


def _sure_rank(count: int, false_reject: float, confidence: float) -> int:
    """Return the lowest k with P(Beta(n + 1 - k, k) > rate) <= 1 - confidence; n + 1 where there is none.

    That is the chance of at most n - k successes in n draws with the rate (Wilks, 1941).
    """
    from scipy.stats import binom

    chance = binom.cdf(np.arange(count), count, false_reject)  # of at most 0, 1, 2 ... above the limit
    return count + 1 - int((chance <= 1 - confidence).sum())


def realised_rate(count: int, false_reject: float) -> tuple[float, float]:
    """Return between which rates the true false-reject rate of a limit from ``count`` normals lies nine times in ten.

    It is distributed as Beta(n + 1 - k, k) over the draw of calibration images (Vovk, ACML 2012), around the promise.
    """
    from scipy.stats import beta

    k = _rank(count, false_reject)
    low, high = beta.ppf((0.05, 0.95), count + 1 - k, k)
    return float(low), float(high)


def _rank(count: int, false_reject: float) -> int:
    """Return k = ceil((n + 1)(1 - rate)), whatever the rounding of the product."""
    return math.ceil((count + 1) * (1 - false_reject) - 1e-9)


def calibrate(
    scores: Sequence[float],
    max_values: Sequence[float],
    false_reject: float,
    *,
    groups: Sequence[str | None] = (),
    method: ConformalMethod = "conformal",
    confidence: float | None = None,
) -> Limit:
    """Choose the limit on scores, and on map pixels, from held-out normal images.

    Where few scores lie beyond it, it is that of a fitted tail (:mod:`pellucid.limits.tail`), whose rate is expected,
    not promised; never with confidence. Where groups are too few for the rate, the limit is the highest score, and the
    rate is the lowest that they allow.

    Args:
        scores: (n,) image scores.
        max_values: (n,) highest map value of each image: taking the maximum first makes the pixel limit hold per image.
        false_reject: promised rate, in (0, 1).
        groups: (n,) of each image, None where it is a group of its own; nothing where all are.
        method: how the scores were had: ``conformal`` from images that were not fitted on; ``leave-one-out`` and
            ``cross-conformal`` from detectors without the image, or without its fold: the promise is approximate.
        confidence: that the rate is kept by this limit, in (0, 1); None: it is kept on average.

    Raises:
        DataError: there are too few images for the rate.
    """
    sizes = Counter(groups)
    weights = tuple(1.0 if group is None else 1 / sizes[group] for group in groups) if any(groups) else ()
    count = round(math.fsum(weights)) if weights else len(scores)
    rate = max(false_reject, 1 / (count + 1)) if weights and confidence is None else false_reject
    tails: list[float | None] = [None, None]
    if confidence is None and needs_tail(count, false_reject, held_out=method == "conformal"):
        voices = np.asarray(weights or np.ones(len(scores)), np.float64)
        tails = [tail_limit(np.asarray(values, np.float64), rate, voices) for values in (scores, max_values)]
    value, pixel = (
        conformal_limit(values, rate, weights, confidence) if tail is None else tail
        for values, tail in zip((scores, max_values), tails, strict=True)
    )
    order = np.argsort(scores, kind="stable")
    return Limit(
        value=value,
        pixel=pixel,
        false_reject_rate=rate,
        scores=tuple(float(scores[k]) for k in order),
        method=method if tails[0] is None else "tail",
        left_out=method == "leave-one-out",
        confidence=confidence,
        weights=tuple(weights[k] for k in order) if weights else (),
    )


def f1_optimal(limit: Limit, defect_scores: Sequence[float]) -> Limit:
    """Move a limit to the best F1 between its normal scores and labelled defects.

    It lies midway between neighbouring scores. It is optimistic: labels chose it.

    Args:
        limit: whose normal scores are taken.
        defect_scores: of labelled training defects.

    Raises:
        DataError: there are no labelled defects.
    """
    if not len(defect_scores):
        raise DataError("An F1-optimal limit needs labelled defects for selection (abnormal_train/ or split=train).")
    normal, defects = np.asarray(limit.scores), np.asarray(defect_scores, np.float64)
    values = np.unique(np.concatenate([normal, defects]))
    cuts = np.concatenate([[np.nextafter(values[0], -np.inf)], (values[:-1] + values[1:]) / 2])
    found = (defects > cuts[:, None]).sum(1)
    false = (normal > cuts[:, None]).sum(1)
    f1 = 2 * found / (found + false + len(defects))
    cut = float(cuts[int(np.argmax(f1))])
    realised = float((normal > cut).mean())
    return replace(limit, value=cut, false_reject_rate=realised, method="f1", confidence=None)
