"""Inference from an exported model, by anomalib's names."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor

from pellucid.anomalib._files import load_model
from pellucid.anomalib._said import say_once, without_effect
from pellucid.anomalib.data.batches import ImageBatch, ImageItem, as_array
from pellucid.anomalib.post_processing import PostProcessor
from pellucid.anomalib.predictions import batch_of
from pellucid.anomalib.visualization import RED, superimpose_anomaly_map
from pellucid.errors import ParameterError
from pellucid.inspector import Inspector
from pellucid.models.export import Format, graph_files
from pellucid.records import Inspection, Samples

if TYPE_CHECKING:
    from pellucid.acquisition.arrays import ImageLike

    TakenImage: TypeAlias = ImageLike | Tensor

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths
__all__ = ["CompressionType", "ExportType", "Inferencer", "OpenVINOInferencer", "TorchInferencer"]


class ExportType(StrEnum):
    """What :meth:`Engine.export` writes."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


class CompressionType(StrEnum):
    """How :meth:`Engine.export` makes a graph smaller; the last three are one: the backbone in 8-bit integers."""

    FP16 = "fp16"
    INT8 = "int8"
    INT8_PTQ = "int8_ptq"
    INT8_ACQ = "int8_acq"


class _Pictures:
    """The pictures of 1.x's result; of several images those of the first."""

    def _first(self, name: str) -> np.ndarray[Any, Any]:
        value = np.asarray(getattr(self, name))
        return value[0] if isinstance(self, ImageBatch) else value

    @property
    def heat_map(self) -> np.ndarray[Any, Any]:
        """The map over the image, (H, W, 3) RGB uint8."""
        return superimpose_anomaly_map(self._first("anomaly_map"), self._first("image"))

    @property
    def segmentations(self) -> np.ndarray[Any, Any]:
        """The image with its defects in red, (H, W, 3) RGB uint8."""
        marked = (self._first("image").transpose(1, 2, 0) * 255).round().astype(np.uint8)
        marked[self._first("pred_mask")] = RED
        return marked


class InferenceResult(_Pictures, ImageBatch):
    """A batch of images at their own size, usually of one."""


class ImageResult(_Pictures, ImageItem):
    """What 1.x returns of one image: ``pred_score`` is a number, ``pred_label`` a bool, ``anomaly_map`` (H, W)."""


class Inferencer:
    """Inspects one image after the other.

    Args:
        path: of what :meth:`Engine.export` returned, a model file, or their folder.
        device: where to compute.

    Raises:
        ModelFileError: it is missing, or a file of anomalib's own.
    """

    def __init__(self, path: str | Path, device: str = "auto") -> None:
        self.path, self.device = Path(path), device
        self.inspector = load_model(path, device)
        self._post_processor = PostProcessor(enable_normalization=False)

    @property
    def image_threshold(self) -> float:
        """The limit, in the unit of the scores."""
        return self.inspector.limit.value

    def predict(self, image: TakenImage | Sequence[TakenImage]) -> Any:
        """Inspect an image.

        Args:
            image: a path; a PIL image; an array (H, W, 3) RGB, uint8 or in [0, 1]; or a tensor (3, H, W) or
                (B, 3, H, W), the same.

        Returns:
            A batch of one image, at its own size; of several images of one size, as long as they are.

        Raises:
            DataError: it cannot be read, or is of another kind.
        """
        given: list[Any] = list(image) if isinstance(image, (list, tuple)) else [image]
        images = [one for several in given for one in (as_array(several) if isinstance(several, Tensor) else [several])]
        found = [self.inspector.inspect(one) for one in images]
        say_raw(self.inspector.limit.value)
        return self._result(found)

    __call__ = predict

    def _result(self, found: Sequence[Inspection]) -> Any:
        size = found[0].map.shape[0], found[0].map.shape[1]
        return InferenceResult(batch_of(found, self.inspector, self._post_processor, size=size))


class TorchInferencer(Inferencer):
    """Inspects by torch what ``export_type="torch"`` wrote; results are tensors.

    Args:
        path: of the model.
        device: ``auto``, ``cpu``, ``cuda`` or ``gpu``.
        options: of earlier versions, taken without effect.
    """

    def __init__(self, path: str | Path, device: str = "auto", **options: Any) -> None:
        without_effect("TorchInferencer", options, "the model file holds all that is needed")
        super().__init__(path, {"gpu": "cuda"}.get(str(device).lower(), str(device).lower()))


class OpenVINOInferencer(Inferencer):
    """Inspects by OpenVINO, or ONNX Runtime, what was exported for it; results are arrays.

    Args:
        path: of the graph, ``.xml``, ``.bin`` or ``.onnx``, or its folder.
        metadata: taken without effect: it lies beside the graph. Where it or ``task`` is given, as in 1.x, the result
            is of one image, without an axis for images.
        device: ``AUTO`` or ``CPU``; any other is taken as CPU, which is said once.
        task: as ``metadata``.
        options: of earlier versions, taken without effect.
    """

    def __init__(
        self,
        path: str | Path,
        metadata: object = None,
        device: str | None = "AUTO",
        task: str | None = None,
        **options: Any,
    ) -> None:
        without_effect("OpenVINOInferencer", options, "the folder of the graph holds all that is needed")
        if str(device or "AUTO").upper() not in ("AUTO", "CPU"):
            say_once(f"device='{device}' is taken as 'CPU': graphs are computed there; a model file computes on a GPU.")
        self._is_earlier = metadata is not None or task is not None
        super().__init__(path)

    def _result(self, found: Sequence[Inspection]) -> Any:
        batch = super()._result(found)
        taken = {name: batch.get(name) for name in batch.keys()}  # noqa: SIM118 - a batch iterates over images
        arrays = {name: value.numpy() if isinstance(value, Tensor) else value for name, value in taken.items()}
        result = InferenceResult(arrays)
        if not self._is_earlier:
            return result
        one = next(iter(result))
        return ImageResult(one | {"pred_score": float(one.pred_score), "pred_label": bool(one.pred_label)})


def check_export(export_type: str, compression_type: str | None) -> tuple[ExportType, bool]:
    """Return what is to be written, and whether its backbone computes in 8-bit integers.

    Raises:
        ParameterError: there is no such type, or no such compression.
    """
    for name, value, kinds in (
        ("export_type", export_type, list(ExportType)),
        ("compression_type", compression_type, [None, *CompressionType]),
    ):
        if value not in kinds:
            raise ParameterError(f"{name}='{value}' is not allowed: give {', '.join(filter(None, kinds))}.")
    if compression_type == CompressionType.FP16:
        say_once("compression_type='fp16' is taken without effect: the graph is of 32-bit numbers.")
    return ExportType(export_type), str(compression_type).startswith("int8")


def export_model(inspector: Inspector, folder: Path, export_type: ExportType, int8: Samples | None) -> Path:
    """Write a model.

    Args:
        inspector: that is fitted.
        folder: that it goes to.
        export_type: what is written.
        int8: the data set that it was fitted on, for a backbone in 8-bit integers; None: in 32-bit numbers.

    Returns:
        The file.

    Raises:
        ExportError: the graph does not agree with torch.
    """
    if export_type == ExportType.TORCH:
        inspector.save(folder / "model.pt")
        return folder / "model.pt"
    format: Format = "onnx" if export_type == ExportType.ONNX else "openvino"
    inspector.export(folder, format, int8=int8)
    return folder / graph_files("model", format)[0]


def say_raw(limit: float) -> None:
    """Say once that scores are not in the unit of a script's 0.5."""
    say_once(
        f"Scores are in the detector's own unit, not in [0, 1]: this model's limit is {limit:.6g}, and pred_label says"
        " on which side of it an image is. PostProcessor(enable_normalization=True) puts the limit at 0.5."
    )
