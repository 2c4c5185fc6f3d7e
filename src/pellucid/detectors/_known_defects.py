"""What labelled defects teach a detector: a direction in its features, along which they differ from good parts.

The direction is Fisher's linear discriminant ("The use of multiple measurements in taxonomic problems", Annals of
Eugenics 7, 1936) with a covariance that is shrunk towards a multiple of the identity (Friedman, "Regularized
discriminant analysis", JASA 84, 1989). It is in closed form, from moments that add up: leaving some images out of it
needs no second look at the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.detectors._maps import concatenate, locally_aware, resize_to, smooth_map

PATCHSIZE = 3  # positions in each direction that a feature is the mean of
SHRINKAGE = 0.2  # of the covariance, in (0, 1]


@dataclass(frozen=True)
class Moments:
    """Weighted count, sum (D,) and sum of products (D, D) of features, in float64 on the CPU.

    Those of several sets of features are added up, and those of a part are taken off.
    """

    count: float
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, rows: Tensor, weight: float = 1.0) -> Self:
        """Sum up features (n, D), each of which counts ``weight``."""
        rows = rows.cpu().double()
        return cls(weight * len(rows), weight * rows.sum(0), weight * (rows.T @ rows))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.products - other.products)

    def normalised(self) -> Moments:
        """Return the same features, which all together count one."""
        return Moments(1.0, self.total / self.count, self.products / self.count)

    @property
    def mean(self) -> Tensor:
        """(D,)."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """(D, D), biased."""
        return self.products / self.count - torch.outer(self.mean, self.mean)


def fisher_direction(good: Moments, defective: Moments) -> Tensor:
    """Find the direction (D,) along which defects differ most from good parts, by how much both vary.

    Features are brought to the spread that they have in good parts, and both classes count the same, however many
    features each has.
    """
    scale = good.covariance.diagonal().clamp_min(0).sqrt()
    scale = scale.clamp_min(1e-6 * float(scale.max()) + 1e-12)  # a feature that is the same everywhere tells nothing
    within = (good.covariance + defective.covariance) / 2 / torch.outer(scale, scale)
    identity = torch.eye(len(scale), dtype=within.dtype)
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * within.diagonal().mean() * identity
    direction: Tensor = torch.linalg.solve(shrunk, (defective.mean - good.mean) / scale)
    return direction / scale


def embed(maps: Sequence[Tensor]) -> Tensor:
    """Join a backbone's maps (B, C, h, w) to features (B, D, h, w) on the grid of the first one, means of 3x3."""
    return concatenate(locally_aware(list(maps), PATCHSIZE))


def project(maps: Sequence[Tensor], directions: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a backbone's maps (B, C, h, w) to how far they lie along directions (D, K): maps (B, K, *size), smoothed.

    What :func:`embed` does is linear, so that it is done to K maps instead of D.
    """
    parts = torch.split(directions.T, [m.shape[1] for m in maps], 1)  # (K, C) each
    along = [F.conv2d(m, part[..., None, None].to(m)) for m, part in zip(maps, parts, strict=True)]
    grid = (along[0].shape[2], along[0].shape[3])
    summed = torch.stack([resize_to(m, grid) for m in locally_aware(along, PATCHSIZE)]).sum(0)  # (B, K, h, w)
    return smooth_map(summed.flatten(0, 1), size).view(summed.shape[0], summed.shape[1], *size)


class Head(NamedTuple):
    """What a taught detector adds to its map, and how much its score rises with that.

    Attributes:
        direction: in the features (D,), in the unit of the map.
        threshold: along it, above which something is added, ().
        gain: of the score, for one unit of the map's highest value, ().
    """

    direction: Tensor
    threshold: Tensor
    gain: Tensor

    def fuse(self, anomaly_map: Tensor, score: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Add to a map (B, H, W) what looks like a known defect, and to the score (B,) what that adds to its peak.

        Nothing is ever taken off: what a detector finds by itself it goes on finding.
        """
        size = (anomaly_map.shape[1], anomaly_map.shape[2])
        along = project(maps, self.direction[:, None], size)[:, 0]
        fused = anomaly_map + (along - self.threshold).clamp_min(0)
        return fused, score + self.gain * (fused.flatten(1).amax(1) - anomaly_map.flatten(1).amax(1))
