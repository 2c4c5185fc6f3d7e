"""Measure how what a fit does beside its detector grows with the images, to 20,000: splits, likeness, DFM's subspace.

    python -m benchmarks.many_images [--images 2000 5000 20000]

Fingerprints and images are synthetic, a twentieth of the fingerprints are others' duplicates; what is measured is the
code that a fit runs, each step in a process of its own, in seconds of all cores together. One row a step and number of
images goes to ``many_images.csv``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pellucid._io.files import csv_text, write_text

RESULTS = Path(__file__).with_suffix(".csv")
RESULT_COLUMNS = ("step", "images", "cpu_seconds", "peak_mb", "found")
STEPS = ("plan_split", "find_alike", "dfm")


def find_alike(count: int) -> int:
    """Compare fingerprints of independent noise, of which a twentieth are noisy copies."""
    from pellucid.acquisition import likeness

    rng = np.random.default_rng(0)

    def drawn() -> likeness.Fingerprint:
        side, landmarks = likeness.WHOLE_SIDE_PX, (likeness.LANDMARKS, likeness.PATCH_FREQUENCIES**2)
        whole = np.clip(rng.normal(0, 45, (side, side)), -125, 125).astype(np.int8)
        places = rng.integers(16, 240, (likeness.LANDMARKS, 2)).astype(np.int16)
        return likeness.Fingerprint(whole, rng.normal(0, 1, landmarks).astype(np.float16), places)

    def copied(one: likeness.Fingerprint) -> likeness.Fingerprint:
        whole = np.clip(one.whole + rng.normal(0, 10, one.whole.shape), -125, 125).astype(np.int8)
        return likeness.Fingerprint(whole, one.patches + rng.normal(0, 0.3, one.patches.shape), one.places + 9)

    prints = [drawn() for _ in range(count - count // 20)]
    prints += [copied(prints[k]) for k in range(count // 20)]
    return len(likeness.find_alike(prints))


def plan_split(count: int) -> int:
    """Split as many good images, three of each pane."""
    from pellucid.acquisition import splits
    from pellucid.records import Sample, Samples

    images = tuple(Sample(Path(f"{n:05d}"), "normal", "train", group=str(n // 3)) for n in range(count))
    return len(splits.plan_split(Samples(Path(), "drawn", images)).calibrate)


def dfm(count: int) -> int:
    """Fit on drawn noise at 128 px, whose features are 640 numbers."""
    import torch

    from pellucid import detectors

    class Drawn:
        def __len__(self) -> int:
            return -(-count // 8)

        def __iter__(self) -> Iterator[torch.Tensor]:
            generator = torch.Generator().manual_seed(0)
            for start in range(0, count, 8):
                small = torch.rand(min(8, count - start), 3, 16, 16, generator=generator)
                yield torch.nn.functional.interpolate(small, size=(128, 128), mode="bilinear")

    return len(detectors.create("dfm").fit(Drawn()).variance_)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 4000, 8000, 20000])
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        from pellucid.study.measure import peak_ram_mb

        step, count = args.run[0], int(args.run[1])
        start = time.process_time()
        found = {"find_alike": find_alike, "plan_split": plan_split, "dfm": dfm}[step](count)
        print(f"{time.process_time() - start:.1f}", f"{peak_ram_mb():.0f}", found)
        return
    rows = []
    for step in args.steps:
        for count in args.images:
            command = [sys.executable, "-m", "benchmarks.many_images", "--run", step, str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append((step, count, *done.stdout.split()))
            print(*rows[-1], flush=True)
    write_text(RESULTS, csv_text(RESULT_COLUMNS, rows))


if __name__ == "__main__":
    main()
