"""Files to pixels: 8 and 16 bit, grey, RGB, palette and alpha, to float32 RGB in [0, 1]."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid._io.pipeline import IO_THREADS, Operation, run_pipeline
from pellucid.acquisition.decoding import decode
from pellucid.errors import DataError, ParameterError

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.float32]  # (H, W, 3), RGB in [0, 1]
Values = NDArray[np.uint8 | np.float32]  # pixels, or the 8-bit values that they come from, a quarter of the memory
Planes = NDArray[np.float32]  # (3, H, W), the same as a network takes it
Size = tuple[int, int]  # height, width, px
Number = TypeVar("Number", bound=np.generic)
See = Callable[[Pixels], Iterable[Planes]]  # what a network sees of an image: once, or tile by tile
EIGHT_BIT_WHITE = 255
FULL_BITS = 16  # of a 16-bit value, when a camera uses all of them
MAX_BATCH_PIXELS = 8 * 512 * 512  # of images that are learned from at a time
CAMERA_BITS = (8, 10, 12, 14, FULL_BITS)  # that cameras put into 16-bit values


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image as every stage takes it, and what was lost or unusual on the way.

    Attributes:
        pixels: (H, W, 3), float32 RGB in [0, 1]; not to be written to: a grey image is one plane in memory.
        peak: highest value of a 16-bit file; None for others.
        warnings: what a person should know about the file, a sentence each, as in a channel that was dropped.
    """

    pixels: Pixels
    peak: int | None = None
    warnings: tuple[str, ...] = ()


def read_image(path: Path, bits: int = FULL_BITS) -> Pixels:
    """Read the pixels of an image file; :func:`open_image` also tells what was unusual about it.

    Args:
        path: a PNG, JPEG, BMP, WebP, PGM, PPM, PBM, JPEG 2000 or TIFF file of 8 or 16 bit, or a TIFF of floats in
            [0, 1]; grey, RGB or palette, whatever its name.
        bits: significant bits of 16-bit values, 8 to 16: as 12 where the camera gives 0 to 4095.

    Returns:
        Pixels (H, W, 3), float32 RGB in [0, 1], which may be written to.

    Raises:
        DataError: the file is missing, empty, truncated, damaged, no image, holds several images, NaN or values outside
            its range.
    """
    return np.require(open_image(path, bits).pixels, requirements=("C", "W"))


def open_image(path: Path, bits: int = FULL_BITS) -> DecodedImage:
    """Read an image file; alpha is dropped with a warning, EXIF orientation applied, nothing cropped.

    Args:
        path: of any kind that :func:`read_image` reads.
        bits: significant bits of 16-bit values, 8 to 16.

    Raises:
        DataError: as :func:`read_image` does.
    """
    return decode_image(read_content(path), path, bits)


def decode_image(content: bytes, path: Path, bits: int = FULL_BITS) -> DecodedImage:
    """Decode the content of an image file as :func:`open_image` does.

    Args:
        content: all bytes of the file.
        path: what messages call it.
        bits: significant bits of 16-bit values, 8 to 16.

    Raises:
        DataError: it is empty, truncated, damaged, no image, holds several images, NaN or values outside its range.
    """
    image, warnings = take_colours(decode(content, path))
    pixels = as_colours(to_unit_range(image if image.ndim == 2 else without_repeated_channels(image), path, bits))
    peak = int(image.max()) if image.dtype.newbyteorder("=") == np.uint16 else None
    return DecodedImage(pixels, peak, warnings)


def take_colours(image: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Take grey or RGB from all channels of an image, and say what was left out.

    Args:
        image: (H, W) or (H, W, C) of any type; of 2 or 4 channels the last is alpha, of 5 and more the first three are
            red, green and blue.

    Returns:
        (H, W) or (H, W, 3), and a sentence if what was left out says anything.
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels in (1, 3):
        return image.reshape(image.shape[:2] if channels == 1 else image.shape), ()
    colours = image[..., 0] if channels == 2 else image[..., :3]
    if channels > 4:
        return colours, (f"It has {channels} channels: the first three are taken as red, green and blue.",)
    alpha = image[..., -1]
    opaque = 1 if image.dtype.kind in "fb" else np.iinfo(image.dtype).max
    return colours, () if (alpha == opaque).all() else ("It has an alpha channel that is not opaque: it is left out.",)


def significant_bits(peak: int) -> int:
    """Return the bits that a camera whose highest 16-bit value this is uses: 8, 10, 12, 14 or 16."""
    return next(bits for bits in CAMERA_BITS if peak < 2**bits)


def is_constant(pixels: Pixels) -> bool:
    """Tell whether every pixel (H, W, 3) is the same: a covered lens or a dead camera."""
    return bool((pixels == pixels[0, 0]).all())


def without_repeated_channels(pixels: NDArray[Number]) -> NDArray[Number]:
    """Return an image (H, W, 3), or one channel of it, (H, W, 1), where all are alike."""
    first = pixels[..., 0]
    is_grey = pixels.strides[2] == 0 or all(np.array_equal(first, pixels[..., c]) for c in range(1, pixels.shape[2]))
    return pixels[..., :1] if is_grey else pixels


def as_colours(pixels: Pixels) -> Pixels:
    """Return an image (H, W), (H, W, 1) or (H, W, 3) as (H, W, 3), of a grey one with one plane in memory."""
    if pixels.shape[2:] == (3,):
        return pixels
    return np.broadcast_to(pixels.reshape(*pixels.shape[:2], 1), (*pixels.shape[:2], 3))


def read_content(path: Path) -> bytes:
    """Read all bytes of a file, and never wait for one that is none.

    Args:
        path: of a regular file, or a link to one.

    Raises:
        DataError: it is missing, may not be read or is no regular file.
    """
    check_regular(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read '{path}': {error.strerror or error}.") from None


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, or a link to one: reading it may wait for ever.

    Raises:
        DataError: it is missing, may not be looked at or is no regular file.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # a ValueError where the name has a null byte
        raise DataError(f"Cannot read '{path}': {getattr(error, 'strerror', None) or error}.") from None
    if not stat.S_ISREG(mode):  # a FIFO would be waited for
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file but a FIFO, a socket or a device"
        raise DataError(f"Cannot read '{path}': it is {kind}.")


def to_unit_range(image: NDArray[Any], path: Path, bits: int = FULL_BITS) -> Pixels:
    """Bring the whole range of an integer type to [0, 1]; floats have to be there already.

    Args:
        image: any shape, of uint8, uint16 or floats.
        path: what messages call it.
        bits: significant bits of 16-bit values, 8 to 16.

    Returns:
        A new float32 array of the same shape.

    Raises:
        DataError: another type, NaN, infinity, or floats outside [0, 1].
    """
    native = image.dtype.newbyteorder("=")
    if native == np.uint8 or native == np.uint16:
        highest = EIGHT_BIT_WHITE if native == np.uint8 else 2**bits - 1
        if bits < FULL_BITS and image.max(initial=0) > highest:
            raise DataError(
                f"'{path}' has values up to {image.max()}, but the images that were fitted on have {bits} bits, 0 to"
                f" {highest}: give it images of the same camera and format."
            )
        return _divided(image, highest)
    if native.kind != "f":
        raise DataError(f"'{path}' has pixels of type {image.dtype}; 8 bit, 16 bit and float can be read.")
    if not np.isfinite(image).all():
        raise DataError(f"'{path}' contains NaN or infinite pixels.")
    if image.min() < 0 or image.max() > 1:
        low, high = float(image.min()), float(image.max())
        raise DataError(f"'{path}' has float pixels from {low:.4g} to {high:.4g}; they have to lie in [0, 1].")
    return image.astype(np.float32, order="C")


def to_floats(values: Values) -> Pixels:
    """Bring 8-bit values of any shape to [0, 1], as :func:`to_unit_range` does; floats are there already."""
    return _divided(values, EIGHT_BIT_WHITE) if values.dtype == np.uint8 else np.asarray(values, np.float32)


def _divided(values: NDArray[Any], highest: int) -> Pixels:
    return np.asarray(np.divide(values, np.float32(highest), dtype=np.float32, order="C"))


def resize(pixels: Pixels, size: Size) -> Pixels:
    """Resize an image: areas are averaged when shrinking, values interpolated when growing; nothing is cropped.

    Args:
        pixels: (H, W, 3).
        size: height and width wanted, px.

    Returns:
        (height, width, 3), contiguous; ``pixels`` itself where it has that size and is.
    """
    height, width = size
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.float32)


def as_planes(pixels: Pixels, size: Size) -> Planes:
    """Resize an image and put its channels first, as networks take it.

    Args:
        pixels: (H, W, 3).
        size: the network's height and width, px.

    Returns:
        (3, height, width).
    """
    return resize(pixels, size).transpose(2, 0, 1)


def parse_size(text: str | int | Sequence[int]) -> Size:
    """Parse what a user gives as an image size.

    Args:
        text: ``256``, ``"256"``, ``"192x320"`` or ``(192, 320)``; height first, px.

    Returns:
        Height and width, px; the same twice where one number is given.

    Raises:
        ParameterError: not one or two whole numbers of at least 32.
    """
    parts = text.lower().split("x") if isinstance(text, str) else [text] if isinstance(text, int) else list(text)
    try:
        sides = [int(part) for part in parts]
    except (TypeError, ValueError):
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 32:
        raise ParameterError(f"Image size '{text}' is not allowed: give N or HxW with sides of at least 32, as in 256.")
    return sides[0], sides[-1]


def batch_size(size: Size) -> int:
    """Return how many images of (height, width) px are in memory together while a detector learns from them."""
    return max(1, min(ImageBatches.batch_size, MAX_BATCH_PIXELS // (size[0] * size[1])))


@dataclass(frozen=True)
class ImageBatches:
    """Re-iterable float32 batches (B, 3, height, width) in [0, 1], read ahead by threads while the caller computes.

    Attributes:
        paths: image files, in order.
        size: height and width that they are resized to, px.
        batch_size: images in a batch, at least 1; the last one may hold fewer.
        bits: significant bits of 16-bit values, 8 to 16.
        see: gives what the network sees of an image, which may be several tiles; None resizes all of it to ``size``.
        sizes: where to write down the height and width of each file as it is read; None: nowhere.
    """

    paths: tuple[Path, ...]
    size: Size
    batch_size: int = 8
    bits: int = FULL_BITS
    see: See | None = None
    sizes: dict[Path, Size] | None = None

    def __len__(self) -> int:
        """Count the batches as if every image were seen once; there are more where some are tiled."""
        return -(-len(self.paths) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        import torch

        images = (
            planes for seen in read_ahead(self.paths, self.size, self.bits, self.see, self.sizes) for planes in seen
        )
        while batch := [planes for _, planes in zip(range(self.batch_size), images, strict=False)]:
            yield torch.from_numpy(np.stack(batch))


def read_ahead(
    paths: Sequence[Path],
    size: Size,
    bits: int = FULL_BITS,
    see: See | None = None,
    sizes: dict[Path, Size] | None = None,
) -> Iterator[Iterable[Planes]]:
    """Read images in order, a few files ahead of the caller.

    Args:
        paths: image files.
        size: height and width that the network sees, px.
        bits: significant bits of 16-bit values, 8 to 16.
        see: gives what the network sees of an image; None resizes all of it to ``size``.
        sizes: where to write down the height and width of each file; None: nowhere.

    Yields:
        For each image what the network sees of it, (3, height, width) each.

    Raises:
        DataError: a file cannot be read.
    """

    def read(path: Path) -> Iterable[Planes]:
        pixels = read_image(path, bits)
        if sizes is not None:
            sizes[path] = (pixels.shape[0], pixels.shape[1])
        return [as_planes(pixels, size)] if see is None else see(pixels)

    for image in run_pipeline(paths, Operation(read, IO_THREADS)):
        yield image.result()
