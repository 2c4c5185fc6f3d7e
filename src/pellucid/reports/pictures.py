"""Result pictures: the image, its map, the contours of its defects and the mask, side by side with the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import read_mask
from pellucid.records import Inspection
from pellucid.regions.defects import cut_of

Bgr = NDArray[np.uint8]  # (H, W, 3)
PANEL = 256  # shorter pictures are enlarged to this height, taller ones stay
RED, GREEN, YELLOW, WHITE = (60, 60, 230), (90, 170, 60), (40, 220, 250), (255, 255, 255)  # BGR


def result_picture(
    pixels: NDArray[np.float32], inspection: Inspection, pixel_limit: float, mask: NDArray[np.bool_] | None = None
) -> Bgr:
    """Image, heat map, defects and, if given, the mask, with a caption; BGR as OpenCV writes it.

    Colours are the same for all images of one model.
    """
    image = as_bgr(pixels)
    panels = [("image", image), ("map", cv2.addWeighted(image, 0.35, heat(inspection.map, pixel_limit), 0.65, 0))]
    outlined = image.copy()
    if inspection.defects:
        above = (inspection.map > cut_of(inspection.map, pixel_limit)).astype(np.uint8)
        contours, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, YELLOW, 1)
    for defect in inspection.defects:
        frame(outlined, defect.box)
    count = len(inspection.defects)
    panels.append((f"{count} defect{'' if count == 1 else 's'}", outlined))
    if mask is not None:
        panels.append(("mask", np.repeat(mask[..., None].astype(np.uint8) * 255, 3, 2)))
    zoom = max(1.0, PANEL / image.shape[0])
    return _caption(np.hstack([_titled(title, panel, zoom) for title, panel in panels]), inspection)


def as_bgr(pixels: NDArray[np.float32]) -> Bgr:
    """Pixels (H, W, 3) RGB in [0, 1] as 8-bit BGR."""
    return np.ascontiguousarray((pixels[..., ::-1] * 255).round().astype(np.uint8))


def heat(anomaly_map: NDArray[np.float32], pixel_limit: float) -> Bgr:
    """A map (H, W) in colours that span zero to twice the pixel limit."""
    scale = max(2 * pixel_limit, 1e-12)
    return np.asarray(
        cv2.applyColorMap((np.clip(anomaly_map / scale, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), np.uint8
    )


def frame(image: Bgr, box: tuple[int, int, int, int]) -> None:
    """Draw the box of a defect (x, y, width, height) on an image, around its pixels."""
    x, y, w, h = box
    cv2.rectangle(image, (x - 2, y - 2), (x + w + 1, y + h + 1), RED, max(1, image.shape[0] // 200))


def _titled(title: str, panel: NDArray[Any], zoom: float) -> Bgr:
    grown = cv2.resize(panel, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST if zoom > 1 else cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(grown, 24, 4, 2, 2, cv2.BORDER_CONSTANT, value=WHITE)
    cv2.putText(framed, title, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return np.asarray(framed, np.uint8)


def _caption(strip: Bgr, inspection: Inspection) -> Bgr:
    colour = RED if inspection.verdict == "reject" else GREEN
    out = cv2.copyMakeBorder(strip, 34, 0, 0, 0, cv2.BORDER_CONSTANT, value=colour)
    text = (
        f"{inspection.verdict.upper()}   score {inspection.score:.4g}   limit {inspection.limit:.4g}"
        f"   p {inspection.p_value:.3f}   {inspection.path.name}"
    )
    cv2.putText(out, text, (8, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.52, WHITE, 1, cv2.LINE_AA)
    return np.asarray(out, np.uint8)


def picture_of(
    pixels: NDArray[np.float32], inspection: Inspection, pixel_limit: float, mask: Path | None = None
) -> bytes:
    """The result picture as PNG; the mask is read from its file.

    Raises:
        DataError: the mask cannot be read.
    """
    drawn = read_mask(mask) if mask else None
    return cv2.imencode(".png", result_picture(pixels, inspection, pixel_limit, drawn))[1].tobytes()
