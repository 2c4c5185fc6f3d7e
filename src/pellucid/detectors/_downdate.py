"""Mahalanobis distances of fitted vectors as if their group had not been fitted on, without another factorisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.detectors._device import double_precision_device

MAX_GRAM_VALUES = 2**25  # of the matrices between the vectors of groups that are in memory at a time
SERIES_PRECISION = 1e-8  # relative, of the series in epsilon


def left_out_distances(delta: Tensor, bands: Sequence[Tensor], numbers: Tensor, count: int, epsilon: float) -> Tensor:
    """Compute the squared distance of each vector to the Gaussian of all vectors but those of its group.

    With N vectors, S their scatter and d_j the deviations from their mean, the rows of D (g, C) for a group, what is
    left without the group has the scatter S - D^T V D, where V = I + 11^T / (N - g), and vector j deviates from its
    mean by D^T v_j, with v_j the j-th column of V. Its covariance is (S - D^T V D + (N - g - 1) epsilon I) /
    (N - g - 1). With K = D A^-1 D^T and A = S + (N - g - 1) epsilon I, Woodbury's identity gives

        (N - g - 1) v_j^T (I - K V)^-1 K v_j.

    A is (N - 1) times the covariance Sigma of all less g epsilon I, so that K is a geometric series in Sigma^-1, whose
    ratio is at most g / (N - 1): it is summed to rounding.

    Args:
        delta: deviations from the mean at P positions, (P, n, C), of whole groups.
        bands: the inverse Cholesky factor of every covariance in bands of rows, as :class:`Padim` keeps it.
        numbers: the group of each vector, (n,).
        count: N, vectors that mean and covariance are of; at least 2 more than any group has.
        epsilon: on the covariance's diagonal.

    Returns:
        (P, n).
    """
    positions = max(1, MAX_GRAM_VALUES // max(1, delta.shape[1]) ** 2)
    return torch.cat(
        [
            _distances(
                delta[at : at + positions], [band[at : at + positions] for band in bands], numbers, count, epsilon
            )
            for at in range(0, len(delta), positions)
        ]
    )


def _distances(delta: Tensor, bands: Sequence[Tensor], numbers: Tensor, count: int, epsilon: float) -> Tensor:
    numbers = numbers.to(double_precision_device(delta.device))
    same = numbers[:, None] == numbers  # (n, n)
    size = same.sum(1)  # g of each vector's group
    K = _gram(delta, bands, same.double() / (count - 1), epsilon * size.double() / (count - 1))
    identity, left = torch.eye(len(numbers)).to(K), (count - size).to(K.device)
    V = identity + same.to(K) / left
    held = torch.linalg.solve(identity - K @ V, K)
    squared: Tensor = (V @ held @ V).diagonal(dim1=1, dim2=2) * (left - 1)
    return squared.clamp_min(0).float().to(delta.device)


def _gram(delta: Tensor, bands: Sequence[Tensor], weight: Tensor, ratio: Tensor) -> Tensor:
    """Sum weight * d_i^T (Sigma^-1 + ratio Sigma^-2 + ratio^2 Sigma^-3 ...) d_j, (P, n, n), where the weight is not 0.

    Sigma^-1 is W^T W: with W and W^T applied by turns, each power is a matrix of scalar products. They are added up in
    double precision, because what is left of the identity without K may be small.
    """
    total = torch.zeros(len(delta), *weight.shape).to(weight)
    while True:
        for times in (_whiten, _whiten_transposed):
            delta = times(delta, bands)
            exact = delta.to(weight)
            term = weight * (exact @ exact.mT)
            total += term
            if not (term.diagonal(dim1=1, dim2=2) > SERIES_PRECISION * total.diagonal(dim1=1, dim2=2)).any():
                return total
            weight = weight * ratio[:, None]


def _whiten(x: Tensor, bands: Sequence[Tensor]) -> Tensor:
    """W x for every vector of (P, n, C)."""
    return torch.cat([x[:, :, : band.shape[1]] @ band for band in bands], 2)


def _whiten_transposed(x: Tensor, bands: Sequence[Tensor]) -> Tensor:
    """W^T x for every vector of (P, n, C)."""
    total = torch.zeros_like(x)
    low = 0
    for band in bands:
        high = low + band.shape[2]
        total[:, :, : band.shape[1]] += x[:, :, low:high] @ band.mT
        low = high
    return total
