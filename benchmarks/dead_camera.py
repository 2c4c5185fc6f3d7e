"""What the check of every image catches, and how often it is wrong, on real images with sessions apart.

    python -m benchmarks.dead_camera ../shared/data -o benchmarks/dead_camera.csv

For every capture session of a set (a camera, an exposure, a day: it is in the file names) the model's description is
made from the good images of all other sessions. Good and defective images of the left-out session are then compared
with it as they are, and the good ones once more spoiled in every way of ``SPOILED``. No label of a test is used, and
no detector is needed: the check is the same for all of them.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.appearance import fitted_range
from pellucid.acquisition.band_appearance import describe
from pellucid.acquisition.files import image_files
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import DecodedImage, Pixels, read_image

MIN_SESSION_IMAGES = 10
SPOILED_IMAGES = 40  # of a session, at most
READ_NOISE = 0.75 / 255  # of a sensor, which does not fall with the light
rng = np.random.default_rng(0)


def _session_of_glass_defect(name: str) -> str:
    return name[:4]


def _session_of_magnetic_tile(name: str) -> str:
    return name.split("_num")[0]


def _session_of_flatglass_line(name: str) -> str:
    return name.split("_ts")[0]


SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[str], str]]] = {
    "glass_defect": (("normal_train", "normal_test"), ("abnormal_train", "abnormal_test"), _session_of_glass_defect),
    "magnetic_tile": (("train/good", "test/good"), ("test",), _session_of_magnetic_tile),
    "flatglass_line": (("normal",), ("abnormal",), _session_of_flatglass_line),
}


def stored(pixels: NDArray[np.floating]) -> Pixels:
    """As an 8-bit camera gives it."""
    return (np.round(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def dimmed(share: float) -> Callable[[Pixels], Pixels]:
    return lambda pixels: stored(pixels * share + rng.normal(0, READ_NOISE, pixels.shape))


def blurred(sigma_px: float) -> Callable[[Pixels], Pixels]:
    return lambda pixels: stored(cv2.GaussianBlur(pixels, (0, 0), sigma_px))


def noise(mean: float, deviation: float) -> Callable[[Pixels], Pixels]:
    return lambda pixels: stored(np.repeat(rng.normal(mean, deviation, (*pixels.shape[:2], 1)), 3, 2))


def stuck_row(value: float | None) -> Callable[[Pixels], Pixels]:
    """A row that is black, white, or (None) of the image's own mean."""

    def spoil(pixels: Pixels) -> Pixels:
        spoiled = pixels.copy()
        spoiled[rng.integers(8, len(pixels) - 8)] = pixels.mean() if value is None else value
        return spoiled

    return spoil


def shifted_bayer(pixels: Pixels) -> Pixels:
    """Raw values of a camera whose channels differ, made into colours by the pattern of the next row."""
    gains = np.array([0.55, 1, 0.7])
    seen = pixels * gains * 255
    raw = np.empty(seen.shape[:2], np.uint8)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        raw[row::2, column::2] = seen[row::2, column::2, channel]
    return stored(cv2.cvtColor(raw, cv2.COLOR_BayerGRBG2RGB) / 255 / gains)


SPOILED: dict[str, Callable[[Pixels], Pixels]] = {
    "50 % of the light": dimmed(0.5),
    "20 % of the light": dimmed(0.2),
    "5 % of the light": dimmed(0.05),
    "blur of 1 px": blurred(1),
    "blur of 2 px": blurred(2),
    "blur of 3 px": blurred(3),
    "blur of 4 px": blurred(4),
    "blur of 6 px": blurred(6),
    "black": lambda pixels: np.zeros_like(pixels),
    "white": lambda pixels: np.ones_like(pixels),
    "noise in the dark": noise(3 / 255, 2 / 255),
    "noise at half of the light": noise(0.5, 2 / 255),
    "black row": stuck_row(0),
    "white row": stuck_row(1),
    "row of the mean": stuck_row(None),
    "all rows the same": lambda pixels: np.repeat(pixels[:1], len(pixels), 0),
    "lower half black": lambda pixels: np.where(np.arange(len(pixels))[:, None, None] < len(pixels) // 2, pixels, 0),
    "shifted Bayer pattern": shifted_bayer,
    "8 times the size": lambda pixels: cv2.resize(pixels, None, fx=8, fy=8),
}
Row = tuple[str, str, int, int, int]  # set, what, images, not judged, judged with a warning


def measure(data: Path, name: str) -> Iterator[Row]:
    """Leave out every session of a set."""
    good, defective, session_of = SETS[name]
    by_session: dict[str, list[Path]] = defaultdict(list)
    for folder in good:
        for path in image_files(data / name / folder):
            by_session[session_of(path.name)].append(path)
    flawed = [p for folder in defective for p in image_files(data / name / folder) if p.parent.name != "good"]
    images = {path: read_image(path) for paths in by_session.values() for path in paths}
    seen = {path: describe(pixels) for path, pixels in images.items()}
    counts: dict[str, Counter[str]] = defaultdict(Counter)

    def count(what: str, fitted: FittedImages, pixels: Pixels) -> None:
        check = fitted.check(DecodedImage(np.ascontiguousarray(pixels, np.float32)))
        counts[what]["images"] += 1
        counts[what]["not judged"] += bool(check.reason)
        counts[what]["warned"] += bool(check.warnings)

    for session, paths in by_session.items():
        if len(paths) < MIN_SESSION_IMAGES:
            continue
        lowest, highest = fitted_range([seen[p] for p in seen if session_of(p.name) != session])
        fitted = FittedImages(data_sha256="", lowest=lowest, highest=highest)
        for path in paths:
            count("good images, sessions apart", fitted, images[path])
        for path in paths[:: -(-len(paths) // SPOILED_IMAGES)]:
            for what, spoil in SPOILED.items():
                count(what, fitted, spoil(images[path]))
        lowest, highest = fitted_range([seen[p] for p in paths])
        alone = FittedImages(data_sha256="", lowest=lowest, highest=highest)
        for path in images:
            if session_of(path.name) != session:
                count("good images, fitted on one session", alone, images[path])
    lowest, highest = fitted_range(list(seen.values()))
    for path in flawed:
        count("defective images", FittedImages(data_sha256="", lowest=lowest, highest=highest), read_image(path))
    for what, found in counts.items():
        yield name, what, found["images"], found["not judged"], found["warned"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    rows = [row for name in SETS for row in measure(given.data, name)]
    with given.output.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("set", "what", "images", "not_judged", "warned"))
        writer.writerows(rows)
    for name, what, images, unjudged, warned in rows:
        print(
            f"{name:15} {what:36} {images:5} images: {unjudged / images:7.1%} not judged, {warned / images:6.1%} warned"
        )


if __name__ == "__main__":
    main()
