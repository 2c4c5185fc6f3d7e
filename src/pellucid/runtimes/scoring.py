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
from pellucid.acquisition.images import DecodedImage, Planes, Size, as_planes, open_image
from pellucid.runtimes import Runtime

Map = NDArray[np.float32]  # (H, W)
OpenFile = Callable[[Path, int], DecodedImage]  # of a path and the significant bits of its 16-bit values


class ScoredFile(NamedTuple):
    """An image file: its height and width, what was odd about it, its score, and its map at the network's size."""

    path: Path
    size: Size
    check: ImageCheck
    score: float
    map: Map


def score_image(runtime: Runtime, planes: Planes) -> tuple[float, Map]:
    """Score one image (3, H, W) alone, so that no score depends on its neighbours; the map has the network's size."""
    maps, scores = runtime.score(planes[None])
    return float(scores[0]), maps[0]


def read_and_score(
    runtime: Runtime, paths: Iterable[Path], size: Size, fitted_images: FittedImages, open_file: OpenFile = open_image
) -> Iterator[Future[ScoredFile]]:
    """Read, check and score files; all overlap, and only a few images are in memory.

    Args:
        runtime: computes ``runtime.batch_size`` images in one call.
        paths: image files.
        size: height and width that the network takes.
        fitted_images: that the files are compared with.
        open_file: reads a file.

    Yields:
        Every file's future, in order; the error of one that cannot be read is its own.
    """

    def read(path: Path) -> tuple[Path, Size, ImageCheck, Planes]:
        image = open_file(path, fitted_images.bits)
        height, width = image.pixels.shape[:2]
        return path, (height, width), fitted_images.check(image), as_planes(image.pixels, size)

    def score(files: Sequence[Future[tuple[Path, Size, ImageCheck, Planes]]]) -> list[Future[ScoredFile]]:
        readable = [file.result() for file in files if file.exception() is None]
        results = iter(_score_images(runtime, [planes for *_, planes in readable]))
        scored: list[Future[ScoredFile]] = [Future() for _ in files]
        for file, future in zip(files, scored, strict=True):
            if error := file.exception():
                future.set_exception(error)
            else:
                future.set_result(ScoredFile(*file.result()[:3], *next(results)))
        return scored

    files = run_pipeline(paths, Operation(read, IO_THREADS))
    files_read = (file for file in files if wait([file]))  # when ``files`` ends, what is not done would be cancelled
    batches = iter(lambda: list(islice(files_read, runtime.batch_size)), [])
    for batch in run_pipeline(batches, Operation(score, runtime.parallel_requests)):
        yield from batch.result()


def _score_images(runtime: Runtime, images: Sequence[Planes]) -> list[tuple[float, Map]]:
    """Score images (3, H, W) in one call."""
    if len(images) < 2:
        return [score_image(runtime, planes) for planes in images]
    maps, scores = runtime.score(np.stack(images))
    return list(zip(scores.tolist(), maps, strict=True))


def enlarge(anomaly_map: Map, size: Size) -> Map:
    """Bring a map to the size (H, W) of the image that it belongs to, bilinearly."""
    if anomaly_map.shape == size:
        return anomaly_map
    return np.asarray(cv2.resize(anomaly_map, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
