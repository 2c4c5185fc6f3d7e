"""Panes of glass with planted, known defects: fine draw lines are normal, bold lines and blemishes are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pellucid._io.files import write_bytes

SIDE = 256
Pane = NDArray[np.float32]  # (SIDE, SIDE) in [0, 1]
Shape = NDArray[np.float32]  # (SIDE, SIDE) in [0, 1], how much of each pixel is covered


def pane(rng: Generator) -> Pane:
    """A clean pane: a light gradient, fine vertical draw lines, dust too small to matter, sensor noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    light = 0.55 + rng.uniform(-0.08, 0.08) * x + rng.uniform(-0.12, 0.12) * y + rng.uniform(-0.03, 0.03)
    image = light.astype(np.float32)
    for _ in range(rng.integers(4, 9)):
        line = _line(rng, width=1, lean=0.03)
        image += line * np.float32(rng.choice((-1, 1)) * rng.uniform(0.02, 0.05))
    image = cv2.GaussianBlur(image, (0, 0), 0.7)
    return np.asarray(image + rng.normal(0, 0.008, image.shape), np.float32)


def _line(rng: Generator, width: int, lean: float) -> Shape:
    top = rng.uniform(0, SIDE)
    bottom = top + rng.normal(0, lean) * SIDE
    cover = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(cover, (int(top), 0), (int(bottom), SIDE - 1), 255, width, cv2.LINE_AA)
    return (cover / 255).astype(np.float32)


def bold_line(rng: Generator) -> tuple[Shape, float]:
    """A draw line that is too bold: the only difference from a normal one."""
    return _line(rng, width=int(rng.integers(3, 6)), lean=0.03), float(rng.choice((-1, 1)) * rng.uniform(0.12, 0.25))


def seed(rng: Generator) -> tuple[Shape, float]:
    """A gas bubble: a bright ring."""
    cover = np.zeros((SIDE, SIDE), np.uint8)
    centre = tuple(int(v) for v in rng.integers(20, SIDE - 20, 2))
    cv2.circle(cover, centre, int(rng.integers(4, 11)), 255, int(rng.integers(2, 4)), cv2.LINE_AA)
    return (cover / 255).astype(np.float32), float(rng.uniform(0.12, 0.3))


def stone(rng: Generator) -> tuple[Shape, float]:
    """An opaque inclusion: a dark, ragged blot."""
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    reach = rng.uniform(0.6, 1.2, 10) * rng.uniform(4, 10)
    corners = rng.integers(20, SIDE - 20, 2) + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
    cover = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(cover, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    return (cover / 255).astype(np.float32), -float(rng.uniform(0.15, 0.35))


def scratch(rng: Generator) -> tuple[Shape, float]:
    """A scratch: thin, curved, in any direction but the draw's."""
    angle = rng.uniform(-0.9, 0.9) + np.cumsum(rng.normal(0, 0.06, 30))
    path = rng.integers(30, SIDE - 100, 2) + np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1) * 4, 0)
    cover = np.zeros((SIDE, SIDE), np.uint8)
    cv2.polylines(cover, [path.astype(np.int32)], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA)
    return (cover / 255).astype(np.float32), float(rng.uniform(0.15, 0.3))


DEFECTS: dict[str, Callable[[Generator], tuple[Shape, float]]] = {
    "bold-line": bold_line,
    "seed": seed,
    "stone": stone,
    "scratch": scratch,
}


def flawed_pane(rng: Generator, kind: str) -> tuple[Pane, NDArray[np.bool_]]:
    """A pane with one defect of a kind of ``DEFECTS``, and its mask."""
    cover, contrast = DEFECTS[kind](rng)
    return pane(rng) + (cover * contrast).astype(np.float32), cover > 0.3


def draw_data_set(folder: Path, *, seed: int = 0, normal: int = 100, tested: int = 30, each: int = 8) -> None:
    """Draw a data set in the five-folder layout: ``normal`` and ``tested`` clean panes, ``each`` of every defect.

    Raises:
        OutputError: the folder cannot be written to.
    """
    for n in range(normal + tested):
        part = "normal_train" if n < normal else "normal_test"
        write_pane(folder / part / f"pane_{n:03d}.png", pane(np.random.default_rng((seed, n))))
    for part, stream in (("abnormal_train", 1), ("abnormal_test", 2)):
        for k, kind in enumerate(DEFECTS):
            for n in range(each // 2 if stream == 1 else each):
                image, mask = flawed_pane(np.random.default_rng((seed, stream, k, n)), kind)
                name = f"{kind}_{stream}_{n:03d}.png"
                write_pane(folder / part / name, image)
                write_pane(folder / "mask" / name, mask.astype(np.float32))


def grey_levels(image: Pane) -> NDArray[np.uint8]:
    """(SIDE, SIDE) as a camera stores it."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def write_pane(path: Path, image: Pane) -> None:
    """A pane, or a mask of zeros and ones, as PNG."""
    write_bytes(path, cv2.imencode(".png", grey_levels(image))[1].tobytes())
