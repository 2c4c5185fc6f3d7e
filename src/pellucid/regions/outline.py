"""Regions of a map to outlines at the image's own pixels: what deviates there from its surroundings."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from pellucid.regions.background import Deviation, Floats, Mask, deviate, without_repeated_channels
from pellucid.regions.clusters import Cluster, Clusters
from pellucid.regions.rows import Rows, Window, longest_rows, widest_pad
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
    kept, regions = Rows(), Rows()
    kept.add(pixels)
    regions.add(above)
    outliner = Outliner(kept, regions, above.shape[1], margin_px)
    outliner.advance(is_last=True)
    return np.asarray(outliner.found.cut(Window(0, len(above), 0, above.shape[1])), np.bool_)


class _Area(NamedTuple):
    """Some regions with what is around them."""

    cluster: Cluster
    region: Mask
    area: Mask
    near: Window
    thickness: float
    window: Window


class Outliner:
    """Outlines regions of a map whose rows come in bands, as :func:`outline` says.

    Regions whose surroundings touch are an area. All that happens in one is told by the rows and columns around it
    alone, however the image is cut into bands; an area that spans too many rows keeps its outline, so that few rows
    are kept.

    Attributes:
        found: rows, true where the flaws are.
        final: rows of them, from the first, that no longer change.
        long_areas: areas that were too long to be compared with the image.
    """

    def __init__(self, pixels: Rows, above: Rows, width: int, margin_px: int) -> None:
        """Begin at the first row.

        Args:
            pixels: (h, W, channels) in [0, 1].
            above: (h, W), true where the map is above its limit; as many rows.
            width: of the image, px.
            margin_px: how far a flaw may reach beyond the region that shows it.
        """
        self.found, self.final, self.long_areas = Rows(), 0, 0
        self._pixels, self._above, self._width, self._margin_px = pixels, above, width, margin_px
        self._longest, self._widest_pad = longest_rows(width), widest_pad(width)
        side = 2 * margin_px + 1
        self._square = np.ones((side, side), np.uint8)
        self._areas = Clusters(above, width, self._square)
        self._waiting: list[_Area] = []

    @property
    def needed_from(self) -> int:
        """The first row of the pixels and of the map that is still asked for."""
        tops = [area.window.top for area in self._waiting]
        tops += [area.near_top - self._widest_pad for area in self._areas.open if area.rows <= self._longest]
        return max(0, min([self._areas.done - self._widest_pad, self._areas.needed_from, *tops]))

    def advance(self, is_last: bool) -> None:
        """Outline what the rows that were added allow.

        Args:
            is_last: whether the image ends with them.
        """
        known = self._above.end
        self.found.add(np.zeros((known - self.found.end, self._width), np.bool_))
        complete = self._areas.advance(known, is_last)
        for cluster in (*self._areas.open, *complete):
            if cluster.rows > self._longest:
                for top, left, mask in cluster.take():
                    self.found.mark(top, left, mask)
        self.long_areas += sum(cluster.rows > self._longest for cluster in complete)
        self._waiting += [self._around(cluster) for cluster in complete if cluster.rows <= self._longest]
        waiting = self._waiting
        self._waiting = []
        for area in waiting:
            if is_last or area.window.bottom <= known:
                self._outline(area, area.window.ending_at(known))
            else:
                self._waiting.append(area)
        short = (area.near_top for area in self._areas.open if area.rows <= self._longest)
        self.final = min([self._areas.done, *short, *(area.near.top for area in self._waiting)])

    def _around(self, cluster: Cluster) -> _Area:
        margin = self._margin_px
        near = cluster.window.grown(margin, self._width)
        bounds, region = cluster.window, np.zeros(near.shape, np.bool_)
        top, left = bounds.top - near.top, bounds.left - near.left
        region[top : top + bounds.shape[0], left : left + bounds.shape[1]] = cluster.mask()
        area = cv2.dilate(region.view(np.uint8), self._square).view(np.bool_)
        thickness = thickness_px(region)
        window = near.grown(min(round(thickness), self._widest_pad), self._width)
        return _Area(cluster, region, area, near, thickness, window)

    def _outline(self, found: _Area, window: Window) -> None:
        """Mark the flaws of an area."""
        if window.size > MAX_WINDOW_PIXELS:
            self.found.mark(found.near.top, found.near.left, found.region[: self.found.end - found.near.top])
            return
        top, left = found.near.top - window.top, found.near.left - window.left
        region, area = (np.zeros(window.shape, np.bool_) for _ in range(2))
        for mask, part in ((region, found.region), (area, found.area)):
            place = mask[top : top + part.shape[0], left : left + part.shape[1]]
            place[:] = part[: place.shape[0]]
        pixels = without_repeated_channels(self._pixels.cut(window))
        deviation = deviate(pixels, self._above.cut(window), found.thickness)
        self.found.mark(window.top, window.left, _outline_area(deviation, region, area))


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
