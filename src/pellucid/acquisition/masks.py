"""Mask and annotation files to the defective pixels of their image."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pellucid.acquisition.annotations import ANNOTATION_SUFFIXES, find_annotation
from pellucid.acquisition.decoding import decode
from pellucid.acquisition.images import Size, read_content
from pellucid.acquisition.orientation import (
    FIRST_SIDEWAYS,
    TIFF_SIGNATURES,
    UPRIGHT,
    find_orientation,
    read_orientation,
    turn_upright,
)
from pellucid.acquisition.shapes import Region
from pellucid.errors import DataError

MAX_CLASS_INDEX = 31  # whole numbers up to this one are classes, however they lie
MAX_CLASSES = 16  # more levels are grey, unless they are 0, 1, 2, ...: numbered defects
VOC_VOID_RGB = (224, 224, 192)  # Pascal VOC's colour of borders that belong to nothing
_VOC_PALETTE_START = bytes((0, 0, 0, 128, 0, 0, 0, 128, 0))
_LOSSY_SIGNATURES = (b"\xff\xd8", b"RIFF")  # JPEG and WebP
Clue = Literal["orientation", "size", "none"]  # what a file tells of how it is turned against its photo


@dataclass(frozen=True, eq=False)
class Mask:
    """Where an image is defective, and what was done to find out.

    Attributes:
        defective: (H, W) of the image's own size.
        remarks: keys of :data:`pellucid.acquisition.truth.REMARKS`.
    """

    defective: Region
    remarks: tuple[str, ...] = ()


def read_mask(path: Path, image: Path | None = None, size: Size | None = None) -> Region:
    """Read where an image is defective; :func:`open_mask` also tells what was done to find out.

    Args:
        path: of its mask or annotations.
        image: path of the image; None: one that is not turned, and alone in its annotation file.
        size: height and width of the image as it is inspected, px; None: whatever the file has.

    Returns:
        (H, W), true where the image is defective.

    Raises:
        DataError: the file cannot be read, or does not fit the image.
    """
    return open_mask(path, path if image is None else image, size).defective


def open_mask(path: Path, image: Path, size: Size | None) -> Mask:
    """Read the mask or the annotations of an image.

    A mask is true wherever it is not black. One of more greys than classes have, as a JPEG or a blurred one, is true
    above the middle between its darkest and its brightest pixel. A mask in the order of its photo's stored pixels is
    turned as the photo's EXIF orientation says.

    Args:
        path: of its mask or annotations.
        image: path of the image.
        size: height and width of the image as it is inspected, px; None: whatever the file has.

    Raises:
        DataError: the file cannot be read, or does not fit the image.
    """
    if is_annotation(path):
        annotation = find_annotation(path, image)
        if (drawn_size := annotation.size or size) is None:
            raise DataError(f"'{path}' does not say how large its image is.")
        defective = annotation.region(drawn_size)
        remarks = ["box"] * any(shape.is_box for shape in annotation.shapes)
        remarks += ["without area"] * bool(annotation.without_area)
        clue: Clue = "size" if annotation.size else "none"
    else:
        content = read_content(path)
        orientation = find_orientation(content)
        numbers = _tiff_numbers(content) if content.startswith(TIFF_SIGNATURES) else None
        pixels = decode(content, path) if numbers is None else turn_upright(numbers, orientation)
        defective, remarks = _binarise(content, pixels, path)
        clue = "size" if orientation == UPRIGHT else "orientation"
    mask = Mask(defective, tuple(remarks))
    return mask if size is None else _fit(mask, image, size, clue, path)


def _fit(mask: Mask, image: Path, size: Size, clue: Clue, path: Path) -> Mask:
    """Turn a mask with its photo, where that is what its size says."""
    photo = read_orientation(image)
    if mask.defective.shape == size:
        same_size_turned = photo < FIRST_SIDEWAYS or size[0] == size[1]
        undecided = photo != UPRIGHT and (clue == "none" or (clue == "size" and same_size_turned))
        return Mask(mask.defective, (*mask.remarks, *["perhaps turned"] * undecided))
    if photo >= FIRST_SIDEWAYS and mask.defective.shape == size[::-1]:
        return Mask(turn_upright(mask.defective, photo), (*mask.remarks, "turned"))
    theirs, ours = (f"{s[1]}x{s[0]}" for s in (mask.defective.shape, size))
    raise DataError(f"Mask '{path}' is {theirs} px but its image '{image.name}' is {ours} px.")


def is_annotation(path: Path) -> bool:
    """Tell whether a file holds annotations rather than pixels, by its suffix."""
    return path.suffix.lower() in ANNOTATION_SUFFIXES


def _tiff_numbers(content: bytes) -> NDArray[Any] | None:
    """The numbers of a TIFF that holds no shades: integers of other sizes, which may number classes, or true and false.

    tifffile writes true as black, as on a fax; others mean what one sees.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            kind = np.dtype(page.dtype)
            true_and_false = kind.kind == "b" and page.software == "tifffile.py"
            other_integers = kind.kind in "iu" and kind not in (np.uint8, np.uint16)
            if len(file.pages) == 1 and (true_and_false or other_integers):
                return np.asarray(page.asarray())
    except Exception:  # it raises whatever its parsing stumbles over; decoding says what is wrong
        return None
    return None


def _binarise(content: bytes, pixels: NDArray[Any], path: Path) -> tuple[Region, list[str]]:
    """Where a mask is not background, and remarks."""
    values = _values(pixels)
    if content.startswith(b"\x89PNG") and b"PLTE" in content and not values.any():
        values = np.asarray(Image.open(io.BytesIO(content)))  # a palette that is all black: its numbers are the classes
    if not np.isfinite(values).all():
        raise DataError(f"Mask '{path}' contains NaN or infinite pixels.")
    defective, remarks = values > 0, []
    if _is_grey(values, lossy=content.startswith(_LOSSY_SIGNATURES)):
        defective, remarks = values > (float(values.min()) + float(values.max())) / 2, ["grey"]
    if content.partition(b"PLTE")[2].startswith(_VOC_PALETTE_START) and pixels.ndim == 3:
        void = (pixels[..., :3] == VOC_VOID_RGB).all(axis=2)
        if void.any():
            defective, remarks = defective & ~void, [*remarks, "void"]
    return defective, remarks


def _values(pixels: NDArray[Any]) -> NDArray[Any]:
    """One value a pixel, (H, W): the brightest channel, as far as it is opaque.

    A painted layer may hold one colour everywhere and differ in its alpha alone; then that is the mask.
    """
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] in (1, 3):
        return np.asarray(pixels.max(axis=2))
    colour, alpha = pixels[..., :-1].max(axis=2), pixels[..., -1]
    if alpha.min() == alpha.max():
        return np.asarray(colour)
    seen = np.where(alpha > alpha.max() / 2, colour, 0)
    return np.asarray(alpha if seen.min() == seen.max() else seen)


def _is_grey(values: NDArray[Any], *, lossy: bool) -> bool:
    """Whether the levels between the darkest and the brightest are transitions rather than classes.

    Classes are few, or numbered from 0 on, and lie in regions: few of their pixels have both a darker and a brighter
    neighbour, while most pixels of a soft edge or a gradient do.
    """
    low, high = values.min(), values.max()
    between = (values > low) & (values < high)
    if lossy or not between.any():
        return bool(between.any())
    whole = values.dtype.kind in "iub"
    if whole and low >= 0 and high <= MAX_CLASS_INDEX:
        return False
    levels = np.unique(values)
    numbered = whole and low == 0 and high == len(levels) - 1
    if len(levels) > MAX_CLASSES and not numbered:
        return True
    exact = values.astype(np.float32)
    neighbours = np.ones((3, 3), np.uint8)
    transition = between & (cv2.erode(exact, neighbours) < exact) & (cv2.dilate(exact, neighbours) > exact)
    return bool(2 * np.count_nonzero(transition) > np.count_nonzero(between))
