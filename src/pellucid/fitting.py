"""A model's way from folder to inspector: fit, calibrate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid import detectors
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import ImageBatches, Size, parse_size, read_image
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.splits import assign_folds, check_confidence
from pellucid.acquisition.verify import remember
from pellucid.acquisition.views import ImageSize, choose_view
from pellucid.calibration import HeldOutScore, choose_limit, fit_leaving_out, score_files
from pellucid.errors import ParameterError
from pellucid.inspector import Inspector
from pellucid.limits.costs import Costs
from pellucid.limits.gap import check_enough_defects
from pellucid.outlining import Outline, check_measuring, choose_outline
from pellucid.records import LimitMethod, Sample, Samples, Split
from pellucid.regions.scale import Scale
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.runtimes.torch import Torch

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector


def fit(
    data: str | Path | Samples | Plan,
    detector: str = "patchcore",
    *,
    image_size: ImageSize = 256,
    false_reject: float = 0.05,
    confidence: float | None = None,
    folds: int | None = None,
    limit: LimitMethod = "conformal",
    costs: Costs | None = None,
    zones: Zones = EVERYTHING,
    seed: int = 0,
    outline: Outline = "auto",
    mm_per_px: Scale | None = None,
    checkpoint: Path | None = None,
    device: str = "auto",
    **parameters: Any,
) -> Inspector:
    """Fit a detector on the normal training images of a data set and choose its limit.

    Args:
        data: a folder, a CSV file, what :func:`pellucid.read_folder` returned, or a :class:`pellucid.Plan` made with
            the same ``false_reject``, ``confidence``, ``folds`` and ``seed``.
        detector: name of a detector, one of ``pellucid.detectors.names()``.
        image_size: N, the shorter side of what the network sees, in px, at least 32: the longer one follows the shape
            of the images, up to four times N (:func:`pellucid.acquisition.views.choose_view`); or (height, width), as
            it is. Images of another shape than most are padded or tiled, never cropped.
        false_reject: promised share of good images that are rejected, in (0, 1).
        confidence: share of models made in this way that keep the promise, in (0, 1); None: they keep it on average.
        folds: at least 2: every normal image is learned from, and calibrates, scored by one of so many models that have
            not seen it, at as many times the training; None: a fifth is held out where that is enough. Detectors that
            leave images out by themselves have no need of it.
        limit: ``conformal`` chooses it from normal images alone; ``gap`` moves it up to the least expected cost where
            labelled training defects score apart from them; ``f1`` also uses these defects and is optimistic.
        costs: of an escape and of a false reject, for ``gap``; by default an escape costs 100 false rejects, and 1 % of
            parts are defective.
        zones: where and from what size on a defect counts, as :meth:`pellucid.Zones.read` reads it; the limit is chosen
            for what does.
        seed: seed of the split and of the detector, at least 0.
        outline: what outlines defects: ``image``, ``map``, or ``auto``, see :func:`pellucid.outlining.choose_outline`.
        mm_per_px: scale of the images at their own size, for measures in mm, along both axes or along x and along y;
            None: it is not known.
        checkpoint: folder where gradient-trained detectors keep their progress; a killed fit of the same detector,
            parameters and data goes on from there, any other starts afresh.
        device: where to compute: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto``, which is the environment variable
            ``PELLUCID_DEVICE`` if that is set, else a GPU if there is one.
        parameters: hyper-parameters of the detector, for example ``backbone="resnet18"``.

    Returns:
        What inspects images, saves itself and exports itself.

    Raises:
        PellucidError: with one sentence that says what to do.

    Example:
        >>> inspector = pellucid.fit("GlassDefect", "padim", image_size=(192, 320))
        >>> inspector.save("glass.pellucid")
    """
    made = detectors.create(detector, **({"seed": seed} | parameters)).to(device)
    parse_size(image_size)  # refuses what is not allowed before any image is read
    check_measuring(outline, mm_per_px)
    check_folds(detector, made.leaves_out, folds)
    plan = data
    if not isinstance(plan, Plan):
        plan = Plan.from_data(plan, false_reject=false_reject, confidence=confidence, folds=folds, seed=seed)
    return fit_split(
        made,
        plan.split,
        image_size,
        fitted_images=plan.fitted_images(),
        false_reject=false_reject,
        confidence=confidence,
        limit=limit,
        costs=costs,
        zones=zones,
        seed=seed,
        outline=outline,
        mm_per_px=mm_per_px,
        checkpoint=checkpoint,
    )


def check_folds(name: str, leaves_out: bool, folds: int | None) -> None:
    """Refuse folds for a detector that has no need of them.

    Args:
        name: of the detector.
        leaves_out: whether it can leave images out of what it has learned.
        folds: how many are asked for; None: none.

    Raises:
        ParameterError: it can.
    """
    if leaves_out and folds is not None:
        raise ParameterError(
            f"{name} needs no folds: in one fit it learns from every normal image and calibrates on each, left out in"
            " turn. Leave --folds out."
        )


def fit_split(
    detector: Detector,
    split: Split,
    image_size: ImageSize = 256,
    *,
    fitted_images: FittedImages | None = None,
    false_reject: float = 0.05,
    confidence: float | None = None,
    limit: LimitMethod = "conformal",
    costs: Costs | None = None,
    zones: Zones = EVERYTHING,
    seed: int = 0,
    outline: Outline = "auto",
    mm_per_px: Scale | None = None,
    checkpoint: Path | None = None,
) -> Inspector:
    """Fit and calibrate on a split of your own; :func:`fit` says what the other arguments mean.

    Args:
        detector: not fitted yet, as ``pellucid.detectors.create`` makes it; its ``to`` says where to compute.
        split: who is fitted on and who calibrates; with ``folds``, every sample of ``split.fit`` calibrates a detector
            that has not seen it. A detector that can leave images out is fitted on both and calibrated by both.
        image_size: N, the shorter side, or (height, width), in px.
        fitted_images: what the model is to remember of these images; they are read for it when it is not given.
        false_reject: promised share of good images that are rejected, in (0, 1).
        confidence: share of models made in this way that keep the promise, in (0, 1); None: they keep it on average.
        limit: ``conformal``, ``gap`` or ``f1``.
        costs: for ``gap``.
        zones: where and from what size on a defect counts.
        seed: seed of the folds.
        outline: ``auto``, ``image`` or ``map``.
        mm_per_px: scale of the images.
        checkpoint: folder for the progress of gradient-trained detectors.

    Raises:
        DataError: too few images, or one that cannot be read.

    Example:
        >>> plan = pellucid.Plan.from_data("GlassDefect")
        >>> inspector = pellucid.fit_split(pellucid.detectors.create("dfm"), plan.split)
    """
    _check(split, limit, zones, outline, mm_per_px)
    size, fitted_images = _choose_view(split, image_size, fitted_images)
    held_out = _fit_and_score(detector, split, size, fitted_images, zones, seed, checkpoint)
    chosen = choose_limit(
        Torch(detector),
        split,
        size,
        fitted_images,
        false_reject,
        held_out,
        leaves_out=detector.leaves_out,
        method=limit,
        confidence=check_confidence(confidence),
        costs=costs,
    )
    in_order = tuple(one.score for one in held_out)
    inspector = Inspector(Torch(detector), chosen, size, fitted_images, seed, false_reject, in_order, zones)
    return replace(inspector, measuring=choose_outline(inspector, split, outline, mm_per_px))


def _check(split: Split, limit: LimitMethod, zones: Zones, outline: Outline, mm_per_px: Scale | None) -> None:
    """Refuse before the work begins what would stop it at its end."""
    check_measuring(outline, mm_per_px)
    if limit == "gap":
        check_enough_defects(len(split.select))
    if not zones.are_everything:
        zones.counted(read_image(split.fit[0].path).shape[:2])


def _choose_view(split: Split, image_size: ImageSize, fitted_images: FittedImages | None) -> tuple[Size, FittedImages]:
    """The network's height and width, and what the model remembers: also what fills that view."""
    if fitted_images is None:
        parse_size(image_size)  # refuses what is not allowed before any image is read
        fitted_images = remember(split.normals)
    size, framing = choose_view(image_size, fitted_images.framing)
    return size, fitted_images.model_copy(update={"framing": framing})


def _fit_and_score(
    detector: Detector,
    split: Split,
    size: Size,
    fitted_images: FittedImages,
    zones: Zones,
    seed: int,
    checkpoint: Path | None,
) -> list[HeldOutScore]:
    """Fit, and score the normal images that calibrate by detectors that have not seen them."""
    if detector.leaves_out:
        return fit_leaving_out(detector, split.normals, size, fitted_images, zones)
    kind, parameters = type(detector), detector.parameters()
    seen_as = (size, fitted_images.framing, fitted_images.data_sha256)
    shaping = (kind, parameters, *seen_as, seed, [str(s.path) for s in split.fit], split.folds)
    if split.folds is None:
        detector.fit(_batches(split.fit, size, fitted_images), checkpoint=_checkpoint_path(checkpoint, *shaping))
        return score_files(Torch(detector), split.calibrate, size, fitted_images, zones)
    by_sample: dict[Sample, HeldOutScore] = {}  # few normals: all are learned from in the end
    numbers = assign_folds(split.fit, split.folds, seed)
    for fold in range(split.folds):
        part = kind(**parameters).to(detector.device)
        seen = [s for s, n in zip(split.fit, numbers, strict=True) if n != fold]
        part.fit(_batches(seen, size, fitted_images), checkpoint=_checkpoint_path(checkpoint, *shaping, fold))
        left = [s for s, n in zip(split.fit, numbers, strict=True) if n == fold]
        by_sample |= zip(left, score_files(Torch(part), left, size, fitted_images, zones), strict=True)
    detector.fit(_batches(split.fit, size, fitted_images), checkpoint=_checkpoint_path(checkpoint, *shaping))
    return [by_sample[s] for s in split.fit]


def _checkpoint_path(folder: Path | None, *shaping: object) -> Path | None:
    """The file for one training: named by all that shapes it, so that the progress of another is never taken up."""
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps(shaping, default=str).encode()).hexdigest()
    return folder / f"{digest[:16]}.pt"


def _batches(samples: Iterable[Sample], size: Size, fitted_images: FittedImages) -> ImageBatches:
    paths = tuple(sample.path for sample in samples)
    return ImageBatches(paths, size, bits=fitted_images.bits, see=fitted_images.seen_by(size))
