"""Regions of a map to outlines at the image's own pixels: what deviates there from its surroundings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pellucid.regions.areas import Area, Areas
from pellucid.regions.background import Deviation, Floats, Mask
from pellucid.regions.rows import Rows, Window
from pellucid.regions.skeleton import thickness_px

SMOOTHINGS_PX = (0.0, 0.7, 1.2, 2.0)  # standard deviations, the finest first
SEED_NOISES = 5.0  # noise levels that a flaw stands out by where it does most
SEED_QUANTILE = 0.999  # of the pixels outside of the regions: no more than one in a thousand stands out as much
EDGE_NOISES = 2.5  # noise levels that a flaw's faintest pixels stand out by
LEVEL_NOISES = 6.0  # contrast whose half, where the edge is drawn, is safely above the noise
LEVEL_QUANTILE = 0.9  # of a flaw's pixels: how strong it is, thin ones and blurred edges included
MIN_EXPLAINED = 0.5  # share of what deviates in a region that its outline has to cover: it is not the flaw otherwise
MIN_SHOWN = 0.9  # of the map's range around a region, which the map has to reach on what good parts show, too
MIN_RISE = 0.1  # of how far the map rises above its limit at most: a lower region has to show what good parts do not
NOTHING_USUAL = (0.0,) * len(SMOOTHINGS_PX)
Slices = tuple[slice, slice]


class Usual(BaseModel):
    """What good parts show in windows like those around the regions of a map, for example the draw lines of glass.

    Attributes:
        strengths: of the strongest structure, in noise levels, one for every smoothing of ``SMOOTHINGS_PX``.
        energy: how many times as much as its surroundings a region deviates at most, in mean squares, at least 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strengths: tuple[float, ...] = Field(min_length=len(SMOOTHINGS_PX), max_length=len(SMOOTHINGS_PX))
    energy: float = Field(ge=1, allow_inf_nan=False)


def outline(
    pixels: Floats,
    above: Mask,
    margin_px: int,
    usual: Usual | None = None,
    anomaly_map: Floats | None = None,
    *,
    tiled: bool = False,
) -> Mask:
    """Outline what the regions of a map show, at the pixels of the image.

    Around every region the image is compared with its own surroundings (:func:`~pellucid.regions.background.deviate`).
    Pixels that clearly deviate are grown over what hardly does (hysteresis), and cut at half of the contrast beside
    them, which is where a blurred edge really lies. A flaw too faint for that is looked for in a smoothed image, as far
    as it takes. A region that this does not explain keeps its own outline: where nothing is found, and where most of
    what deviates lies elsewhere, as on large damage of something that has structure itself. But one that hardly rises
    above the limit, beside one that rises ten times as far, is left out then: a bold flaw raises a map everywhere.

    Args:
        pixels: (H, W, channels) in [0, 1].
        above: (H, W), true where the map is above its limit.
        margin_px: how far a flaw may reach beyond the region that shows it.
        usual: what good parts show; None: that is not known, and whatever stands out is a flaw.
        anomaly_map: (H, W), needed with ``usual``.
        tiled: every region counts by itself, because what is found in one place must not depend on any other.

    Returns:
        True where the flaws are, (H, W).
    """
    height, width = above.shape
    shown = None if anomaly_map is None else Rows.of(anomaly_map)
    least_peak = -np.inf if tiled or anomaly_map is None else least_peak_of(anomaly_map[above])
    outliner = Outliner(Rows.of(pixels), Rows.of(above), width, margin_px, usual, shown, least_peak)
    outliner.advance(is_last=True)
    return np.asarray(outliner.found.cut(Window(0, height, 0, width)), np.bool_)


def least_peak_of(values: Floats) -> float:
    """Return how high a map has to be on a region for it to count by itself, by its values on all regions, (n,)."""
    if not len(values):
        return -np.inf
    low, high = float(values.min()), float(values.max())
    return low + MIN_RISE * (high - low)


class Outliner:
    """Outlines regions of a map whose rows come in bands, as :func:`outline` says.

    An area that spans too many rows keeps its outline, so that few rows are kept.

    Attributes:
        found: rows, true where the flaws are.
    """

    def __init__(
        self,
        pixels: Rows,
        above: Rows,
        width: int,
        margin_px: int,
        usual: Usual | None = None,
        anomaly_map: Rows | None = None,
        least_peak: float = -np.inf,
    ) -> None:
        """Begin at the first row.

        Args:
            pixels: (h, W, channels) in [0, 1].
            above: (h, W), true where the map is above its limit; as many rows.
            width: of the image, px.
            margin_px: how far a flaw may reach beyond the region that shows it.
            usual: what good parts show; None: that is not known, and whatever stands out is a flaw.
            anomaly_map: (h, W), as many rows, needed with ``usual``.
            least_peak: of the map on a region that counts by itself.
        """
        self.found = Rows()
        self._pixels, self._above, self._width, self._usual, self._map = pixels, above, width, usual, anomaly_map
        self._areas, self._least_peak = Areas(above, width, margin_px), least_peak

    @property
    def final(self) -> int:
        """Rows of what was found, from the first, that no longer change."""
        return self._areas.final

    @property
    def long_areas(self) -> int:
        """Areas that were too long to be compared with the image."""
        return self._areas.long

    @property
    def needed_from(self) -> int:
        """The first row of the pixels and of the map that is still asked for."""
        return self._areas.needed_from

    def advance(self, is_last: bool) -> None:
        """Outline what the rows that were added allow.

        Args:
            is_last: whether the image ends with them.
        """
        self.found.add(np.zeros((self._above.end - self.found.end, self._width), np.bool_))
        areas, long = self._areas.advance(is_last)
        for top, left, mask in long:
            self.found.mark(top, left, mask)
        for area in areas:
            self._outline(area)

    def _outline(self, area: Area) -> None:
        """Mark the flaws of an area."""
        if area.is_large:
            bounds = area.bounds.ending_at(self.found.end)
            self.found.mark(bounds.top, bounds.left, area.region[: bounds.shape[0]])
            return
        shown = None if self._map is None else self._map.cut(area.window)
        deviation, region, around = area.compare(self._pixels, self._above)
        is_clear = self._usual is None or shown is None or shown[region].max(initial=-np.inf) >= self._least_peak
        found = _outline_area(deviation, region, around, self._usual, shown, is_clear)
        self.found.mark(area.window.top, area.window.left, found)


def _outline_area(
    deviation: Deviation, region: Mask, area: Mask, usual: Usual | None, shown: Floats | None, is_clear: bool
) -> Mask:
    """The flaws of a region, or of one that counts by itself the region; ``shown`` is the map there."""
    found = np.zeros(region.shape, np.bool_)
    _find_flaws(found, deviation, region, area, NOTHING_USUAL if usual is None else usual.strengths)
    if not is_clear:
        return found
    if usual is not None and shown is not None:
        weak = found.copy()
        _find_flaws(weak, deviation, region, area, NOTHING_USUAL)
        _add_shown(found, weak & ~found, area, shown)
    excess = deviation.excess(1 if usual is None else usual.energy)
    explained = excess[found].sum() >= MIN_EXPLAINED * excess[found | region].sum()
    return found if found.any() and explained else region


def _find_flaws(found: Mask, deviation: Deviation, region: Mask, area: Mask, usual: Sequence[float]) -> None:
    """Add to those found the flaws that are stronger than usual, at the finest smoothing at which each stands out."""
    for smoothing, strongest in zip(SMOOTHINGS_PX, usual, strict=True):
        strength, seed = smoothed_strength(deviation, smoothing)
        faintest = LEVEL_NOISES if smoothing < SMOOTHINGS_PX[-1] else SEED_NOISES
        _add_flaws(found, strength, region, area, seed, max(faintest, strongest), strongest)


def smoothed_strength(deviation: Deviation, smoothing: float) -> tuple[Floats, float]:
    """Return how strongly the pixels of a smoothed window deviate, in noise levels, and from where on one is a seed."""
    values = deviation.values
    if smoothing:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), smoothing), np.float32)
    strength = np.asarray(np.abs(values) / deviation.noise_of(values), np.float32)
    return strength, max(SEED_NOISES, deviation.usual_strength(strength, SEED_QUANTILE))


def _add_shown(found: Mask, weak: Mask, area: Mask, shown: Floats) -> None:
    """Add the structures, no stronger than usual, that the map is higher on than on all that was found."""
    low, high = float(shown[area].min()), float(shown[area].max())
    least = max(low + MIN_SHOWN * (high - low), float(shown[found].max(initial=-np.inf)))
    _, labels = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
    kept = np.unique(labels[weak & (shown >= least)])
    found |= np.isin(labels, kept) & weak


def structures(strength: Floats, region: Mask, area: Mask, seed: float) -> Iterator[tuple[Slices, Mask]]:
    """Yield the window and the pixels of everything in an area that stands out by a seed in its region."""
    candidates = (strength > EDGE_NOISES) & area
    count, labels, stats, _ = cv2.connectedComponentsWithStats(candidates.astype(np.uint8), connectivity=8)
    seeds = np.unique(labels[(strength > seed) & region & candidates])
    for k in seeds[seeds < count]:
        x, y, width, height = (int(value) for value in stats[k, :4])
        window = np.s_[y : y + height, x : x + width]
        yield window, labels[window] == k


def level_of(strength: Floats) -> float:
    """Return how strong a structure is that has pixels of these strengths, (n,)."""
    return float(np.quantile(strength, LEVEL_QUANTILE))


def _add_flaws(
    found: Mask, strength: Floats, region: Mask, area: Mask, seed: float, faintest: float, strongest: float
) -> None:
    """Add the flaws of more than some strength to those found, unless they touch one of these.

    A flaw may lie on a structure that good parts show. What is no stronger around it than the ``strongest`` of these
    is left to it.
    """
    for window, inside in structures(strength, region, area, seed):
        values = strength[window]
        if (inside & found[window]).any() or level_of(values[inside]) <= faintest:
            continue
        level = _level(values, inside)
        found[window] |= inside & (values > np.maximum(level / 2, EDGE_NOISES)) & (level > strongest)


def _level(strength: Floats, inside: Mask) -> Floats:
    """How strong a flaw is around each pixel: its highest values within its own width, smoothed over as much."""
    side = 2 * (round(thickness_px(inside) / 2) + 1) + 1
    highest = cv2.dilate(np.where(inside, strength, np.float32(0)), np.ones((side, side), np.uint8))
    return np.asarray(cv2.blur(highest, (side, side)), np.float32)
