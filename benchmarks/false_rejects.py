"""Does the promise hold? Random splits of good images: n to learn from and to place the limit, the others to be judged.

    python -m benchmarks.false_rejects DATA... -o benchmarks/false_rejects.csv [--scores FOLDER]

For closed-form detectors, which leave out one image after the other. All good images of a data set are mixed, so that
those judged are like those learned from; a data set called ``panes`` is drawn. Features are computed once; each split
is a fit of its own on them. A row for every data set, detector, n, promise and rate asked says how the shares of good
images rejected are spread over the splits: ``above_asked`` and ``above_twice`` are shares of splits. What cannot be
promised from n images has no row. Where a fitted tail gives the limit, a second row is of the rank that it stands for.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid import detectors
from pellucid._io.files import csv_text, write_text
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.images import ImageBatches
from pellucid.backbones import create
from pellucid.errors import DataError
from pellucid.limits.conformal import calibrate, conformal_limit
from pellucid.synthesis.glass import draw_pane, to_uint8

LAYERS = ("layer1", "layer2", "layer3")  # that closed-form detectors take
N_PANES = 400
COUNTS, RATES, CONFIDENCE = (60, 100, 150), (0.01, 0.05, 0.1), 0.95
RESULT_COLUMNS = ("data", "detector", "n", "promise", "asked", "method", "splits", "judged", "mean", "sd")
RESULT_COLUMNS += ("above_asked", "above_twice")
Floats = NDArray[np.float64]


class CachedFeatures(nn.Module):
    """Stands for a backbone: an "image" has its number in every pixel, and its features were computed before."""

    def __init__(self, maps: Sequence[Tensor]) -> None:
        super().__init__()
        self.maps = maps  # by layer, (N, C, h, w)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        numbers = pixels[:, 0, 0, 0].long()
        return [m[numbers] for m in self.maps]

    def shapes(self, height: int, width: int) -> list[tuple[int, ...]]:  # noqa: ARG002 - a backbone is asked so
        return [tuple(m.shape[1:]) for m in self.maps]

    def fold(self) -> None:
        """Nothing is computed."""

    @contextlib.contextmanager
    def compiled(self, height: int, width: int) -> Iterator[None]:  # noqa: ARG002
        yield


def good_images(data: str, folder: Path) -> list[Path]:
    """All good images of a data set, or drawn panes at half their size."""
    if data != "panes":
        return [s.path for s in read_folder(Path(data)).samples if s.label == "normal"]
    for n in range(N_PANES):
        cv2.imwrite(str(folder / f"{n:03}.png"), to_uint8(draw_pane(np.random.default_rng((5, n))))[::2, ::2])
    return sorted(folder.iterdir())


def features(paths: Sequence[Path], size: int) -> dict[str, Tensor]:
    """Feature maps of all images by layer, (N, C, h, w)."""
    backbone = create("prism_s", layers=LAYERS)
    with torch.inference_mode():
        maps = [backbone(batch) for batch in ImageBatches(tuple(paths), (size, size))]
    return {layer: torch.cat([m[k] for m in maps]) for k, layer in enumerate(LAYERS)}


def score_split(name: str, maps: dict[str, Tensor], size: int, n: int, seed: int) -> tuple[Floats, Floats]:
    """Scores of the n images that were learned from, each left out, and of all the others."""
    numbers = torch.from_numpy(np.random.default_rng(seed).permutation(len(maps["layer1"]))).float()
    learned, judged = (
        [batch.view(-1, 1, 1, 1).expand(-1, 3, size, size) for batch in part.split(25)]
        for part in (numbers[:n], numbers[n:])
    )
    detector = detectors.create(name, seed=seed)
    with patch("pellucid.detectors._base.create", lambda *_, **__: CachedFeatures([maps[x] for x in detector.layers])):
        left_out = torch.cat([scores for _, scores in detector.fit_leaving_out(learned, range(n))])
    new = torch.cat([detector.score(batch)[1] for batch in judged])
    return left_out.double().numpy(), new.double().numpy()


def score_splits(
    name: str, maps: dict[str, Tensor], size: int, n: int, splits: int, kept: Path
) -> list[tuple[Floats, Floats]]:
    """Scores of every split; those that lie in a file from an earlier run are not computed again."""
    if not kept.exists():
        found = [score_split(name, maps, size, n, seed) for seed in range(splits)]
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, left_out=np.stack([f[0] for f in found]), new=np.stack([f[1] for f in found]))
    with np.load(kept) as file:
        return list(zip(file["left_out"][:splits], file["new"][:splits], strict=True))


def rows_of(known: tuple[object, ...], scored: Sequence[tuple[Floats, Floats]]) -> Iterator[tuple[object, ...]]:
    """A row for every promise that so many images can make."""
    for confidence in (None, CONFIDENCE):
        for asked in RATES:
            try:
                limits = [calibrate(s, s, asked, method="leave-one-out", confidence=confidence) for s, _ in scored]
            except DataError:
                continue
            promise = "on average" if confidence is None else f"confidence {confidence:g}"
            values = {limits[0].method: [limit.value for limit in limits]}
            if confidence is None:
                values["leave-one-out"] = [conformal_limit(s, asked) for s, _ in scored]
            for method, placed in values.items():
                rates = np.array([(new > value).mean() for value, (_, new) in zip(placed, scored, strict=True)])
                spread = (rates.mean(), rates.std(ddof=1), (rates > asked).mean(), (rates > 2 * asked).mean())
                numbers = (f"{value:.4f}" for value in spread)
                yield (*known, promise, asked, method, len(scored), len(scored[0][1]), *numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="DATA", help="Data sets; 'panes' is drawn.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file to write.")
    parser.add_argument("--detectors", default="patchcore,padim,dfm", help="Names, separated by commas.")
    parser.add_argument("--splits", type=int, default=200, help="Random splits.")
    parser.add_argument("--image-size", type=int, default=128, help="Of the network, px.")
    parser.add_argument("--scores", type=Path, help="Folder where scores are kept, and taken up from.")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kept = args.scores or Path(folder) / "scores"
        for data in args.data:
            drawn = Path(folder) / "panes"
            drawn.mkdir(exist_ok=True)
            maps = features(good_images(data, drawn), args.image_size)
            for name in args.detectors.split(","):
                for n in COUNTS:
                    known = (Path(data).name, name, n)
                    file = kept / ("-".join(map(str, (*known, args.image_size))) + ".npz")
                    scored = score_splits(name, maps, args.image_size, n, args.splits, file)
                    rows += (new := list(rows_of(known, scored)))
                    for row in new:
                        print(*row, flush=True)
    write_text(args.output, csv_text(RESULT_COLUMNS, rows))


if __name__ == "__main__":
    main()
