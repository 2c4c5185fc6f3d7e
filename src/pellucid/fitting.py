"""A model's way from folder to inspector: fit, calibrate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid import detectors
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import ImageBatches, Size, parse_size
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.splits import assign_folds
from pellucid.acquisition.verify import remember
from pellucid.calibration import LimitMethod, ScoreAndMax, choose_limit, score_files
from pellucid.inspector import Inspector
from pellucid.limits.costs import Costs
from pellucid.limits.gap import check_enough_defects
from pellucid.records import Sample, Samples, Split
from pellucid.runtimes.torch import Torch

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector

ImageSize = int | str | Sequence[int]


def fit(
    data: str | Path | Samples | Plan,
    detector: str = "patchcore",
    *,
    image_size: ImageSize = 256,
    false_reject: float = 0.05,
    limit: LimitMethod = "conformal",
    costs: Costs | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    device: str = "auto",
    **parameters: Any,
) -> Inspector:
    """Fit a detector on the normal training images of a data set and choose its limit.

    Args:
        data: a folder, a CSV file, what :func:`pellucid.read_folder` returned, or a :class:`pellucid.Plan` made with
            the same ``false_reject`` and ``seed``.
        detector: name of a detector, one of ``pellucid.detectors.names()``.
        image_size: N or (height, width) in px, at least 32; images are resized to it, never cropped.
        false_reject: promised share of good images that are rejected, in (0, 1).
        limit: ``conformal`` chooses it from normal images alone; ``gap`` moves it up to the least expected cost where
            labelled training defects score apart from them; ``f1`` also uses these defects and is optimistic.
        costs: of an escape and of a false reject, for ``gap``; by default an escape costs 100 false rejects, and 1 % of
            parts are defective.
        seed: seed of the split and of the detector, at least 0.
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
    size = parse_size(image_size)
    plan = data if isinstance(data, Plan) else Plan.from_data(data, false_reject=false_reject, seed=seed)
    return fit_split(
        made,
        plan.split,
        size,
        fitted_images=plan.fitted_images(),
        false_reject=false_reject,
        limit=limit,
        costs=costs,
        seed=seed,
        checkpoint=checkpoint,
    )


def fit_split(
    detector: Detector,
    split: Split,
    image_size: ImageSize = 256,
    *,
    fitted_images: FittedImages | None = None,
    false_reject: float = 0.05,
    limit: LimitMethod = "conformal",
    costs: Costs | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> Inspector:
    """Fit and calibrate on a split of your own; :func:`fit` says what the other arguments mean.

    Args:
        detector: not fitted yet, as ``pellucid.detectors.create`` makes it; its ``to`` says where to compute.
        split: who is fitted on and who calibrates; with ``folds``, every sample of ``split.fit`` calibrates a detector
            that has not seen it.
        image_size: N or (height, width) in px.
        fitted_images: what the model is to remember of these images; they are read for it when it is not given.
        false_reject: promised share of good images that are rejected, in (0, 1).
        limit: ``conformal``, ``gap`` or ``f1``.
        costs: for ``gap``.
        seed: seed of the folds.
        checkpoint: folder for the progress of gradient-trained detectors.

    Raises:
        DataError: too few images, or one that cannot be read.

    Example:
        >>> plan = pellucid.Plan.from_data("GlassDefect")
        >>> inspector = pellucid.fit_split(pellucid.detectors.create("dfm"), plan.split)
    """
    size = parse_size(image_size)
    if limit == "gap":
        check_enough_defects(len(split.select))
    if fitted_images is None:
        fitted_images = remember((*split.fit, *split.calibrate))
    kind, parameters = type(detector), detector.parameters()
    shaping = (kind, parameters, size, fitted_images.data_sha256, seed, [str(s.path) for s in split.fit], split.folds)
    if split.folds is None:
        detector.fit(_batches(split.fit, size, fitted_images), checkpoint=_checkpoint_path(checkpoint, *shaping))
        held_out = score_files(Torch(detector), split.calibrate, size, fitted_images)
    else:  # few normals: every one is scored by a detector that has not seen it, then all are learned from
        by_sample: dict[Sample, ScoreAndMax] = {}
        numbers = assign_folds(split.fit, split.folds, seed)
        for fold in range(split.folds):
            part = kind(**parameters).to(detector.device)
            seen = [s for s, n in zip(split.fit, numbers, strict=True) if n != fold]
            part.fit(_batches(seen, size, fitted_images), checkpoint=_checkpoint_path(checkpoint, *shaping, fold))
            left = [s for s, n in zip(split.fit, numbers, strict=True) if n == fold]
            by_sample |= zip(left, score_files(Torch(part), left, size, fitted_images), strict=True)
        held_out = [by_sample[s] for s in split.fit]
        detector.fit(_batches(split.fit, size, fitted_images), checkpoint=_checkpoint_path(checkpoint, *shaping))
    chosen = choose_limit(
        Torch(detector), split, size, fitted_images, false_reject, held_out, method=limit, costs=costs
    )
    in_order = tuple(score for score, _ in held_out)
    return Inspector(Torch(detector), chosen, size, fitted_images, seed, false_reject, in_order)


def _checkpoint_path(folder: Path | None, *shaping: object) -> Path | None:
    """The file for one training: named by all that shapes it, so that the progress of another is never taken up."""
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps(shaping, default=str).encode()).hexdigest()
    return folder / f"{digest[:16]}.pt"


def _batches(samples: Iterable[Sample], size: Size, fitted_images: FittedImages) -> ImageBatches:
    return ImageBatches(tuple(s.path for s in samples), size, bits=fitted_images.bits)
