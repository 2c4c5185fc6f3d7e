"""A model on test images: every metric from raw scores, with how sure it is and what cannot be concluded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pellucid.acquisition.decoding import IMAGE_SUFFIXES
from pellucid.acquisition.files import image_files
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.splits import plan_split
from pellucid.acquisition.truth import TruthCheck, note_truth, open_truth
from pellucid.acquisition.verify import samples_sha256, verify
from pellucid.errors import DataError
from pellucid.inspector import Inspector
from pellucid.limits.costs import Costs
from pellucid.limits.promise import promise_sentence
from pellucid.records import Inspection, Sample, Samples
from pellucid.records.limits import Limit
from pellucid.study import metrics
from pellucid.study.intervals import areas, auroc_bounds, interval, resamples, wilson
from pellucid.study.metrics import Counts
from pellucid.study.operating import operating_points
from pellucid.study.pixels import PixelMetrics
from pellucid.study.results import Evaluation, ScoredSample
from pellucid.study.scores import LeftOut, finite_scores, score_unseen
from pellucid.study.shift import shift

DEFECT_SIZE_EDGES_PX = (30, 100, 300, 1000, 3000)  # areas that part the defects by size


def evaluate(
    inspector: Inspector, data: str | Path | Samples | Sequence[Sample], *, costs: Costs | None = None
) -> Evaluation:
    """Test a model on labelled images: how does last month's model do on this week's parts?

    Images that the data mark as training images are neither read nor tested on. Of the others, those that the model was
    fitted on or calibrated with are recognised by their content and left out, as are files that cannot be read; a note
    names them.

    Args:
        inspector: fitted and calibrated.
        data: a folder in any layout, a CSV file, what :func:`pellucid.read_folder` returned, or a list of samples.
            Test images are enough.
        costs: of wrong decisions; by default a missed defect costs 100 rejected good parts, and 1 % of parts are
            defective.

    Raises:
        DataError: there are no test images that can be read and that the model has not seen, or the layout is unknown.

    Example:
        >>> inspector = pellucid.load("glass.pellucid")
        >>> result = pellucid.evaluate(inspector, "parts_of_this_week")
        >>> result.metrics["escape_rate"], result.shift.message
    """
    plan = plan_test(inspector, data)
    result = evaluate_plan(inspector, plan, costs=costs)
    return replace(result, notes=(*plan.samples.notes, *result.notes))


@dataclass(frozen=True)
class EvaluationPlan:
    """Which images of a data set may test a model.

    Attributes:
        samples: the data set, with what is odd about it.
        test: of either label; those that the model has seen are left out when they are read.
        select: labelled training defects, which choose operating points.
    """

    samples: Samples
    test: tuple[Sample, ...]
    select: tuple[Sample, ...]


def plan_test(inspector: Inspector, data: str | Path | Samples | Sequence[Sample]) -> EvaluationPlan:
    """Say which images of a data set may test a model; the arguments are those of :func:`evaluate`.

    Files are listed and not opened, but for a model of an earlier pellucid, which does not know its images, where the
    data do not say which are for training: then all are read, to find out whether these are the data of the model.

    Raises:
        DataError: there are no test images, or the layout is unknown.
    """
    if isinstance(data, (str, Path)):
        data = _read_labelled(Path(data))
    elif not isinstance(data, Samples):
        data = Samples(Path(), "list of samples", tuple(data))
    test = tuple(s for s in data.samples if s.split != "train")
    if not inspector.fitted_images.hashes and any(s.label == "normal" and s.split is None for s in test):
        data, test = _without_own(inspector, data, test)
    if not test:
        raise DataError(f"'{data.root}' has no test images ({data.layout} layout).")
    return EvaluationPlan(data, test, tuple(s for s in data.samples if s.split == "train" and s.label == "abnormal"))


def evaluate_plan(
    inspector: Inspector,
    plan: EvaluationPlan,
    *,
    costs: Costs | None = None,
    finish: Callable[[int, Inspection], None] | None = None,
) -> Evaluation:
    """Test a model on the test images of a plan; labelled training defects choose operating points.

    Args:
        inspector: fitted and calibrated.
        plan: which images test.
        costs: of wrong decisions.
        finish: called in another thread with the number of each test image and what was found on it, with its map.

    Raises:
        DataError: the model has seen all of them, or none can be read.
    """
    left_out = LeftOut()
    selected = score_unseen(inspector, plan.select, left_out, "selection")
    selection = finite_scores(s.inspection.score for s in selected)
    result = evaluate_scored(
        score_unseen(inspector, plan.test, left_out, finish=finish), inspector.limit, selection=selection, costs=costs
    )
    if not result.scored:
        raise DataError(f"'{plan.samples.root}' has no image to test on. {' '.join(left_out.notes())}")
    promise = promise_sentence(inspector.limit, inspector.false_reject)
    return replace(result, promise=promise, notes=(*left_out.notes(), *result.notes))


def evaluate_scored(
    scored: Iterable[ScoredSample], limit: Limit, *, selection: Sequence[float] = (), costs: Costs | None = None
) -> Evaluation:
    """Return every metric that scored samples allow; what they do not allow is None and a note says why.

    Maps are looked at one by one and let go, so that memory does not grow with the pixels.

    Args:
        scored: test images as the model scored them.
        limit: the model's, whose held-out normal scores the test's are compared with.
        selection: scores of labelled training defects, to choose operating points by.
        costs: of wrong decisions.
    """
    pixels, truth = PixelMetrics(), list[TruthCheck]()
    kept = tuple(_count_pixels(s, pixels, truth) for s in scored)
    labels = [s.sample.label == "abnormal" for s in kept]
    scores = finite_scores(s.inspection.score for s in kept)
    values = _metrics(kept, labels, scores, limit, pixels)
    parts: dict[str, Callable[[ScoredSample], str | None]] = {
        "type": lambda s: (s.sample.type or "defect") if s.sample.label == "abnormal" else None,
        "size": lambda s: _size(s.defect_px),
        "group": lambda s: s.sample.group,
    }
    return Evaluation(
        metrics=values,
        by={name: _counts(kept, part, limit.value) for name, part in parts.items()},
        operating_points=operating_points(labels, scores, limit, selection, costs or Costs()),
        shift=shift(limit, [s for s, defective in zip(scores, labels, strict=True) if not defective]),
        notes=(*note_truth(truth), *_note_unjudged(kept), *_notes(values, limit)),
        scored=kept,
    )


# --- who tests --------------------------------------------------------------------------------------------------------


def _read_labelled(data: Path) -> Samples:
    """Read a data set; images that lie there without labels are told what to do with them."""
    try:
        return read_folder(data, training_required=False)
    except DataError:
        images = image_files(data) if data.is_dir() else [data] if data.suffix.lower() in IMAGE_SUFFIXES else []
        if not images or not data.exists():
            raise
        raise DataError(
            f"'{data}' holds {len(images)} images without labels: `pellucid inspect` says what a model finds on them."
            " To test it, put good parts into a folder normal_test/ and defective ones into abnormal_test/, or"
            " list them in a CSV file with the columns path,label."
        ) from None


def _without_own(inspector: Inspector, data: Samples, test: tuple[Sample, ...]) -> tuple[Samples, tuple[Sample, ...]]:
    """The test images of a model that does not know which it has seen: by its own split, if these are its data."""
    verified = verify(data, training_required=False)
    try:
        split = plan_split(verified.samples, false_reject=inspector.false_reject, seed=inspector.seed)
        seen = samples_sha256(split.normals, verified.hashes)
    except DataError:  # too few to be fitted on
        seen = ""
    if seen == inspector.fitted_images.data_sha256:
        return data, split.test
    note = (
        "Some normal images are marked neither as training nor as test images, and the model is of an earlier pellucid"
        " and does not know which it was fitted on, so all of them are tested on: if it was fitted on some, the test is"
        " too easy."
    )
    return replace(data, notes=(*data.notes, note)), test


# --- what they show ---------------------------------------------------------------------------------------------------


def _metrics(
    scored: Sequence[ScoredSample], labels: Sequence[bool], scores: Sequence[float], limit: Limit, pixels: PixelMetrics
) -> Counts:
    auroc = metrics.auroc(labels, scores)
    return {
        "image_auroc": auroc,
        "image_ap": metrics.average_precision(labels, scores),
        **_area_intervals(scored, labels, scores, auroc),
        **metrics.at_limit(labels, _deciding(scored, scores, limit.value), limit.value),
        "image_f1_best_optimistic": metrics.best_f1(labels, scores),
        "recall_at_5_percent_false_rejects_optimistic": metrics.recall_at(labels, scores, 0.05),
        "limit": limit.value,
        "pixel_auroc": pixels.auroc(),
        "pixel_ap": pixels.average_precision(),
        "aupro": pixels.aupro(),
        "aupro_0.05": pixels.aupro(0.05),
        **_aupimo(pixels),
    }


def _count_pixels(scored: ScoredSample, pixels: PixelMetrics, truth: list[TruthCheck]) -> ScoredSample:
    """Count the pixels of a normal image, or of a defective one that has a mask; the map is let go."""
    size, anomaly_map = None, scored.inspection.map
    check, defective = open_truth(scored.sample, (anomaly_map.shape[0], anomaly_map.shape[1]))
    truth.append(check)
    if scored.sample.label == "normal":
        pixels.add(anomaly_map)
    elif defective is not None:
        size = pixels.add(anomaly_map, defective)
    return replace(scored, inspection=replace(scored.inspection, map=anomaly_map[:0]), defect_px=size)


def _area_intervals(
    scored: Sequence[ScoredSample], labels: Sequence[bool], scores: Sequence[float], auroc: float | None
) -> Counts:
    """From resampled images, which know of groups; an AUROC's is at least as wide as one that knows of chance.

    An average precision of 1 has no interval: resamples cannot show a mistake that was not made.
    """
    known: Counts = dict.fromkeys(f"image_{area}_{end}" for area in ("auroc", "ap") for end in ("low", "high"))
    if auroc is None:
        return known
    aurocs, precisions = areas(labels, scores, resamples(labels, [s.sample.group for s in scored]))
    known["image_auroc_low"], known["image_auroc_high"] = auroc_bounds(auroc, aurocs, labels)
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
    edges = DEFECT_SIZE_EDGES_PX
    upper = np.searchsorted(edges, px)
    if upper == len(edges):
        return f"over {edges[-1]} px"
    return f"{edges[upper - 1] + 1 if upper else 1} to {edges[upper]} px"


def _counts(
    scored: Iterable[ScoredSample], part_of: Callable[[ScoredSample], str | None], limit: float
) -> dict[str, Counts]:
    """Images, false rejects and escapes of each part; names that begin with a number come first, in its order."""
    parts: dict[str, list[ScoredSample]] = {}
    for one in scored:
        if (part := part_of(one)) is not None:
            parts.setdefault(part, []).append(one)
    return {name: _counted(members, limit) for name, members in sorted(parts.items(), key=lambda p: _natural(p[0]))}


def _counted(members: Sequence[ScoredSample], limit: float) -> Counts:
    labels, scores = [s.sample.label == "abnormal" for s in members], [s.inspection.score for s in members]
    counted = metrics.at_limit(labels, _deciding(members, scores, limit), limit)
    return {"images": len(members)} | {key: value for key, value in counted.items() if key != "image_f1"}


def _deciding(scored: Sequence[ScoredSample], scores: Sequence[float], limit: float) -> list[float]:
    """Scores as the verdicts have them: an image that was accepted, as nothing on it counts, is not above the limit."""
    accepted = (one.inspection.verdict == "ok" for one in scored)
    return [min(score, limit) if passed else score for score, passed in zip(scores, accepted, strict=True)]


def _natural(name: str) -> tuple[float, str]:
    """The key that sorts names which begin with a number by it, and all others after them."""
    number = name.split(" ")[0]
    return (float(number) if number.isdigit() else np.inf, name)


def _note_unjudged(scored: Sequence[ScoredSample]) -> Iterable[str]:
    """What was rejected unseen, and what the model noticed about the others."""
    if unjudged := [s for s in scored if s.inspection.reason]:
        yield f"{len(unjudged)} test images count as rejected. First: {unjudged[0].inspection.reason}"
    if warned := [s for s in scored if s.inspection.warnings]:
        first = warned[0].inspection
        yield f"{len(warned)} test images were judged with a warning. First: '{first.path.name}': {first.warnings[0]}"


def _notes(values: Counts, limit: Limit) -> Iterable[str]:
    """What the test cannot show, and what it is too small for."""
    if values["image_auroc"] is None:
        yield "AUROC and average precision need both normal and defective test images."
    if values["pixel_auroc"] is None:
        yield "Pixel metrics need masks of defective test images."
    normals, defectives = int(values["normals"] or 0), int(values["defectives"] or 0)
    by_images = limit.false_alarms is None  # what is promised by area, no count of images checks
    if by_images and normals and (most := wilson(0, normals)) and most[1] > limit.false_reject_rate:
        yield (
            f"{normals} normal test images are too few to check {limit.false_reject_rate:.1%} false rejects: even if"
            f" none is rejected the true rate may be {most[1]:.1%}."
        )
    if defectives and (most := wilson(0, defectives)) and most[1] > 0.05:
        yield (
            f"{defectives} defective test images are too few for a promise on escapes: even if none escapes the true"
            f" rate may be {most[1]:.1%}."
        )
