"""A model on test images: every metric from raw scores, with how sure it is and what cannot be concluded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from pellucid.acquisition.images import read_mask
from pellucid.records import Limit
from pellucid.study import metrics
from pellucid.study.intervals import areas, auroc_interval, interval, resamples, wilson
from pellucid.study.metrics import Counts
from pellucid.study.operating import Costs, operating_points
from pellucid.study.pixels import PixelMetrics
from pellucid.study.results import Evaluation, ScoredSample
from pellucid.study.shift import shift

SIZES = (30, 100, 300, 1000, 3000)  # px, edges of the sizes of defects


def evaluate(
    judged: Iterable[ScoredSample], limit: Limit, *, selection: Sequence[float] = (), costs: Costs | None = None
) -> Evaluation:
    """Every metric that the samples allow; what they do not allow is None and a note says why.

    Maps are looked at one by one and let go, so that memory does not grow with the pixels.

    Args:
        judged: test images as the model judged them.
        limit: the model's, whose held-out normal scores the test's are compared with.
        selection: scores of labelled training defects, to choose operating points by.
        costs: of wrong decisions.
    """
    pixels = PixelMetrics()
    kept = tuple(_look(j, pixels) for j in judged)
    labels = [j.sample.label == "abnormal" for j in kept]
    scores = [j.inspection.score for j in kept]
    auroc = metrics.auroc(labels, scores)
    values: Counts = {
        "image_auroc": auroc,
        "image_ap": metrics.average_precision(labels, scores),
        **_area_intervals(kept, labels, scores, auroc),
        **metrics.at_limit(labels, scores, limit.value),
        "image_f1_best_optimistic": metrics.best_f1(labels, scores),
        "recall_at_5_percent_false_rejects_optimistic": metrics.recall_at(labels, scores, 0.05),
        "limit": limit.value,
        "pixel_auroc": pixels.auroc(),
        "pixel_ap": pixels.average_precision(),
        "aupro": pixels.aupro(),
        "aupro_0.05": pixels.aupro(0.05),
        **_aupimo(pixels),
    }
    parts: dict[str, Callable[[ScoredSample], str | None]] = {
        "type": lambda j: (j.sample.type or "defect") if j.sample.label == "abnormal" else None,
        "size": lambda j: _size(j.defect_px),
        "group": lambda j: j.sample.group,
    }
    return Evaluation(
        metrics=values,
        by={name: _counts(kept, part, limit.value) for name, part in parts.items()},
        operating_points=operating_points(labels, scores, limit, selection, costs or Costs()),
        shift=shift(limit, [s for s, defective in zip(scores, labels, strict=True) if not defective]),
        notes=tuple(_notes(values, limit)),
        judged=kept,
    )


def _look(j: ScoredSample, pixels: PixelMetrics) -> ScoredSample:
    """Count the pixels of normal images and of defective ones that have a mask; the map is let go."""
    size = None
    if j.sample.label == "normal":
        pixels.add(j.inspection.map)
    elif j.sample.mask is not None:
        size = pixels.add(j.inspection.map, read_mask(j.sample.mask))
    return replace(j, inspection=replace(j.inspection, map=j.inspection.map[:0]), defect_px=size)


def _area_intervals(
    judged: Sequence[ScoredSample], labels: Sequence[bool], scores: Sequence[float], auroc: float | None
) -> Counts:
    """From resampled images, which know of groups; an AUROC's is at least as wide as one that knows of chance.

    An average precision of 1 has no interval: resamples cannot show a mistake that was not made.
    """
    known: Counts = dict.fromkeys(f"image_{area}_{end}" for area in ("auroc", "ap") for end in ("low", "high"))
    if auroc is None:
        return known
    aurocs, precisions = areas(labels, scores, resamples(labels, [j.sample.group for j in judged]))
    resampled = interval(aurocs)
    chance = auroc_interval(auroc, sum(labels), len(labels) - sum(labels))
    known["image_auroc_low"], known["image_auroc_high"] = min(resampled[0], chance[0]), max(resampled[1], chance[1])
    if precisions.min() < 1:
        known["image_ap_low"], known["image_ap_high"] = interval(precisions)
    return known


def _aupimo(pixels: PixelMetrics) -> Counts:
    """The mean over defective images and where 95 % of resampled means lie."""
    if (each := pixels.aupimo()) is None:
        return {"aupimo": None, "aupimo_low": None, "aupimo_high": None}
    drawn = resamples([True] * len(each))
    low, high = interval(drawn @ each / len(each))
    return {"aupimo": float(each.mean()), "aupimo_low": low, "aupimo_high": high}


def _size(px: int | None) -> str | None:
    """The class of a defect's size; None without a mask or of a normal image."""
    if not px:
        return None
    upper = np.searchsorted(SIZES, px)
    if upper == len(SIZES):
        return f"over {SIZES[-1]} px"
    return f"{SIZES[upper - 1] + 1 if upper else 1} to {SIZES[upper]} px"


def _counts(
    judged: Iterable[ScoredSample], part_of: Callable[[ScoredSample], str | None], limit: float
) -> dict[str, Counts]:
    """Images, false rejects and escapes of each part, in the order of first the smallest name."""
    parts: dict[str, list[ScoredSample]] = {}
    for j in judged:
        if (part := part_of(j)) is not None:
            parts.setdefault(part, []).append(j)
    return {name: _counted(members, limit) for name, members in sorted(parts.items(), key=lambda p: _natural(p[0]))}


def _counted(members: Sequence[ScoredSample], limit: float) -> Counts:
    labels, scores = [j.sample.label == "abnormal" for j in members], [j.inspection.score for j in members]
    counted = metrics.at_limit(labels, scores, limit)
    return {"images": len(members)} | {key: value for key, value in counted.items() if key != "image_f1"}


def _natural(name: str) -> tuple[float, str]:
    """Names that begin with a number in its order, all others after them."""
    number = name.split(" ")[0]
    return (float(number) if number.isdigit() else np.inf, name)


def _notes(values: Counts, limit: Limit) -> Iterable[str]:
    """What the test cannot show, and what it is too small for."""
    if values["image_auroc"] is None:
        yield "AUROC and average precision need both normal and defective test images."
    if values["pixel_auroc"] is None:
        yield "Pixel metrics need masks of defective test images."
    normals, defectives = int(values["normals"] or 0), int(values["defectives"] or 0)
    if normals and (most := wilson(0, normals)) and most[1] > limit.false_reject_rate:
        yield (
            f"{normals} normal test images are too few to check {limit.false_reject_rate:.1%} false rejects: even if"
            f" none is rejected the true rate may be {most[1]:.1%}."
        )
    if defectives and (most := wilson(0, defectives)) and most[1] > 0.05:
        yield (
            f"{defectives} defective test images are too few for a promise on escapes: even if none escapes the true"
            f" rate may be {most[1]:.1%}."
        )
