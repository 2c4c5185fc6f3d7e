"""Principal subspace of features, however many there are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pellucid.detectors._device import double_precision_device
from pellucid.errors import DataError

MIN_EIGENVALUE = 1e-10  # share of the largest, below which there is no variance in a direction
SCATTER_BLOCK = 512  # rows that are added to the scatter matrix at a time


def principal_subspace(rows: Iterable[Tensor], level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the mean of features and the subspace that keeps a share of their variance.

    Up to D features are kept, and the N x N Gram matrix is decomposed, which has the eigenvalues of their covariance
    and is smaller. More are only added up in the D x D scatter matrix: memory grows no further, and time with N alone.

    Args:
        rows: batches (B, D) of features.
        level: share of the variance to keep, in (0, 1].

    Returns:
        Mean (D,), orthonormal directions (D, k) by falling variance, and the variance along each (k,).

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
            scatter = scatter or _Scatter(torch.cat(kept).mean(0))
            scatter.add(torch.cat(kept))
            kept = []
    if count < 2:
        raise DataError("DFM needs at least two images to estimate a subspace.")
    if scatter is None:
        return _by_gram(torch.cat(kept), level)
    if kept:
        scatter.add(torch.cat(kept))
    return _by_scatter(scatter, level)


class LeftOutSubspaces:
    """What :func:`principal_subspace` would find in features if some of them were left out.

    All is computed in the coordinates of the principal directions of all features, in double precision: the scatter
    matrix of the others is the diagonal one of all, less a matrix of the rank of what is left out.

    Args:
        rows: features (N, D).
        level: share of the variance to keep, in (0, 1].
    """

    def __init__(self, rows: Tensor, level: float) -> None:
        self.level = level
        X = rows.to(double_precision_device(rows.device)).double()
        self.mu, self.device = X.mean(0), rows.device
        centred = X - self.mu
        if len(X) <= X.shape[1]:
            eigenvalues, V = torch.linalg.eigh(centred @ centred.T)
            kept = eigenvalues > MIN_EIGENVALUE * eigenvalues[-1]
            self.directions = centred.T @ V[:, kept] / eigenvalues[kept].sqrt()  # (D, r)
        else:
            eigenvalues, V = torch.linalg.eigh(centred.T @ centred)
            kept = eigenvalues > MIN_EIGENVALUE * eigenvalues[-1]
            self.directions = V[:, kept]
        self.eigenvalues = eigenvalues[kept]  # of the scatter matrix, ascending, (r,)
        self.coordinates = centred @ self.directions  # (N, r)

    def without(self, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is found without the features that are ``own`` (N,).

        Raises:
            DataError: fewer than two are left.
        """
        left = len(own) - int(own.sum())
        if left < 2:
            raise DataError("DFM needs at least two images to estimate a subspace without one image or group.")
        d = self.coordinates[own.to(self.coordinates.device)]  # (g, r)
        total = d.sum(0)
        scatter = torch.diag(self.eigenvalues) - d.T @ d - torch.outer(total, total) / left
        eigenvalues, W = torch.linalg.eigh(scatter)
        eigenvalues, W = eigenvalues.flip(0).clamp(min=0), W.flip(1)
        k = _dimensions(eigenvalues, left, self.level)
        mu, U = self.mu - self.directions @ total / left, self.directions @ W[:, :k]
        return mu.float().to(self.device), U.float().to(self.device), _variance(eigenvalues[:k], left).to(self.device)


class _Scatter:
    """Sum of outer products about a point near the mean, in double precision: nothing cancels."""

    def __init__(self, centre: Tensor) -> None:
        self.device, self.count = centre.device, 0
        self.centre = centre.to(double_precision_device(centre.device)).double()
        self.total = torch.zeros_like(self.centre)
        self.products = self.centre.new_zeros(len(centre), len(centre))

    def add(self, rows: Tensor) -> None:
        for block in torch.split(rows, SCATTER_BLOCK):
            x = block.to(self.centre.device).double() - self.centre
            self.count += len(x)
            self.total += x.sum(0)
            self.products.addmm_(x.T, x)


def _by_gram(X: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """From all features (N, D), where N is at most D."""
    mu = X.mean(0)
    centred = (X - mu).to(double_precision_device(X.device)).double()
    eigenvalues, V = torch.linalg.eigh(centred @ centred.T)
    eigenvalues, V = eigenvalues.flip(0).clamp(min=0), V.flip(1)
    k = _dimensions(eigenvalues, len(X), level)
    U = centred.T @ V[:, :k] / eigenvalues[:k].sqrt().clamp(min=1e-30)
    return mu.clone(), U.float().to(X.device), _variance(eigenvalues[:k], len(X)).to(X.device)


def _by_scatter(scatter: _Scatter, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """From the scatter matrix about a point, moved to the mean."""
    N, total = scatter.count, scatter.total
    eigenvalues, V = torch.linalg.eigh(scatter.products.addr_(total, total, alpha=-1 / N))
    eigenvalues, V = eigenvalues.flip(0).clamp(min=0), V.flip(1)
    k = _dimensions(eigenvalues, N, level)
    mu, device = scatter.centre + total / N, scatter.device
    return mu.float().to(device), V[:, :k].float().to(device), _variance(eigenvalues[:k], N).to(device)


def _dimensions(eigenvalues: Tensor, N: int, level: float) -> int:
    """How many directions keep ``level`` of the variance, of those that have any."""
    share = eigenvalues.cumsum(0) / eigenvalues.sum().clamp(min=1e-30)
    k = min(int((share < level).sum()) + 1, N - 1)
    return max(1, min(k, int((eigenvalues > MIN_EIGENVALUE * eigenvalues[0]).sum())))


def _variance(eigenvalues: Tensor, N: int) -> Tensor:
    return (eigenvalues / (N - 1)).clamp(min=1e-12).float()
