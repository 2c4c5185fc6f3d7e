"""Panes of glass with planted, known defects: fine draw lines are normal, bold lines and blemishes are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pellucid._io.files import write_bytes
from pellucid._io.progress import track
from pellucid.synthesis.flaws import AlphaMask

PANE_SIDE_PX = 256
SQUARE = (PANE_SIDE_PX, PANE_SIDE_PX)
Pane = NDArray[np.float32]  # (H, W), grey in [0, 1]


def draw_pane(rng: Generator, size: tuple[int, int] = SQUARE) -> Pane:
    """Draw a clean pane: a light gradient, fine vertical draw lines, dust too small to matter, sensor noise.

    Args:
        rng: decides everything.
        size: height and width, px; a square that comes with the defects of this module by default.
    """
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32) / np.array(size, np.float32)[:, None, None]
    light = 0.55 + rng.uniform(-0.08, 0.08) * x + rng.uniform(-0.12, 0.12) * y + rng.uniform(-0.03, 0.03)
    image = light.astype(np.float32)
    for _ in range(rng.integers(4, 9)):
        line = _draw_line(rng, width=1, lean=0.03, size=size)
        image += line * np.float32(rng.choice((-1, 1)) * rng.uniform(0.02, 0.05))
    image = cv2.GaussianBlur(image, (0, 0), 0.7)
    return np.asarray(image + rng.normal(0, 0.008, image.shape), np.float32)


def _draw_line(rng: Generator, width: int, lean: float, size: tuple[int, int] = SQUARE) -> AlphaMask:
    top = rng.uniform(0, size[1])
    bottom = top + rng.normal(0, lean) * size[0]
    alpha = np.zeros(size, np.uint8)
    cv2.line(alpha, (int(top), 0), (int(bottom), size[0] - 1), 255, width, cv2.LINE_AA)
    return (alpha / 255).astype(np.float32)


def _draw_bold_line(rng: Generator) -> tuple[AlphaMask, float]:
    """Draw a line that is too bold: the only difference from a normal one."""
    return _draw_line(rng, width=int(rng.integers(3, 6)), lean=0.03), float(
        rng.choice((-1, 1)) * rng.uniform(0.12, 0.25)
    )


def _draw_seed(rng: Generator) -> tuple[AlphaMask, float]:
    """Draw a gas bubble: a bright ring."""
    alpha = np.zeros((PANE_SIDE_PX, PANE_SIDE_PX), np.uint8)
    centre = tuple(int(v) for v in rng.integers(20, PANE_SIDE_PX - 20, 2))
    cv2.circle(alpha, centre, int(rng.integers(4, 11)), 255, int(rng.integers(2, 4)), cv2.LINE_AA)
    return (alpha / 255).astype(np.float32), float(rng.uniform(0.12, 0.3))


def _draw_stone(rng: Generator) -> tuple[AlphaMask, float]:
    """Draw an opaque inclusion: a dark, ragged blot."""
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    reach = rng.uniform(0.6, 1.2, 10) * rng.uniform(4, 10)
    corners = rng.integers(20, PANE_SIDE_PX - 20, 2) + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
    alpha = np.zeros((PANE_SIDE_PX, PANE_SIDE_PX), np.uint8)
    cv2.fillPoly(alpha, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    return (alpha / 255).astype(np.float32), -float(rng.uniform(0.15, 0.35))


def _draw_scratch(rng: Generator) -> tuple[AlphaMask, float]:
    """Draw a scratch: thin, curved, in any direction but the draw's."""
    angle = rng.uniform(-0.9, 0.9) + np.cumsum(rng.normal(0, 0.06, 30))
    path = rng.integers(30, PANE_SIDE_PX - 100, 2) + np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1) * 4, 0)
    alpha = np.zeros((PANE_SIDE_PX, PANE_SIDE_PX), np.uint8)
    cv2.polylines(alpha, [path.astype(np.int32)], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA)
    return (alpha / 255).astype(np.float32), float(rng.uniform(0.15, 0.3))


DEFECT_GENERATORS: dict[str, Callable[[Generator], tuple[AlphaMask, float]]] = {
    "bold-line": _draw_bold_line,
    "seed": _draw_seed,
    "stone": _draw_stone,
    "scratch": _draw_scratch,
}


def draw_defective_pane(rng: Generator, kind: str) -> tuple[Pane, NDArray[np.bool_]]:
    """Draw a pane with one defect.

    Args:
        rng: decides everything but the kind.
        kind: of ``DEFECT_GENERATORS``.

    Returns:
        The pane, and its mask, true where the defect is.
    """
    alpha, contrast = DEFECT_GENERATORS[kind](rng)
    return draw_pane(rng) + (alpha * contrast).astype(np.float32), alpha > 0.3


def draw_data_set(folder: Path, *, seed: int = 0, n_train: int = 100, n_test: int = 30, n_per_defect: int = 8) -> None:
    """Draw a data set in the five-folder layout, with masks.

    Args:
        folder: made if need be; files of the same names in it are replaced.
        seed: seed of all images, at least 0.
        n_train: clean panes to learn from.
        n_test: clean panes to test on.
        n_per_defect: panes with a defect of each kind to test on; half as many are drawn to choose by.

    Raises:
        OutputError: the folder cannot be written to.
    """
    panes = [("normal_train" if n < n_train else "normal_test", n) for n in range(n_train + n_test)]
    for part, n in track(panes, "drawing panes"):
        write_pane(folder / part / f"pane_{n:03d}.png", draw_pane(np.random.default_rng((seed, n))))
    for part, stream, count in (("abnormal_train", 1, n_per_defect // 2), ("abnormal_test", 2, n_per_defect)):
        for k, kind in enumerate(DEFECT_GENERATORS):
            for n in range(count):
                rng = np.random.default_rng((seed, stream, k, n, 1))  # with zeros at its end it would be a clean pane's
                image, mask = draw_defective_pane(rng, kind)
                name = f"{kind}_{stream}_{n:03d}.png"
                write_pane(folder / part / name, image)
                write_pane(folder / "mask" / name, mask.astype(np.float32))


def to_uint8(image: Pane) -> NDArray[np.uint8]:
    """Convert a pane to grey levels of 8 bit, as a camera stores it."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def write_pane(path: Path, image: Pane) -> None:
    """Write a pane, or a mask of zeros and ones, as a PNG file."""
    write_bytes(path, cv2.imencode(".png", to_uint8(image))[1].tobytes())
