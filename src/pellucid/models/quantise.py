"""The backbone of an exported graph in 8-bit integers, as long as it ranks held-out normal images as float32 does.

By NNCF (the extra ``[int8]``), on the convolutions of the backbone alone: their weights and inputs become integers,
what they give is float32 again, and so is everything behind them, because distances live from small differences.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.acquisition.images import Planes, read_ahead
from pellucid.acquisition.plan import Plan
from pellucid.calibration import choose_limit, score_files
from pellucid.errors import DataError, ExportError, ParameterError, missing_extra
from pellucid.limits.costs import Costs
from pellucid.models.file import Header, LimitHeader
from pellucid.records import Sample, Samples
from pellucid.records.limits import Limit
from pellucid.runtimes import Runtime
from pellucid.runtimes.scoring import score_view

MIN_RANK_CORRELATION = 0.97  # least rank correlation of held-out normal images' scores with those of float32
IMAGES_PER_MARKED = 4  # one in so many of the images that ranges are learned from is also used with bold marks on it
MAX_RANGE_IMAGES = 100  # images that ranges of activations are learned from, at most
SHIFT_PX = 3  # by which an image that was fitted on is moved, to score like one that was not
QUANTISED_OPERATIONS = ("Convolution", "GroupConvolution")


@dataclass(frozen=True)
class Normals:
    """Normal images for the network (3, H, W), and what becomes of the limit.

    Attributes:
        learn: images that the detector was fitted on; ranges of activations are learned from them.
        held_out: images that it was not fitted on, or that score like those; they judge.
        header: makes the model's header with the limit of a runtime, from the reference and that runtime.
    """

    learn: Sequence[Planes]
    held_out: Sequence[Planes]
    header: Callable[[Runtime, Runtime], Header]


def normals_of(data: str | Path | Samples, header: Header) -> Normals:
    """Read the images that a model was fitted on and those that it was not, as its own split has them.

    Raises:
        DataError: this is another data set, or it has too few normal images.
    """
    confidence, folds = header.limit.confidence, header.limit.folds
    plan = Plan.from_data(data, false_reject=header.false_reject, confidence=confidence, folds=folds, seed=header.seed)
    if plan.data_sha256() != header.fitted_images.data_sha256:
        raise DataError(
            "An int8 graph is calibrated with the images that its model was fitted and calibrated on, so that none"
            " that was fitted on decides; these are others."
        )
    split, size = plan.split, header.image_size
    spread = split.fit[:: -(-len(split.fit) // MAX_RANGE_IMAGES)]
    learn = _views(spread, header)
    if header.limit.left_out:
        shifted = [_shifted(image) for image in learn]
        return Normals(learn, shifted, partial(_carried_over, header, shifted))
    if split.folds is not None:
        raise DataError(
            f"The limit of an int8 graph needs normal images that were not fitted on, and all {len(split.fit)} were:"
            " they are few, or folds were asked for."
        )

    def recalibrated(_: Runtime, runtime: Runtime) -> Header:
        false_alarms = Limit(**header.limit.model_dump()).false_alarms
        seen = size, header.fitted_images, header.zones
        held_out = score_files(runtime, split.calibrate, *seen, by_area=false_alarms is not None)
        limit = choose_limit(
            runtime,
            split,
            size,
            header.fitted_images,
            header.false_reject,
            held_out,
            leaves_out=False,
            method=header.limit.method if header.limit.method in ("f1", "gap") else "conformal",
            confidence=confidence,
            costs=None if header.limit.cost_ratio is None else Costs.of_ratio(header.limit.cost_ratio),
            false_alarms=false_alarms,
            mm_per_px=header.measuring.mm_per_px,
        )
        return header.model_copy(update={"limit": LimitHeader(**asdict(limit))})

    return Normals(learn, _views(split.calibrate, header), recalibrated)


def _views(samples: Iterable[Sample], header: Header) -> list[Planes]:
    """What the network sees of images."""
    images, size = header.fitted_images, header.image_size
    paths = [sample.path for sample in samples]
    return [view for seen in read_ahead(paths, size, images.bits, images.seen_by(size)) for view in seen]


def _carried_over(header: Header, images: Sequence[Planes], reference: Runtime, runtime: Runtime) -> Header:
    """The header with the limit carried over to another runtime's scores, by straight lines through those of images.

    The scores that placed the limit are of images that were left out of the fit, which a graph cannot do.
    """
    (x, highest_x), (y, highest_y) = (_scores_and_highest(one, images) for one in (reference, runtime))
    score, pixel = (np.polynomial.Polynomial.fit(*pair, 1) for pair in ((x, y), (highest_x, highest_y)))
    limit = header.limit
    moved = {
        "value": float(score(limit.value)),
        "pixel": float(pixel(limit.pixel)),
        "scores": tuple(float(score(value)) for value in limit.scores),
        "moved_from": None if limit.moved_from is None else float(score(limit.moved_from)),
        "pixel_median": None if limit.pixel_median is None else float(pixel(limit.pixel_median)),
    }
    return header.model_copy(update={"limit": limit.model_copy(update=moved)})


def _shifted(image: Planes) -> Planes:
    """The image (3, H, W) moved down and right, its border mirrored."""
    return np.pad(image, ((0, 0), (SHIFT_PX, 0), (SHIFT_PX, 0)), "reflect")[:, :-SHIFT_PX, :-SHIFT_PX]


def _scores_and_highest(runtime: Runtime, images: Sequence[Planes]) -> tuple[list[float], list[float]]:
    """Scores and highest map values of images (3, H, W), scored one by one."""
    scored = [score_view(runtime, image) for image in images]
    return [score for score, _ in scored], [float(anomaly_map.max()) for _, anomaly_map in scored]


def quantise(
    graph: Path, reference: Runtime, learn: Sequence[Planes], held_out: Sequence[Planes], target: Path
) -> float:
    """Write an OpenVINO graph with an 8-bit backbone; layers stay in float32 where the ranking asks for it.

    Args:
        graph: the ``.xml`` file in float32.
        reference: scores as the graph should.
        learn: normal images (3, H, W) that the detector was fitted on; ranges of activations are learned from them.
        held_out: normal images that it was not fitted on; they judge.
        target: the ``.xml`` file to write.

    Returns:
        The rank correlation (Spearman) of the held-out images' scores with the reference's.

    Raises:
        ExportError: it stays below :data:`MIN_RANK_CORRELATION`.
        ParameterError: NNCF is not installed.
    """
    os.environ.setdefault("NNCF_CI", "1")  # it would report to its maker
    try:
        import nncf
    except ImportError:
        raise ParameterError(missing_extra("int8", "NNCF", "An int8 graph")) from None
    import openvino
    from scipy.stats import spearmanr

    expected = {id(image): float(reference.score(image[None])[1][0]) for image in held_out}

    def rank_correlation(compiled: Any, images: Iterable[Planes]) -> tuple[float, None]:
        chosen = list(images)
        found = [float(compiled([image[None]])[1][0]) for image in chosen]
        return float(spearmanr(found, [expected[id(image)] for image in chosen]).statistic), None

    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function changes handlers that others put there
    model = openvino.Core().read_model(graph)
    with redirect_stdout(sys.stderr):  # its progress bars
        quantised = nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset([*learn, *map(_marked, learn[::IMAGES_PER_MARKED])], _batch),
            nncf.Dataset(held_out),
            validation_fn=rank_correlation,
            max_drop=1 - MIN_RANK_CORRELATION,
            subset_size=2 * len(learn),  # all of them
            ignored_scope=nncf.IgnoredScope(names=_float_operations(model), validate=False),
            **_how(nncf),
        )
    openvino.save_model(quantised, target, compress_to_fp16=False)
    compiled = openvino.Core().compile_model(target, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    achieved = rank_correlation(compiled, held_out)[0]
    if not achieved >= MIN_RANK_CORRELATION:
        raise ExportError(
            f"The int8 graph ranks {len(expected)} held-out normal images otherwise than float32 (rank correlation"
            f" {achieved:.3f}, at least {MIN_RANK_CORRELATION:g} is asked for): leave --int8 out."
        )
    return achieved


def _how(nncf: Any) -> dict[str, Any]:
    """NNCF's options for ranges of activations and for the preset."""
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return {
        "preset": nncf.QuantizationPreset.MIXED,
        "advanced_quantization_parameters": nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE,  # older processors add pairs of products in 16 bits
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,  # the means would cut off more
        ),
    }


def _batch(image: Planes) -> Planes:
    return np.ascontiguousarray(image[None])


def _marked(image: Planes) -> Planes:
    """The image with bold marks, so that what is far from normal does not lie beyond the range of the integers."""
    marked = image.copy()
    height, width = image.shape[1:]
    for k, value in enumerate((0.0, 1.0)):
        top, left = height * (1 + 2 * k) // 5, width * (1 + 2 * k) // 5
        marked[:, top : top + height // 16, left : left + width // 4] = value
        marked[:, top : top + height // 4, left : left + 2] = 1 - value
    return marked


def _float_operations(model: Any) -> list[str]:
    """Names of all operations that stay in float32."""
    named = [(op.get_friendly_name(), op.get_type_name()) for op in model.get_ordered_ops()]
    return [
        name
        for name, kind in named
        if kind not in ("Constant", "Result", "Parameter")
        and not (kind in QUANTISED_OPERATIONS and name.startswith("__module.backbone_"))
    ]
