"""A model on test images: every score written down, every metric computed from raw scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import read_mask
from pellucid.records import Evaluation
from pellucid.study import metrics
from pellucid.study.scores import Judged


def evaluate(judged: Sequence[Judged]) -> Evaluation:
    """Every metric that the samples allow; what they do not allow is None and a note says why."""
    labels = [j.sample.label == "abnormal" for j in judged]
    scores = [j.inspection.score for j in judged]
    limit = judged[0].inspection.limit if judged else 0.0
    values: dict[str, float | int | None] = {
        "image_auroc": metrics.auroc(labels, scores),
        "image_ap": metrics.average_precision(labels, scores),
        **metrics.at_limit(labels, scores, limit),
        "image_f1_best_optimistic": metrics.best_f1(labels, scores),
        "limit": limit,
    }
    maps, masks = _pixels(judged)
    values["pixel_auroc"], values["aupro"] = metrics.pixel_auroc(maps, masks), metrics.aupro(maps, masks)
    notes = []
    if values["image_auroc"] is None:
        notes.append("AUROC and average precision need both normal and defective test images.")
    if values["pixel_auroc"] is None:
        notes.append("Pixel metrics need masks of defective test images.")
    return Evaluation(values, _by_type(judged), tuple(notes))


def _pixels(judged: Iterable[Judged]) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    """Maps and masks of normal images (all zero) and of defective images that have a mask."""
    maps, masks = [], []
    for j in judged:
        if j.sample.label == "normal":
            masks.append(np.zeros(j.inspection.map.shape, bool))
        elif j.sample.mask is not None:
            masks.append(read_mask(j.sample.mask))
        else:
            continue
        maps.append(j.inspection.map)
    return maps, masks


def _by_type(judged: Iterable[Judged]) -> dict[str, dict[str, float | int]]:
    """Images, escapes and escape rate by type of defect."""
    verdicts: dict[str, list[bool]] = {}
    for j in judged:
        if j.sample.label == "abnormal":
            verdicts.setdefault(j.sample.type or "defect", []).append(j.inspection.verdict == "ok")
    return {
        kind: {"images": len(missed), "escapes": sum(missed), "escape_rate": sum(missed) / len(missed)}
        for kind, missed in sorted(verdicts.items())
    }
