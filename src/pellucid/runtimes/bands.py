"""Bands of an image through a tiled model: bands of its map, as soon as their tiles are whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from pellucid._io.pipeline import take_ahead
from pellucid.acquisition.gate import Gating
from pellucid.acquisition.images import Values, to_floats, without_repeated_channels
from pellucid.acquisition.tiles import Map, Tiling, enlarge_by, reduce_by
from pellucid.regions.rows import Rows, Window
from pellucid.runtimes import Floats, Runtime
from pellucid.runtimes.strips import Strip, batches, compute


class ScoredBand(NamedTuple):
    """Rows of an image: the first one's number, their map (h, W), and their values (h, W, channels), one if grey."""

    top: int
    map: Map
    values: Values


def score_bands(
    runtime: Runtime, bands: Iterable[Values], tiling: Tiling, gating: Gating | None = None
) -> Iterator[ScoredBand]:
    """Score an image of any height while it passes; its map is that of the whole image, byte for byte.

    Reading and the gate, the detector, and whoever takes the bands of the map work at the same time, each in threads of
    its own. In memory are the rows of four rows of tiles at most: one that is read, one that waits, one that is
    computed, and one that was given out.

    Args:
        runtime: computes tiles, several at a time where it had best be given several.
        bands: consecutive rows (h, W, 3), or (h, W, 1) if grey, of any heights, one of them at least.
        tiling: of the model.
        gating: passes over tiles of good glass; None: all are computed.

    Yields:
        Consecutive rows, not more than the interior of a tile has.
    """
    joined = JoinedRows(tiling.reduce)
    with ThreadPoolExecutor(runtime.parallel_requests) as pool:
        strips = take_ahead(_begin(pool, runtime, cut) for cut in _cut_strips(bands, tiling, gating))
        try:
            for strip, values, maps in strips:
                joined.expect(values)
                for rows in strip.join(one for found in maps for one in found.result()):
                    yield from joined.add(rows)
            yield from joined.end()
        finally:
            strips.close()
            pool.shutdown(wait=False, cancel_futures=True)


class _CutStrip(NamedTuple):
    """A row of tiles, and the values that it is about at the image's own scale, (h, W, channels) each, as they came."""

    strip: Strip
    values: Sequence[Values]


class _BegunStrip(NamedTuple):
    """A row of tiles whose maps are being computed, (B, height, width) each, in order."""

    strip: Strip
    values: Sequence[Values]
    maps: Sequence[Future[Floats]]


def _begin(pool: ThreadPoolExecutor, runtime: Runtime, cut: _CutStrip) -> _BegunStrip:
    begun = [pool.submit(compute, runtime, places) for places in batches([cut.strip], runtime.batch_size)]
    return _BegunStrip(*cut, begun)


def _cut_strips(bands: Iterable[Values], tiling: Tiling, gating: Gating | None) -> Iterator[_CutStrip]:
    """Cut an image into rows of tiles, each as soon as all is there that its tiles see."""
    own, seen, top = Rows(), Rows(), 0  # rows as they came and reduced; first row of the next row of tiles

    def reduce(last: int) -> None:
        first = seen.end * tiling.reduce
        if last > first:
            rows = own.between(first, last)
            seen.add(rows if tiling.reduce == 1 else reduce_by(to_floats(rows), tiling.reduce))

    def cut() -> _CutStrip:
        strip = Strip(seen, top, -(-width // tiling.reduce), tiling, gating)
        first, last = (min(row * tiling.reduce, own.end) for row in (strip.top, strip.bottom))
        values = [part for _, part in own.parts(Window(first, last, 0, width))]
        seen.drop(strip.top - tiling.margin)  # the last tiles may mirror so far
        own.drop(min(last, seen.end * tiling.reduce))
        return _CutStrip(strip, values)

    width = 0
    for band in bands:
        own.add(without_repeated_channels(band))
        width = band.shape[1]
        reduce(own.end - own.end % tiling.reduce)
        while seen.end >= top + tiling.interior + tiling.margin:
            yield cut()
            top += tiling.interior
    reduce(own.end)
    while top < seen.end:
        yield cut()
        top += tiling.interior


class JoinedRows:
    """The map of an image at its own scale; enlarging a row looks at the ones beside it."""

    def __init__(self, factor: int) -> None:
        self.factor, self.told = factor, 0  # rows that were given out
        self.beside = int(factor > 1)  # rows of the reduced map above and below that one of it is enlarged with
        self.values, self.map = Rows(), Rows()

    def expect(self, values: Sequence[Values]) -> None:
        """Take the values that the next rows of the map will be about, part by part."""
        for part in values:
            self.values.add(part)

    def add(self, anomaly_map: Map) -> Iterator[ScoredBand]:
        """Take the next rows of the reduced image's map."""
        self.map.add(anomaly_map)
        yield from self.take((self.map.end - self.beside) * self.factor)

    def end(self) -> Iterator[ScoredBand]:
        """Take note that the image has ended."""
        yield from self.take(self.values.end)

    def take(self, bottom: int) -> Iterator[ScoredBand]:
        factor, top = self.factor, self.told
        bottom = min(bottom, self.values.end)
        if bottom <= top:
            return
        values, above = self.values.between(top, bottom), max(top // factor - self.beside, 0)
        rows = self.map.between(above, self.map.end)
        enlarged = enlarge_by(rows, factor, (bottom - above * factor, values.shape[1]))
        self.told = bottom
        self.map.drop(bottom // factor - self.beside)
        self.values.drop(bottom)
        yield ScoredBand(top, enlarged[top - above * factor :], values)
