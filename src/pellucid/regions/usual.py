"""Good parts to what they show by themselves of that which defects are outlined by."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pellucid.regions.areas import Areas
from pellucid.regions.background import Deviation, Floats, Mask
from pellucid.regions.outline import SMOOTHINGS_PX, Usual, level_of, smoothed_strength, structures
from pellucid.regions.rows import Rows


def shown_by(pixels: Floats, above: Mask, margin_px: int) -> list[Usual]:
    """Measure what a good image shows in some windows.

    Args:
        pixels: (H, W, channels) in [0, 1], without a flaw.
        above: (H, W), true where regions of a map could be.
        margin_px: how far a flaw may reach beyond its region.

    Returns:
        One for every group of regions whose margins touch; none for what is too large to be outlined by the image.
    """
    image, regions = Rows.of(pixels), Rows.of(above)
    areas, _ = Areas(regions, above.shape[1], margin_px).advance(is_last=True)
    return [_shown_in(*area.compare(image, regions)) for area in areas if not area.is_large]


def strongest(windows: Iterable[Usual]) -> Usual | None:
    """Return the most that any window shows; None where there is none."""
    windows = list(windows)
    if not windows:
        return None
    strengths = np.array([window.strengths for window in windows]).max(0)
    return Usual(strengths=tuple(strengths.tolist()), energy=max(window.energy for window in windows))


def _shown_in(deviation: Deviation, region: Mask, area: Mask) -> Usual:
    """What would be outlined in a region if it were not known that nothing is there."""
    strengths = []
    for smoothing in SMOOTHINGS_PX:
        strength, seed = smoothed_strength(deviation, smoothing)
        levels = [level_of(strength[window][inside]) for window, inside in structures(strength, region, area, seed)]
        strengths.append(max(levels, default=0.0))
    energy = np.square(deviation.values, dtype=np.float64)
    around = max(float(energy.ravel()[deviation.usual].mean()), np.finfo(np.float64).tiny)
    return Usual(strengths=tuple(strengths), energy=max(1.0, float(energy[region].mean()) / around))
