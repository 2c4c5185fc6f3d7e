"""The scale of a camera: one number, or one along x and one along y."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from pellucid.errors import ParameterError

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale = PositiveNumber | tuple[PositiveNumber, PositiveNumber]  # mm per px
MAX_SCALE_RATIO = 4.0  # of the larger by the smaller: a shape that is stretched further has too few pixels across


def scale_axes(mm_per_px: Scale) -> tuple[float, float]:
    """Return the scale along x and along y."""
    return mm_per_px if isinstance(mm_per_px, tuple) else (mm_per_px, mm_per_px)


def check_scale(mm_per_px: Scale | None) -> None:
    """Refuse what is no scale.

    Raises:
        ParameterError: it is not one number above 0 or two, or the two differ too much.
    """
    if mm_per_px is None:
        return
    axes = scale_axes(mm_per_px)
    if not all(math.isfinite(scale) and scale > 0 for scale in axes):
        shown = ",".join(f"{scale:g}" for scale in dict.fromkeys(axes))
        raise ParameterError(f"mm_per_px={shown}: a scale is a number above 0, as 0.05 where a pixel is 50 µm wide.")
    if max(axes) > MAX_SCALE_RATIO * min(axes):
        raise ParameterError(
            f"mm_per_px={axes[0]:g},{axes[1]:g}: pixels that are more than {MAX_SCALE_RATIO:g} times as long as wide"
            " cannot be measured in mm: record or resize the images at a scale that is more alike."
        )


def parse_scale(text: str | None) -> Scale | None:
    """Read a scale as it is typed, ``X`` or ``X,Y``.

    Raises:
        ParameterError: as :func:`check_scale`; or it is no number.
    """
    if text is None:
        return None
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2):
        raise ParameterError(f"mm_per_px={text} is not understood: write X or X,Y, as 0.05 or 0.05,0.052.")
    scale: Scale = numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
    check_scale(scale)
    return scale
