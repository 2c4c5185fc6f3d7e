"""Result pictures: the image, its map, the contours of its defects and the mask, side by side with the verdict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pellucid._io.names import printable

Bgr = NDArray[np.uint8]  # (H, W, 3)
Box = tuple[int, int, int, int]  # x, y, width, height
Polygon = Sequence[tuple[int, int]]  # corners, x and y
MIN_PANEL_HEIGHT_PX = 256  # shorter pictures are enlarged to it, taller ones stay
RED, GREEN, YELLOW, WHITE = (60, 60, 230), (90, 170, 60), (40, 220, 250), (255, 255, 255)  # BGR
DARK = (40, 40, 40)
TITLE_PX, CAPTION_PX = 24, 34  # height
TITLE_FONT_PX, CAPTION_FONT_PX = 13, 16
ABSENT_CHARACTER = "\U0010ffff"  # that no font has: how it is drawn is how what a font lacks is drawn


def result_picture(
    pixels: NDArray[np.float32],
    anomaly_map: NDArray[np.float32],
    pixel_limit: float,
    *,
    boxes: Sequence[Box],
    outlines: Sequence[Polygon] = (),
    caption: str,
    rejected: bool,
    mask: NDArray[np.bool_] | None = None,
) -> Bgr:
    """Draw image, heat map, defects and, if given, the mask side by side.

    Colours mean the same for all images of one model.

    Args:
        pixels: (H, W, 3) RGB in [0, 1].
        anomaly_map: (H, W).
        pixel_limit: of the model; the heat map spans zero to twice as much.
        boxes: of the defects, (x, y, width, height) in px each.
        outlines: of the defects, closed.
        caption: written above, on red where ``rejected``, else on green.
        rejected: whether the image was rejected.
        mask: (H, W), true where the image is known to be defective.

    Returns:
        (height, width, 3) BGR, as OpenCV writes it.
    """
    image = as_bgr(pixels)
    panels = [("image", image), ("map", cv2.addWeighted(image, 0.35, heat(anomaly_map, pixel_limit), 0.65, 0))]
    outlined = image.copy()
    draw_outlines(outlined, outlines)
    for box in boxes:
        frame(outlined, box)
    panels.append((f"{len(boxes)} defect{'' if len(boxes) == 1 else 's'}", outlined))
    if mask is not None:
        panels.append(("mask", np.repeat(mask[..., None].astype(np.uint8) * 255, 3, 2)))
    zoom = max(1.0, MIN_PANEL_HEIGHT_PX / image.shape[0])
    return _captioned(np.hstack([_titled(title, panel, zoom) for title, panel in panels]), caption, rejected)


def png(image: Bgr) -> bytes:
    """Encode a picture as PNG."""
    return cv2.imencode(".png", image)[1].tobytes()


def as_bgr(pixels: NDArray[np.float32]) -> Bgr:
    """Return pixels (H, W, 3) RGB in [0, 1] as 8-bit BGR."""
    return np.ascontiguousarray((pixels[..., ::-1] * 255).round().astype(np.uint8))


def heat(anomaly_map: NDArray[np.float32], pixel_limit: float) -> Bgr:
    """Return a map (H, W) in colours that span zero to twice the pixel limit."""
    scale = max(2 * pixel_limit, 1e-12)
    return np.asarray(
        cv2.applyColorMap((np.clip(anomaly_map / scale, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), np.uint8
    )


def draw_outlines(image: Bgr, outlines: Iterable[Polygon]) -> None:
    """Draw closed polygons on an image, in its pixels."""
    cv2.polylines(image, [np.array(polygon, np.int32) for polygon in outlines], True, YELLOW, 1)


def frame(image: Bgr, box: Box) -> None:
    """Draw the box of a defect (x, y, width, height) on an image, around its pixels."""
    x, y, w, h = box
    cv2.rectangle(image, (x - 2, y - 2), (x + w + 1, y + h + 1), RED, max(1, image.shape[0] // 200))


def _titled(title: str, panel: NDArray[Any], zoom: float) -> Bgr:
    grown = cv2.resize(panel, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST if zoom > 1 else cv2.INTER_AREA)
    framed = np.asarray(cv2.copyMakeBorder(grown, TITLE_PX, 4, 2, 2, cv2.BORDER_CONSTANT, value=WHITE), np.uint8)
    _write(framed[:TITLE_PX], title, 6, TITLE_FONT_PX, DARK)
    return framed


def _captioned(strip: Bgr, caption: str, rejected: bool) -> Bgr:
    colour = RED if rejected else GREEN
    out = np.asarray(cv2.copyMakeBorder(strip, CAPTION_PX, 0, 0, 0, cv2.BORDER_CONSTANT, value=colour), np.uint8)
    _write(out[:CAPTION_PX], caption, 8, CAPTION_FONT_PX, WHITE)
    return out


def _write(band: Bgr, text: str, left: int, size_px: int, colour: tuple[int, int, int]) -> None:
    """Write a line of text into the middle of a band of an image; characters that the font lacks are escaped."""
    font = _font(size_px)
    shown = "".join(c if _has(font, c) else c.encode("unicode_escape").decode() for c in printable(text))
    drawn = Image.fromarray(np.ascontiguousarray(band))
    ImageDraw.Draw(drawn).text((left, len(band) // 2), shown, fill=colour, font=font, anchor="lm")
    band[:] = np.asarray(drawn)


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Open DejaVu Sans, which matplotlib brings; without it, as in the slim runtime, Pillow's own, which is ASCII."""
    found = find_spec("matplotlib")  # not imported: that takes longer than drawing
    places = [] if found is None else [Path(place) for place in found.submodule_search_locations or ()]
    for place in places:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(place / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


@cache
def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    return character.isascii() or bytes(font.getmask(character)) != bytes(font.getmask(ABSENT_CHARACTER))
