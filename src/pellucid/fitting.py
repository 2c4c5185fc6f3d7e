"""A model's way from folder to inspector: fit, teach, calibrate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid import detectors
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import Size, parse_size, read_image
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.splits import check_confidence
from pellucid.acquisition.tiles import Tiling, check_tile
from pellucid.acquisition.verify import remember
from pellucid.acquisition.views import ImageSize, choose_view
from pellucid.calibration import (
    choose_limit,
)
from pellucid.errors import ParameterError
from pellucid.gating import with_gate
from pellucid.held_out import HeldOutFit
from pellucid.inspector import Inspector
from pellucid.labelled_defects import Lesson, check_teachers
from pellucid.limits.area import check_false_alarms, check_tiled
from pellucid.limits.costs import Costs
from pellucid.limits.gap import check_enough_defects
from pellucid.limits.gate_loss import check_gate_loss
from pellucid.outlining import Outline, check_measuring, choose_outline
from pellucid.records import Samples, Split
from pellucid.records.limits import FalseAlarms, LimitMethod
from pellucid.regions.scale import Scale
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.runtimes.torch import Torch
from pellucid.tiling import choose_tiling

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector


def fit(
    data: str | Path | Samples | Plan,
    detector: str = "patchcore",
    *,
    image_size: ImageSize = 256,
    tile: int | None = None,
    reduce: int = 1,
    gate_loss: float = 0.0,
    false_reject: float = 0.05,
    confidence: float | None = None,
    false_alarms: FalseAlarms | None = None,
    folds: int | None = None,
    limit: LimitMethod = "conformal",
    costs: Costs | None = None,
    learn_defects: bool = False,
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
        tile: side of the tiles that images of any size are seen in, at their own scale, instead, px: a multiple of 64
            from 256 to 4096; 0: they are seen whole; None: tiles of 1024 px where images would be shrunk 8 times.
        reduce: whole factor that images are reduced by before they are cut into tiles, 1 to 16.
        gate_loss: share of the flaws that a tiled model finds, which may be lost to a gate that passes over most tiles
            of good glass, in [0, 1); 0: every tile is computed.
        false_reject: promised share of good images that are rejected, in (0, 1).
        confidence: share of models made in this way that keep the promise, in (0, 1); None: they keep it on average.
        false_alarms: of a tiled model, false alarms by area of good glass that are promised instead, whatever the size
            of its images; ``false_reject`` then only says how many of them are kept aside.
        folds: at least 2: every normal image is learned from, and calibrates, scored by one of so many models that have
            not seen it, at as many times the training; None: a fifth is held out where that is enough. Detectors that
            leave images out by themselves have no need of it.
        limit: ``conformal`` chooses it from normal images alone; ``gap`` moves it up to the least expected cost where
            labelled training defects score apart from them; ``f1`` also uses these defects and is optimistic.
        costs: of an escape and of a false reject, for ``gap``; by default an escape costs 100 false rejects, and 1 % of
            parts are defective.
        learn_defects: let labelled training defects teach the detector what known defects look like, as far as
            cross-validation shows that it gains and that types which nobody labelled lose nothing.
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
    check_tile(tile, reduce)
    check_gate_loss(gate_loss)
    check_folds(detector, made.leaves_out, folds)
    check_false_alarms(false_alarms, mm_per_px is not None, limit)
    plan = data
    if not isinstance(plan, Plan):
        plan = Plan.from_data(plan, false_reject=false_reject, confidence=confidence, folds=folds, seed=seed)
    return fit_split(
        made,
        plan.split,
        image_size,
        tile=tile,
        reduce=reduce,
        gate_loss=gate_loss,
        fitted_images=plan.fitted_images(),
        false_reject=false_reject,
        confidence=confidence,
        false_alarms=false_alarms,
        limit=limit,
        costs=costs,
        learn_defects=learn_defects,
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
    tile: int | None = None,
    reduce: int = 1,
    gate_loss: float = 0.0,
    fitted_images: FittedImages | None = None,
    false_reject: float = 0.05,
    confidence: float | None = None,
    false_alarms: FalseAlarms | None = None,
    limit: LimitMethod = "conformal",
    costs: Costs | None = None,
    learn_defects: bool = False,
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
        tile: side of tiles, px; 0: none; None: only for large images.
        reduce: factor that images are reduced by before they are cut into tiles.
        gate_loss: share of the flaws that a tiled model finds, which may be lost to a gate.
        fitted_images: what the model is to remember of these images; they are read for it when it is not given.
        false_reject: promised share of good images that are rejected, in (0, 1).
        confidence: share of models made in this way that keep the promise, in (0, 1); None: they keep it on average.
        false_alarms: of a tiled model, false alarms by area of good glass that are promised instead, whatever the size
            of its images; ``false_reject`` then only says how many of them are kept aside.
        limit: ``conformal``, ``gap`` or ``f1``.
        costs: for ``gap``.
        learn_defects: whether the labelled defects of ``split.select`` teach the detector.
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
    _check(split, limit, zones, outline, mm_per_px, learn_defects)
    check_tile(tile, reduce)
    check_gate_loss(gate_loss)
    check_false_alarms(false_alarms, mm_per_px is not None, limit)
    size, fitted_images = choose_framing(detector, split, image_size, tile, reduce, fitted_images)
    check_tiled(false_alarms, fitted_images.are_tiled)
    if learn_defects and fitted_images.are_tiled:
        raise ParameterError(
            "Labelled defects teach only detectors that see whole images: give tile=0, or leave --learn-defects out."
        )
    work = HeldOutFit(detector, split, size, fitted_images, zones, seed, checkpoint, false_alarms is not None)
    lesson = work.teach() if learn_defects else None
    held_out = work.score() if lesson is None else lesson.held_out
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
        defects=lesson and lesson.defects,
        false_alarms=false_alarms,
        mm_per_px=mm_per_px,
    )
    in_order = tuple(one.score for one in held_out)
    inspector = Inspector(Torch(detector), chosen, size, fitted_images, seed, false_reject, in_order, zones)
    inspector = inspector if lesson is None else _remember(inspector, lesson)
    inspector = replace(inspector, measuring=choose_outline(inspector, split, outline, mm_per_px))
    return with_gate(inspector, split, gate_loss, seed) if gate_loss else inspector


def _remember(inspector: Inspector, lesson: Lesson) -> Inspector:
    """The inspector that knows what labelled defects taught its detector."""
    limit = replace(inspector.limit, taught=lesson.taught.weight > 0)
    return replace(inspector, limit=limit, taught=lesson.taught, held_out_defects=lesson.defects)


def _check(
    split: Split, limit: LimitMethod, zones: Zones, outline: Outline, mm_per_px: Scale | None, learn_defects: bool
) -> None:
    """Refuse before the work begins what would stop it at its end."""
    check_measuring(outline, mm_per_px)
    if learn_defects:
        check_teachers(split.select)
    if limit == "gap":
        check_enough_defects(len(split.select))
    if not zones.are_everything:
        zones.counted(read_image(split.fit[0].path).shape[:2])


def choose_framing(
    detector: Detector,
    split: Split,
    image_size: ImageSize,
    tile: int | None,
    reduce: int,
    fitted_images: FittedImages | None,
) -> tuple[Size, FittedImages]:
    """Choose the network's height and width, and with these what fills that view, or is cut into tiles.

    Args:
        detector: not fitted yet.
        split: whose good images are looked at where nothing is known of them.
        image_size: N, the shorter side, or (height, width), in px.
        tile: side of tiles, px; 0: none; None: only for large images.
        reduce: factor that images are reduced by before they are cut into tiles.
        fitted_images: what is known of them; None: nothing.

    Returns:
        That size, px, and what a model of it remembers of the images.
    """
    if fitted_images is None:
        parse_size(image_size)  # refuses what is not allowed before any image is read
        fitted_images = remember(split.normals)
    assert not isinstance(fitted_images.framing, Tiling)  # what a model remembers before it is one
    size, framing = choose_view(image_size, fitted_images.framing)
    tiling = choose_tiling(detector, tile, reduce, size, fitted_images.framing)
    if tiling is not None:
        return (tiling.tile, tiling.tile), fitted_images.model_copy(update={"framing": tiling})
    return size, fitted_images.model_copy(update={"framing": framing})
