"""How long a comparison will take, and how much room: said before it begins, and again whenever a model is done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pellucid import backbones
from pellucid._io.space import FitSpace, estimate_fit_space, warn_of_little_room
from pellucid.acquisition.images import Size, batch_size
from pellucid.detectors._device import resolve_device
from pellucid.study.sweep import Candidate

FIT_PASSES = {  # of the detector's backbone over an image, that a fit costs an image, whatever its epochs
    "anomaly_dino": 2.4,
    "cfa": 2.5,
    "cflow": 3.0,
    "dfkde": 1.5,
    "dfm": 1.7,
    "dinomaly": 1.5,
    "draem": 6.0,
    "efficientad": 3.0,
    "fastflow": 4.0,
    "padim": 4.2,
    "patchcore": 2.1,
    "reverse_distillation": 3.0,
    "stfpm": 3.5,
    "subspace": 3.5,
    "supersimplenet": 2.5,
    "uflow": 1.5,
}
EPOCH_PASSES = {  # and for each epoch; both from the seconds in benchmarks/detectors.csv
    "cfa": 0.4,
    "cflow": 2.7,
    "dinomaly": 4.3,
    "draem": 1.5,
    "efficientad": 4.0,
    "fastflow": 2.0,
    "reverse_distillation": 1.5,
    "stfpm": 1.1,
    "supersimplenet": 1.8,
    "uflow": 1.0,
}
SCORE_PASSES = 2.0  # that an image costs, file to verdict
SCORED_BESIDE_TESTS = 150  # images that are timed one by one, drawn for the report, or planted with flaws
START_SECONDS = 4.0  # of a model's process, until it reads the first image
PROCESS_BYTES = 500_000_000  # of a process that has computed nothing
TRAINED_BYTES_PER_PX = 1500  # of a batch, that a training keeps for its gradients
WARM_UP_PASSES, TIMED_PASSES = 2, 5


@dataclass(frozen=True)
class Expected:
    """What a model will take.

    Attributes:
        seconds: to fit and to test it; None where nothing is known of its detector.
        memory_bytes: of its process at most.
        disk_bytes: of its features in the temporary folder.
    """

    seconds: float | None
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class BackbonePass:
    """One pass of a backbone over one image of a size, on this machine as it is now.

    Attributes:
        seconds: by the clock.
        map_shapes: (C, h, w) of each of its maps.
    """

    seconds: float
    map_shapes: tuple[tuple[int, int, int], ...]


def measure_pass(parameters: Mapping[str, Any], size: Size) -> BackbonePass:
    """Measure a pass of a detector's backbone.

    Args:
        parameters: of the detector: ``backbone``, ``layers`` and ``weights``.
        size: height and width of what it sees, px.
    """
    return _measure_pass(parameters["backbone"], tuple(parameters["layers"]), parameters["weights"], size)


@lru_cache(maxsize=16)
def _measure_pass(name: str, layers: tuple[str, ...], weights: str | None, size: Size) -> BackbonePass:
    device = resolve_device()
    backbone = backbones.create(name, layers=layers, weights=weights).to(device)
    backbone.fold()
    pixels, times = torch.full((1, 3, *size), 0.5, device=device), []
    with torch.inference_mode():
        for _ in range(WARM_UP_PASSES + TIMED_PASSES):
            start = time.perf_counter()
            backbone(pixels)[-1].cpu()
            times.append(time.perf_counter() - start)
    return BackbonePass(median(times[WARM_UP_PASSES:]), tuple(backbone.shapes(*size)))


def expect(candidate: Candidate, size: Size, one: BackbonePass, *, n_fitted: int, n_tested: int, fits: int) -> Expected:
    """Estimate what a model will take.

    Args:
        candidate: the model.
        size: height and width of what it sees, px.
        one: pass of its backbone.
        n_fitted: how many images are learned from.
        n_tested: how many are tested on.
        fits: how often a detector that is trained is fitted: once, and once for each fold.
    """
    parts = candidate.detector.split("+")
    found = [_expect_part(candidate, part, size, one, n_fitted, fits) for part in parts]
    seconds = [part.seconds for part in found if part.seconds is not None]
    scoring = SCORE_PASSES * len(parts) * (n_tested + SCORED_BESIDE_TESTS) * one.seconds
    return Expected(
        START_SECONDS + scoring + sum(seconds) if len(seconds) == len(parts) else None,
        PROCESS_BYTES + max(part.memory_bytes for part in found),
        sum(part.disk_bytes for part in found),
    )


def _expect_part(candidate: Candidate, name: str, size: Size, one: BackbonePass, n_fitted: int, fits: int) -> Expected:
    """Estimate what fitting one detector of a model takes; memory is what it adds to that of its process."""
    prefix = "" if name == candidate.detector else f"{name}."
    parameters = {key.removeprefix(prefix): value for key, value in candidate.parameters.items()}
    epochs = parameters.get("epochs")
    passes = None
    if name in FIT_PASSES:
        passes = FIT_PASSES[name] if epochs is None else fits * (FIT_PASSES[name] + EPOCH_PASSES[name] * epochs)
    seconds = None if passes is None else passes * n_fitted * one.seconds
    shapes = one.map_shapes
    if epochs is not None:
        space = estimate_fit_space(n_fitted, shapes, bytes_per_value=2)
        batch = int(parameters.get("batch_size", 8))
        return Expected(seconds, TRAINED_BYTES_PER_PX * batch * math.prod(size), space.disk_bytes)
    joined = (sum(channels for channels, _, _ in shapes), *shapes[0][1:])
    if name in ("patchcore", "anomaly_dino"):
        kept = parameters.get("coreset_sampling_ratio", 1.0) if name == "patchcore" else 0.0
        space = estimate_fit_space(n_fitted, [joined], kept_share=float(kept))
        return Expected(seconds, 2 * space.memory_bytes, space.disk_bytes)
    of_batch = 4 * 4 * batch_size(size) * math.prod(joined)  # float32, and what is computed from it
    gaussians = 3 * 4 * int(parameters.get("n_features", 0)) ** 2 * math.prod(joined[1:])  # covariances and inverses
    return Expected(seconds, of_batch + gaussians, 0)


class Remaining:
    """What is left of a comparison whose models are trained one after the other; it learns from those that are done.

    Args:
        expected: what each model will take, by its folder.
        n_fitted: how many images each learns from.
    """

    def __init__(self, expected: Mapping[Path, Expected], n_fitted: int) -> None:
        self._waiting = dict(expected)
        self._n_fitted = n_fitted
        self._expected_seconds = self._taken_seconds = 0.0

    @property
    def pace(self) -> float:
        """Seconds that models took over those that were expected of them; 1 before any is done."""
        return self._taken_seconds / self._expected_seconds if self._expected_seconds else 1.0

    def announce(self, name_of: Callable[[Path], str]) -> str:
        """Say what all will take, and each.

        Args:
            name_of: what a folder's model is called.

        Warns:
            UserWarning: there is less room than they need.
        """
        disk = max(one.disk_bytes for one in self._waiting.values())
        memory = max(one.memory_bytes for one in self._waiting.values())
        warn_of_little_room(FitSpace(self._n_fitted, disk, memory))
        each = ", ".join(f"{name_of(folder)} {_duration(one.seconds)}" for folder, one in self._waiting.items())
        count = f"{len(self._waiting)} model{'s' * (len(self._waiting) != 1)}"
        return (
            f"{count} will take {self._total()}: {each}; up to {memory / 1e9:.1f} GB of memory and"
            f" {disk / 1e9:.1f} GB of disk"
        )

    def done(self, folder: Path, seconds: float) -> str:
        """Take note of what a model took, and say how long the others will take; nothing where none is left.

        Of a model of which nothing was expected, no note is taken.

        Args:
            folder: of the model.
            seconds: that it took.
        """
        expected = self._waiting.pop(folder, None)
        if expected is not None and expected.seconds is not None:
            self._expected_seconds += expected.seconds
            self._taken_seconds += seconds
        return f"{self._total()} left" if self._waiting else ""

    def _total(self) -> str:
        seconds: Sequence[float | None] = [one.seconds for one in self._waiting.values()]
        known = [one for one in seconds if one is not None]
        if not known:
            return _duration(None)
        return ("" if len(known) == len(seconds) else "more than ") + _duration(self.pace * sum(known))


def _duration(seconds: float | None) -> str:
    """Say about how long something takes, as people do.

    >>> _duration(42), _duration(400), _duration(20000), _duration(None)
    ('about 40 s', 'about 7 min', 'about 5.6 h', 'nobody knows how long')
    """
    if seconds is None:
        return "nobody knows how long"
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
