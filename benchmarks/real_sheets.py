"""A flaw of 10 px on a sheet of 2,048 px that is joined from good tiles of a real line.

    python -m benchmarks.real_sheets ../shared/data/flatglass_line [--detectors padim,patchcore] [--seeds 5]

Photos are dealt to two halves, so that both have all cameras and no photo is in both. A model learns the tiles of one
half, each once, joined to small sheets. It promises one false alarm on four fifths of the glass that these have, which
is as much as a sheet of 2,048 px: so many tiles can promise no less, and five false rejects in a hundred sheets would
take twenty times as many. It judges the tiles of the other half, joined to one sheet, and the same with 25 flaws of one
kind and contrast on it, far apart.

Tiles lie between 0.2 and 0.95 of white, so that joins would be the boldest edges of a sheet. As a line scanner does,
the slow light of every tile is divided out before; ``--light kept`` joins them as they are.

A flaw is found where a defect lies on it that alone would have the sheet rejected. On clean glass each of these is a
false alarm. One row a detector and seed goes to ``real_sheets.csv`` beside this file; those that are there are not
measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

import pellucid
from benchmarks._timing import append_row, cpu_name, read_rows
from pellucid.acquisition.images import Pixels, read_image
from pellucid.inspector import Inspector
from pellucid.records.limits import FalseAlarms
from pellucid.synthesis.flaws import plant_flaw

RESULTS = Path(__file__).with_suffix(".csv")
SHEET_PX = 2048
LEARNED_TILES = 3  # in a row, and in a column, of a sheet to learn from
TILE_PX = 512  # of the model
COUNTED = 0.8  # of what is learned, at least: sheets with tiles that show the same count once
SLOW_PX = 20  # standard deviation of what light is smoothed by
MEAN_LIGHT = np.float32(0.6)
FLAW_PX = 10
KINDS = ("stone", "seed", "dust")
CONTRASTS = (0.1, 0.2, 0.4, 0.8)
PLACES = 5  # in a row, and in a column, of a sheet: one for each flaw


def halves(files: Sequence[Path], rng: Generator) -> tuple[list[Path], list[Path]]:
    """Deal photos to two halves, camera by camera; return the tiles of each."""
    photos = sorted({_photo(file) for file in files})
    dealt = {photo: k % 2 for k, photo in enumerate(sorted(photos, key=lambda one: (one[0], rng.random())))}
    first, second = ([file for file in files if dealt[_photo(file)] == half] for half in (0, 1))
    return first, second


def _photo(file: Path) -> tuple[str, ...]:
    """Camera and time of the photo that a tile was cut out of."""
    return tuple(file.stem.split("_")[:2])


def joined(files: Sequence[Path], across: int, light: str) -> Pixels:
    """Lay tiles side by side, ``across`` in a row; those that fill no row are left out."""
    tiles = [read_image(file) for file in files]
    if light == "divided":
        tiles = [np.clip(MEAN_LIGHT * tile / cv2.GaussianBlur(tile, (0, 0), SLOW_PX), 0, 1) for tile in tiles]
    rows = [np.concatenate(tiles[k : k + across], 1) for k in range(0, len(tiles) - across + 1, across)]
    return np.concatenate(rows)


def learn(detector: str, files: Sequence[Path], folder: Path, light: str, seed: int) -> Inspector:
    """Fit on small sheets of these tiles, and return the model on OpenVINO."""
    good = folder / "good" / "normal"
    good.mkdir(parents=True)
    count = LEARNED_TILES**2
    for k in range(len(files) // count):
        sheet = (joined(files[k * count : (k + 1) * count], LEARNED_TILES, light) * 255).round().astype(np.uint8)
        cv2.imwrite(str(good / f"{k:03d}.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    promised = FalseAlarms(1e6 / (COUNTED * len(files) // count * sheet[..., 0].size), "megapixel")
    fitted = pellucid.fit(
        good.parent, detector, tile=TILE_PX, false_alarms=promised, false_reject=0.1, outline="map", seed=seed
    )
    fitted.save(folder / "model.pellucid")
    return pellucid.load(folder / "model.pellucid", "openvino")


def alarms(inspector: Inspector, sheet: Pixels) -> list[tuple[int, int, int, int]]:
    """Boxes of the defects that each would have the sheet rejected."""
    return [one.box for one in inspector.inspect(sheet).defects if one.peak > inspector.limit.value]


def plant(rng: Generator, sheet: Pixels, kind: str, contrast: float) -> tuple[Pixels, list[tuple[int, int]]]:
    """Plant a flaw into the middle of each place of a sheet; return it and the flaws' rows and columns."""
    flawed, side, centres = sheet.copy(), SHEET_PX // PLACES, []
    for k in range(PLACES**2):
        top, left = (side * at + side // 4 for at in divmod(k, PLACES))
        place = np.s_[top : top + side // 2, left : left + side // 2]
        flawed[place], covered = plant_flaw(rng, sheet[place], kind, FLAW_PX, contrast)
        row, column = (round(float(at.mean())) for at in np.nonzero(covered > 0))
        centres.append((top + row, left + column))
    return flawed, centres


def measure(detector: str, files: Sequence[Path], light: str, seed: int) -> dict[str, object]:
    """Learn one half, judge the other."""
    rng = np.random.default_rng(seed)
    learned, judged = (list(rng.permutation(half)) for half in halves(files, rng))
    across = -(-SHEET_PX // read_image(files[0]).shape[1])
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        inspector = learn(detector, learned, Path(folder), light, seed)
        seconds = time.process_time() - start
        shown = list(islice(cycle(judged), across**2))  # a few tiles twice where a half has too few to fill a sheet
        sheet = joined(shown, across, light)[:SHEET_PX, :SHEET_PX]
        found: dict[str, dict[float, int]] = {kind: {} for kind in KINDS}
        for kind in KINDS:
            for contrast in CONTRASTS:
                flawed, centres = plant(np.random.default_rng((seed, 1)), sheet, kind, contrast)
                boxes = alarms(inspector, flawed)
                found[kind][contrast] = sum(any(_holds(box, centre) for box in boxes) for centre in centres)
        return {
            "learned_tiles": len(learned),
            "false_alarms": len(alarms(inspector, sheet)),
            "planted_each": PLACES**2,
            "found": json.dumps(found),
            "fit_seconds": round(seconds),
            "cpu": cpu_name(),
        }


def _holds(box: tuple[int, int, int, int], centre: tuple[int, int]) -> bool:
    left, top, width, height = box
    return left <= centre[1] < left + width and top <= centre[0] < top + height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Folder of the set, tiles of one size in normal/.")
    parser.add_argument("--detectors", default="padim,patchcore", help="Names, separated by commas.")
    parser.add_argument("--seeds", type=int, default=5, help="How the photos are dealt.")
    parser.add_argument("--light", choices=("divided", "kept"), default="divided", help="Of each tile.")
    args = parser.parse_args()
    files = sorted((args.data / "normal").iterdir())
    for seed in range(args.seeds):
        for detector in args.detectors.split(","):
            key = {"detector": detector, "light": args.light, "seed": str(seed)}
            if not any(key.items() <= row.items() for row in read_rows(RESULTS)):
                append_row(RESULTS, key | measure(detector, files, args.light, seed))


if __name__ == "__main__":
    main()
