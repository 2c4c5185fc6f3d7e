"""Pixels to deviations: how far every pixel is from what its surroundings lead one to expect, and what is usual."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

MIN_BACKGROUND_PX = 15  # side of the square whose median is the background
MAX_MEDIAN_PX = 63  # side of a square whose median is computed as it is; for a larger one, the window is shrunk
MIN_OUTSIDE_SHARE = 0.1  # of a window's pixels that has to lie outside of the regions to tell what is usual
SAMPLED_PIXELS = 20_000  # of a window, that tell what is usual
PLANE_PIXELS = 2_000  # that the plane of light goes through, about
NOISE_QUANTILE = 0.9  # of deviations, where noise is measured: a texture's are more often large than normal noise is
NOISES_AT_QUANTILE = 1.6449  # standard deviations of normal noise that nine of ten values stay below
MIN_NOISE = 1 / 1024  # of the range of values: below it is rounding to 8 bits


@dataclass(frozen=True)
class Deviation:
    """A window of an image beside what is expected there.

    Attributes:
        values: pixel minus background, (h, w), of the channel that deviates most.
        background: (h, w), what is expected in that channel.
        usual: flat indices of some pixels outside of the regions; of all pixels where the regions leave few.
    """

    values: Floats
    background: Floats
    usual: NDArray[np.intp]

    def noise_of(self, values: Floats) -> float:
        """Return the standard deviation of normal noise that the usual ones of values (h, w) are like."""
        return noise_level(values.ravel()[self.usual])

    def usual_strength(self, strength: Floats, quantile: float) -> float:
        """Return a quantile of the usual ones of strengths (h, w)."""
        return float(np.quantile(strength.ravel()[self.usual], quantile))

    def excess(self, times: float = 1) -> Floats:
        """Return every pixel's square minus some times the mean usual one, (h, w): how much too much it deviates."""
        energy = np.square(self.values)
        return np.asarray(energy - times * energy.ravel()[self.usual].mean(), np.float32)


def deviate(window: Floats, regions: Mask, width_px: float) -> Deviation:
    """Compare a window of an image with its background: a plane of light, and on it the median of the surroundings.

    A median does not see what covers less than half of its square, so that the background of a flaw is what lies beside
    it. Of several channels, each pixel's is the one that deviates most, in units of that channel's noise.

    Args:
        window: (h, w, channels) in [0, 1].
        regions: (h, w), true where the map is above its limit.
        width_px: of the widest region; the median's square is more than twice as wide.
    """
    outside = np.flatnonzero(~regions)
    if len(outside) < MIN_OUTSIDE_SHARE * regions.size:
        outside = np.arange(regions.size)
    if len(outside) > SAMPLED_PIXELS:  # at random: steps could follow the lines of a texture
        outside = outside[np.random.default_rng(0).integers(0, len(outside), SAMPLED_PIXELS)]
    side = max(MIN_BACKGROUND_PX, 2 * round(width_px) + 1)
    found, strength = _deviate_channel(window[..., 0], outside, side)
    for c in range(1, window.shape[2]):
        other, other_strength = _deviate_channel(window[..., c], outside, side)
        stronger = other_strength > strength
        for kept, new in (
            (found.values, other.values),
            (found.background, other.background),
            (strength, other_strength),
        ):
            np.copyto(kept, new, where=stronger)
    return found


def _deviate_channel(channel: Floats, outside: NDArray[np.intp], side: int) -> tuple[Deviation, Floats]:
    """One channel's deviation, and how strong it is everywhere in units of its noise."""
    background = _background(np.ascontiguousarray(channel), outside, side)
    found = Deviation(channel - background, background, outside)
    strength = np.abs(found.values)
    strength /= np.float32(found.noise_of(found.values))
    return found, strength


def noise_level(deviations: Floats) -> float:
    """Return the standard deviation of normal noise that as many deviations stay small in as in these."""
    size = np.quantile(np.abs(deviations), NOISE_QUANTILE)
    return max(float(size) / NOISES_AT_QUANTILE, MIN_NOISE)


def _background(channel: Floats, outside: NDArray[np.intp], side: int) -> Floats:
    """The median of a square of some side, computed on 256 levels of what is left of a fitted plane of light."""
    plane = _plane(channel, outside)
    left = channel - plane
    low, high = np.quantile(left.ravel()[outside], (0.005, 0.995))
    step = max(float(high - low), MIN_NOISE) / 255
    levels = np.clip(np.rint((left - low) / np.float32(step)), 0, 255).astype(np.uint8)
    shrink = -(-side // MAX_MEDIAN_PX)
    size = (max(1, channel.shape[1] // shrink), max(1, channel.shape[0] // shrink))
    median = cv2.medianBlur(cv2.resize(levels, size, interpolation=cv2.INTER_AREA), side // shrink | 1)
    enlarged = cv2.resize(median.astype(np.float32), channel.shape[::-1], interpolation=cv2.INTER_LINEAR)
    box = (side // 4 | 1, side // 4 | 1)
    smooth = cv2.blur(cv2.blur(enlarged, box), box)  # without the steps of the levels
    return np.asarray(plane + (smooth * np.float32(step) + np.float32(low)), np.float32)


def _plane(channel: Floats, outside: NDArray[np.intp]) -> Floats:
    """The plane of least squares through some pixels."""
    height, width = channel.shape
    outside = outside[:: max(1, len(outside) // PLANE_PIXELS)]
    y, x = (axis.astype(np.float64) for axis in np.divmod(outside, width))
    design = np.stack([np.ones_like(x), x, y], 1)
    values = channel.ravel()[outside].astype(np.float64)
    offset, right, down = np.linalg.lstsq(design, values, rcond=None)[0]
    return np.asarray(offset + down * np.arange(height)[:, None] + right * np.arange(width), np.float32)
