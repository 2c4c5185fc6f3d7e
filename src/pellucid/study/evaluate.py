"""A model on test images: every score written down, every metric computed from raw scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import read_mask
from pellucid.acquisition.splits import relative
from pellucid.inspector import Inspector
from pellucid.progress import track
from pellucid.records import Evaluation, Inspection, Sample
from pellucid.study import metrics

SCORES_COLUMNS = ("path", "label", "type", "score", "limit", "p_value", "verdict")


@dataclass(frozen=True)
class Judged:
    """A sample with what the inspector said of it."""

    sample: Sample
    inspection: Inspection


def judge(inspector: Inspector, samples: Sequence[Sample], description: str = "inspecting") -> list[Judged]:
    """Inspect samples in order."""
    inspections = inspector.inspect_many(s.path for s in samples)
    return [Judged(s, i) for s, i in track(zip(samples, inspections, strict=True), description, len(samples))]


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


def by_label(judged: Iterable[Judged]) -> dict[str, list[float]]:
    """Scores of normal and of abnormal images."""
    scores: dict[str, list[float]] = {"normal": [], "abnormal": []}
    for j in judged:
        scores[j.sample.label].append(j.inspection.score)
    return scores


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


def scores_csv(judged: Iterable[Judged], root: Path, *, labelled: bool = True) -> str:
    """The scores as CSV text; floats are written so that reading them gives the same float again."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SCORES_COLUMNS)
    for j in judged:
        label = j.sample.label if labelled else ""
        i = j.inspection
        path = relative(i.path, root)
        writer.writerow([path, label, j.sample.type or "", repr(i.score), repr(i.limit), repr(i.p_value), i.verdict])
    return out.getvalue()
