"""How good: metrics on raw scores, never clamped, scikit-learn's where it has them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

Maps = Sequence[NDArray[np.float32]]  # each (H, W)
Masks = Sequence[NDArray[np.bool_]]


def auroc(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Area under the ROC curve; None with one class only."""
    return float(roc_auc_score(labels, scores)) if len(set(labels)) == 2 else None


def average_precision(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Area under the precision-recall curve, step-wise; None with one class only."""
    return float(average_precision_score(labels, scores)) if len(set(labels)) == 2 else None


def best_f1(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Highest F1 over all limits. Optimistic: the limit is chosen on the labels that it is measured on."""
    if len(set(labels)) != 2:
        return None
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def at_limit(labels: Sequence[bool], scores: Sequence[float], limit: float) -> dict[str, float | int | None]:
    """Counts and rates at a limit (reject when score > limit); a rate without images to count is None."""
    defective, rejected = np.asarray(labels, bool), np.asarray(scores) > limit
    found, missed = int((defective & rejected).sum()), int((defective & ~rejected).sum())
    false, good = int((~defective & rejected).sum()), int((~defective).sum())
    return {
        "image_f1": 2 * found / (2 * found + missed + false) if found + missed else None,
        "false_rejects": false,
        "normals": good,
        "false_reject_rate": false / good if good else None,
        "escapes": missed,
        "defectives": found + missed,
        "escape_rate": missed / (found + missed) if found + missed else None,
    }


def pixel_auroc(maps: Maps, masks: Masks) -> float | None:
    """Area under the ROC curve over all pixels of all images; None when masks show no defect or nothing else."""
    ordered, defective, _ = _sorted_pixels(maps, masks)
    positives = int(defective.sum())
    if positives == 0 or positives == len(defective):
        return None
    last = _last_of_ties(ordered)
    found = np.cumsum(defective)[last] / positives
    false = np.cumsum(~defective)[last] / (len(defective) - positives)
    return float(np.trapezoid(np.r_[0, found], np.r_[0, false]))


def aupro(maps: Maps, masks: Masks, fpr_limit: float = 0.3) -> float | None:
    """Area under the per-region overlap curve up to a false-positive rate, divided by that rate (Bergmann et al.,
    "MVTec AD", IJCV 2021). Every connected region of every mask counts the same, whatever its size.

    Args:
        maps: anomaly maps.
        masks: true where defective, the maps' sizes.
        fpr_limit: 0.3 as in the paper.
    """
    ordered, defective, weights = _sorted_pixels(maps, masks)
    if not defective.any() or defective.all():
        return None
    last = _last_of_ties(ordered)
    overlap = np.r_[0, np.cumsum(weights)[last]]
    false = np.r_[0, np.cumsum(~defective)[last] / int((~defective).sum())]
    inside = false <= fpr_limit
    edge = np.interp(fpr_limit, false, overlap)
    area = np.trapezoid(np.r_[overlap[inside], edge], np.r_[false[inside], fpr_limit])
    return float(area / fpr_limit)


def _sorted_pixels(maps: Maps, masks: Masks) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """All pixels by falling value: values, whether defective, and each pixel's share of the mean region overlap."""
    values = np.concatenate([m.ravel() for m in maps]) if len(maps) else np.empty(0, np.float32)
    defective = np.concatenate([m.ravel() for m in masks]) if len(masks) else np.empty(0, bool)
    shares, regions = [], 0
    for mask in masks:
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        per_pixel = np.r_[0.0, 1.0 / np.maximum(stats[1:, cv2.CC_STAT_AREA], 1)]
        shares.append(per_pixel[labels].ravel())
        regions += count - 1
    weights = np.concatenate(shares) / max(regions, 1) if shares else np.empty(0)
    order = np.argsort(-values, kind="stable")
    return values[order], defective[order], weights[order]


def _last_of_ties(ordered: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index of the last element of every run of equal values."""
    return np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
