"""Does the promise hold: is the share of good images rejected what was asked for, when new parts are like the old ones?

    python -m benchmarks.false_rejects ../shared/data/glass_defect/normal_train

Half of one session's good images train (and calibrate) a detector, the other half tests it, several times over with
another split. One row a split goes to ``false_rejects.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import binom

import pellucid
from pellucid._io.files import csv_text, write_text
from pellucid.acquisition.files import image_files

RESULTS = Path(__file__).with_suffix(".csv")
RESULT_COLUMNS = ("detector", "seed", "normals", "method", "tested", "rejected", "lowest", "highest", "inside")


def draw_halves(images: list[Path], seed: int, folder: Path) -> tuple[Path, list[Path]]:
    """Draw halves at random: write a CSV of both, the first to train on, and return it and the images of the second."""
    order = np.random.default_rng(seed).permutation(len(images))
    train, test = (sorted(images[i] for i in part) for part in np.array_split(order, 2))
    table = folder / f"halves-{seed}.csv"
    rows = [f"{path},normal,{split}" for split, paths in (("train", train), ("test", test)) for path in paths]
    table.write_text("\n".join(["path,label,split", *rows]) + "\n", encoding="utf-8")
    return table, test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="Folder of good images of one session.")
    parser.add_argument("--detectors", default="patchcore", help="Names, separated by commas.")
    parser.add_argument("--splits", type=int, default=10, help="Halves that are drawn.")
    parser.add_argument("--false-reject", type=float, default=0.05, help="Promised share.")
    args = parser.parse_args()
    images = [path.resolve() for path in image_files(args.images)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.detectors.split(","):
            for seed in range(args.splits):
                table, test = draw_halves(images, seed, Path(folder))
                inspector = pellucid.fit(table, name, false_reject=args.false_reject, seed=seed)
                rejected = sum(i.verdict == "reject" for i in inspector.inspect_many(test))
                low, high = (int(v) for v in binom.interval(0.95, len(test), args.false_reject))
                known = (name, seed, len(images) - len(test), inspector.limit.method, len(test), rejected)
                rows.append((*known, low, high, low <= rejected <= high))
                print(*rows[-1], flush=True)
            mine = [row for row in rows if row[0] == name]
            share = sum(row[5] for row in mine) / sum(row[4] for row in mine)
            inside = sum(row[-1] for row in mine)
            print(f"{name}: {share:.1%} of good images rejected, promised {args.false_reject:.1%};", end=" ")
            print(f"{inside} of {len(mine)} splits within the binomial 95 % interval", flush=True)
    write_text(RESULTS, csv_text(RESULT_COLUMNS, rows))


if __name__ == "__main__":
    main()
