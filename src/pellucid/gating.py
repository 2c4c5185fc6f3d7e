"""From flaws that are planted into good glass to where the gate lets tiles pass, and to what it loses and saves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.contrast import to_grey
from pellucid.acquisition.gate import UNIT_PX, Gate
from pellucid.acquisition.images import Pixels, read_image, to_floats
from pellucid.acquisition.layouts import mirrored
from pellucid.acquisition.tiles import Tiling, reduce_by, tile_planes
from pellucid.close_ups import close_ups_of
from pellucid.errors import DataError, ParameterError
from pellucid.limits.gate_loss import choose_threshold, count_flaws
from pellucid.records import Sample, Split
from pellucid.records.gates import GatedFlaws, GateReport
from pellucid.synthesis.flaws import FLAW_SIZES_PX, apply_flaw, draw_contrast_sign, draw_flaw

if TYPE_CHECKING:
    from pellucid.inspector import Inspector

GATE_CONTRASTS = (0.02, 0.05, 0.1, 0.2, 0.4)  # shares of the light around
MAX_GATE_IMAGES = 64  # that the gate learns from, and as many that it is set on
MAX_STRIPS = 48  # rows of tiles that flaws are planted into
MAX_PLANTED = 4  # times the flaws that have to be found: more would cost more than the promise is worth
PLACE_PX = 256  # of a tile's interior, that a flaw has for itself: one nearer would change what is found of it
CONFIDENCE = 0.95  # of the upper bound of what is lost
LOSSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)  # whose price is told

FindAnomalies = Callable[[Pixels], NDArray[np.float32]]  # (n, T, T, 3), tiles with their margin -> (n, cell, cell)


class Strip(NamedTuple):
    """A row of tiles of good glass with the margin above and below them.

    Attributes:
        pixels: (margin + cell + margin, W) or the same with 3 colours, 8 bit or floats in [0, 1].
        margin: rows above and below, px.
    """

    pixels: NDArray[Any]
    margin: int


class _Planted(NamedTuple):
    kind: str
    size_px: float
    contrast: float
    is_found: bool
    strength: float


def set_gate(
    gate: Gate,
    strips: Sequence[Strip],
    find: FindAnomalies,
    limit: float,
    *,
    loss: float = 0.001,
    scale: int = 1,
    seed: int = 0,
) -> tuple[Gate, GateReport]:
    """Set the gate's threshold so that it loses at most a share of the flaws that the detector finds.

    Flaws of every kind, size and contrast are planted in random order into every second tile of a row, until so many
    are found that the promise can be made and does not rest on the weakest one or two, or ``MAX_PLANTED`` times as many
    were planted. The detector sees a large tile with several of them, too far apart to matter to each other; the gate
    sees each alone.

    Args:
        gate: fitted.
        strips: of good glass that the gate was not fitted on, as tiles see it and as wide as what the gate was fitted
            on; used again and again.
        find: the detector: from tiles with their margin, (n, T, T, 3) in [0, 1], to the maps of their interiors.
        limit: a flaw is found where the map of its tile is higher on it, and was not without the flaw.
        loss: share of these flaws that may be lost, in [0, 1); 0: the gate is off, and nothing is planted.
        scale: times larger than ``FLAW_SIZES_PX`` flaws are drawn.
        seed: of places and forms, at least 0.

    Returns:
        The gate with its threshold, and what it loses and saves.

    Raises:
        DataError: there are no strips, or all are narrower than a tile's interior.
        ParameterError: the loss is not in [0, 1).
    """
    if not strips:
        raise DataError("The gate needs good glass to plant flaws into, and there is none.")
    if all(strip.pixels.shape[1] < gate.cell for strip in strips):
        raise DataError(
            f"The gate needs good glass at least {gate.cell} px wide, as the inner part of a tile: take smaller tiles,"
            " or leave the gate out."
        )
    needed = count_flaws(loss)
    strips = [strip for strip in strips if strip.pixels.shape[1] >= gate.cell]
    planted: list[_Planted] = []
    flaws = _plant_all(gate, strips, find, limit, scale, seed)
    while sum(one.is_found for one in planted) < needed and len(planted) < MAX_PLANTED * needed:
        planted += next(flaws)
    strengths = [one.strength for one in planted if one.is_found]
    gate = gate.with_threshold(choose_threshold(strengths, loss))
    return gate, _report(gate, planted, [_Good.of(gate, strip) for strip in strips], loss)


def with_gate(inspector: Inspector, split: Split, loss: float, seed: int = 0) -> Inspector:
    """Return an inspector that passes over tiles of good glass; :func:`fit_gate` says how.

    Args:
        inspector: of tiles, with its limit.
        split: the data's; all normal images that a model is made of take part.
        loss: share of the flaws that the detector finds, that may be lost, in (0, 1).
        seed: of places and forms, at least 0.
    """
    gate, report = fit_gate(inspector, split.normals, loss, seed)
    return replace(inspector, gate=None if report.threshold is None else gate, gate_report=report)


def fit_gate(inspector: Inspector, samples: Sequence[Sample], loss: float, seed: int = 0) -> tuple[Gate, GateReport]:
    """Fit a tiled model's gate on half of some good images, and set it with flaws planted into the other half.

    Args:
        inspector: of tiles, with its limit.
        samples: good images, at least two.
        loss: share of the flaws that the detector finds, that may be lost, in [0, 1).
        seed: of places and forms, at least 0.

    Raises:
        DataError: an image cannot be read.
        ParameterError: the images are not seen in tiles, there are too few, or the loss is not in [0, 1).
    """
    tiling, known = inspector.fitted_images.framing, inspector.fitted_images
    if not isinstance(tiling, Tiling):
        raise ParameterError("A gate passes over tiles: give --tile as well, or leave --gate-loss out.")
    if len(samples) < 2:
        raise ParameterError("A gate is fitted on at least two good images: one to learn from and one to judge.")
    learned, judged = ([s.path for s in samples[first::2][:MAX_GATE_IMAGES]] for first in (0, 1))
    gate = Gate.fit(_Seen(learned, tiling, known.bits), tiling.interior, tiling.margin)
    strips = [strip for pixels in _Seen(judged, tiling, known.bits) for strip in _cut(pixels, tiling)]
    rng = np.random.default_rng(seed)
    strips = [strips[k] for k in rng.permutation(len(strips))[:MAX_STRIPS]]

    def find(tiles: Pixels) -> NDArray[np.float32]:
        return np.concatenate([inspector.runtime.score(tile_planes(tile)[None])[0] for tile in tiles])

    if strips and strips[0].pixels.shape[1] >= tiling.tile:
        tile = tile_planes(_as_floats(strips[0].pixels[:, : tiling.tile]))
        gate = gate.with_close_ups(*close_ups_of(inspector.runtime, tile, tiling.margin))
    return set_gate(gate, strips, find, inspector.limit.pixel, loss=loss, seed=seed)


@dataclass(frozen=True)
class _Good:
    """What a gate has for a row of tiles of good glass: strengths of tiles, and of units if these are judged."""

    tiles: NDArray[np.float32]
    units: NDArray[np.float32] | None
    margin: int
    size: tuple[int, int]

    @classmethod
    def of(cls, gate: Gate, strip: Strip) -> _Good:
        size = len(strip.pixels) - 2 * strip.margin, strip.pixels.shape[1]
        units = _strengths(gate, strip, of_units=True) if gate.close_ups else None
        return cls(_strengths(gate, strip), units, strip.margin, size)

    def work(self, gate: Gate, threshold: float) -> tuple[float, float]:
        """Pixels that the detector computes above a threshold, and without a gate, margins included."""
        whole = (gate.cell + 2 * self.margin) ** 2
        every = float(len(self.tiles) * whole)
        if self.units is None or math.isinf(threshold):
            return float((self.tiles > threshold).sum() * whole), every
        looks = gate.looks_around(self.units > threshold, self.margin, *self.size)
        return float(sum(look.work(self.margin) for look in looks)), every


def _left(gate: Gate, good: Sequence[_Good], threshold: float) -> float:
    """Share of the detector's work on good glass that a threshold leaves."""
    left, every = np.sum([one.work(gate, threshold) for one in good], axis=0)
    return float(left / every)


@dataclass(frozen=True)
class _Seen:
    """Images as tiles see them, 8 bit; read again each time they are asked for."""

    paths: Sequence[Path]
    tiling: Tiling
    bits: int

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for path in self.paths:
            pixels = reduce_by(read_image(path, self.bits), self.tiling.reduce)
            yield (pixels * 255).round().astype(np.uint8)


def _cut(pixels: NDArray[np.uint8], tiling: Tiling) -> Iterator[Strip]:
    """Rows of whole tiles with their margins, mirrored beyond the borders; of an image that is less high, one."""
    for top in range(0, max(1, len(pixels) - tiling.interior + 1), tiling.interior):
        yield Strip(pixels[mirrored(top - tiling.margin, tiling.tile, len(pixels))], tiling.margin)


def _report(gate: Gate, planted: Sequence[_Planted], good: Sequence[_Good], loss: float) -> GateReport:
    from scipy.stats import beta

    threshold = gate.threshold
    found = [one for one in planted if one.is_found]
    thresholds = {one: choose_threshold([flaw.strength for flaw in found], one) for one in LOSSES}
    prices = tuple((one, _left(gate, good, value)) for one, value in thresholds.items() if math.isfinite(value))
    lost = sum(one.strength <= threshold for one in found)
    bound = float(beta.ppf(CONFIDENCE, lost + 1, len(found) - lost)) if lost < len(found) else 1.0
    cells = []
    for kind, size, contrast in sorted({one[:3] for one in planted}):
        here = [one for one in planted if one[:3] == (kind, size, contrast)]
        seen = [one for one in here if one.is_found]
        passed = sum(one.strength > threshold for one in seen)
        cells.append(GatedFlaws(kind, size, contrast, len(here), len(seen), passed))
    tiles = np.concatenate([one.tiles for one in good])
    passed_good = int((tiles > threshold).sum())
    is_off = math.isinf(threshold)
    at_most = 0.0 if is_off else bound
    shown = None if is_off else threshold
    left = _left(gate, good, threshold)
    return GateReport(loss, shown, len(found), lost, at_most, len(tiles), passed_good, tuple(cells), prices, left)


def _plant_all(
    gate: Gate, strips: Sequence[Strip], find: FindAnomalies, limit: float, scale: int, seed: int
) -> Iterator[list[_Planted]]:
    """Plant flaws strip by strip, without end; every kind, size and contrast is equally frequent."""
    cells = [(kind, px * scale, c) for kind, sizes in FLAW_SIZES_PX.items() for px in sizes for c in GATE_CONTRASTS]
    waiting: list[tuple[str, int, float]] = []
    number, places = 0, _places(gate.cell)
    while True:
        for strip in strips:
            rng = np.random.default_rng((seed, number, 1))
            tiles = _free_tiles(strip, gate.cell, odd=number // len(strips) % 2 == 1)
            count = len(tiles) * places**2
            while len(waiting) < count:
                waiting += [
                    cells[k] for k in np.random.default_rng((seed, number, len(waiting), 2)).permutation(len(cells))
                ]
            chosen, waiting = waiting[:count], waiting[count:]
            yield _plant(gate, strip, find, limit, list(zip(tiles * places**2, chosen, strict=True)), rng)
            number += 1


def _free_tiles(strip: Strip, cell: int, *, odd: bool) -> list[int]:
    """Every second whole tile of a row; the only one always."""
    whole = strip.pixels.shape[1] // cell
    return list(range(1 if odd and whole > 1 else 0, whole, 2))


def _places(cell: int) -> int:
    """How many flaws a tile has side by side, and one above the other."""
    return max(1, cell // PLACE_PX)


def _plant(
    gate: Gate,
    strip: Strip,
    find: FindAnomalies,
    limit: float,
    flaws: Sequence[tuple[int, tuple[str, int, float]]],
    rng: np.random.Generator,
) -> list[_Planted]:
    """Plant flaws into a strip; the detector sees all of them together, the gate one in a tile.

    Args:
        gate: fitted.
        strip: good glass.
        find: the detector.
        limit: above which a flaw is found.
        flaws: tile, and kind, size and contrast, of each; the first ones lie at the first place of every tile, and so
            on.
        rng: of places and forms.
    """
    cell, margin, places = gate.cell, strip.margin, _places(gate.cell)
    side, clean = cell // places, _as_floats(strip.pixels)
    together, grey = clean.copy(), to_grey(clean)
    whole, seen, alone = [], [], grey.copy()
    tiles = len(flaws) // places**2
    for n, (tile, (kind, size, contrast)) in enumerate(flaws):
        row, column = divmod(n // tiles, places)
        goes_on = kind == "bold line" and places == 1  # beyond the tile
        rows = slice(None) if goes_on else slice(margin + row * side, margin + (row + 1) * side)
        here = (rows, slice(tile * cell + column * side, tile * cell + (column + 1) * side))
        covered = draw_flaw(rng, kind, size, (clean[here].shape[0], side))
        flawed = apply_flaw(clean[here], covered, draw_contrast_sign(rng, kind) * contrast)
        flawed = (np.clip(flawed, 0, 1) * 255).round() / np.float32(255)  # as an 8-bit camera would store it
        together[here], alone[here] = flawed, to_grey(flawed)
        inside = np.zeros((len(clean), cell), bool)
        inside[rows, column * side : (column + 1) * side] = covered > 0
        whole.append((tile, inside[margin : margin + cell]))
        if (n + 1) % tiles == 0:
            seen.append(_strengths(gate, Strip(alone, margin), of_units=bool(gate.close_ups)))
            alone = grey.copy()
    peaks = _highest(find, together, margin, cell, whole)
    strengths = [_strength(gate, seen[n // tiles], *whole[n], peak.place) for n, peak in enumerate(peaks)]
    found = np.array([peak.value > limit for peak in peaks])
    # what stands out no more than good glass may have been marked without the flaw, too
    good = _strengths(gate, Strip(grey, margin)).max()
    doubtful = [n for n in range(len(flaws)) if found[n] and strengths[n] <= good]
    if doubtful:
        before = _highest(find, clean, margin, cell, [whole[n] for n in doubtful])
        found[doubtful] = [peak.value <= limit for peak in before]
    return [
        _Planted(*flaw, bool(is_found), strength)
        for (_, flaw), is_found, strength in zip(flaws, found, strengths, strict=True)
    ]


class _Peak(NamedTuple):
    """The highest value of a tile's map on a flaw, and its row and column."""

    value: float
    place: tuple[int, int]


def _highest(
    find: FindAnomalies, pixels: Pixels, margin: int, cell: int, places: Sequence[tuple[int, NDArray[np.bool_]]]
) -> list[_Peak]:
    """The peak of the map inside of each of several places, which are told by their tile and mask."""
    padded: Pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, 0, margin, margin, cv2.BORDER_REFLECT_101), np.float32)
    tiles = list(dict.fromkeys(tile for tile, _ in places))
    seen = np.stack([padded[:, tile * cell : (tile + 1) * cell + 2 * margin] for tile in tiles])
    maps = dict(zip(tiles, find(seen), strict=True))
    peaks = []
    for tile, inside in places:
        values = np.where(inside, maps[tile], -np.inf)
        row, column = divmod(int(values.argmax()), cell)
        peaks.append(_Peak(float(values[row, column]), (row, column)))
    return peaks


def _strength(
    gate: Gate, seen: NDArray[np.float32], tile: int, inside: NDArray[np.bool_], peak: tuple[int, int]
) -> float:
    """The strength of a flaw: of its tile, or with close-ups of the units that it reaches where the detector has to
    look to see its peak."""
    if not gate.close_ups:
        return float(seen[tile])
    count = gate.cell // UNIT_PX
    reached = np.asarray(inside.reshape(count, UNIT_PX, count, UNIT_PX).any((1, 3)), np.bool_)
    row, column = (at // UNIT_PX for at in peak)
    near = np.s_[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    return float(seen[:, tile * count : (tile + 1) * count][near][reached[near]].max(initial=-np.inf))


def _strengths(gate: Gate, strip: Strip, *, of_units: bool = False) -> NDArray[np.float32]:
    """Strengths of the tiles of a row, or of its units; of the margin the gate looks at no more than it has to."""
    cut = strip.margin - gate.context
    strengths = gate.unit_strengths if of_units else gate.strip_strengths
    return strengths(strip.pixels[cut : len(strip.pixels) - cut], gate.context, gate.context)


def _as_floats(pixels: NDArray[Any]) -> Pixels:
    """Three colours in [0, 1]."""
    floats = to_floats(pixels)
    return np.asarray(floats if floats.ndim == 3 else np.repeat(floats[..., None], 3, 2), np.float32)
