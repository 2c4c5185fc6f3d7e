"""Images through a runtime: their scores, and their maps at the images' own size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid._io.pipeline import IO_THREADS, Operation, run_pipeline
from pellucid.acquisition.fitted_images import FittedImages, ImageCheck
from pellucid.acquisition.gate import Gating
from pellucid.acquisition.images import DecodedImage, Planes, Size, open_image
from pellucid.acquisition.layouts import Layout
from pellucid.acquisition.tiles import Tiling, enlarge_by
from pellucid.acquisition.views import Views, views_of
from pellucid.records import ScoreOf, top_count
from pellucid.runtimes import Runtime
from pellucid.runtimes.strips import TiledImage

Map = NDArray[np.float32]  # (H, W)
OpenFile = Callable[[Path, int], DecodedImage]  # of a path and the significant bits of its 16-bit values


class ScoredFile(NamedTuple):
    """An image file: its height and width, what was odd about it, its score, and its map, of any size."""

    path: Path
    size: Size
    check: ImageCheck
    score: float
    map: Map


def score_file(
    runtime: Runtime,
    path: Path,
    image: DecodedImage,
    size: Size,
    fitted_images: FittedImages,
    gating: Gating | None = None,
) -> ScoredFile:
    """Check and score one image alone, so that no score depends on its neighbours.

    Args:
        runtime: computes one view after the other.
        path: of the image.
        image: its pixels.
        size: height and width that the network takes.
        fitted_images: that it is compared with, and that say how images fill the view.
        gating: passes over tiles of good glass; None: all are computed.
    """
    file = _prepare(path, image, size, fitted_images, gating)
    return _scored(file, (score_view(runtime, planes) for planes in file.views), runtime)


class _PreparedFile(NamedTuple):
    """An image file: its height and width, what was odd about it, and what the network sees of it."""

    path: Path
    size: Size
    check: ImageCheck
    seen: Views | TiledImage

    @property
    def views(self) -> Iterable[Planes]:
        """What the network sees of an image that is not tiled, (3, H, W) each; of one that is, nothing."""
        return () if isinstance(self.seen, TiledImage) else self.seen


def _prepare(
    path: Path, image: DecodedImage, size: Size, fitted_images: FittedImages, gating: Gating | None
) -> _PreparedFile:
    height, width = image.pixels.shape[:2]
    framing = fitted_images.framing
    if isinstance(framing, Tiling):
        seen: Views | TiledImage = TiledImage(image.pixels, framing, gating)
        return _PreparedFile(path, (height, width), fitted_images.check(image, framing.lay_out((height, width))), seen)
    seen = views_of(image.pixels, size, framing)
    return _PreparedFile(path, (height, width), fitted_images.check(image, seen.layout), seen)


def _scored(file: _PreparedFile, found: Iterator[tuple[float, Map]], runtime: Runtime) -> ScoredFile:
    """Join what was found on an image's views, the first of ``found``; an image that is tiled is computed here."""
    if isinstance(file.seen, TiledImage):
        joined = file.seen.score(runtime)
    else:
        views = file.seen
        joined = merge_views(views.layout, list(islice(found, len(views))), runtime.score_of, file.size)
    return ScoredFile(file.path, file.size, file.check, *joined)


def read_and_score(
    runtime: Runtime,
    paths: Iterable[Path],
    size: Size,
    fitted_images: FittedImages,
    open_file: OpenFile = open_image,
    gating: Gating | None = None,
) -> Iterator[Future[ScoredFile]]:
    """Read, check and score files; all overlap, and only a few images are in memory.

    Args:
        runtime: computes ``runtime.batch_size`` images in one call.
        paths: image files.
        size: height and width that the network takes.
        fitted_images: that the files are compared with.
        open_file: reads a file.
        gating: passes over tiles of good glass; None: all are computed.

    Yields:
        Every file's future, in order; the error of one that cannot be read is its own.
    """

    def read(path: Path) -> _PreparedFile:
        return _prepare(path, open_file(path, fitted_images.bits), size, fitted_images, gating)

    def score(files: Sequence[Future[_PreparedFile]]) -> list[Future[ScoredFile]]:
        readable = [file.result() for file in files if file.exception() is None]
        found = _score_views(runtime, (planes for file in readable for planes in file.views))
        scored: list[Future[ScoredFile]] = [Future() for _ in files]
        for file, future in zip(files, scored, strict=True):
            if error := file.exception():
                future.set_exception(error)
            else:
                future.set_result(_scored(file.result(), found, runtime))
        return scored

    files = run_pipeline(paths, Operation(read, IO_THREADS))
    files_read = (file for file in files if wait([file]))  # when ``files`` ends, what is not done would be cancelled
    batches = iter(lambda: list(islice(files_read, runtime.batch_size)), [])
    for batch in run_pipeline(batches, Operation(score, runtime.parallel_requests)):
        yield from batch.result()


def _score_views(runtime: Runtime, views: Iterator[Planes]) -> Iterator[tuple[float, Map]]:
    """Score views (3, H, W), as many in one call as the runtime had best be given."""
    while batch := list(islice(views, runtime.batch_size)):
        if len(batch) == 1:
            yield score_view(runtime, batch[0])
        else:
            maps, scores = runtime.score(np.stack(batch))
            yield from zip(scores.tolist(), maps, strict=True)


def score_view(runtime: Runtime, planes: Planes) -> tuple[float, Map]:
    """Score what the network sees (3, H, W): its score, and a map of any size."""
    maps, scores = runtime.score(planes[None])
    return float(scores[0]), maps[0]


def merge_views(layout: Layout, found: Sequence[tuple[float, Map]], score_of: ScoreOf, size: Size) -> tuple[float, Map]:
    """Join what was found on every view of an image: the highest score, and at every pixel the highest value.

    The maps of a tiled model lie side by side, and the score is the highest value of the whole.

    Args:
        layout: where the views lie.
        found: score and map of each; a map may be of any size.
        score_of: what of its map a score follows.
        size: of the image, height and width, px.

    Returns:
        The score, and a map of the size of the resized image, without padding; of a tiled model, of the image's own. Of
        one view that the image fills, both as they are.
    """
    if layout.is_tiled:
        return _join_tiles(layout, found, size)
    if layout.is_whole:
        return found[0]
    joined = np.full(layout.content, -np.inf, np.float32)
    scores = []
    for (score, whole), (seen, shown) in zip(found, layout.parts(), strict=True):
        enlarged = enlarge(whole, layout.view)
        inside = enlarged[seen]
        joined[shown] = np.maximum(joined[shown], inside)
        padded = inside.shape != enlarged.shape
        scores.append(_score_inside(score, enlarged, inside, score_of) if padded else score)
    return float(np.max(scores)), joined  # NaN stays NaN


def _join_tiles(layout: Layout, found: Sequence[tuple[float, Map]], size: Size) -> tuple[float, Map]:
    joined = np.empty(layout.content, np.float32)
    for (_, inner), (seen, shown) in zip(found, layout.parts(), strict=True):
        joined[shown] = enlarge(inner, layout.mapped)[seen]
    enlarged = enlarge_by(joined, layout.reduce, size)
    return float(enlarged.max()), enlarged


def _score_inside(score: float, whole: Map, inside: Map, score_of: ScoreOf) -> float:
    """What a score would be without the padded part: less, by as much as the map is."""
    of_whole, of_inside = (_followed(m, score_of) for m in (whole, inside))
    if of_inside == of_whole or score == of_whole:  # padding changes nothing, or the score is the map's
        return of_inside if score == of_whole else score
    if of_whole <= 0:  # no ratio: the difference
        return score + of_inside - of_whole
    return score + abs(score) * (of_inside / of_whole - 1)


def _followed(anomaly_map: Map, score_of: ScoreOf) -> float:
    """What of a map a score follows; NaN where a value is none."""
    if score_of == "peak":
        return float(anomaly_map.max())
    values = anomaly_map.reshape(-1)
    if score_of == "top":
        lowest = values.size - top_count(values.size)
        values = np.partition(values, lowest)[lowest:]
    return float(values.mean(dtype=np.float64))


def enlarge(anomaly_map: Map, size: Size) -> Map:
    """Bring a map to the size (H, W) of the image that it belongs to, bilinearly."""
    if anomaly_map.shape == size:
        return anomaly_map
    return np.asarray(cv2.resize(anomaly_map, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
