"""A limit by false alarms on an area of good glass, for images that differ in size.

A good sheet raises an alarm at every region of its map above the limit. Regions above a high value t are far apart and
independent, so that they are taken for a Poisson process on the held-out good glass of area A, with some true rate L(t)
per unit of area. Where their number reaches k, A L follows a gamma distribution of shape k (the time of the k-th
arrival; Kingman, "Poisson Processes", 1993): the mean rate above that value is k / A, so k = floor(rate A) keeps a rate
on average, and the largest k with P(Gamma(k) <= rate A) >= confidence keeps it with confidence. It takes an area of
1 / rate, or log(1 / (1 - confidence)) / rate, for one region to be enough.

Regions of all values at once are the pairs of a merge tree (Edelsbrunner, Letscher, Zomorodian, "Topological
persistence and simplification", Discrete & Computational Geometry 2002): each is born at its peak and dies where it
meets a higher one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError, ParameterError
from pellucid.records.limits import AreaUnit, FalseAlarms, Limit

FEWEST_ASIDE = 0.5  # a rate by images that one good image is enough for: by area, only area counts
Values = NDArray[np.float64]


class Regions(NamedTuple):
    """Regions of a map: one is there above every threshold from ``died`` to below ``born``, both (n,)."""

    born: Values
    died: Values


def false_alarms_of(per_m2: float | None, per_mpx: float | None) -> FalseAlarms | None:
    """Return the rate by area that is asked for; None where nobody asks for one.

    Args:
        per_m2: false alarms per square metre of good glass.
        per_mpx: the same per million pixels of the images' own.

    Raises:
        ParameterError: it is given twice.
    """
    if per_m2 is not None and per_mpx is not None:
        raise ParameterError("Give false alarms per m2 or per megapixel, not both.")
    if per_m2 is not None:
        return FalseAlarms(per_m2)
    return None if per_mpx is None else FalseAlarms(per_mpx, "megapixel")


def check_false_alarms(asked: FalseAlarms | None, has_scale: bool, method: str) -> None:
    """Refuse a rate by area that cannot be kept.

    Args:
        asked: the rate; None: none is asked for.
        has_scale: whether the images' scale in mm is known.
        method: how else the limit is to be placed.

    Raises:
        ParameterError: it is not above 0, is by m2 without a scale, or labelled defects are to place the limit, too.
    """
    if asked is None:
        return
    if not 0 < asked.rate < math.inf:
        raise ParameterError(
            f"{asked.rate:g} false alarms per {asked.unit} are not allowed: give a rate above 0, as in 0.5."
        )
    if asked.unit == "m2" and not has_scale:
        raise ParameterError(
            "False alarms per m2 need the scale of the images: give --mm-per-px as well, or --false-alarms-per-mpx."
        )
    if method != "conformal":
        raise ParameterError(
            f"A limit by area comes from good glass alone: leave --limit {method} out, or the false alarms by area."
        )


def check_tiled(asked: FalseAlarms | None, are_tiled: bool) -> None:
    """Refuse a rate by area for a model that sees images whole.

    Raises:
        ParameterError: it does.
    """
    if asked is not None and not are_tiled:
        raise ParameterError(
            "False alarms by area are promised by tiled models, whose images may differ in size: give --tile 1024 as"
            " well, or --false-reject for images that are seen whole."
        )


def needed_area(asked: FalseAlarms, confidence: float | None = None) -> float:
    """Return how much held-out good glass promises a rate, in its unit of area.

    Args:
        asked: the rate.
        confidence: share of models that keep it, in (0, 1); None: they keep it on average.
    """
    return (1.0 if confidence is None else -math.log1p(-confidence)) / asked.rate


def unit_per_px(unit: AreaUnit, mm_per_px: float | tuple[float, float] | None) -> float:
    """Return the area of a pixel, in a unit of area.

    Args:
        unit: ``m2`` or ``megapixel``.
        mm_per_px: scale, along both axes or along x and along y.
    """
    if unit == "megapixel" or mm_per_px is None:
        return 1e-6
    across, down = mm_per_px if isinstance(mm_per_px, tuple) else (mm_per_px, mm_per_px)
    return across * down / 1e6


def regions_of(anomaly_map: NDArray[np.float32], counted: NDArray[np.bool_]) -> Regions:
    """Return the regions of a map above every threshold, pixels that touch by a corner included.

    Args:
        anomaly_map: (H, W).
        counted: (H, W), which pixels count.
    """
    values = np.where(counted, anomaly_map, np.float32(-np.inf))
    order = np.argsort(values, axis=None, kind="stable")
    rank = np.empty(values.size, np.intp)
    rank[order] = np.arange(values.size)
    grid = np.pad(rank.reshape(values.shape), 1, constant_values=-1)
    height, width = values.shape
    highest = np.max([grid[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    peak = order[highest.ravel()]  # of every pixel: its highest neighbour, then that one's, up to the peak
    while not np.array_equal(peak, higher := peak[peak]):
        peak = higher
    saddles = _saddles(values, peak.reshape(values.shape))
    return _merged(values.ravel(), np.unique(peak), *saddles)


def _saddles(values: NDArray[np.float32], peak: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Pairs of peaks (n, 2) whose slopes touch, and the highest value at which each do, the highest first."""
    right, left = slice(1, None), slice(None, -1)
    pairs, levels = [np.empty((0, 2), np.intp)], [np.empty(0, np.float32)]
    for one, other in (
        (np.s_[:, left], np.s_[:, right]),
        (np.s_[left, :], np.s_[right, :]),
        (np.s_[left, left], np.s_[right, right]),
        (np.s_[left, right], np.s_[right, left]),
    ):
        meet = peak[one] != peak[other]
        pairs.append(np.sort(np.stack([peak[one][meet], peak[other][meet]], 1), 1))
        levels.append(np.minimum(values[one][meet], values[other][meet]))
    pair, level = np.concatenate(pairs), np.concatenate(levels)
    order = np.argsort(-level, kind="stable")
    pair, level = pair[order], level[order]
    _, first = np.unique(pair[:, 0] * values.size + pair[:, 1], return_index=True)
    first.sort()
    return pair[first], level[first]


def _merged(
    values: NDArray[np.float32], peaks: NDArray[np.intp], pairs: NDArray[np.intp], levels: NDArray[np.float32]
) -> Regions:
    """Regions from their peaks, as pixels, and the saddles between them, the highest first."""
    into = {int(peak): int(peak) for peak in peaks}
    found = []
    for (one, other), level in zip(pairs.tolist(), levels.tolist(), strict=True):
        roots = []
        for peak in (one, other):
            while into[peak] != peak:
                into[peak] = peak = into[into[peak]]
            roots.append(peak)
        higher, lower = sorted(roots, key=lambda peak: values[peak], reverse=True)
        if higher != lower:
            into[lower] = higher
            found.append((float(values[lower]), level))
    found += [(float(values[peak]), -math.inf) for peak, root in into.items() if peak == root]
    born, died = np.array(found, np.float64).reshape(-1, 2).T
    lasting = born > died
    return Regions(born[lasting], died[lasting])


def place_by_area(
    regions: Sequence[Regions],
    areas: Sequence[float],
    weights: Sequence[float],
    asked: FalseAlarms,
    confidence: float | None = None,
) -> float:
    """Return the limit on maps: the lowest peak up to which no more regions than the rate allows lie above any value.

    Args:
        regions: of every held-out good image.
        areas: of each image, in the unit of the rate.
        weights: of each image, 1 / (size of its group): images of one group may show the same glass, and so are one
            voice in both area and regions.
        asked: the rate.
        confidence: share of models that keep it, in (0, 1); None: they keep it on average.

    Raises:
        DataError: there is too little good glass.
    """
    area, need = float(np.dot(weights, areas)), needed_area(asked, confidence)
    if area < need * (1 - 1e-9):
        unit, sure = asked.unit, "" if confidence is None else f" with confidence {confidence:g}"
        raise DataError(
            f"{area:.4g} {unit} of held-out good glass cannot promise {asked.rate:g} false alarms per {unit}{sure},"
            f" which needs {need:.4g} {unit}: take more good images, or allow a higher rate."
        )
    voices = np.repeat(np.asarray(weights, np.float64), [len(one.born) for one in regions])
    born, died = (np.concatenate(one) for one in zip(*regions, strict=True))
    levels, changes = np.concatenate([died, born]), np.concatenate([-voices, voices])
    order = np.argsort(-levels, kind="stable")  # of equal levels, deaths first
    counts = np.cumsum(changes[order])
    beyond = np.flatnonzero(counts > _most(asked.rate * area, confidence) + 1e-6)
    end = int(beyond[0]) if len(beyond) else len(counts)
    births = np.flatnonzero(changes[order][:end] > 0)
    return float(levels[order[births[-1] if len(births) else 0]])


def _most(expected: float, confidence: float | None) -> float:
    """The largest shape k of a gamma distribution with a mean of at most, or surely at most, what is expected."""
    if confidence is None:
        return float(math.floor(expected + 1e-9))
    from scipy.stats import gamma

    shapes = np.arange(1, max(2, math.ceil(expected) + 1))
    return float(max(1, int((gamma.cdf(expected, shapes) >= confidence).sum())))


def share_beyond(limit: Limit) -> float:
    """Return which share of the good images that placed a limit has a score above it."""
    beyond = np.asarray(limit.scores) > limit.value
    return float(np.average(beyond, weights=limit.weights or None))
