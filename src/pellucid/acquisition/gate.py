"""The gate: which tiles of good-looking glass a detector need not see.

Where a line is faster than the network, most tiles have to be passed over. For each tile the gate computes how far the
strongest local contrast in it, at several scales, lies above what good glass has at the same columns: light, camera
seams and draw lines are learned by column, so that a line is compared with the lines that were learned at its place,
in standard deviations, and one that is bolder is a candidate by itself. A spot is compared with what its columns show
all along the row of tiles, so that one on a line stands out as one beside it. Where to draw the limit is decided on
flaws that the detector finds (``pellucid.limits.gate_loss``), and so is what the gate may lose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.contrast import (
    BLOCK_PX,
    CHANNELS,
    Contrast,
    Floats,
    cut_strips,
    measure_contrast,
    segment_edges,
    to_grey,
)
from pellucid.acquisition.images import Size
from pellucid.acquisition.looks import STEP_PX, Look, cover
from pellucid.errors import DataError, ParameterError

UNIT_PX = 32  # columns of what is judged by itself, and about as many rows, where the detector looks at less than tiles
MAX_CONTEXT_PX = 64  # above and below a row of tiles, that the gate looks at
WANDER_PX = 8  # by which draw lines lie elsewhere on the next sheet
MIN_SPREAD = 0.05  # grey levels
WHOLE_LEVEL_VARIANCE = 1 / 12  # of what is known to a whole grey level
MIN_SEGMENTS = 5  # of a strip, whose median tells what a column shows all along it
LINE_CHANGE = 0.1  # of a line's strength, by which it differs on the next sheet, if few are known
MIN_SCALE = 0.25  # standard deviations: of whole grey levels many tiles have the same
MIN_LIGHT_SCALE = 0.005  # logarithm of the light
MAX_LIGHT_RATIO = 4.0  # of a tile's light to the learned one: beyond it there is no glass
USUAL_SHARE = 0.8  # of good tiles, from which on a channel's values are rare
RARE_SHARE = 0.95  # of good tiles: the rarer ones may have dust on them
LIGHT_CHANNEL = "light"
CHANNEL_NAMES = tuple(f"{kind} at {2**level} px" if level else kind for kind, level in CHANNELS)


class Gating(NamedTuple):
    """A gate, and the value that maps of tiles have which it passes over."""

    gate: Gate
    level: float


@dataclass(frozen=True, eq=False)
class Gate:
    """What good glass looks like by column, and from where on a tile is a candidate.

    Attributes:
        cell: side of a tile's interior, px of the image as tiles see it.
        context: rows above and below a row of tiles that are looked at.
        light: mean of every column, (columns,), grey levels; of one value where images differ in width.
        high: of every channel, the strongest usual value at every column of its level, flattened.
        spread: of every channel, the standard deviation there, flattened.
        spread_along: of every channel, the standard deviation from what its column shows all along a strip, flattened;
            empty where strips are too low to tell, or in a gate of before.
        rare: of every channel and of the light, where rare values begin among good tiles and their scale, (channels +
            1, 2).
        threshold: a tile is a candidate where its strength is higher; -inf: all are.
        close_ups: heights and widths of what the detector computes around candidates, px, multiples of 64, none
            higher than a cell; none: it computes whole tiles.
    """

    cell: int
    context: int
    light: Floats
    high: Floats
    spread: Floats
    rare: Floats
    spread_along: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    threshold: float = -math.inf
    close_ups: tuple[Size, ...] = ()

    @classmethod
    def fit(cls, images: Iterable[NDArray[Any]], cell: int, margin: int) -> Self:
        """Learn good glass; every tile is a candidate until a threshold is set.

        Args:
            images: of good glass as tiles see them, (H, W) or (H, W, 3), 8 bit, 16 bit or floats in [0, 1]; iterated
                three times. By column is learned where all have one width, else over all columns.
            cell: side of a tile's interior, px of the images.
            margin: of the tiles, px of the images.

        Raises:
            DataError: there are no images.
            ParameterError: the cell is smaller than 16 px.
        """
        if cell < BLOCK_PX or cell % BLOCK_PX:
            raise ParameterError(f"cell={cell} is not allowed: a tile's interior is a multiple of {BLOCK_PX} px.")
        light = _learn_light(images)
        nothing = np.empty(0, np.float32)
        gate = cls(cell, min(margin, MAX_CONTEXT_PX) // BLOCK_PX * BLOCK_PX, light, nothing, nothing, nothing)
        high, spread, along = _learn_columns(gate, images)
        gate = replace(gate, high=high, spread=spread, spread_along=along)
        return replace(gate, rare=_learn_rare(gate, images))

    def candidates(self, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which tiles of a whole image the detector has to see, (rows of tiles, tiles in a row).

        Args:
            pixels: (H, W) or (H, W, 3), 8 bit, 16 bit or floats in [0, 1].
        """
        return np.asarray(self.strengths(pixels) > self.threshold)

    def strengths(self, pixels: NDArray[Any]) -> Floats:
        """Return how strongly the most unusual place of every tile stands out, (rows of tiles, tiles in a row).

        Args:
            pixels: (H, W) or (H, W, 3), 8 bit, 16 bit or floats in [0, 1].
        """
        strips = cut_strips(to_grey(pixels), self.cell, self.context)
        return np.stack([self.strip_strengths(*strip) for strip in strips])

    def looks(self, strip: NDArray[Any], margin: int, rows: int) -> list[Look]:
        """List the parts of one row of tiles that the detector has to compute; the first row judged is row 0.

        Without close-ups these are the tiles that :meth:`candidates` has for it.

        Args:
            strip: rows of the image as the tiles see them, (margin + rows + margin or more, W) or with channels.
            margin: of the tiles, at least ``context``.
            rows: that the maps of these tiles are about.
        """
        seen = strip[margin - self.context : margin + rows + self.context]
        if not self.close_ups:
            shown = self.strip_strengths(seen, self.context, self.context) > self.threshold
            return [Look(0, int(tile) * self.cell, self.cell, self.cell) for tile in np.flatnonzero(shown)]
        shown = self.unit_strengths(seen, self.context, self.context) > self.threshold
        return self.looks_around(shown, margin, rows, strip.shape[1])

    def looks_around(self, shown: NDArray[np.bool_], margin: int, rows: int, columns: int) -> list[Look]:
        """List what lies around candidates, at least ``UNIT_PX`` on every side of each within the row of tiles.

        Where so many close-ups would be needed that the whole tile is less work, it is that.

        Args:
            shown: which units are candidates, as :meth:`unit_strengths` has them.
            margin: of the tiles, px.
            rows: of the row of tiles.
            columns: of the image.
        """
        near = cv2.dilate(shown.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
        near = np.logical_or.reduceat(near, np.arange(0, near.shape[1], STEP_PX // UNIT_PX), axis=1)
        cells = np.zeros((-(-rows // STEP_PX), near.shape[1]), np.bool_)
        for row, (top, bottom) in zip(near, pairwise(segment_edges(rows).tolist()), strict=True):
            cells[top // STEP_PX : -(-bottom // STEP_PX)] |= row
        looks = []
        for left in range(0, columns, self.cell):
            whole, tile = Look(0, left, self.cell, self.cell), cells[:, left // STEP_PX : (left + self.cell) // STEP_PX]
            if sum(look.work(margin) for look in cover(tile, self.close_ups, margin)) >= whole.work(margin):
                looks.append(whole)
                tile[:] = False
        return looks + sorted(cover(cells, self.close_ups, margin), key=lambda look: look.size)

    def unit_strengths(self, strip: NDArray[Any], above: int, below: int) -> Floats:
        """Return the strengths of units of one row of tiles, (segments, units): ``UNIT_PX`` columns and a segment of
        rows each (:func:`~pellucid.acquisition.contrast.segment_edges`).

        The highest in a tile is that of :meth:`strip_strengths`; light is one for all of a tile.

        Args:
            strip: as :meth:`strip_strengths` takes it.
            above: ``context``.
            below: ``context``.
        """
        excess = self._excess(measure_contrast(to_grey(strip), above, below), UNIT_PX, by_segment=True)
        rare = self.rare[..., None, None]
        return np.asarray(((excess - rare[:, 0]) / rare[:, 1]).max(0), np.float32)

    def strip_strengths(self, strip: NDArray[Any], above: int, below: int) -> Floats:
        """Return the strengths of one row of tiles, (tiles,): what :meth:`strengths` has for it, whatever is around.

        Args:
            strip: (above + rows + below, columns); beyond an image's borders it is mirrored, as tiles are.
            above: ``context``.
            below: ``context``; less only where the image is less high.
        """
        return np.asarray(self.channel_strengths(strip, above, below).max(0))

    def channel_strengths(self, strip: NDArray[Any], above: int, below: int) -> Floats:
        """Return the strength of every channel and, last, of the light, in every tile of a row, (channels + 1, tiles).

        They are on one scale: a good tile exceeds 0 once in five, and every 1 more e times more rarely.

        Args:
            strip: as :meth:`strip_strengths` takes it.
            above: ``context``.
            below: ``context``.
        """
        excess = self._excess(measure_contrast(to_grey(strip), above, below), self.cell)[:, 0]
        return np.asarray((excess - self.rare[:, :1]) / self.rare[:, 1:], np.float32)

    def strongest_channels(self, strip: NDArray[Any], above: int, below: int) -> list[str]:
        """Name what is most unusual in every tile of a row, as ``dark at 4 px`` or ``bright line``."""
        names = (*CHANNEL_NAMES, LIGHT_CHANNEL)
        return [names[number] for number in self.channel_strengths(strip, above, below).argmax(0)]

    def with_threshold(self, threshold: float) -> Self:
        """Return this gate with another threshold."""
        return replace(self, threshold=threshold)

    def with_close_ups(self, *sizes: Size) -> Self:
        """Return this gate for a detector that computes parts of some sizes, px, around candidates; none: tiles."""
        return replace(self, close_ups=sizes)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays, for a model file."""
        arrays = {name: getattr(self, name) for name in ("light", "high", "spread", "rare", "spread_along")}
        arrays["sizes"] = np.array([self.cell, self.context], np.int64)
        arrays["close_ups"] = np.array(self.close_ups, np.int64).reshape(-1, 2)
        return {"threshold": np.array(self.threshold, np.float64), **arrays}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Make a gate from what :meth:`state` returned."""
        cell, context, *squares = (int(number) for number in state["sizes"])
        of_before = [(side, side) for side in squares if side]  # with the sizes, and a 0 for none
        close_ups = tuple((int(height), int(width)) for height, width in state.get("close_ups", of_before))
        light, high, spread, rare, along = (
            np.asarray(state.get(name, ()), np.float32) for name in ("light", "high", "spread", "rare", "spread_along")
        )
        return cls(cell, context, light, high, spread, rare, along, float(state["threshold"]), close_ups)

    def _excess(self, contrast: Contrast, side: int, *, by_segment: bool = False) -> Floats:
        """How far the strongest value in ``side`` columns lies above the usual, in standard deviations, (channels + 1,
        segments, pieces), or that of all segments, (channels + 1, 1, pieces)."""
        columns = len(contrast.light)
        ratio = self._light_ratio(contrast.light)
        excess = []
        for (kind, level), values, profile in zip(
            CHANNELS, self._relative(contrast, ratio), self._profiles(), strict=True
        ):
            if self._knows_along(kind, values):
                high, spread = _along(values), _of_columns(profile.along, values.shape[1])
            else:
                high, spread = _fitted_to(profile, values.shape[1])
            starts = np.arange(0, columns, side) >> level
            strongest = values if by_segment else values.max(0, keepdims=True)
            excess.append(np.maximum.reduceat((strongest - high) / spread, starts, axis=1))
        light = np.repeat(np.abs(np.log(ratio / np.median(ratio))), self.cell // side)[: excess[0].shape[1]]
        return np.asarray([*excess, np.broadcast_to(light, excess[0].shape)], np.float32)

    def _light_ratio(self, light: Floats) -> Floats:
        """Light of every tile of a row by what was learned at its columns, (tiles,)."""
        starts = np.arange(0, len(light), self.cell)
        learned = self.light if len(self.light) == len(light) else np.full(len(light), self.light.mean(), np.float32)
        ratio = np.add.reduceat(light, starts) / np.maximum(np.add.reduceat(learned, starts), 1e-3)
        return np.asarray(np.clip(ratio, 1 / MAX_LIGHT_RATIO, MAX_LIGHT_RATIO), np.float32)

    def _relative(self, contrast: Contrast, ratio: Floats) -> Iterator[Floats]:
        """Contrast by the light of the tile: where the lamp is dimmer, all contrast is."""
        for (kind, level), values in zip(CHANNELS, contrast.strongest, strict=True):
            by_column = np.repeat(ratio, self.cell >> level)[: values.shape[1]]
            yield np.asarray(values / (by_column**2 if kind == "texture" else by_column), np.float32)

    def _knows_along(self, kind: str, values: Floats) -> bool:
        """Whether a channel's values (segments, columns) are compared with what their own columns show all along."""
        return "line" not in kind and len(values) >= MIN_SEGMENTS and self.spread_along.size > 0

    def _profiles(self) -> Iterator[_Profile]:
        """What was learned of every channel, (columns of its level,) each."""
        lengths = [_columns_of(len(self.light), level) for _, level in CHANNELS]
        edges = np.cumsum(lengths)[:-1]
        along = self.spread_along if self.spread_along.size else np.zeros_like(self.spread)
        return map(_Profile, *(np.split(one, edges) for one in (self.high, self.spread, along)))


def _columns_of(columns: int, level: int) -> int:
    return -(-columns >> level)


class _Profile(NamedTuple):
    """What a channel usually is at every column, its standard deviation, and that from its column all along a strip."""

    high: Floats
    spread: Floats
    along: Floats


def _fitted_to(profile: _Profile, columns: int) -> tuple[Floats, Floats]:
    """A channel's usual values and spread for so many columns: of all columns together where others were learned."""
    high, spread, _ = profile
    if len(high) in (1, columns):
        return high, spread
    together = np.sqrt((spread**2).mean() + high.var())
    return high.mean(keepdims=True), np.asarray([together], np.float32)


def _of_columns(spread: Floats, columns: int) -> Floats:
    """A spread for so many columns: of all columns together where others were learned."""
    return spread if len(spread) in (1, columns) else np.sqrt((spread**2).mean(keepdims=True))


def _along(values: Floats) -> Floats:
    """What every column shows all along a strip: the median of its segments, (columns,), of (segments, columns)."""
    middle = len(values) // 2
    return np.asarray(np.partition(values, middle, axis=0)[middle])  # four times as fast as np.median


def _strips(gate: Gate, images: Iterable[NDArray[Any]]) -> Iterator[Contrast]:
    for pixels in images:
        for strip in cut_strips(to_grey(pixels), gate.cell, gate.context):
            yield measure_contrast(*strip)


def _learn_light(images: Iterable[NDArray[Any]]) -> Floats:
    """Mean of every column over all images; of all columns where widths differ."""
    total, rows = np.zeros(0), 0
    for pixels in images:
        grey = to_grey(pixels)
        columns = np.asarray(cv2.reduce(grey, 0, cv2.REDUCE_SUM, dtype=cv2.CV_64F), np.float64).ravel()
        if rows and len(total) != len(columns):
            columns, total = np.atleast_1d(columns.mean()), np.atleast_1d(total.mean())
        total, rows = (columns if not rows else total + columns), rows + len(grey)
    if not rows:
        raise DataError("The gate has no images of good glass to learn from.")
    return np.asarray(total / rows, np.float32)


def _learn_columns(gate: Gate, images: Iterable[NDArray[Any]]) -> tuple[Floats, Floats, Floats]:
    """The usual strongest values of every channel by column, their spread, and that from what columns show all along.

    The last is empty where no strip is high enough.
    """
    by_column = len(gate.light) > 1
    moments = [_Moments.of(_columns_of(len(gate.light), level)) for _, level in CHANNELS]
    along = [_Moments.of(_columns_of(len(gate.light), level)) for _, level in CHANNELS]
    for contrast in _strips(gate, images):
        ratio = gate._light_ratio(contrast.light)
        for number, values in enumerate(gate._relative(contrast, ratio)):
            moments[number].add(values if by_column else values.reshape(-1, 1))
            if len(values) >= MIN_SEGMENTS:
                rest = values - _along(values)
                along[number].add(rest if by_column else rest.reshape(-1, 1))
    high, spread, spread_along = [], [], []
    for (kind, level), known, off in zip(CHANNELS, moments, along, strict=True):
        near = 2 * max(WANDER_PX >> level, 1) + 1
        finest = WHOLE_LEVEL_VARIANCE if level == 0 and "line" not in kind else MIN_SPREAD**2
        usual = cv2.dilate(known.mean[None].astype(np.float32), np.ones((1, near), np.uint8))[0]
        changes = LINE_CHANGE * np.maximum(usual - np.median(usual), 0) * (2 if kind == "texture" else 1)
        high.append(usual)
        spread.append(np.sqrt(known.variance_near(near) + changes**2 + finest).astype(np.float32))
        if off.count:
            spread_along.append(np.sqrt(off.variance_near(near) + finest).astype(np.float32))
    nothing = np.empty(0, np.float32)
    return np.concatenate(high), np.concatenate(spread), np.concatenate(spread_along or [nothing])


@dataclass
class _Moments:
    """Sums of values and of their squares by column, (2, columns), and of how many rows."""

    sums: NDArray[np.float64]
    count: int = 0

    @classmethod
    def of(cls, columns: int) -> Self:
        return cls(np.zeros((2, columns)))

    def add(self, rows: Floats) -> None:
        self.sums += np.stack([rows.sum(0, dtype=np.float64), np.square(rows, dtype=np.float64).sum(0)])
        self.count += len(rows)

    @property
    def mean(self) -> NDArray[np.float64]:
        return np.asarray(self.sums[0] / self.count)

    def variance_near(self, columns: int) -> NDArray[np.float64]:
        """Variance, averaged over so many columns."""
        variance = np.maximum(self.sums[1] / self.count - self.mean**2, 0)
        return np.asarray(cv2.blur(variance[None], (columns, 1), borderType=cv2.BORDER_REFLECT)[0], np.float64)


def _learn_rare(gate: Gate, images: Iterable[NDArray[Any]]) -> Floats:
    """Where the rare values of every channel begin among good tiles, and how fast they grow rarer."""
    strips = _strips(gate, images)
    excess = np.concatenate([gate._excess(contrast, gate.cell)[:, 0] for contrast in strips], axis=1)
    begin, rarer = np.quantile(excess, (USUAL_SHARE, RARE_SHARE), axis=1)
    scale = (rarer - begin) / math.log((1 - USUAL_SHARE) / (1 - RARE_SHARE))
    scale[:-1] = np.maximum(scale[:-1], MIN_SCALE)
    scale[-1] = max(scale[-1], MIN_LIGHT_SCALE)
    return np.stack([begin, scale], 1).astype(np.float32)
