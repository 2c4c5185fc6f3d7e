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
from pellucid.reports.colours import Bgr, colour_map, lay_over, scale_bar

Box = tuple[int, int, int, int]  # x, y, width, height
Polygon = Sequence[tuple[int, int]]  # corners, x and y
MIN_PANEL_HEIGHT_PX = 256  # shorter pictures are enlarged to it, taller ones stay
RED, GREEN, YELLOW, WHITE = (60, 60, 230), (90, 170, 60), (40, 220, 250), (255, 255, 255)  # BGR
DARK, GREY = (40, 40, 40), (150, 150, 150)
MAP_TITLE = "map"
SCALE_PX = (84, 9)  # width and height of the scale of colours
LIMIT_TICK_PX = 15  # height
SCALE_TEXT = "limit"
SCALE_TEXT_PX = 44  # width, with the tick that stands before it
TITLE_PX, CAPTION_PX = 24, 34  # height
TITLE_FONT_PX, CAPTION_FONT_PX = 13, 16
ABSENT_CHARACTER = "\U0010ffff"  # that no font has: how it is drawn is how what a font lacks is drawn


def result_picture(
    pixels: NDArray[np.float32],
    anomaly_map: NDArray[np.float32],
    good_level: float,
    pixel_limit: float,
    *,
    boxes: Sequence[Box],
    ignored: Sequence[Box] = (),
    outlines: Sequence[Polygon] = (),
    ignored_outlines: Sequence[Polygon] = (),
    caption: str,
    rejected: bool,
    mask: NDArray[np.bool_] | None = None,
) -> Bgr:
    """Draw image, heat map, defects and, if given, the mask side by side.

    Colours mean the same for all images of one model; see :mod:`pellucid.reports.colours`.

    Args:
        pixels: (H, W, 3) RGB in [0, 1].
        anomaly_map: (H, W).
        good_level: what pixels of good parts usually score with the model.
        pixel_limit: of the model.
        boxes: of the defects, (x, y, width, height) in px each.
        ignored: of those that do not count, which are drawn thin and grey.
        outlines: of the defects, closed.
        ignored_outlines: of those that do not count.
        caption: written above, on red where ``rejected``, else on green.
        rejected: whether the image was rejected.
        mask: (H, W), true where the image is known to be defective.

    Returns:
        (height, width, 3) BGR, as OpenCV writes it.
    """
    image = as_bgr(pixels)
    panels = [("image", image), (MAP_TITLE, lay_over(image, colour_map(anomaly_map, good_level, pixel_limit)))]
    outlined = image.copy()
    draw_outlines(outlined, ignored_outlines, GREY)
    draw_outlines(outlined, outlines)
    for box in ignored:
        frame(outlined, box, GREY, 1)
    for box in boxes:
        frame(outlined, box)
    title = f"{len(boxes)} defect{'' if len(boxes) == 1 else 's'}"
    panels.append((f"{title}, {len(ignored)} ignored" if ignored else title, outlined))
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


def draw_outlines(image: Bgr, outlines: Iterable[Polygon], colour: tuple[int, int, int] = YELLOW) -> None:
    """Draw closed polygons on an image, in its pixels."""
    cv2.polylines(image, [np.array(polygon, np.int32) for polygon in outlines], True, colour, 1)


def frame(image: Bgr, box: Box, colour: tuple[int, int, int] = RED, thickness: int | None = None) -> None:
    """Draw the box of a defect (x, y, width, height) on an image, around its pixels; thicker on larger images."""
    x, y, w, h = box
    line = max(1, image.shape[0] // 200) if thickness is None else thickness
    cv2.rectangle(image, (x - 2, y - 2), (x + w + 1, y + h + 1), colour, line)


def _titled(title: str, panel: NDArray[Any], zoom: float) -> Bgr:
    grown = cv2.resize(panel, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST if zoom > 1 else cv2.INTER_AREA)
    framed = np.asarray(cv2.copyMakeBorder(grown, TITLE_PX, 4, 2, 2, cv2.BORDER_CONSTANT, value=WHITE), np.uint8)
    _write(framed[:TITLE_PX], title, 6, TITLE_FONT_PX, DARK)
    if title == MAP_TITLE:
        _draw_scale(framed[:TITLE_PX])
    return framed


def _draw_scale(band: Bgr) -> None:
    """Draw the scale of colours into the right of a title, with a tick at the limit and what the tick means."""
    width, height = SCALE_PX
    left = band.shape[1] - width - SCALE_TEXT_PX - 4
    if left < 40:  # a narrow panel has room for its title alone
        return
    top, tick_top, middle = (len(band) - height) // 2, (len(band) - LIMIT_TICK_PX) // 2, left + width // 2
    bar = band[top : top + height, left : left + width]
    bar[:] = lay_over(bar, scale_bar(width, height))
    cv2.rectangle(band, (left - 1, top - 1), (left + width, top + height), DARK, 1)
    for x in (middle, left + width + 8):
        band[tick_top : tick_top + LIMIT_TICK_PX, x : x + 2] = DARK
    _write(band, SCALE_TEXT, left + width + 14, TITLE_FONT_PX, DARK)


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
