"""From the images' size and the detector's reach to the tiles that a model sees, or to none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid import backbones
from pellucid.acquisition.looks import STEP_PX
from pellucid.acquisition.tiles import Tiling
from pellucid.acquisition.views import Framing
from pellucid.errors import ParameterError
from pellucid.synthesis.glass import draw_pane

if TYPE_CHECKING:
    from pellucid.acquisition.images import Size
    from pellucid.detectors._base import Detector

AUTOMATIC_TILE_PX = 1024  # at most 1.8 times the work of an image without margins of 128 px
TILED_FROM_SHRINKING = 8  # of the images to what the network sees: from here on they are tiled unless a user says no
TILED_FROM_PX = 1024  # of the images' shorter side, at least
REACH_SEEN_PX = 640  # of the crop whose features are compared with those of its whole
REACH_AROUND_PX = 192
MAX_CROP_CHANGE = 1e-3  # standard deviations of a feature that a crop may change where it no longer reaches
UNBOUNDED_MARGIN_PX = 128  # of a backbone that looks at the whole image from everywhere


def choose_tiling(
    detector: Detector, tile: int | None, reduce: int, image_size: Size, framing: Framing | None
) -> Tiling | None:
    """Decide whether images are seen in tiles, and in which.

    Args:
        detector: not fitted yet.
        tile: side of a tile, px; 0: none; None: tiles where images are so large that little would be left of a flaw.
        reduce: factor that images are reduced by before.
        image_size: height and width that a model without tiles would see.
        framing: of the images that are fitted on; None where they have no common shape.

    Returns:
        The tiles, with a margin as wide as the detector looks; None: images are seen whole.

    Raises:
        ParameterError: the margin leaves nothing of the tile.
        WeightsError: the backbone's weights cannot be had.
    """
    tile = tile_side(tile, reduce, image_size, framing)
    if tile == 0:
        return None
    margin = reach_px(detector)
    if tile - 2 * margin < STEP_PX:
        raise ParameterError(
            f"Tiles of {tile} px are too small for {type(detector).__name__.lower()} on {detector.backbone}, which"
            f" looks {margin} px around: give at least tile={2 * margin + STEP_PX}."
        )
    return Tiling(tile=tile, margin=margin, reduce=reduce)


def tile_side(tile: int | None, reduce: int, image_size: Size, framing: Framing | None) -> int:
    """Return the side of the tiles that :func:`choose_tiling` would choose, px; 0: none."""
    if tile is not None:
        return tile
    return AUTOMATIC_TILE_PX if reduce > 1 or _are_large(image_size, framing) else 0


def _are_large(image_size: Size, framing: Framing | None) -> bool:
    if framing is None:
        return False
    shorter = min(framing.height, framing.width)
    return shorter >= max(TILED_FROM_PX, TILED_FROM_SHRINKING * min(image_size))


def reach_px(detector: Detector) -> int:
    """Measure how far around a place a detector looks, px, a multiple of 32.

    That is where the features of a drawn image no longer change when it is cropped, and what the detector itself joins
    and smooths beyond that. Transformers look at all of an image from everywhere: they get 128 px, and maps of their
    tiles join less exactly.

    Args:
        detector: not fitted yet.
    """
    backbone = backbones.create(detector.backbone, layers=detector.layers, weights=detector.weights)
    whole = _drawing(REACH_SEEN_PX + 2 * REACH_AROUND_PX)
    backbone = backbone.with_level_of([whole])
    around = np.s_[REACH_AROUND_PX : REACH_AROUND_PX + REACH_SEEN_PX]
    reach = 0
    with torch.inference_mode():
        for seen, cropped in zip(backbone(whole), backbone(whole[..., around, around].contiguous()), strict=True):
            stride = REACH_SEEN_PX // cropped.shape[-1]
            first = REACH_AROUND_PX // stride
            inside = np.s_[first : first + cropped.shape[-1]]
            changed = (seen[..., inside, inside] - cropped).abs().amax(1)[0] > MAX_CROP_CHANGE * seen.std()
            places = np.argwhere(changed.numpy())
            to_border = np.minimum(places, cropped.shape[-1] - 1 - places).min(1, initial=cropped.shape[-1])
            reach = max(reach, int(to_border.max(initial=-1) + 1) * stride)
    if reach > REACH_SEEN_PX // 3:
        return UNBOUNDED_MARGIN_PX
    context, step = detector.reach
    return -(-(reach + context) // step) * step


def _drawing(side: int) -> torch.Tensor:
    """A drawn pane, (1, 3, side, side)."""
    grey = draw_pane(np.random.default_rng(0), (side, side))
    return torch.from_numpy(np.repeat(grey[None, None], 3, axis=1)).clamp(0, 1)
