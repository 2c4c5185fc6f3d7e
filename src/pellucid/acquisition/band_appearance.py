"""What an image looks like, from sums over its rows: it may be whole, or come in bands of any height."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.appearance import Appearance, is_sharp_as_noise
from pellucid.acquisition.images import Pixels, Values, to_floats, without_repeated_channels

Grey = NDArray[np.float32]  # (H, W)
Sums = NDArray[np.float64]
BLACK, WHITE = 0.5 / 255, 254.5 / 255
MIN_STEP = 1 / 255 / 64  # added to a mean difference: 8 bits hold nothing smaller
COARSE_PX = 8  # width of what contrast is measured at
PART_ROWS = 64  # that are looked at together, whatever a band's height; a multiple of ``COARSE_PX``
LINE_THICKNESS_PX = 3  # of a line, at most
MIN_SIDE_PX = 32  # below it, lines and coarse contrast say nothing
MAX_NOISE_CORRELATION = 0.25  # of neighbouring means over 8 px; noise has none, and what has structure has more
MAX_STUCK_NOISE = 0.25  # of a line along itself, as a share of that beside it; a stuck one has none


def describe(pixels: Pixels) -> Appearance:
    """Describe an image (H, W, 3) in [0, 1]; takes about 10 ms a megapixel."""
    return seen_whole(pixels).finish()


def seen_whole(pixels: Pixels) -> BandAppearance:
    """Return what has seen all of an image (H, W, 3) in [0, 1]."""
    seen = BandAppearance(pixels.shape[1])
    seen.add(pixels)
    return seen


class BandAppearance:
    """Describes an image band after band.

    Attributes:
        is_constant: whether every pixel so far is the same.
    """

    def __init__(self, width: int) -> None:
        self.is_constant = True
        self._width, self._height = width, 0
        self._waiting: list[Values] = []
        self._rows_waiting = 0
        self._first: Pixels | None = None
        self._colours = np.zeros(3)
        self._black = self._white = 0
        self._column_sums, self._row_means = np.zeros(width), [np.zeros(0)]
        self._across = _Steps(width - 1)
        self._down = _Steps(width)
        self._coarse = _Coarse()
        self._above: Grey | None = None

    def add(self, pixels: Values) -> None:
        """Take the next rows, (h, W, 3) or (h, W, 1)."""
        if self._rows_waiting:
            needed = PART_ROWS - self._rows_waiting
            self._wait_for(pixels[:needed])
            pixels = pixels[needed:]
        whole = len(pixels) - len(pixels) % PART_ROWS
        for top in range(0, whole, PART_ROWS):
            self._look_at(pixels[top : top + PART_ROWS])
        if whole < len(pixels):
            self._wait_for(pixels[whole:].copy())

    def _wait_for(self, rows: Values) -> None:
        """Take rows of a part that is not whole yet, unless it is now."""
        self._waiting.append(rows)
        self._rows_waiting += len(rows)
        if self._rows_waiting == PART_ROWS:
            self._look_at(_joined(self._waiting))
            self._waiting, self._rows_waiting = [], 0

    def _look_at(self, rows: Values) -> None:
        pixels = to_floats(without_repeated_channels(rows))
        pixels = np.ascontiguousarray(pixels)  # sums do not depend on how a band lies in memory
        self._height += len(pixels)
        if self._first is None:
            self._first = pixels[0, 0].copy()
        self.is_constant = self.is_constant and bool((pixels == self._first).all())
        self._colours += np.broadcast_to(np.asarray(cv2.sumElems(pixels)[: pixels.shape[2]]), 3)
        grey = _grey_of(pixels)
        darkest, brightest = cv2.minMaxLoc(grey)[:2]
        if darkest <= BLACK:
            self._black += int(np.count_nonzero(grey <= BLACK))
        if brightest >= WHITE:
            self._white += int(np.count_nonzero(grey >= WHITE))
        self._column_sums += _sums_along(grey, 0)
        self._row_means.append(_sums_along(grey, 1) / self._width)
        self._across.add(_steps_along(grey, 1))
        if self._above is not None:
            self._down.add(np.asarray(cv2.absdiff(self._above, grey[:1]), np.float32))
        self._down.add(_steps_along(grey, 0))
        self._above = grey[-1:].copy()
        if min(len(grey), self._width) >= COARSE_PX:
            self._coarse.add(_coarse_of(grey))

    def finish(self) -> Appearance:
        """Return what the image looks like, of one row at least; nothing can be added after that."""
        if self._rows_waiting:
            self._look_at(_joined(self._waiting))
            self._waiting, self._rows_waiting = [], 0
        count = self._height * self._width
        red, green, blue = (float(total) / count for total in self._colours)
        light = (red + green + blue) / 3 + MIN_STEP
        return Appearance(
            height=self._height,
            width=self._width,
            light=light,
            black=self._black / count,
            white=self._white / count,
            red=(red - green) / light,
            blue=(blue - green) / light,
            **self._structure(light),
        )

    def _structure(self, light: float) -> dict[str, float]:
        if min(self._height, self._width) < MIN_SIDE_PX:
            return dict.fromkeys(("contrast", "sharpness_x", "sharpness_y", "line", "flattest_line"), 1.0)
        coarse_step = self._coarse.step
        step = (self._across.mean + self._down.mean) / 2
        return {
            "contrast": coarse_step / light,
            "sharpness_x": self._across.mean / coarse_step,
            "sharpness_y": self._down.mean / coarse_step,
            "line": max(line.strength for line in self._lines()) / step,
            "flattest_line": min(self._across.flattest, self._down.flattest) / step,
        }

    def _lines(self) -> list[_Line]:
        """The column and the row that differ most from both sides, each with its noise along itself."""
        columns, rows = self._column_sums / self._height, np.concatenate(self._row_means)
        return [_line_in(columns, self._down.of_columns), _line_in(rows, self._across.of_rows)]

    def is_noise(self, image: Appearance, highest: Appearance) -> bool:
        """Tell whether the image is independent noise and nothing else, while those that were fitted on are not.

        Args:
            image: what it looks like, as :meth:`finish` said.
            highest: upper end of the fitted images' range.
        """
        return is_sharp_as_noise(image, highest) and self._coarse.correlation < MAX_NOISE_CORRELATION

    def line_is_stuck(self) -> bool:
        """Tell whether the line that stands out most is constant, as of a stuck sensor row, not drawn or scratched.

        What the camera sees, a draw line or a scratch, has the noise of its surroundings; a stuck value has none. Where
        the surroundings have none either, as far as 8 bits show, nobody can tell, and the line is not stuck. Of an
        image that is too small for lines, it is.
        """
        if min(self._height, self._width) < MIN_SIDE_PX:
            return True
        return max(self._lines(), key=lambda line: line.strength).is_stuck


class _Line(NamedTuple):
    """A row or column: how far it lies above, or below, both sides, and whether it has no noise of its own."""

    strength: float
    is_stuck: bool


class _Steps:
    """Differences of neighbours, row after row."""

    def __init__(self, width: int) -> None:
        self._sums, self._count, self._rows = np.zeros(width), 0, [np.zeros(0)]

    def add(self, steps: Grey) -> None:
        if steps.size:
            self._sums += _sums_along(steps, 0)
            self._count += len(steps)
            self._rows.append(_sums_along(steps, 1) / steps.shape[1])

    @property
    def of_columns(self) -> Sums:
        """The mean of every column."""
        return self._sums / self._count

    @property
    def of_rows(self) -> Sums:
        """The mean of every row."""
        return np.concatenate(self._rows)

    @property
    def mean(self) -> float:
        return float(self._sums.mean()) / self._count + MIN_STEP

    @property
    def flattest(self) -> float:
        """The mean of the row or column that has least."""
        return float(min(self.of_rows.min(), self.of_columns.min())) + MIN_STEP


class _Coarse:
    """Means over 8 x 8 pixels, how they differ from one to the next, and whether they go together."""

    def __init__(self) -> None:
        self._steps: list[Sums] = [np.zeros(2), np.zeros(2)]  # along rows, along columns: sum and count
        self._products: list[Sums] = [np.zeros(2), np.zeros(2)]
        self._moments = np.zeros(3)  # count, sum, sum of squares
        self._above: Grey | None = None
        self._offset: float | None = None  # near the mean, so that squares lose no digits

    def add(self, coarse: Grey) -> None:
        if self._offset is None:
            self._offset = float(coarse.mean())
        around = coarse.astype(np.float64) - self._offset
        self._moments += (around.size, around.sum(), np.square(around).sum())
        below = coarse if self._above is None else np.concatenate([self._above, coarse])
        for number, values in ((1, coarse), (0, below)):
            steps = _steps_along(values, number)
            self._steps[number] += (steps.sum(dtype=np.float64), steps.size)
            centred = np.moveaxis(values.astype(np.float64) - self._offset, number, 0)
            self._products[number] += ((centred[1:] * centred[:-1]).sum(), steps.size)
        self._above = coarse[-1:].copy()

    @property
    def step(self) -> float:
        return float(np.mean([total / max(count, 1) + MIN_STEP for total, count in self._steps]))

    @property
    def correlation(self) -> float:
        count, total, squares = self._moments
        mean = total / count
        variance = squares / count - mean**2
        products = np.mean([total / max(number, 1) for total, number in self._products]) - mean**2
        return float(products / max(variance, 1e-30))


def _grey_of(pixels: Pixels) -> Grey:
    """The light of every pixel of an image (H, W, 3) or (H, W, 1), (H, W)."""
    if pixels.shape[2] == 1:
        return np.ascontiguousarray(pixels[..., 0])
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)


def _coarse_of(grey: Grey) -> Grey:
    """Means over 8 x 8 pixels of an image (H, W); what is left at the right and below is left out."""
    height, width = (side // COARSE_PX for side in grey.shape)
    whole = grey[: height * COARSE_PX, : width * COARSE_PX]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _steps_along(grey: Grey, axis: int) -> Grey:
    """Differences of neighbours along an axis, without their sign; there may be none."""
    before, after = (grey[:-1], grey[1:]) if axis == 0 else (grey[:, :-1], grey[:, 1:])
    return np.asarray(cv2.absdiff(before, after), np.float32) if before.size else before


def _sums_along(values: Grey, axis: int) -> Sums:
    """Sums of columns, (W,), or of rows, (H,), in double precision."""
    return np.asarray(cv2.reduce(values, axis, cv2.REDUCE_SUM, dtype=cv2.CV_64F), np.float64).ravel()


def _line_in(profile: Sums, noise: Sums) -> _Line:
    """The line that stands out most from both sides of it; at an edge none does.

    Args:
        profile: means of all columns, or of all rows, in order.
        noise: mean difference of neighbours along each of them.
    """
    lag = LINE_THICKNESS_PX
    inner = profile[lag:-lag]  # without the image's own borders
    left, middle, right = inner[: -2 * lag], inner[lag:-lag], inner[2 * lag :]
    off = np.maximum(np.minimum(middle - left, middle - right), np.minimum(left - middle, right - middle))
    place = int(off.argmax())
    at = place + 2 * lag
    beside = (noise[at - lag] + noise[at + lag]) / 2
    is_stuck = noise[at] + MIN_STEP <= MAX_STUCK_NOISE * (beside + MIN_STEP)
    return _Line(float(max(off[place], 0.0)) + MIN_STEP, bool(is_stuck))


def _joined(parts: list[Values]) -> Values:
    channels = max(part.shape[2] for part in parts)
    wide = [np.broadcast_to(part, (*part.shape[:2], channels)) for part in parts]
    return np.ascontiguousarray(wide[0] if len(wide) == 1 else np.concatenate(wide))
