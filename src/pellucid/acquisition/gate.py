"""The gate: which tiles of good-looking glass a detector need not see.

Where a line is faster than the network, most tiles have to be passed over. For each tile the gate computes how far the
strongest local contrast in it, at several scales, lies above what good glass had at the same columns: light, camera
seams and draw lines are learned by column, so that a line is compared with the lines that were learned at its place,
in standard deviations, and one that is bolder is a candidate by itself. Where to draw the limit is decided on flaws
that the detector finds (:func:`choose_threshold`), and so is what the gate may lose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    to_grey,
)
from pellucid.errors import DataError, ParameterError

MAX_CONTEXT_PX = 64  # above and below a row of tiles, that the gate looks at
WANDER_PX = 8  # by which draw lines lie elsewhere on the next sheet
MIN_SPREAD = 0.05  # grey levels
WHOLE_LEVEL_VARIANCE = 1 / 12  # of what is known to a whole grey level
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
        rare: of every channel and of the light, where rare values begin among good tiles and their scale, (channels +
            1, 2).
        threshold: a tile is a candidate where its strength is higher; -inf: all are.
    """

    cell: int
    context: int
    light: Floats
    high: Floats
    spread: Floats
    rare: Floats
    threshold: float = -math.inf

    @classmethod
    def fit(cls, images: Iterable[NDArray[Any]], cell: int, margin: int) -> Self:
        """Learn good glass; every tile is a candidate until a threshold is set.

        Args:
            images: of good glass as tiles see them, (H, W) or (H, W, 3), 8 bit, 16 bit or floats in [0, 1]; iterated
                three times. By
                column is learned where all have one width, else over all columns.
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
        high, spread = _learn_columns(gate, images)
        gate = replace(gate, high=high, spread=spread)
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

    def passing(self, strip: NDArray[Any], margin: int, rows: int) -> NDArray[np.bool_]:
        """Tell which tiles of one row the detector has to see, (tiles,): what :meth:`candidates` has for it.

        Args:
            strip: rows of the image as the tiles see them, (margin + rows + margin or more, W) or with channels.
            margin: of the tiles, at least ``context``.
            rows: that the maps of these tiles are about.
        """
        seen = strip[margin - self.context : margin + rows + self.context]
        return np.asarray(self.strip_strengths(seen, self.context, self.context) > self.threshold)

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
        excess = self._excess(measure_contrast(to_grey(strip), above, below))
        return np.asarray((excess - self.rare[:, :1]) / self.rare[:, 1:], np.float32)

    def strongest_channels(self, strip: NDArray[Any], above: int, below: int) -> list[str]:
        """Name what is most unusual in every tile of a row, as ``dark at 4 px`` or ``bright line``."""
        names = (*CHANNEL_NAMES, LIGHT_CHANNEL)
        return [names[number] for number in self.channel_strengths(strip, above, below).argmax(0)]

    def with_threshold(self, threshold: float) -> Self:
        """Return this gate with another threshold."""
        return replace(self, threshold=threshold)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays, for a model file."""
        numbers = np.array([self.cell, self.context], np.int64), np.array(self.threshold, np.float64)
        arrays = {name: getattr(self, name) for name in ("light", "high", "spread", "rare")}
        return {"sizes": numbers[0], "threshold": numbers[1], **arrays}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """Make a gate from what :meth:`state` returned."""
        cell, context = (int(number) for number in state["sizes"])
        light, high, spread, rare = (
            np.asarray(state[name], np.float32) for name in ("light", "high", "spread", "rare")
        )
        return cls(cell, context, light, high, spread, rare, float(state["threshold"]))

    def _excess(self, contrast: Contrast) -> Floats:
        """How far the strongest value of a tile lies above the usual, in standard deviations, (channels + 1, tiles)."""
        columns = len(contrast.light)
        ratio = self._light_ratio(contrast.light)
        excess = []
        for (_, level), values, profile in zip(
            CHANNELS, self._relative(contrast, ratio), self._profiles(), strict=True
        ):
            high, spread = _fitted_to(profile, values.shape[1])
            starts = np.arange(0, columns, self.cell) >> level
            excess.append(np.maximum.reduceat((values.max(0) - high) / spread, starts))
        return np.asarray([*excess, np.abs(np.log(ratio / np.median(ratio)))], np.float32)

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

    def _profiles(self) -> Iterator[tuple[Floats, Floats]]:
        """Usual and spread of every channel, (columns of its level,)."""
        lengths = [_columns_of(len(self.light), level) for _, level in CHANNELS]
        edges = np.cumsum(lengths)[:-1]
        return zip(np.split(self.high, edges), np.split(self.spread, edges), strict=True)


def _columns_of(columns: int, level: int) -> int:
    return -(-columns >> level)


def _fitted_to(profile: tuple[Floats, Floats], columns: int) -> tuple[Floats, Floats]:
    """A channel's profile for so many columns: what all columns have together where these are not those learned."""
    high, spread = profile
    if len(high) in (1, columns):
        return high, spread
    together = np.sqrt((spread**2).mean() + high.var())
    return high.mean(keepdims=True), np.asarray([together], np.float32)


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


def _learn_columns(gate: Gate, images: Iterable[NDArray[Any]]) -> tuple[Floats, Floats]:
    """The usual strongest values of every channel by column, and their spread."""
    by_column = len(gate.light) > 1
    sums = [np.zeros((2, _columns_of(len(gate.light), level))) for _, level in CHANNELS]
    counts = np.zeros(len(CHANNELS), np.int64)
    for contrast in _strips(gate, images):
        ratio = gate._light_ratio(contrast.light)
        for number, values in enumerate(gate._relative(contrast, ratio)):
            kept = values if by_column else values.reshape(-1, 1)
            sums[number] += np.stack([kept.sum(0, dtype=np.float64), np.square(kept, dtype=np.float64).sum(0)])
            counts[number] += len(kept)
    high, spread = [], []
    for (kind, level), (total, squares), count in zip(CHANNELS, sums, counts, strict=True):
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0)
        near = 2 * max(WANDER_PX >> level, 1) + 1
        finest = WHOLE_LEVEL_VARIANCE if level == 0 and "line" not in kind else MIN_SPREAD**2
        usual = cv2.dilate(mean[None].astype(np.float32), np.ones((1, near), np.uint8))[0]
        pooled = cv2.blur(variance[None], (near, 1), borderType=cv2.BORDER_REFLECT)[0]
        changes = LINE_CHANGE * np.maximum(usual - np.median(usual), 0) * (2 if kind == "texture" else 1)
        high.append(usual)
        spread.append(np.sqrt(pooled + changes**2 + finest).astype(np.float32))
    return np.concatenate(high), np.concatenate(spread)


def _learn_rare(gate: Gate, images: Iterable[NDArray[Any]]) -> Floats:
    """Where the rare values of every channel begin among good tiles, and how fast they grow rarer."""
    excess = np.concatenate([gate._excess(contrast) for contrast in _strips(gate, images)], axis=1)
    begin, rarer = np.quantile(excess, (USUAL_SHARE, RARE_SHARE), axis=1)
    scale = (rarer - begin) / math.log((1 - USUAL_SHARE) / (1 - RARE_SHARE))
    scale[:-1] = np.maximum(scale[:-1], MIN_SCALE)
    scale[-1] = max(scale[-1], MIN_LIGHT_SCALE)
    return np.stack([begin, scale], 1).astype(np.float32)


def choose_threshold(strengths: Sequence[float] | Floats, loss: float) -> float:
    """Choose from where on a tile is a candidate, by tiles whose flaw the detector finds.

    A flaw of the same kind is then passed over with a probability of at most ``loss``, on average over such choices
    (split-conformal). With fewer than 1 / loss - 1 flaws nothing can be promised, and every tile is a candidate.

    Args:
        strengths: of these tiles.
        loss: share of such flaws that may be lost, in [0, 1); 0: none, so that every tile is a candidate.

    Returns:
        The threshold, to be exceeded; -inf where every tile is a candidate.

    Raises:
        ParameterError: the loss is not in [0, 1).
    """
    if not 0 <= loss < 1:
        raise ParameterError(f"gate_loss={loss:g} is not allowed: it is a share of the flaws, from 0 to below 1.")
    allowed = math.floor(loss * (len(strengths) + 1) + 1e-9)
    if allowed == 0:
        return -math.inf
    # just below the allowed-th lowest: that one passes, those below it do not
    return float(np.nextafter(np.sort(np.asarray(strengths, np.float64))[allowed - 1], -math.inf))
