"""Faint, small flaws of known kind, size and contrast on clean drawn panes: what the detection curve is measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pellucid.synthesis.fields import log_uniform
from pellucid.synthesis.flaws import apply_flaw, draw_contrast_sign, draw_flaw
from pellucid.synthesis.glass import PANE_SIDE_PX, Pane, draw_pane, write_pane

FLAW_SIZES_PX = {"scratch": (1, 2, 3, 4), "seed": (2, 4, 7, 10), "dust": (2, 4, 7, 10)}  # width or diameter, px
CONTRASTS = (0.01, 0.02, 0.05, 0.1, 0.2)  # of the light around


def flawed(rng: Generator, kind: str, size: float, contrast: float) -> tuple[Pane, NDArray[np.bool_]]:
    """Draw a pane with one flaw, darker than the glass if it is dust and either way if not, and its mask."""
    shape = draw_flaw(rng, kind, size, (PANE_SIDE_PX, PANE_SIDE_PX))
    sign = draw_contrast_sign(rng, kind)
    return apply_flaw(draw_pane(rng), shape, sign * contrast), shape > 0.3


def any_flaw(rng: Generator) -> tuple[Pane, NDArray[np.bool_]]:
    """Draw a flaw of any kind, size and contrast within the ranges above."""
    kind = str(rng.choice(list(FLAW_SIZES_PX)))
    size = rng.uniform(FLAW_SIZES_PX[kind][0], FLAW_SIZES_PX[kind][-1])
    return flawed(rng, kind, size, log_uniform(rng, CONTRASTS[0], CONTRASTS[-1]))


def draw_data_set(folder: Path, *, seed: int, train: int = 125, normal: int = 100, flaws: int = 150) -> None:
    """Write clean panes and panes with :func:`any_flaw`, in the five-folder layout."""
    for n in range(train + normal):
        part = "normal_train" if n < train else "normal_test"
        write_pane(folder / part / f"pane_{n:03d}.png", draw_pane(np.random.default_rng((seed, 0, n))))
    for n in range(flaws):
        image, mask = any_flaw(np.random.default_rng((seed, 1, n)))
        write_pane(folder / "abnormal_test" / f"flaw_{n:03d}.png", image)
        write_pane(folder / "mask" / f"flaw_{n:03d}.png", mask.astype(np.float32))
