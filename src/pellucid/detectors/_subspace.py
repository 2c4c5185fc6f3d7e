"""Principal subspace of features, however many there are."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.detectors._device import double_precision_device
from pellucid.errors import DataError

MIN_EIGENVALUE = 1e-10  # share of the largest, below which there is no variance in a direction
SCATTER_BLOCK = 512  # rows that are added to the scatter matrix at a time


class Subspace(NamedTuple):
    """What keeps a share of the variance of features, and what is left of it.

    Attributes:
        mu: mean of the features, (D,).
        U: orthonormal directions by falling variance, (D, k).
        variance: along each of them, (k,).
        rest: the other directions with any variance, each times its standard deviation, (r, D).
        images: how many features they are of; DFM has one of an image.
    """

    mu: Tensor
    U: Tensor
    variance: Tensor
    rest: Tensor
    images: int


class Moments(NamedTuple):
    """Features that are not there any more: of how many images, their mean (D,), and rows (r, D) with their scatter."""

    images: int
    mu: Tensor
    rows: Tensor

    @classmethod
    def of(cls, found: Subspace) -> Moments:
        """Return those of the features by what was found in them."""
        rows = torch.cat([(found.U * found.variance.sqrt()).T, found.rest])
        rows = rows.to(double_precision_device(rows.device)).double()
        return cls(found.images, found.mu.to(rows), rows * (found.images - 1) ** 0.5)


def principal_subspace(rows: Iterable[Tensor], level: float) -> Subspace:
    """Compute the mean of features and the subspace that keeps a share of their variance.

    Up to D features are kept, and the N x N Gram matrix is decomposed, which has the eigenvalues of their covariance
    and is smaller. More are only added up in the D x D scatter matrix: memory grows no further, and time with N alone.

    Args:
        rows: batches (B, D) of features.
        level: share of the variance to keep, in (0, 1].

    Raises:
        DataError: there are fewer than two features.
    """
    kept: list[Tensor] = []
    count, scatter = 0, None
    for batch in rows:
        kept.append(batch)
        count += len(batch)
        waiting = sum(len(part) for part in kept)
        if (scatter is None and count > batch.shape[1]) or (scatter is not None and waiting >= SCATTER_BLOCK):
            scatter = scatter or Scatter(torch.cat(kept).mean(0))
            scatter.add(torch.cat(kept))
            kept = []
    if count < 2:
        raise DataError("DFM needs at least two images to estimate a subspace.")
    if scatter is None:
        return _by_gram(torch.cat(kept), level)
    if kept:
        scatter.add(torch.cat(kept))
    return scatter.subspace(level)


class LeftOutSubspaces:
    """What :func:`principal_subspace` would find in features if some of them were left out.

    All is computed in the coordinates of the principal directions of all features, in double precision: the scatter
    matrix of the others is the diagonal one of all, less a matrix of the rank of what is left out.

    Args:
        rows: features (N, D).
        level: share of the variance to keep, in (0, 1].
        earlier: more features, none of which is ever left out.
    """

    def __init__(self, rows: Tensor, level: float, earlier: Moments | None = None) -> None:
        self.level = level
        X = rows.to(double_precision_device(rows.device)).double()
        self.mu, self.device, self.count = X.mean(0), rows.device, len(X)
        scattered = X - self.mu
        if earlier is not None:
            apart, self.count = self.mu - earlier.mu, len(X) + earlier.images
            between = apart * (len(X) * earlier.images / self.count) ** 0.5
            scattered = torch.cat([earlier.rows, scattered, between[None]])
            self.mu = earlier.mu + apart * (len(X) / self.count)
        if len(scattered) <= X.shape[1]:
            eigenvalues, V = torch.linalg.eigh(scattered @ scattered.T)
            kept = eigenvalues > MIN_EIGENVALUE * eigenvalues[-1]
            self.directions = scattered.T @ V[:, kept] / eigenvalues[kept].sqrt()  # (D, r)
        else:
            eigenvalues, V = torch.linalg.eigh(scattered.T @ scattered)
            kept = eigenvalues > MIN_EIGENVALUE * eigenvalues[-1]
            self.directions = V[:, kept]
        self.eigenvalues = eigenvalues[kept]  # of the scatter matrix, ascending, (r,)
        self.coordinates = (X - self.mu) @ self.directions  # (N, r)

    def without(self, own: Tensor) -> Subspace:
        """Return what is found without the features that are ``own`` (N,); with none of them, what is found in all.

        Raises:
            DataError: fewer than two are left.
        """
        left = self.count - int(own.sum())
        if left < 2:
            raise DataError("DFM needs at least two images to estimate a subspace without one image or group.")
        d = self.coordinates[own.to(self.coordinates.device)]  # (g, r)
        total = d.sum(0)
        scatter = torch.diag(self.eigenvalues) - d.T @ d - torch.outer(total, total) / left
        eigenvalues, W = torch.linalg.eigh(scatter)
        eigenvalues, W = eigenvalues.flip(0).clamp(min=0), W.flip(1)
        mu = self.mu - self.directions @ total / left
        return _subspace(mu, self.directions @ W, eigenvalues, left, self.level, self.device)


class Scatter:
    """Sum of outer products of features about a point near their mean, in double precision: nothing cancels.

    Args:
        centre: that point, (D,).
    """

    def __init__(self, centre: Tensor) -> None:
        self.device, self.count = centre.device, 0
        self.centre = centre.to(double_precision_device(centre.device)).double()
        self.total = torch.zeros_like(self.centre)
        self.products = self.centre.new_zeros(len(centre), len(centre))

    @classmethod
    def of(cls, earlier: Moments, device: torch.device) -> Scatter:
        """Return that of features which are not there any more."""
        made = cls(earlier.mu.to(device))
        made.count, made.products = earlier.images, earlier.rows.T @ earlier.rows
        return made

    def add(self, rows: Tensor) -> None:
        """Add features (n, D)."""
        for block in torch.split(rows, SCATTER_BLOCK):
            x = block.to(self.centre.device).double() - self.centre
            self.count += len(x)
            self.total += x.sum(0)
            self.products.addmm_(x.T, x)

    def empty(self) -> Scatter:
        """Return one about the same centre, of no features yet."""
        made = copy.copy(self)
        made.count, made.total, made.products = 0, torch.zeros_like(self.total), torch.zeros_like(self.products)
        return made

    def without(self, other: Scatter) -> Scatter:
        """Return that of the features which are not in another one about the same centre; both stay as they are."""
        left = copy.copy(self)
        left.count, left.total, left.products = (
            self.count - other.count,
            self.total - other.total,
            self.products - other.products,
        )
        return left

    def subspace(self, level: float) -> Subspace:
        """Find what keeps a share of the variance, in (0, 1], of two or more features."""
        moved = torch.addr(self.products, self.total, self.total, alpha=-1 / self.count)  # to their mean
        eigenvalues, V = torch.linalg.eigh(moved)
        eigenvalues, V = eigenvalues.flip(0).clamp(min=0), V.flip(1)
        return _subspace(self.centre + self.total / self.count, V, eigenvalues, self.count, level, self.device)


def _by_gram(X: Tensor, level: float) -> Subspace:
    """From all features (N, D), where N is at most D."""
    mu = X.mean(0)
    centred = (X - mu).to(double_precision_device(X.device)).double()
    eigenvalues, V = torch.linalg.eigh(centred @ centred.T)
    eigenvalues, V = eigenvalues.flip(0).clamp(min=0), V.flip(1)
    directions = centred.T @ V / eigenvalues.sqrt().clamp(min=1e-30)
    return _subspace(mu, directions, eigenvalues, len(X), level, X.device)


def _subspace(
    mu: Tensor, directions: Tensor, eigenvalues: Tensor, N: int, level: float, device: torch.device
) -> Subspace:
    """From the directions (D, m) of the scatter matrix of N features by falling eigenvalues (m,), those kept that have
    ``level`` of the variance."""
    share = eigenvalues.cumsum(0) / eigenvalues.sum().clamp(min=1e-30)
    varying = min(int((eigenvalues > MIN_EIGENVALUE * eigenvalues[0]).sum()), N - 1)
    k = max(1, min(int((share < level).sum()) + 1, varying))
    variance = (eigenvalues / (N - 1)).clamp(min=1e-12)
    rest = (directions[:, k:varying] * variance[k:varying].sqrt()).T
    mu, U, variance, rest = (part.float().clone().to(device) for part in (mu, directions[:, :k], variance[:k], rest))
    return Subspace(mu, U, variance, rest, N)
