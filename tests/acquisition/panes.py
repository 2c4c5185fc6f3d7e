"""Panes of low-contrast glass, and what becomes of a photo that is taken or stored more than once."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float64]  # (H, W), grey levels of 8 bit


def pane(number: int, side: int = 160) -> Grey:
    """Draw the texture of one pane: two or three grey levels of cloud, and some specks of dust."""
    rng = np.random.default_rng((11, number))
    cloud = sum(a * cv2.GaussianBlur(rng.normal(0, s, (side, side)), (0, 0), s) for a, s in ((3, 1.5), (3, 4), (5, 12)))
    dust = np.zeros((side, side))
    for x, y in rng.integers(4, side - 4, (12, 2)):
        cv2.circle(dust, (int(x), int(y)), int(rng.integers(1, 3)), -float(rng.uniform(4, 10)), -1)
    return np.asarray(180 + cloud + cv2.GaussianBlur(dust, (0, 0), 1.0))


def frame(grey: Grey, rng: np.random.Generator, noise: float = 2.0, gain: float = 0.01) -> Grey:
    """Take a photo: the light flickers, and the sensor adds noise."""
    return stored(grey * (1 + rng.normal(0, gain)) + rng.normal(0, noise, grey.shape))


def stored(grey: Grey) -> Grey:
    """Round to 8 bit."""
    return np.round(np.clip(grey, 0, 255))


def jpeg(grey: Grey, quality: int) -> Grey:
    """Compress."""
    content = cv2.imencode(".jpg", stored(grey).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE), np.float64)


def moved(grey: Grey, dx: float, dy: float) -> Grey:
    """Move what is seen."""
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float64)
    return np.asarray(cv2.warpAffine(grey, matrix, grey.shape[::-1], borderMode=cv2.BORDER_REFLECT))
