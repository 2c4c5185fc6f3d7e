"""What an image looks like, whatever is on it: size, light, colour, contrast, sharpness, noise, stuck lines.

A model remembers the range of these over the images that it was made from. What lies far outside it cannot be judged
by it: a dead camera, a lamp that went out, a lens out of focus, a picture at another scale. All values are means over
many pixels, so that a defect moves them little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import Pixels

Grey = NDArray[np.float32]  # (H, W)
BLACK, WHITE = 0.5 / 255, 254.5 / 255
MIN_STEP = 1 / 255 / 64  # added to a mean difference: 8 bits hold nothing smaller
HALVINGS = 3  # of the image until its contrast is measured, at what is 8 px wide
LINE_THICKNESS_PX = 3  # of a stuck line, at most
MIN_SIDE_PX = 32  # below it, lines and coarse contrast say nothing
MAX_ODD_SHARE = 0.02  # of the fitted images, which are no part of the range where they lie apart from all others
RANGE_SHARE = 0.5  # of the fitted range, that an image may lie beyond it where the range is wide
MAX_DIFFERENCES_SHOWN = 2
NOISE_SHARPNESS = 5.0  # from which on it may be noise alone: 8 where pixels are independent, less where 8 bits cut it
NOISE_EXCESS = 1.1  # times the sharpest fitted image, which may be noisy itself
MAX_NOISE_CORRELATION = 0.25  # of neighbouring means over 8 px; noise has none, and what has structure has more


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
        contrast: mean difference of neighbours after halving the image three times, relative to the light.
        sharpness_x: mean difference of neighbours in a row, relative to that of the halved image.
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
    "line": Tolerance(3, 8, "", "crossed by one line as of a stuck sensor row", "{:.1f}"),
    "flattest_line": Tolerance(6, 20, "flat along one line as of a stuck sensor row", "", "{:.3f}"),
}


class Difference(NamedTuple):
    """How an image differs from those that were fitted on.

    Attributes:
        name: of the value, as in :class:`Appearance`.
        is_above: whether it lies above the range, not below.
        excess: relative to what is too far: above 1 the image cannot be judged.
        sentence: begins with what the image is, as in "darker (light 0.011; there 0.310 to 0.550)".
    """

    name: str
    is_above: bool
    excess: float
    sentence: str


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
            found.append(Difference(name, value > high, beyond / far, f"{word} ({label} {seen}; there {there})"))
    return found


def is_noise(pixels: Pixels, image: Appearance, highest: Appearance) -> bool:
    """Tell whether an image is independent noise and nothing else, while those that were fitted on are not.

    Args:
        pixels: (H, W, 3) in [0, 1].
        image: what it looks like.
        highest: upper end of the fitted images' range.
    """
    if not is_sharp_as_noise(image, highest):
        return False
    coarse = coarse_of(grey_of(pixels))
    around = coarse - coarse.mean()
    products = (around[1:] * around[:-1]).mean() + (around[:, 1:] * around[:, :-1]).mean()
    return bool(products / 2 < MAX_NOISE_CORRELATION * (around**2).mean())


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


def describe(pixels: Pixels) -> Appearance:
    """Describe an image (H, W, 3) in [0, 1]; takes about 4 ms a megapixel."""
    height, width = pixels.shape[:2]
    red, green, blue = cv2.mean(pixels)[:3]
    light = (red + green + blue) / 3 + MIN_STEP
    grey = grey_of(pixels)
    return Appearance(
        height=height,
        width=width,
        light=light,
        black=float(np.count_nonzero(grey <= BLACK) / grey.size),
        white=float(np.count_nonzero(grey >= WHITE) / grey.size),
        red=(red - green) / light,
        blue=(blue - green) / light,
        **_structure(grey, light),
    )


def grey_of(pixels: Pixels) -> Grey:
    """Return the light of every pixel of an image (H, W, 3), (H, W)."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)


def coarse_of(grey: Grey) -> Grey:
    """Return means over 8 x 8 pixels of an image (H, W)."""
    for _ in range(HALVINGS):
        half = (grey.shape[1] // 2, grey.shape[0] // 2)
        grey = np.asarray(cv2.resize(grey, half, interpolation=cv2.INTER_AREA), np.float32)
    return grey


def _structure(grey: Grey, light: float) -> dict[str, float]:
    """What :class:`Appearance` has of neighbouring pixels; of an image that is too small, the same for all."""
    if min(grey.shape) < MIN_SIDE_PX:
        return dict.fromkeys(("contrast", "sharpness_x", "sharpness_y", "line", "flattest_line"), 1.0)
    coarse = coarse_of(grey)
    across, down = _steps(grey, 1), _steps(grey, 0)
    step_x, step_y = _mean(across), _mean(down)
    coarse_step = (_mean(_steps(coarse, 1)) + _mean(_steps(coarse, 0))) / 2
    step = (step_x + step_y) / 2
    return {
        "contrast": coarse_step / light,
        "sharpness_x": step_x / coarse_step,
        "sharpness_y": step_y / coarse_step,
        "line": max(line_in(cv2.reduce(grey, axis, cv2.REDUCE_AVG).ravel()) for axis in (0, 1)) / step,
        "flattest_line": _flattest((across, down)) / step,
    }


def _steps(grey: Grey, axis: int) -> Grey:
    """Differences of neighbours along an axis, without their sign."""
    before, after = (grey[:-1], grey[1:]) if axis == 0 else (grey[:, :-1], grey[:, 1:])
    return np.asarray(cv2.absdiff(before, after), np.float32)


def _mean(steps: Grey) -> float:
    return cv2.mean(steps)[0] + MIN_STEP


def line_in(profile: NDArray[Any]) -> float:
    """Return how far one of the means of columns, or of rows, lies above, or below, both sides; at an edge it does not.

    Args:
        profile: of all columns or rows, in order.
    """
    lag = LINE_THICKNESS_PX
    profile = profile[lag:-lag]  # without the image's own borders
    left, middle, right = profile[: -2 * lag], profile[lag:-lag], profile[2 * lag :]
    above, below = np.minimum(middle - left, middle - right), np.minimum(left - middle, right - middle)
    return float(max(above.max(), below.max(), 0.0)) + MIN_STEP


def _flattest(steps: Sequence[Grey]) -> float:
    """The mean difference of the row or column that has least."""
    return min(float(cv2.reduce(s, axis, cv2.REDUCE_AVG).min()) for s in steps for axis in (0, 1)) + MIN_STEP
