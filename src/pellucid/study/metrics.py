"""How good: metrics of images on raw scores, never clamped, scikit-learn's where it has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from pellucid.study.intervals import wilson

Counts = dict[str, float | int | None]


def auroc(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the area under the ROC curve; None with one class only."""
    return float(roc_auc_score(labels, scores)) if len(set(labels)) == 2 else None


def average_precision(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the area under the precision-recall curve, step-wise; None with one class only."""
    return float(average_precision_score(labels, scores)) if len(set(labels)) == 2 else None


def best_f1(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the highest F1 over all limits. Optimistic: the limit is chosen on the labels that it is measured on."""
    if len(set(labels)) != 2:
        return None
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def recall_at(labels: Sequence[bool], scores: Sequence[float], false_reject_rate: float) -> float | None:
    """Return the largest share of defects found at any limit that rejects at most this share of normal images.

    Optimistic like :func:`best_f1`: the limit is chosen on the images that it is measured on. None with one class only.
    """
    if len(set(labels)) != 2:
        return None
    false, found, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(found[false <= false_reject_rate].max())


def at_limit(labels: Sequence[bool], scores: Sequence[float], limit: float) -> Counts:
    """Return counts, and rates with their 95 % Wilson intervals, at a limit (reject when score > limit).

    What has no images to count is None.
    """
    defective, rejected = np.asarray(labels, bool), np.asarray(scores) > limit
    found, missed = int((defective & rejected).sum()), int((defective & ~rejected).sum())
    false, good = int((~defective & rejected).sum()), int((~defective).sum())
    return {
        "image_f1": 2 * found / (2 * found + missed + false) if found + missed else None,
        "false_rejects": false,
        "normals": good,
        **rate("false_reject_rate", false, good),
        "escapes": missed,
        "defectives": found + missed,
        **rate("escape_rate", missed, found + missed),
    }


def rate(name: str, count: int, total: int) -> Counts:
    """Return a share with its 95 % Wilson interval: ``name``, ``name_low``, ``name_high``; None of nothing."""
    low, high = wilson(count, total) or (None, None)
    return {name: count / total if total else None, f"{name}_low": low, f"{name}_high": high}
