"""A new lot, a new light: what 8 good images of a session change for its other images, sessions apart.

    python -m benchmarks.update ../shared/data -o benchmarks/update.csv [--sets glass_defect,flatglass_line]

A closed-form detector is fitted on the good images of other sessions (of glass_defect: its training images, which are
one session), and learns 8 good images of a session, several draws of them. All others of the session are judged. A row
for every detector, seed, session and way to update: whether the images are learned, and what becomes of the limit.
``rejected`` and ``escaped`` are means over the draws; ``within`` is the share of draws in which the number of good
images rejected is one that 19 of 20 such samples have at a true rate of 5 %. Where a set has enough good images to
choose by, no label of a defect is needed: ``flatglass_line`` and ``magnetic_tile`` chose how the limit is moved.

With ``--planted`` the first draw of every session is also given to ``pellucid.update``, which plants flaws.
"""

from __future__ import annotations

import argparse
import copy
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

import pellucid
from benchmarks.dead_camera import SETS
from benchmarks.false_rejects import CachedFeatures, features
from pellucid import detectors
from pellucid._io.files import csv_text, write_text
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.splits import group_numbers
from pellucid.acquisition.verify import verify
from pellucid.detectors._base import Detector
from pellucid.limits.conformal import calibrate, conformal_limit
from pellucid.limits.lot import move_to_lot
from pellucid.limits.tail import tail_limit
from pellucid.records import Sample
from pellucid.records.limits import Limit

FALSE_REJECT, LEARNED = 0.05, 8
MIN_JUDGED = 3  # other good images of a session
COLUMNS = (
    "data",
    "image_size",
    "detector",
    "seed",
    "session",
    "learned",
    "limit",
    "draws",
    "good",
    "rejected",
    "within",
)
COLUMNS += ("defects", "escaped")
PLANTED_COLUMNS = ("data", "detector", "session", "limit", "updated_limit", "planted", "found_before")
PLANTED_COLUMNS += ("found_at_lot_limit", "found_after", "accepted")
Floats = NDArray[np.float64]


def session_of(data: Path, sample: Sample) -> str:
    """Of any image; the names of defects of glass_defect begin with their type."""
    return SETS[data.name][2](re.sub(r"^[a-z]+_(?=\d)", "", sample.path.name))


class Images:
    """A data set, its sessions, and its features, computed once."""

    def __init__(self, data: Path, size: int) -> None:
        self.data, self.size = data, size
        self.samples = verify(read_folder(data)).samples.samples
        self.sessions = np.array([session_of(data, s) for s in self.samples])
        self.good = np.array([s.label == "normal" for s in self.samples])
        self.tested = np.array([s.split == "test" for s in self.samples])
        self.maps = features([s.path for s in self.samples], size)

    def tasks(self) -> Iterator[tuple[str, Sequence[int], Sequence[int], Sequence[int]]]:
        """Every session with the numbers of the images to fit on, its good images and its defects."""
        apart = self.data.name != "glass_defect"  # whose layout keeps sessions apart
        judged = self.good & (~self.tested if apart else self.tested)
        for session in sorted(set(self.sessions[judged])):
            own = self.sessions == session
            fitted = np.flatnonzero(self.good & ~self.tested & ~(own & apart))
            good, bad = np.flatnonzero(own & judged), np.flatnonzero(own & ~self.good)
            if len(good) >= LEARNED + MIN_JUDGED:
                yield session, fitted.tolist(), good.tolist(), bad.tolist()

    def batches(self, numbers: Sequence[int]) -> list[Tensor]:
        one_number = torch.tensor(numbers).float().view(-1, 1, 1, 1)
        return list(one_number.expand(-1, 3, self.size, self.size).split(25)) if len(numbers) else []

    def fit(self, name: str, seed: int, numbers: Sequence[int]) -> tuple[Detector, Limit]:
        """A detector and its limit, each image left out with its group."""
        samples = [self.samples[n] for n in numbers]
        if self.data.name == "magnetic_tile":  # whose groups are its sessions: nothing would be left of one
            samples = [replace(s, group=None) for s in samples]
        groups = group_numbers(samples)
        order = sorted(range(len(numbers)), key=groups.__getitem__)
        detector = detectors.create(name, seed=seed)
        cached = CachedFeatures([self.maps[layer] for layer in detector.layers])
        with patch("pellucid.detectors._base.create", lambda *_, **__: cached):
            batches = self.batches([numbers[k] for k in order])
            found = detector.fit_leaving_out(batches, [groups[k] for k in order])
            scores = torch.cat([scores for _, scores in found]).tolist()
        of_group = [samples[k].group for k in order]
        return detector, calibrate(scores, scores, FALSE_REJECT, groups=of_group, method="leave-one-out")

    def score(self, detector: Detector, numbers: Sequence[int]) -> Floats:
        parts = [detector.score(batch)[1] for batch in self.batches(numbers)]
        return torch.cat(parts).double().numpy() if parts else np.empty(0)


def limits_after(limit: Limit, scores: Floats) -> dict[str, float]:
    """What may become of a limit by the left-out scores of a lot."""
    return {
        "kept": limit.value,
        "pooled": pooled(limit, scores),
        "highest": float(scores.max()),
        "to the mean": to_the_mean(np.asarray(limit.scores), limit.value, scores),
        "to the mean of logs": float(np.exp(to_the_mean(np.log(limit.scores), np.log(limit.value), np.log(scores)))),
        "moved": move_to_lot(limit, scores.tolist(), range(len(scores))).value,
    }


def pooled(limit: Limit, scores: Floats) -> float:
    """The limit from both, each new image a group of its own, as in a fit."""
    together = np.concatenate([limit.scores, scores])
    weights = np.concatenate([limit.weights or np.ones(len(limit.scores)), np.ones(len(scores))])
    tail = tail_limit(together, FALSE_REJECT, weights) if limit.method == "tail" else None
    return conformal_limit(together, FALSE_REJECT, weights) if tail is None else tail


def to_the_mean(earlier: Floats, value: float, scores: Floats) -> float:
    return float(scores.mean() + np.sqrt(1 + 1 / len(scores)) * (value - earlier.mean()))


def draw_of(good: Sequence[int], seed: int, draw: int) -> tuple[list[int], list[int]]:
    """The images that are learned, and those that are judged."""
    order = np.random.default_rng((seed, draw)).permutation(good).tolist()
    return order[:LEARNED], order[LEARNED:]


def measure(images: Images, name: str, seed: int, draws: int) -> Iterator[tuple[object, ...]]:
    fits: dict[tuple[int, ...], tuple[Detector, Limit]] = {}
    for session, fitted, good, bad in images.tasks():
        if tuple(fitted) not in fits:
            fits = {tuple(fitted): images.fit(name, seed, fitted)}
        detector, limit = fits[tuple(fitted)]
        found: dict[tuple[str, str], list[tuple[float, bool, float]]] = {}
        for draw in range(draws):
            learned, judged = draw_of(good, seed, draw)
            updated = copy.copy(detector)
            batches = images.batches(learned)
            left_out = torch.cat([scores for _, scores in updated.update_leaving_out(batches, range(LEARNED))])
            low, high = binom.interval(0.95, len(judged), FALSE_REJECT)
            for does, model, scores in (
                ("no", detector, images.score(detector, learned)),
                ("yes", updated, left_out.double().numpy()),
            ):
                new, defects = images.score(model, judged), images.score(model, bad)
                for what, value in limits_after(limit, scores).items():
                    rejected = int((new > value).sum())
                    escaped = float((defects <= value).mean()) if len(bad) else float("nan")
                    one = (rejected / len(judged), low <= rejected <= high, escaped)
                    found.setdefault((does, what), []).append(one)
        for way, values in found.items():
            rejected, within, escaped = (f"{mean:.4f}" for mean in np.array(values, float).mean(0))
            count = len(good) - LEARNED
            known = (images.data.name, images.size, name, seed, session)
            yield (*known, *way, draws, count, rejected, within, len(bad), escaped)


def plant(images: Images, name: str) -> Iterator[tuple[object, ...]]:
    """What ``pellucid.update`` says of the first draw of every session; models are fitted as users do."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.pellucid"
        pellucid.fit(images.data, name, image_size=images.size).save(model)
        for session, _, good, _ in images.tasks():
            learned = [images.samples[n].path for n in draw_of(good, 0, 0)[0]]
            found, step = (update := pellucid.update(model, learned)).found, update.step
            limits = (f"{step.limit:.6g}", f"{step.updated_limit:.6g}")
            counts = (step.planted, found, step.found, step.updated_found, update.accepted)
            yield (images.data.name, name, session, *limits, *counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Folder of the real image sets.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="CSV file to write.")
    parser.add_argument("--sets", default=",".join(SETS), help="Names, separated by commas.")
    parser.add_argument("--detectors", default="patchcore,padim,dfm", help="Names, separated by commas.")
    parser.add_argument("--seeds", type=int, default=3, help="Fits, each with draws of its own.")
    parser.add_argument("--draws", type=int, default=3, help="Draws of the images to learn.")
    parser.add_argument("--image-size", type=int, default=256, help="Of the network, px.")
    parser.add_argument("--planted", type=Path, help="CSV file to write what planted flaws say of every session to.")
    args = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    planted: list[tuple[object, ...]] = []
    for data in args.sets.split(","):
        images = Images(args.data / data, args.image_size)
        for name in args.detectors.split(","):
            for seed in range(args.seeds):
                rows += (new := list(measure(images, name, seed, args.draws)))
                for row in new:
                    print(*row, flush=True)
                write_text(args.output, csv_text(COLUMNS, rows))
            if args.planted is not None:
                planted += plant(images, name)
                write_text(args.planted, csv_text(PLANTED_COLUMNS, planted))


if __name__ == "__main__":
    main()
