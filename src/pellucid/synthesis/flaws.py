"""Flaws of known kind, size and contrast, to be planted into images of good glass of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

AlphaMask = NDArray[np.float32]  # (H, W) in [0, 1], how much of each pixel is covered
COVERED = 0.5  # of a pixel, from which on the flaw is there
SUPERSAMPLING = 8  # times larger that flaws are drawn before they are averaged: sizes are exact to 1/8 px
CONTRAST_SIGNS = {"dust": -1, "stone": -1}  # of what is always darker than the glass; all others are either
FLAW_SIZES_PX = {  # width of lines, outer diameter of the others
    "scratch": (1, 2, 3, 5),
    "bold line": (2, 3, 5, 8),
    "seed": (2, 4, 7, 12),
    "stone": (2, 4, 7, 12),
    "dust": (2, 4, 7, 12),
}
Points = NDArray[np.float64]  # (n, 2), x and y in px


def draw_flaw(rng: Generator, kind: str, size: float, shape: tuple[int, int]) -> AlphaMask:
    """Draw one flaw at random into an image of (height, width).

    Args:
        rng: decides place and form.
        kind: of ``FLAW_SIZES_PX``: a ``scratch`` is 20 to 60 px long and curved, a ``bold line`` crosses the image from
            top to bottom, a ``seed`` is a gas bubble with a rim of 1 px, ``dust`` is round and a ``stone`` ragged.
        size: px, width of lines and outer diameter of the others.
        shape: height and width of the image, px.

    Returns:
        How much of each pixel the flaw covers, (height, width) in [0, 1].
    """
    height, width = shape
    margin = min(40, height / 4, width / 4)
    centre = rng.uniform((margin, margin), (width - margin, height - margin))
    if kind == "scratch":
        angles = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.05, 20).cumsum()
        path = (np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(20, 60) / 20).cumsum(0)
        points = centre + path - path.mean(0)
    elif kind == "bold line":
        lean = rng.normal(0, 0.03) * height / 2
        points = np.array([[centre[0] - lean, 0.0], [centre[0] + lean, height - 1.0]])
    elif kind == "stone":
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        reach = size / 2 * rng.uniform(0.7, 1.0, 12)
        points = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
    else:
        points = centre[None]
    low = np.maximum(np.floor(points.min(0) - size - 2), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0) + size + 3), (width, height)).astype(int)
    window = np.zeros(((high[1] - low[1]) * SUPERSAMPLING, (high[0] - low[0]) * SUPERSAMPLING), np.uint8)
    _draw_shape(window, kind, size, (points * SUPERSAMPLING).astype(np.int32) - (low * SUPERSAMPLING).astype(np.int32))
    alpha = np.zeros(shape, np.float32)
    small = cv2.resize(window, (int(high[0] - low[0]), int(high[1] - low[1])), interpolation=cv2.INTER_AREA)
    alpha[low[1] : high[1], low[0] : high[0]] = small / np.float32(255)
    return alpha


def _draw_shape(canvas: NDArray[np.uint8], kind: str, size: float, points: NDArray[np.int32]) -> None:
    middle = (int(points[0, 0]), int(points[0, 1]))
    if kind in ("scratch", "bold line"):
        cv2.polylines(canvas, [points], False, 255, round(size * SUPERSAMPLING))
    elif kind == "stone":
        cv2.fillPoly(canvas, [points], 255)
    elif kind == "seed":
        cv2.circle(canvas, middle, round((size - 1) / 2 * SUPERSAMPLING), 255, SUPERSAMPLING)
    else:
        cv2.circle(canvas, middle, round(size / 2 * SUPERSAMPLING), 255, -1)


def apply_flaw(pixels: NDArray[np.float32], alpha: AlphaMask, contrast: float) -> NDArray[np.float32]:
    """Plant a flaw into an image: it is brighter or darker by a share of the light around it.

    Args:
        pixels: (H, W) or (H, W, 3) in [0, 1].
        alpha: how much of each pixel the flaw covers, (H, W) in [0, 1].
        contrast: that share, at least -1; below zero the flaw is darker.

    Returns:
        A new image of the same shape; values may exceed 1.
    """
    factor = 1 + np.float32(contrast) * alpha
    return np.asarray(pixels * (factor if pixels.ndim == 2 else factor[..., None]), np.float32)


def plant_flaw(
    rng: Generator, pixels: NDArray[np.float32], kind: str, size: float, contrast: float
) -> tuple[NDArray[np.float32], AlphaMask]:
    """Plant one flaw at random into an image, as an 8-bit camera would store it.

    Args:
        rng: decides place, form and sign; the same draws give a flaw the same place and form at every contrast.
        pixels: (H, W) or (H, W, 3) in [0, 1].
        kind: of ``FLAW_SIZES_PX``.
        size: px, width of lines and outer diameter of the others.
        contrast: share of the light around, above 0.

    Returns:
        A new image of the same shape, and how much of each pixel the flaw covers, (H, W) in [0, 1].
    """
    covered = draw_flaw(rng, kind, size, (pixels.shape[0], pixels.shape[1]))
    flawed = apply_flaw(pixels, covered, draw_contrast_sign(rng, kind) * contrast)
    return (np.clip(flawed, 0, 1) * 255).round().astype(np.float32) / np.float32(255), covered


def cut_square(rng: Generator, pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Cut a square to plant a flaw into out of a large image, at random; all of it where it is smaller.

    Args:
        rng: decides where.
        pixels: (H, W) or (H, W, 3).
        side: px.
    """
    top, left = (int(rng.integers(0, max(1, length - side + 1))) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def flaw_scale(images: Sequence[NDArray[np.float32]], seen_size: Callable[[tuple[int, ...]], tuple[int, int]]) -> int:
    """Return how many times larger than ``FLAW_SIZES_PX`` flaws are drawn, so that the network sees those sizes.

    Args:
        images: that flaws are planted into, (H, W, 3).
        seen_size: returns the height and width that an image of (height, width) px is brought to for the network.
    """
    smallest = min((image.shape[:2] for image in images), key=min)
    return max(1, round(float(min(smallest)) / min(seen_size(smallest))))


def draw_contrast_sign(rng: Generator, kind: str) -> int:
    """Draw whether a flaw of some kind is darker (-1) or brighter (1) than the glass."""
    return CONTRAST_SIGNS.get(kind) or int(rng.choice((-1, 1)))
