"""Regions of a map to outlines at the image's own pixels: what deviates there from its surroundings."""

from __future__ import annotations

import cv2
import numpy as np

from pellucid.regions.background import Deviation, Floats, Mask, deviate, without_repeated_channels
from pellucid.regions.skeleton import thickness_px

SMOOTHINGS_PX = (0.0, 0.7, 1.2, 2.0)  # standard deviations, the finest first
SEED_NOISES = 5.0  # noise levels that a flaw stands out by where it does most
SEED_QUANTILE = 0.999  # of the pixels outside of the regions: no more than one in a thousand stands out as much
EDGE_NOISES = 2.5  # noise levels that a flaw's faintest pixels stand out by
LEVEL_NOISES = 6.0  # contrast whose half, where the edge is drawn, is safely above the noise
LEVEL_QUANTILE = 0.9  # of a flaw's pixels: how strong it is, thin ones and blurred edges included
MAX_WINDOW_PIXELS = (
    4_000_000  # of a region with its surroundings: a larger one keeps its outline, and memory is bounded
)
MIN_EXPLAINED = 0.5  # share of what deviates in a region that its outline has to cover: it is not the flaw otherwise


def outline(pixels: Floats, above: Mask, margin_px: int) -> Mask:
    """Outline what the regions of a map show, at the pixels of the image.

    Around every region the image is compared with its own surroundings (:func:`~pellucid.regions.background.deviate`).
    Pixels that clearly deviate are grown over what hardly does (hysteresis), and cut at half of the contrast beside
    them, which is where a blurred edge really lies. A flaw too faint for that is looked for in a smoothed image, as far
    as it takes. A region that this does not explain keeps its own outline: where nothing is found, and where most of
    what deviates lies elsewhere, as on large damage of something that has structure itself.

    Args:
        pixels: (H, W, channels) in [0, 1].
        above: (H, W), true where the map is above its limit.
        margin_px: how far a flaw may reach beyond the region that shows it.

    Returns:
        True where the flaws are, (H, W).
    """
    pixels = without_repeated_channels(pixels)
    found = np.zeros(above.shape, np.bool_)
    side = 2 * margin_px + 1
    near = cv2.dilate(above.astype(np.uint8), np.ones((side, side), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    for k in range(1, count):  # 0 is the background
        x, y, width, height = (int(value) for value in stats[k, :4])
        inner = np.s_[y : y + height, x : x + width]
        thickness = thickness_px(above[inner] & (labels[inner] == k))
        pad = round(thickness)
        window = np.s_[max(y - pad, 0) : y + height + pad, max(x - pad, 0) : x + width + pad]
        area = labels[window] == k
        if area.size > MAX_WINDOW_PIXELS:
            found[window] |= above[window] & area
            continue
        found[window] |= _outline_area(deviate(pixels[window], above[window], thickness), above[window] & area, area)
    return found


def _outline_area(deviation: Deviation, region: Mask, area: Mask) -> Mask:
    """The flaws of a region, found at the finest smoothing at which each stands out, or the region itself."""
    found = np.zeros(region.shape, np.bool_)
    for smoothing in SMOOTHINGS_PX:
        values = _smoothed(deviation.values, smoothing)
        strength = np.asarray(np.abs(values) / deviation.noise_of(values), np.float32)  # in noise levels
        faintest = LEVEL_NOISES if smoothing < SMOOTHINGS_PX[-1] else SEED_NOISES
        seed = max(SEED_NOISES, deviation.usual_strength(strength, SEED_QUANTILE))
        _add_flaws(found, strength, region, area, seed, faintest)
    excess = deviation.excess()
    explained = excess[found].sum() >= MIN_EXPLAINED * excess[found | region].sum()
    return found if found.any() and explained else region


def _smoothed(values: Floats, deviation_px: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), deviation_px), np.float32) if deviation_px else values


def _add_flaws(found: Mask, strength: Floats, region: Mask, area: Mask, seed: float, faintest: float) -> None:
    """Add the flaws of at least some strength to those found, unless they touch one of these."""
    candidates = (strength > EDGE_NOISES) & area
    count, labels, stats, _ = cv2.connectedComponentsWithStats(candidates.astype(np.uint8), connectivity=8)
    seeds = np.unique(labels[(strength > seed) & region & candidates])
    for k in seeds[seeds < count]:
        x, y, width, height = (int(value) for value in stats[k, :4])
        window = np.s_[y : y + height, x : x + width]
        inside = labels[window] == k
        values = strength[window]
        if (inside & found[window]).any() or np.quantile(values[inside], LEVEL_QUANTILE) < faintest:
            continue
        found[window] |= inside & (values > np.maximum(_level(values, inside) / 2, EDGE_NOISES))


def _level(strength: Floats, inside: Mask) -> Floats:
    """How strong a flaw is around each pixel: its highest values within its own width, smoothed over as much."""
    side = 2 * (round(thickness_px(inside) / 2) + 1) + 1
    highest = cv2.dilate(np.where(inside, strength, np.float32(0)), np.ones((side, side), np.uint8))
    return np.asarray(cv2.blur(highest, (side, side)), np.float32)
