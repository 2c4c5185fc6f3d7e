"""Pixel metrics in one pass over maps and masks, in memory that does not grow with the pixels.

Values are counted, not kept: exactly, as long as there are no more than ``MAX_DISTINCT_VALUES`` of them, then on the
grid of floats with one bit of the mantissa less, and so on: half as many are told apart at the least, wherever they
lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint32]  # float32 in the order of whole numbers
MAX_DISTINCT_VALUES = 1 << 20  # map values that are told apart
MAX_PENDING_PIXELS = 1 << 21  # that wait to be counted
MAX_RANKS_PER_IMAGE = 1024  # pixels of one image's defects that AUPIMO looks at, evenly by rank
AUPIMO_FALSE_POSITIVE_RATES = (1e-5, 1e-4)  # of pixels of normal images, between which AUPIMO averages


@dataclass
class Tally:
    """Sums of weights by value.

    Attributes:
        keys: values in rising order, each once, without their last ``bits``.
        sums: (n, 2), a row for each key.
        bits: of the mantissa that are not looked at.
    """

    keys: Keys = field(default_factory=lambda: np.empty(0, np.uint32))
    sums: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    bits: int = 0
    _pending: list[tuple[Keys, NDArray[np.float64]]] = field(default_factory=list)

    def add(self, keys: Keys, weights: NDArray[np.float64]) -> None:
        """Count values (n,) with their weights (n, 2)."""
        self._pending.append((keys, weights))
        if sum(len(k) for k, _ in self._pending) >= MAX_PENDING_PIXELS:
            self.flush()

    def flush(self, bits: int = 0) -> None:
        """Count what waits, leaving out at least so many bits."""
        if self._pending:
            keys = np.concatenate([self.keys, *(k >> np.uint32(self.bits) for k, _ in self._pending)])
            sums = np.concatenate([self.sums, *(w for _, w in self._pending)])
            self._pending.clear()
            order = np.argsort(keys)
            self.keys, self.sums = _merged(keys[order], sums.take(order, axis=0))
        while self.bits < bits or len(self.keys) > MAX_DISTINCT_VALUES:
            self.bits += 1
            self.keys, self.sums = _merged(self.keys >> np.uint32(1), self.sums)


def _merged(keys: Keys, sums: NDArray[np.float64]) -> tuple[Keys, NDArray[np.float64]]:
    """Return sorted keys, each once, with the sums of its rows."""
    if not len(keys):
        return keys, sums
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return keys[first], np.add.reduceat(sums, first, axis=0)


def sortable_keys(values: NDArray[np.float32]) -> Keys:
    """Return whole numbers in the order of the given floats; -0 is 0."""
    bits = (values.ravel() + np.float32(0)).view(np.uint32)
    return np.asarray(np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)), np.uint32)


class PixelMetrics:
    """Take maps and masks one by one; the metrics are those of all that were given."""

    def __init__(self) -> None:
        self._good = Tally()  # pixels without defect: how many; share of the normal images' pixels
        self._bad = Tally()  # pixels with defect: how many; share of their region
        self._regions = self._normals = 0
        self._defect_keys: list[Keys] = []  # by defective image, rising

    def add(self, anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> int:
        """Count a map (H, W): with the mask of its defects, or none of a normal image.

        Returns:
            Pixels of the largest region of the mask, connected by edges or corners.
        """
        keys = sortable_keys(anomaly_map)
        if mask is None:
            self._normals += 1
            self._good.add(keys, np.broadcast_to([1.0, 1 / keys.size], (keys.size, 2)))
            return 0
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        bad = mask.ravel()
        good = keys[~bad]
        self._good.add(good, np.broadcast_to([1.0, 0.0], (good.size, 2)))
        if count < 2:
            return 0
        sizes = stats[:, cv2.CC_STAT_AREA]
        self._bad.add(keys[bad], np.stack([np.ones(int(bad.sum())), 1 / sizes[labels.ravel()[bad]]], 1))
        self._regions += count - 1
        self._defect_keys.append(_thinned(np.sort(keys[bad])))
        return int(sizes[1:].max())

    def auroc(self) -> float | None:
        """Return the area under the ROC curve over all pixels; None without pixels of both kinds."""
        if (curves := self._curves()) is None:
            return None
        false, found, _ = curves
        return float(np.trapezoid(found, false) / (found[-1] * false[-1]))

    def average_precision(self) -> float | None:
        """Return the area under the precision-recall curve over all pixels, step-wise; None without both kinds."""
        if (curves := self._curves()) is None:
            return None
        false, found, _ = curves
        return float((np.diff(found) * found[1:] / (found + false)[1:]).sum() / found[-1])

    def aupro(self, fpr_limit: float = 0.3) -> float | None:
        """Return the area under the per-region overlap curve up to a false-positive rate, divided by that rate.

        Every connected region of every mask counts the same, whatever its size (Bergmann et al., "MVTec AD", IJCV
        2021). None without pixels of both kinds.

        Args:
            fpr_limit: in (0, 1]; 0.3 as in the paper, 0.05 as for MVTec AD 2.
        """
        if (curves := self._curves()) is None:
            return None
        false, overlap = curves[0] / curves[0][-1], curves[2] / self._regions
        inside = false <= fpr_limit
        edge = np.interp(fpr_limit, false, overlap)
        area = np.trapezoid(np.r_[overlap[inside], edge], np.r_[false[inside], fpr_limit])
        return float(area / fpr_limit)

    def aupimo(self) -> NDArray[np.float64] | None:
        """Return the area under the per-image overlap curve of every defective image, (n,).

        Defined by Bertoldo et al., "AUPIMO", BMVC 2024: the recall of an image's defective pixels, averaged over the
        logarithm of the false-positive rate from 1e-5 to 1e-4; the rate is the mean of the normal images' and of
        nothing else. Recall is exact to 1 / 1024. None without normal or defective images.
        """
        if not self._normals or not self._defect_keys:
            return None
        self._good.flush()
        keys, rate = self._good.keys[::-1], np.cumsum(self._good.sums[::-1, 1]) / self._normals
        low, high = AUPIMO_FALSE_POSITIVE_RATES
        # a rate below rate[0] allows none of keys[0], one in [rate[k], rate[k + 1]) none of keys[k + 1]
        top = int(np.searchsorted(rate, high, side="right"))
        edges = np.log(np.clip(np.r_[low, rate[:top], high], low, high))
        widths = np.diff(edges) / math.log(high / low)
        thresholds = np.r_[keys[: top + 1].astype(np.int64) + 1, 0][: top + 1]
        steps = widths > 0
        return np.array(
            [
                1 - widths[steps] @ np.searchsorted(own >> self._good.bits, thresholds[steps]) / len(own)
                for own in (kept.astype(np.int64) for kept in self._defect_keys)
            ]
        )

    def _curves(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
        """Return, by falling value, how many good pixels, defective pixels and shares of regions lie at or above it."""
        self._good.flush(self._bad.bits)
        self._bad.flush(self._good.bits)
        self._good.flush(self._bad.bits)
        if not len(self._good.keys) or not len(self._bad.keys):
            return None
        keys = np.concatenate([self._good.keys, self._bad.keys])
        rows = np.zeros((len(keys), 3))
        rows[: len(self._good.keys), 0] = self._good.sums[:, 0]
        rows[len(self._good.keys) :, 1:] = self._bad.sums
        order = np.argsort(keys)
        _, rows = _merged(keys[order], rows.take(order, axis=0))
        false, found, overlap = np.concatenate([np.zeros((1, 3)), np.cumsum(rows[::-1], 0)]).T
        return false, found, overlap


def _thinned(keys: Keys) -> Keys:
    """Return at most ``MAX_RANKS_PER_IMAGE`` of rising keys, each standing for as many."""
    if len(keys) <= MAX_RANKS_PER_IMAGE:
        return keys
    ranks = ((np.arange(MAX_RANKS_PER_IMAGE) + 0.5) * len(keys) / MAX_RANKS_PER_IMAGE).astype(np.intp)
    return keys.take(ranks)
