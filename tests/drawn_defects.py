"""Drawn parts with dust on them, faint stripes that a detector does not see, and dents that it does."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.records import Sample, Split

SIDE_PX = 64
STRIPES_CONTRAST = 0.015


def draw_good(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a grey part (64, 64) in [0, 1]: clouds, noise and specks of dust, bright or dark."""
    grey = 0.5 + cv2.resize(rng.normal(0, 0.03, (6, 6)), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    for x, y in rng.integers(4, SIDE_PX - 4, (4, 2)):
        cv2.circle(grey, (int(x), int(y)), 2, float(grey[y, x] + rng.choice([-0.3, 0.3])), -1, cv2.LINE_AA)
    return grey + rng.normal(0, 0.01, grey.shape)


def draw_defect(rng: np.random.Generator, kind: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Draw a part with a patch of faint, fine stripes, or with a dent; and its mask, 255 where it is."""
    grey, mask = draw_good(rng), np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    y, x = (int(v) for v in rng.integers(8, SIDE_PX - 28, 2))
    mask[y : y + 20, x : x + 20] = 255
    stripes = np.where(np.arange(SIDE_PX) // 2 % 2, STRIPES_CONTRAST, -STRIPES_CONTRAST)[None, :]
    return np.where(mask > 0, grey + (stripes if kind == "stripes" else -0.4), grey), mask


def write_image(
    folder: Path,
    name: str,
    grey: NDArray[np.float64],
    mask: NDArray[np.uint8] | None = None,
    kind: str | None = None,
) -> Sample:
    """Write an image in [0, 1], and its mask if it has one: it is defective then."""
    path, mask_path = folder / f"{name}.png", folder / f"{name}_mask.png"
    cv2.imwrite(str(path), np.round(255 * grey.clip(0, 1)).astype(np.uint8))
    if mask is None:
        return Sample(path, "normal")
    cv2.imwrite(str(mask_path), mask)
    return Sample(path, "abnormal", type=kind, mask=mask_path)


def write_split(folder: Path, seed: int = 0, *, normals: int = 40, defects: int = 12, test: int = 20) -> Split:
    """Write images below a folder; stripes alone are labelled for training, and the test has dents as well."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    good = [write_image(folder, f"good{k}", draw_good(rng)) for k in range(normals)]
    select = [write_image(folder, f"stripes{k}", *draw_defect(rng, "stripes"), "stripes") for k in range(defects)]
    tested = [write_image(folder, f"test_good{k}", draw_good(rng)) for k in range(test)]
    for kind in ("stripes", "dent"):
        tested += [write_image(folder, f"test_{kind}{k}", *draw_defect(rng, kind), kind) for k in range(test)]
    held_out = normals // 4
    return Split(tuple(good[held_out:]), tuple(good[:held_out]), tuple(select), tuple(tested))
