"""From which value on pixels of a map are defective."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def segmentation_threshold(anomaly_map: NDArray[np.float32], pixel_limit: float, tiled: bool = False) -> float:
    """Return the map value above which pixels of a rejected image are defective.

    It is the pixel limit, or for a map (H, W) that stays near or below that, a tenth less than its maximum: a rejected
    image always shows where. The score of a tiled model is its map's maximum and its pixel limit no higher than its
    limit, so that this holds there anyway, and what is found in one place never depends on another.
    """
    if tiled:
        return pixel_limit
    highest = anomaly_map.max()
    below = min(highest - 0.1 * abs(highest), np.nextafter(highest, -np.inf, dtype=np.float32))  # 0 has no tenth
    return min(pixel_limit, float(below))
