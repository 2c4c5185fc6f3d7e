"""Test images for where there are no defects: drawn flaws, planted into good images that are held out."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from pellucid._io.files import write_bytes
from pellucid.acquisition.images import Pixels, parse_size, read_image
from pellucid.acquisition.splits import TEST_SHARE
from pellucid.acquisition.views import ImageSize
from pellucid.records import Sample
from pellucid.synthesis.flaws import FLAW_SIZES_PX, flaw_scale, plant_flaw

KINDS = ("scratch", "bold line", "seed", "stone")
CONTRAST = 0.2  # of every flaw, a share of the light around it


def temporary_folder(owner: object) -> Path:
    """Return a folder that is removed with its owner, or when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="pellucid-planted-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


def hold_out_and_plant(
    normals: Sequence[Sample], image_size: ImageSize, seed: int, folder: Path
) -> tuple[list[Sample], list[Sample]]:
    """Hold a fifth of good images out for a test, and plant a drawn flaw into a copy of each.

    Args:
        normals: good images.
        image_size: of the model; flaws are of a size that it sees.
        seed: of the draw, of the flaws and of their places.
        folder: where the copies and their masks are written.

    Returns:
        The good images, each to fit on or to test on, and the copies.

    Raises:
        DataError: an image cannot be read.
        OutputError: the folder cannot be written to.
    """
    rng = np.random.default_rng(seed)
    drawn = {int(n) for n in rng.permutation(len(normals))[: max(1, round(TEST_SHARE * len(normals)))]}
    good = [replace(one, split="test" if n in drawn else "train") for n, one in enumerate(normals)]
    planted = []
    for count, n in enumerate(sorted(drawn)):
        kind, pixels = KINDS[count % len(KINDS)], read_image(normals[n].path)
        scale = flaw_scale([pixels], lambda _: parse_size(image_size))
        size = FLAW_SIZES_PX[kind][-1 - count // len(KINDS) % 2] * scale
        flawed, covered = plant_flaw(rng, pixels, kind, size, CONTRAST)
        path, mask = folder / f"{n:05d}_{kind.replace(' ', '_')}.png", folder / f"{n:05d}_mask.png"
        write_bytes(path, _png(flawed[..., ::-1]))
        write_bytes(mask, _png((covered > 0.5).astype(np.float32)))
        planted.append(Sample(path, "abnormal", "test", type=kind, mask=mask))
    return good, planted


def _png(pixels: Pixels) -> bytes:
    return cv2.imencode(".png", (pixels * 255).round().astype(np.uint8))[1].tobytes()
