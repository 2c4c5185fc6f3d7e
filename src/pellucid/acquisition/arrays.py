"""Images that are in memory already, NumPy arrays and PIL images, to the same pixels as reading them from a file."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import FULL_BITS, DecodedImage, as_colours, open_image, take_colours, to_unit_range
from pellucid.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

ImageLike: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | PilImage | DecodedImage"
NO_PATH = Path("<array>")  # of an image that was never a file
PIL_MODES_AS_STORED = ("1", "L", "RGB", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
PIL_MODES_WITH_ALPHA = ("PA", "LA", "RGBA", "RGBa")
PIL_MODES_TO_RGB = ("P", "RGBX", "CMYK", "YCbCr", "HSV")


def read_or_convert(image: ImageLike, bits: int = FULL_BITS) -> tuple[Path, DecodedImage]:
    """Read a file, or convert an image in memory to the pixels that reading it from a file would give.

    Args:
        image: a path; a PIL image of any mode but ``LAB`` and ``La``, whose EXIF orientation is applied; or an array
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), colours in the order RGB, of bool, uint8, uint16 or floats in
            [0, 1]. Alpha is dropped, with a warning where it is not opaque. It is not changed. What was decoded already
            is taken as it is.
        bits: significant bits of 16-bit values, 8 to 16.

    Returns:
        The path, ``<array>`` for what has none, and the pixels, with what was left out of them.

    Raises:
        DataError: the file cannot be read, or the image is of another kind, shape, type or range.
    """
    if isinstance(image, (str, os.PathLike)):
        return Path(image), open_image(Path(image), bits)
    if isinstance(image, DecodedImage):
        return NO_PATH, image
    pil = sys.modules.get("PIL.Image")  # whoever has a PIL image has imported it
    if pil is not None and isinstance(image, pil.Image):
        path = Path(os.fsdecode(getattr(image, "filename", "") or NO_PATH))
        warnings = _lost_bits(image)
        decoded = _convert_array(_array_of_pil(image, path), path, bits)
        return path, replace(decoded, warnings=(*warnings, *decoded.warnings))
    if not isinstance(image, np.ndarray):
        raise DataError(_refuse_kind(image))
    return NO_PATH, _convert_array(np.asarray(image), NO_PATH, bits)


def _refuse_kind(image: object) -> str:
    """One sentence that says what to give instead."""
    kind = type(image)
    if kind.__module__.split(".")[0] == "torch":
        return (
            "A torch tensor is not taken, because its order of channels and range are not known: give a NumPy array"
            " (H, W, 3), as in tensor.permute(1, 2, 0).cpu().numpy()."
        )
    if image is None:
        return "None is not an image; cv2.imread returns it for a file that it cannot read: give the path itself."
    if isinstance(image, (bytes, bytearray, memoryview)):
        return f"A {kind.__name__} object is not an image: open it with PIL.Image.open(io.BytesIO(content)) first."
    return f"A {kind.__name__} is not an image: give a path, a NumPy array or a PIL image."


def _array_of_pil(image: PilImage, path: Path) -> NDArray[Any]:
    """A PIL image, upright, as an array (H, W), (H, W, 3), or (H, W, 4) where it has alpha."""
    from PIL import ImageOps

    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:  # an MPO's others are views of it
        raise DataError(f"'{path}' holds {frames} images: give one of them, as in image.copy().")
    try:
        upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError) as error:  # pixels are read from the file when they are asked for
        raise DataError(f"Cannot read '{path}': {error}.") from None
    transparent = upright.mode in ("1", "L", "P", "RGB") and "transparency" in upright.info
    if upright.mode in PIL_MODES_WITH_ALPHA or transparent:
        upright = upright.convert("RGBA")
    elif upright.mode in PIL_MODES_TO_RGB:
        upright = upright.convert("RGB")
    elif upright.mode not in PIL_MODES_AS_STORED:
        raise DataError(f"'{path}' is a PIL image of mode {upright.mode}, which is not taken: give one of mode RGB.")
    pixels = np.asarray(upright)
    if upright.mode == "I" and image.format in (
        "PNG",
        "PPM",
    ):  # how Pillow opens 16-bit grey of some kinds and versions
        return pixels.astype(np.uint16)
    return pixels


def _lost_bits(image: PilImage) -> tuple[str, ...]:
    """Say that Pillow keeps 8 of the 16 bits of colours; only an image that is not loaded yet tells."""
    tiles = getattr(image, "tile", [])
    ppm_tops = [tile[3][1] for tile in tiles if tile[0] in ("ppm", "ppm_plain")]
    if image.mode in ("RGB", "RGBA", "LA") and (";16" in str(tiles) or max(ppm_tops, default=0) > 255):
        return ("Pillow keeps 8 of its 16 bits: give the file's path to have them all.",)
    return ()


def _convert_array(image: NDArray[Any], path: Path, bits: int) -> DecodedImage:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) to (H, W, 3)."""
    if problem := _problem_of(image, bits):
        raise DataError(f"'{path}' {problem}")
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    colours, warnings = take_colours(image)
    return DecodedImage(as_colours(to_unit_range(colours, path, bits)), warnings=warnings)


def _problem_of(image: NDArray[Any], bits: int) -> str:
    """What is wrong with an array and what to give instead; nothing where it is an image."""
    shape, kind = image.shape, image.dtype
    if not image.size:
        return f"is an array without pixels, of shape {shape}."
    if image.ndim == 4:
        return f"is an array of shape {shape}: give one image at a time, (H, W) or (H, W, 3)."
    if image.ndim != 2 and not (image.ndim == 3 and shape[2] in (1, 3, 4)):
        channels_first = image.ndim == 3 and shape[0] in (1, 3, 4)
        turned = "; channels come last, as in image.transpose(1, 2, 0)" if channels_first else ""
        return f"is an array of shape {shape}; (H, W), (H, W, 1), (H, W, 3) and (H, W, 4) are taken{turned}."
    if kind.kind in "iu" and kind.newbyteorder("=") not in (np.uint8, np.uint16):
        return (
            f"is an array of {kind}, whose range is not known: give image.astype(np.uint8) where it holds 0 to 255, or"
            " image.astype(np.uint16) where it holds 0 to 65535."
        )
    if kind.kind not in "buf":
        return f"is an array of {kind}; bool, uint8, uint16 and floats in [0, 1] are taken."
    if kind.kind == "f" and np.isfinite(image).all() and (image.min() < 0 or image.max() > 1):
        low, high = float(image.min()), float(image.max())
        divisor = next((top for top in (255, 2**bits - 1, 65535) if high <= top), 0)
        remedy = f"divide it by {divisor}" if divisor and low >= 0 else "undo its normalisation first"
        return f"is an array of floats from {low:.4g} to {high:.4g}; they have to lie in [0, 1]: {remedy}."
    return ""
