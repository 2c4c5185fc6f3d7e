"""What an image looks like, whatever is on it: size, light, colour, contrast, sharpness, noise, stuck lines.

A model remembers the range of these over the images that it was made from. What lies far outside it cannot be judged
by it: a dead camera, a lamp that went out, a lens out of focus, a picture at another scale. All values are means over
many pixels, so that a defect moves them little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_ODD_SHARE = 0.02  # of the fitted images, which are no part of the range where they lie apart from all others
RANGE_SHARE = 0.5  # of the fitted range, that an image may lie beyond it where the range is wide
MAX_DIFFERENCES_SHOWN = 2
NOISE_SHARPNESS = 5.0  # from which on it may be noise alone: 8 where pixels are independent, less where 8 bits cut it
NOISE_EXCESS = 1.1  # times the sharpest fitted image, which may be noisy itself
LINE, STUCK_LINE = "crossed by one line from end to end", "crossed by one line as of a stuck sensor row"


@dataclass(frozen=True)
class Appearance:
    """What one image looks like.

    Attributes:
        height: px.
        width: px.
        light: mean, in [0, 1].
        black: share of pixels at the lower end of the range.
        white: share of pixels at the upper end.
        red: mean of red less green, relative to the light.
        blue: mean of blue less green, relative to the light.
        contrast: mean difference of neighbouring means over 8 x 8 px, relative to the light.
        sharpness_x: mean difference of neighbours in a row, relative to that of these means.
        sharpness_y: the same down the columns.
        line: how far the row or column that differs most from those on both sides does, in mean differences.
        flattest_line: mean difference in the row or column, or from one to the next, that has least, relative to all.
    """

    height: float
    width: float
    light: float
    black: float
    white: float
    red: float
    blue: float
    contrast: float
    sharpness_x: float
    sharpness_y: float
    line: float
    flattest_line: float


class Tolerance(NamedTuple):
    """How far beyond the range of the fitted images is noticeable, and how far is too far to judge.

    Attributes:
        noticeable: factor of a ratio, difference of a share.
        far: the same.
        below: what an image below the range is; nothing where that is no fault.
        above: what an image above it is.
        shown: how its value is written.
        is_ratio: compared by its logarithm.
    """

    noticeable: float
    far: float
    below: str
    above: str
    shown: str
    is_ratio: bool = True


TOLERANCES = {
    "height": Tolerance(1.5, 3, "less high", "higher", "{:.0f} px"),
    "width": Tolerance(1.5, 3, "narrower", "wider", "{:.0f} px"),
    "light": Tolerance(1.6, 3, "darker", "brighter", "{:.3f}"),
    "black": Tolerance(0.25, 0.4, "", "more often black", "{:.0%}", is_ratio=False),
    "white": Tolerance(0.25, 0.4, "", "more often white", "{:.0%}", is_ratio=False),
    "red": Tolerance(0.15, 0.5, "less red", "redder", "{:+.2f}", is_ratio=False),
    "blue": Tolerance(0.15, 0.5, "less blue", "bluer", "{:+.2f}", is_ratio=False),
    "contrast": Tolerance(2.5, 6, "poorer in contrast", "richer in contrast", "{:.4f}"),
    "sharpness_x": Tolerance(1.6, 3, "more blurred across", "noisier or sharper", "{:.2f}"),
    "sharpness_y": Tolerance(1.6, 3, "more blurred down", "noisier or sharper", "{:.2f}"),
    "line": Tolerance(3, 8, "", LINE, "{:.1f}"),
    "flattest_line": Tolerance(6, 20, "flat along one line as of a stuck sensor row", "", "{:.3f}"),
}


class Difference(NamedTuple):
    """How an image differs from those that were fitted on.

    Attributes:
        name: of the value, as in :class:`Appearance`.
        is_above: whether it lies above the range, not below.
        excess: relative to what is too far: above 1 the image cannot be judged.
        word: what the image is, as in "darker".
        numbers: its value and the range, as in "light 0.011; there 0.310 to 0.550".
    """

    name: str
    is_above: bool
    excess: float
    word: str
    numbers: str

    @property
    def sentence(self) -> str:
        """What the image is, with the numbers."""
        return f"{self.word} ({self.numbers})"


def differences(image: Appearance, lowest: Appearance, highest: Appearance) -> list[Difference]:
    """List how an image noticeably differs from those that were fitted on, likely causes before their consequences.

    Args:
        image: what the image looks like.
        lowest: lower end of the fitted images' range, value by value.
        highest: upper end.
    """
    found = []
    for name, tolerance in TOLERANCES.items():
        value, low, high = (_comparable(getattr(one, name), tolerance) for one in (image, lowest, highest))
        beyond = max(low - value if tolerance.below else 0.0, value - high if tolerance.above else 0.0)
        noticeable, far = (max(t, RANGE_SHARE * (high - low)) for t in _bounds(tolerance))
        if not beyond <= noticeable:
            word = tolerance.below if value < low else tolerance.above
            seen, *fitted = (tolerance.shown.format(getattr(one, name)) for one in (image, lowest, highest))
            label = name.removesuffix("_x").removesuffix("_y").replace("_", " ")
            there = " to ".join(dict.fromkeys(fitted))
            found.append(Difference(name, value > high, beyond / far, word, f"{label} {seen}; there {there}"))
    return found


def is_sharp_as_noise(image: Appearance, highest: Appearance) -> bool:
    """Tell whether an image is so sharp, and so much sharper than those that were fitted on, that it may be noise."""
    both = ((image.sharpness_x, highest.sharpness_x), (image.sharpness_y, highest.sharpness_y))
    return all(value >= max(NOISE_SHARPNESS, NOISE_EXCESS * fitted) for value, fitted in both)


def fitted_range(images: Sequence[Appearance]) -> tuple[Appearance, Appearance]:
    """Return the lowest and the highest values of images; a few that lie far apart from all others do not count.

    Args:
        images: what the fitted images look like, at least one.
    """
    values = np.array([astuple(one) for one in images], np.float64)  # (N, values)
    odd = {k for column, tolerance in zip(values.T, TOLERANCES.values(), strict=True) for k in _odd(column, tolerance)}
    if len(odd) <= _max_odd(len(values)):
        values = np.delete(values, list(odd), axis=0)
    return Appearance(*map(float, values.min(0))), Appearance(*map(float, values.max(0)))


def _odd(values: NDArray[np.float64], tolerance: Tolerance) -> set[int]:
    """Which few values, at either end, lie far apart from all others."""
    order = np.argsort(values, kind="stable")
    compared = [_comparable(float(value), tolerance) for value in values[order]]
    _, far = _bounds(tolerance)
    few = min(_max_odd(len(values)), (len(values) - 1) // 2)
    low = max((k for k in range(1, few + 1) if compared[k] - compared[k - 1] > far), default=0)
    high = max((k for k in range(1, few + 1) if compared[-k] - compared[-k - 1] > far), default=0)
    return {*order[:low].tolist(), *order[len(order) - high :].tolist()}


def _max_odd(count: int) -> int:
    return math.ceil(MAX_ODD_SHARE * count)


def _comparable(value: float, tolerance: Tolerance) -> float:
    return math.log(max(value, 1e-12)) if tolerance.is_ratio else value


def _bounds(tolerance: Tolerance) -> tuple[float, float]:
    """What is noticeable and what is far, as they are compared."""
    return _comparable(tolerance.noticeable, tolerance), _comparable(tolerance.far, tolerance)
