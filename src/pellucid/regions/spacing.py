"""How near defects lie to one another: the most in any circle, and the smallest separation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.float64]
TOUCHING_MM = 1e-6  # what lies on a circle lies in it, whatever rounding says


def most_in_circle(points: Places, diameter: float) -> tuple[int, ...]:
    """Return which points lie in the circle that holds most of them, wherever it is slid to; its rim is part of it.

    A circle with the most points can be moved until two of them lie on its rim, or one where no other is near. So for
    each point the circles through it are turned around it: the others come in and go out at angles, and at one of the
    angles at which one comes in, there are most.

    Args:
        points: (n, 2), n at least 1.
        diameter: of the circle, in the points' unit.
    """
    radius = diameter / 2
    best = np.array([0])
    for point in points:
        offsets = points - point
        away = np.hypot(*offsets.T)
        near = (away > 0) & (away <= diameter + TOUCHING_MM)
        entries = np.arctan2(offsets[near, 1], offsets[near, 0]) - np.arccos(np.minimum(away[near] / diameter, 1))
        for angle in (0.0,) if not len(entries) else entries:
            centre = point + radius * np.array([np.cos(angle), np.sin(angle)])
            inside = np.flatnonzero(np.hypot(*(points - centre).T) <= radius + TOUCHING_MM)
            if len(inside) > len(best):
                best = inside
    return tuple(int(k) for k in best)


def nearest_gaps(boxes: Places) -> Places:
    """Return how far each box is from the nearest other one, (n,); infinite for one that is alone.

    Args:
        boxes: left, top, right and bottom, (n, 4); of points, both corners are the same.
    """
    nearest = np.full(len(boxes), np.inf)
    for number, (left, top, right, bottom) in enumerate(boxes):
        across = np.maximum(0, np.maximum(boxes[:, 0] - right, left - boxes[:, 2]))
        down = np.maximum(0, np.maximum(boxes[:, 1] - bottom, top - boxes[:, 3]))
        gaps = np.hypot(across, down)
        gaps[number] = np.inf
        nearest[number] = gaps.min()
    return nearest
