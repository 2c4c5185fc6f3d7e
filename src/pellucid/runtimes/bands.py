"""Bands of an image through a tiled model: bands of its map, as soon as their tiles are whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid._io.pipeline import Operation, run_pipeline
from pellucid.acquisition.gate import Gating
from pellucid.acquisition.images import Pixels, without_repeated_channels
from pellucid.acquisition.layouts import mirrored
from pellucid.acquisition.tiles import Map, Tiling, enlarge_by, reduce_by, tile_planes
from pellucid.regions.rows import Rows
from pellucid.runtimes import Runtime


class ScoredBand(NamedTuple):
    """Rows of an image: the first one's number, their map (h, W), and their pixels (h, W, channels), one if grey."""

    top: int
    map: Map
    pixels: Pixels


def score_bands(
    runtime: Runtime, bands: Iterable[Pixels], tiling: Tiling, gating: Gating | None = None
) -> Iterator[ScoredBand]:
    """Score an image of any height while it passes; its map is that of the whole image, byte for byte.

    In memory are the rows of two rows of tiles.

    Args:
        runtime: computes tiles, several at a time where it had best be given several.
        bands: consecutive rows (h, W, 3), RGB in [0, 1], of any heights, one of them at least.
        tiling: of the model.
        gating: passes over tiles of good glass; None: all are computed.

    Yields:
        Consecutive rows, as many as the interior of a tile has.
    """
    scorer = _BandScorer(runtime, tiling, gating)
    for band in bands:
        yield from scorer.add(without_repeated_channels(band))
    yield from scorer.finish()


class _BandScorer:
    def __init__(self, runtime: Runtime, tiling: Tiling, gating: Gating | None = None) -> None:
        self.runtime, self.tiling, self.gating = runtime, tiling, gating
        self.own, self.seen, self.map = Rows(), Rows(), Rows()  # as they came, reduced, and what was found
        self.next = 0  # row of tiles
        self.told = 0  # rows that were given out

    def add(self, band: Pixels) -> Iterator[ScoredBand]:
        self.own.add(band)
        self._reduce(is_last=False)
        while self.seen.end >= (self.next + 1) * self.tiling.interior + self.tiling.margin:
            self._score(self.seen.end)
            yield from self._found(is_last=False)

    def finish(self) -> Iterator[ScoredBand]:
        self._reduce(is_last=True)
        while self.map.end < self.seen.end:
            self._score(self.seen.end)
        yield from self._found(is_last=True)

    def _reduce(self, is_last: bool) -> None:
        factor, first = self.tiling.reduce, self.seen.end * self.tiling.reduce
        last = self.own.end if is_last else self.own.end - self.own.end % factor
        if last > first:
            self.seen.add(reduce_by(self.own.between(first, last), factor))

    def _score(self, height: int) -> None:
        """Score the next row of tiles, of an image whose height so far is that of the rows that are there."""
        tiling, first = self.tiling, self.next * self.tiling.interior - self.tiling.margin
        rows = mirrored(first, tiling.tile, height)
        absolute = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        low = int(absolute.min())
        strip = self.seen.between(low, int(absolute.max()) + 1)[absolute - low]
        inner = min(tiling.interior, height - self.next * tiling.interior)
        parts = np.concatenate(list(self._maps(strip, inner)), axis=1)
        self.map.add(parts[:inner, : strip.shape[1]])
        self.next += 1
        self.seen.drop((self.next - 1) * tiling.interior - tiling.margin)  # the last tiles may mirror so far

    def _maps(self, strip: Pixels, rows: int) -> Iterator[Map]:
        """The map of every tile of a strip, from left to right, that is about so many rows."""
        tiling = self.tiling
        columns = [
            mirrored(column - tiling.margin, tiling.tile, strip.shape[1])
            for column in range(0, strip.shape[1], tiling.interior)
        ]
        seen = [True] * len(columns)
        if self.gating is not None:
            seen = self.gating.gate.passing(strip, tiling.margin, rows).tolist()
        computed = self._compute(strip, list(compress(columns, seen)))
        for is_seen in seen:
            yield next(computed) if is_seen else self._passed_over()

    def _passed_over(self) -> Map:
        assert self.gating is not None  # it is why there are such tiles
        return np.full((self.tiling.interior, self.tiling.interior), self.gating.level, np.float32)

    def _compute(self, strip: Pixels, columns: list[slice | NDArray[np.intp]]) -> Iterator[Map]:
        runtime = self.runtime
        batches = [columns[at : at + runtime.batch_size] for at in range(0, len(columns), runtime.batch_size)]

        def score(batch: list[slice | NDArray[np.intp]]) -> Map:
            return runtime.score(np.stack([tile_planes(strip[:, seen]) for seen in batch]))[0]

        for found in run_pipeline(batches, Operation(score, runtime.parallel_requests)):
            yield from found.result()

    def _found(self, is_last: bool) -> Iterator[ScoredBand]:
        """What is known of rows that were not given out yet; enlarging a row looks at the ones beside it."""
        factor, top = self.tiling.reduce, self.told
        bottom = self.own.end if is_last else (self.map.end - (factor > 1)) * factor
        if bottom <= top:
            return
        pixels, above = self.own.between(top, bottom), max(top // factor - 1, 0)
        rows = self.map.between(above, self.map.end)
        enlarged = enlarge_by(rows, factor, (bottom - above * factor, pixels.shape[1]))
        yield ScoredBand(top, enlarged[top - above * factor :], pixels)
        self.told = bottom
        self.map.drop(bottom // factor - 1)
        self.own.drop(min(bottom, self.seen.end * factor))
