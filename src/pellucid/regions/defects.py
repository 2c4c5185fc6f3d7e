"""Map and limit to defects: connected regions above the pixel limit, in pixels of the image's own size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.records import Defect


def find_defects(anomaly_map: NDArray[np.float32], limit: float) -> tuple[Defect, ...]:
    """Return the 8-connected regions of a map above a limit, the highest peak first.

    Args:
        anomaly_map: (H, W).
        limit: in the unit of the map.
    """
    above = (anomaly_map > limit).astype(np.uint8)
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(above, connectivity=8)
    defects = []
    for k in range(1, count):  # 0 is the background
        x, y, width, height, area = (int(v) for v in stats[k])
        window = np.s_[y : y + height, x : x + width]
        peak = float(anomaly_map[window][labels[window] == k].max())
        centroid = (float(centroids[k][0]), float(centroids[k][1]))
        defects.append(Defect(box=(x, y, width, height), area_px=area, peak=peak, centroid=centroid))
    return tuple(sorted(defects, key=lambda d: -d.peak))
