"""A drawn sheet with defects, some ignored, graded by a rule, under a name that tries to be code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pellucid.records import Defect, Ignored, Inspection
from pellucid.records.grades import Sheet
from pellucid.regions.grading import Grading
from pellucid.regions.rules import read_rules

WIDTH, HEIGHT, SCALE = 1100, 1500, 0.5  # px, px, mm per px
IN_MM = ("length_mm", "width_mm", "diameter_mm", "feret_max_mm", "feret_min_mm", "uncertainty_mm")
HOSTILE = "<!--<script><img src=x onerror=alert(1)>\"'&#%.png"


def drawn_sheet(count=12, *, path=HOSTILE, scale=SCALE, graded=True) -> Inspection:
    """A sheet with defects on a diagonal from the upper left; those with the largest numbers are the smallest."""
    random = np.random.default_rng(0)
    grey = np.clip(0.6 + 0.02 * random.standard_normal((HEIGHT, WIDTH)), 0, 1).astype(np.float32)
    found = []
    for number in range(count):
        x, y = 90 + number * (WIDTH - 180) // count, 110 + number * (HEIGHT - 220) // count
        radius = 4 + (count - number)
        patch = np.zeros((81, 81), np.uint8)
        cv2.ellipse(patch, (40, 40), (radius, radius if number % 2 else 2), 0, 0, 360, 1, -1)
        grey[y - 40 : y + 41, x - 40 : x + 41] -= 0.3 * patch
        rings = cv2.findContours(patch, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
        outline = tuple(tuple((int(u) + x - 40, int(v) + y - 40) for u, v in ring[:, 0]) for ring in rings)
        left, top, width, height = cv2.boundingRect(patch)
        mm = None if scale is None else scale * max(width, height)
        sizes = dict.fromkeys(IN_MM, mm)
        found.append(
            Defect(
                (left + x - 40, top + y - 40, width, height),
                int(patch.sum()),
                5.0 - number / 10,
                (float(x), float(y)),
                kind="dark point" if number % 2 else "dark <b>line</b>",
                outline=outline,
                contrast=-0.5,
                halo_px=0,
                **sizes,
            )
        )
    pixels = np.broadcast_to(np.clip(grey, 0, 1)[..., None], (HEIGHT, WIDTH, 3))
    sheet = None if scale is None else Sheet(WIDTH * scale, HEIGHT * scale, (scale, scale))
    inspection = Inspection(
        Path(path),
        9.0,
        4.0,
        0.01,
        "reject",
        np.zeros((HEIGHT, WIDTH), np.float32),
        tuple(found[:-2]),
        pixels=pixels,
        ignored=tuple(Ignored(defect, "margin") for defect in found[-2:]),
        warnings=("It is <i>darker</i> than those.",),
        sheet=sheet,
    )
    return Grading(read_rules("en1279")).apply(inspection) if graded and scale is not None else inspection
