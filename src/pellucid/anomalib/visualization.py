"""Pictures by anomalib's names."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.anomalib._absent import find_absent
from pellucid.anomalib._said import without_effect
from pellucid.errors import ParameterError

if TYPE_CHECKING:
    from PIL.Image import Image

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths
Rgb = NDArray[np.uint8]  # (H, W, 3)
RED = (255, 0, 0)


class VisualizationMode(StrEnum):
    """What anomalib 1.x shows; here it is always the image, its map and its mask."""

    FULL = "full"
    SIMPLE = "simple"


class Visualizer:
    """What pictures a test writes.

    Attributes:
        output_dir: folder that they go to; None: that of the run.
    """

    output_dir: Path | None = None


class ImageVisualizer(Visualizer):
    """Pictures of tested images: the image, its map, its defects and its mask under the verdict.

    Args:
        output_dir: folder that they go to; that of the run by default.
        options: what anomalib's shows and how, taken without effect.
    """

    def __init__(self, output_dir: str | Path | None = None, **options: Any) -> None:
        self.output_dir, self.options = None if output_dir is None else Path(output_dir), options
        without_effect("ImageVisualizer", options, "every picture has the image, its map, its defects and its mask")

    def visualize(self, item: Any) -> Image:
        """Draw an item of a prediction: the image, then its map over it, then its mask over it."""
        return visualize_image_item(item)

    __call__ = visualize

    def visualize_image(self, image_result: Any) -> Rgb:
        """Return the same of an inferencer's result, as an array (H, W, 3), as in 1.x."""
        is_batch = getattr(image_result.image, "ndim", 3) == 4
        return np.array(visualize_image_item(next(iter(image_result)) if is_batch else image_result))


def visualize_image_item(item: Any, fields: object = None, overlay_fields: object = None, **options: Any) -> Image:
    """Draw an item of a prediction: the image, then its map over it, then its mask over it.

    Args:
        item: with ``image``, and perhaps ``anomaly_map`` and ``pred_mask``.
        fields: taken without effect.
        overlay_fields: taken without effect.
        options: taken without effect.
    """
    from PIL import Image

    given = {"fields": fields, "overlay_fields": overlay_fields, **options}
    without_effect(
        "visualize_image_item", [n for n, v in given.items() if v is not None], "image, map and mask are drawn"
    )
    image = _rgb(item.image)
    panels = [image]
    if getattr(item, "anomaly_map", None) is not None:
        panels.append(superimpose_anomaly_map(_plane(item.anomaly_map), image))
    if getattr(item, "pred_mask", None) is not None:
        panels.append(_outlined(image, _plane(item.pred_mask) > 0))
    return Image.fromarray(np.hstack(panels))


def visualize_anomaly_map(anomaly_map: Any, colormap: bool = True, normalize: bool = False, **_: Any) -> Image:
    """Draw a map.

    Args:
        anomaly_map: (H, W), or with a first axis of length 1.
        colormap: in colours, else in grey.
        normalize: taken without effect: from the lowest value to the highest, always.
    """
    from PIL import Image

    del normalize
    grey = _grey(_plane(anomaly_map))
    return Image.fromarray(anomaly_map_to_color_map(grey, normalize=False) if colormap else grey)


def visualize_mask(
    mask: Any, *, mode: str = "binary", color: Sequence[int] = RED, alpha: float = 1.0, **_: Any
) -> Image:
    """Draw a mask.

    Args:
        mask: (H, W), or with a first axis of length 1.
        mode: ``binary`` (white), ``fill``, ``contour``, ``L`` or ``1``.
        color: of the others, RGB.
        alpha: of ``fill``, in [0, 1].
    """
    from PIL import Image

    defective = _plane(mask) > 0
    if mode in ("binary", "L", "1"):
        return Image.fromarray(np.where(defective, 255, 0).astype(np.uint8))
    canvas = np.zeros((*defective.shape, 4), np.uint8)
    drawn = defective if mode == "fill" else _outlined(np.zeros((*defective.shape, 3), np.uint8), defective).any(2)
    canvas[drawn] = (*color, round(255 * alpha))
    return Image.fromarray(canvas)


visualize_pred_mask = visualize_gt_mask = visualize_mask


def anomaly_map_to_color_map(anomaly_map: Any, normalize: bool = True) -> Rgb:
    """Return a map in colours, from blue for its lowest value to red for its highest.

    Args:
        anomaly_map: (H, W).
        normalize: False where it is uint8 already.
    """
    plane = _plane(anomaly_map)
    grey = _grey(plane) if normalize else plane.astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB), np.uint8)


def superimpose_anomaly_map(
    anomaly_map: Any, image: Any, alpha: float = 0.4, gamma: int = 0, normalize: bool = True
) -> Rgb:
    """Lay a map in colours over an image.

    Args:
        anomaly_map: (H, W).
        image: (H, W, 3), uint8 or in [0, 1].
        alpha: share of the map, in [0, 1].
        gamma: added to every value.
        normalize: False where the map is uint8 already.
    """
    pixels = _rgb(image)
    colours = anomaly_map_to_color_map(anomaly_map, normalize)
    if colours.shape[:2] != pixels.shape[:2]:
        colours = np.asarray(cv2.resize(colours, (pixels.shape[1], pixels.shape[0])), np.uint8)
    return np.asarray(cv2.addWeighted(colours, alpha, pixels, 1 - alpha, gamma), np.uint8)


def take_visualizer(given: object) -> Visualizer | None:
    """Return the visualizer of a model; None where no pictures are wanted.

    Raises:
        ParameterError: it is something else.
    """
    if given is False:
        return None
    if given is None or given is True:
        return ImageVisualizer()
    if isinstance(given, Visualizer):
        return given
    raise ParameterError(f"visualizer={given!r} is not allowed: give an ImageVisualizer, or False for no pictures.")


def _plane(values: Any) -> NDArray[Any]:
    """(H, W) of an array or a tensor with axes of length 1 in front."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    return array.reshape(array.shape[-2:])


def _rgb(image: Any) -> Rgb:
    """(H, W, 3) uint8 of what is (H, W, 3) or a tensor (3, H, W), uint8 or in [0, 1]."""
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    return np.ascontiguousarray(array if array.dtype == np.uint8 else (array * 255).clip(0, 255).round(), np.uint8)


def _grey(plane: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(plane.min()), float(plane.max())
    return np.asarray((plane - low) / ((high - low) or 1.0) * 255, np.uint8)


def _outlined(image: Rgb, defective: NDArray[np.bool_]) -> Rgb:
    contours, _ = cv2.findContours(defective.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(image.copy(), contours, -1, RED, 1), np.uint8)


_REPORT = "Pictures are drawn by ImageVisualizer().visualize(item), or by the picture() of what an inspector returns."
ABSENT: dict[str, str] = dict.fromkeys(
    (
        "VideoVisualizer",
        "add_text_to_image",
        "overlay_image",
        "overlay_images",
        "add_anomalous_label",
        "add_normal_label",
    ),
    _REPORT,
)
DEFAULT_TEXT_CONFIG: dict[str, Any] = {}

__all__ = [
    "ImageVisualizer",
    "VisualizationMode",
    "Visualizer",
    "anomaly_map_to_color_map",
    "superimpose_anomaly_map",
    "visualize_anomaly_map",
    "visualize_gt_mask",
    "visualize_image_item",
    "visualize_mask",
    "visualize_pred_mask",
]


def __getattr__(name: str) -> Any:
    return find_absent(__name__, name, ABSENT)
