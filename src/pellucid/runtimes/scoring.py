"""One image through a runtime: its score, and its map at the image's own size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import Pixels, Planes
from pellucid.runtimes import Runtime

Map = NDArray[np.float32]  # (H, W)


def score_image(runtime: Runtime, planes: Planes) -> tuple[float, Map]:
    """Score one image (3, H, W) alone, so that no score depends on its neighbours; the map has the network's size."""
    maps, scores = runtime.score(planes[None])
    return float(scores[0]), maps[0]


def enlarge(anomaly_map: Map, pixels: Pixels) -> Map:
    """Bring a map to the size of the image (H, W, 3) that it belongs to, bilinearly."""
    height, width = pixels.shape[:2]
    if anomaly_map.shape == (height, width):
        return anomaly_map
    return np.asarray(cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
