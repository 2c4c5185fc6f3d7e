"""Faint, small flaws of known kind, size and contrast on clean drawn panes: what the detection curve is measured on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pellucid.synthesis.glass import SIDE, Pane, Shape, pane, write_pane

SIZES = {"scratch": (1, 2, 3, 4), "bubble": (2, 4, 7, 10), "dust": (2, 4, 7, 10)}  # width or diameter, px
CONTRASTS = (0.01, 0.02, 0.05, 0.1, 0.2)  # of the light around
FINE = 8  # drawn so many times larger, then averaged: sizes are exact to an eighth of a pixel


def cover(rng: Generator, kind: str, size: float) -> Shape:
    """How much of each pixel a flaw covers: a ``scratch`` 20-60 px long, a ``bubble`` (1 px ring) or ``dust``."""
    canvas = np.zeros((SIDE * FINE, SIDE * FINE), np.uint8)
    centre = rng.uniform(40, SIDE - 40, 2)
    middle = (int(centre[0] * FINE), int(centre[1] * FINE))
    if kind == "scratch":
        angles = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.05, 20).cumsum()
        path = (np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(20, 60) / 20).cumsum(0)
        points = ((centre + path - path.mean(0)) * FINE).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, round(size * FINE))
    elif kind == "bubble":
        cv2.circle(canvas, middle, round((size - 1) / 2 * FINE), 255, FINE)
    else:
        cv2.circle(canvas, middle, round(size / 2 * FINE), 255, -1)
    small = cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return (small / 255).astype(np.float32)


def flawed(rng: Generator, kind: str, size: float, contrast: float) -> tuple[Pane, NDArray[np.bool_]]:
    """A pane with one flaw, darker than the glass if it is dust and either way if not, and its mask."""
    shape = cover(rng, kind, size)
    sign = -1 if kind == "dust" else rng.choice((-1, 1))
    return np.asarray(pane(rng) * (1 + sign * contrast * shape), np.float32), shape > 0.3


def any_flaw(rng: Generator) -> tuple[Pane, NDArray[np.bool_]]:
    """A flaw of any kind, size and contrast within the ranges above."""
    kind = str(rng.choice(list(SIZES)))
    size = rng.uniform(SIZES[kind][0], SIZES[kind][-1])
    return flawed(rng, kind, size, float(np.exp(rng.uniform(np.log(CONTRASTS[0]), np.log(CONTRASTS[-1])))))


def draw_data_set(folder: Path, *, seed: int, train: int = 125, normal: int = 100, flaws: int = 150) -> None:
    """Clean panes and panes with :func:`any_flaw`, in the five-folder layout."""
    for n in range(train + normal):
        part = "normal_train" if n < train else "normal_test"
        write_pane(folder / part / f"pane_{n:03d}.png", pane(np.random.default_rng((seed, 0, n))))
    for n in range(flaws):
        image, mask = any_flaw(np.random.default_rng((seed, 1, n)))
        write_pane(folder / "abnormal_test" / f"flaw_{n:03d}.png", image)
        write_pane(folder / "mask" / f"flaw_{n:03d}.png", mask.astype(np.float32))
