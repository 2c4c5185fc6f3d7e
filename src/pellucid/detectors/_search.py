"""How far a patch is from the nearest one of a memory bank: by blocks, or through exact lower bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.detectors._device import double_precision_device

SEARCH_BLOCK = 512  # points of the bank that are compared at a time
MAX_RESIDUAL_VARIANCE = 0.06  # share of the variance that the directions of a bounded search leave out
MAX_PCA_POINTS = 2048  # points that the directions are found from
CELL_SIZE = 64  # points of the bank whose bounds are judged together
BOUND_BLOCK = 2048  # points of the bank whose bounds are computed together: what that writes stays in the cache
MAX_CANDIDATES = 200  # of one query, from which on comparing it with the whole bank is faster
SEARCH_BLOCK_PAIRS = 2048  # pairs of points whose distances are computed together


def nearest(queries: Tensor, bank: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
    """The bank's nearest point for every query: squared distance (Q,) and index (Q,).

    The bank is taken in blocks, so that what a matrix product has written is still in the cache when its minimum is
    looked for. The query's own norm is the same for all points and left out. The distance returned is that of the
    difference: norms cancel where it is small.

    Args:
        queries: (Q, D).
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).
    """
    best = torch.full(queries.shape[:1], torch.inf, dtype=queries.dtype, device=queries.device)
    index = torch.zeros(queries.shape[:1], dtype=torch.long, device=queries.device)
    for start in range(0, len(bank), SEARCH_BLOCK):
        rows = slice(start, start + SEARCH_BLOCK)
        values, at = torch.addmm(norms[rows], queries, bank[rows].T, alpha=-2).min(dim=1)
        closer = values < best
        best = torch.where(closer, values, best)
        index = torch.where(closer, at + start, index)
    return (queries - bank[index]).square().sum(1), index


def principal_directions(points: Tensor) -> Tensor:
    """Return the directions (D, k) in which points (N, D) vary most; they leave at most ``MAX_RESIDUAL_VARIANCE``.

    Of many points, a few thousand are looked at. k is a multiple of 16, from 32 to 128.
    """
    some = points[:: -(-len(points) // MAX_PCA_POINTS)].to(double_precision_device(points.device))
    variance, directions = torch.linalg.eigh(torch.cov(some.T))  # the one that varies most comes last
    kept = variance.flip(0).cumsum(0) / variance.sum()
    count = min(max(16 * -(-int((kept < 1 - MAX_RESIDUAL_VARIANCE).sum() + 1) // 16), 32), 128)
    most: Tensor = directions.flip(1)[:, :count].contiguous().to(points.device)
    return most


class BoundedSearch:
    """The same search through lower bounds: exact, and several times faster where features are long.

    With P the principal directions and R the rest, |x - m|^2 >= |P(x - m)|^2 + (|Rx| - |Rm|)^2, which is the distance
    of vectors with k + 1 entries. Points are looked at whose bound is below a distance that is known already; a cell of
    ``CELL_SIZE`` neighbours in the bank none of whose bounds is below it is passed over as one.

    Args:
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).
        directions: orthonormal, (D, k).
    """

    def __init__(self, bank: Tensor, norms: Tensor, directions: Tensor) -> None:
        self.bank, self.norms, self.directions = bank, norms, directions
        self.mean = bank.mean(0)
        projected = self._project(bank)
        projected_norms = (projected * projected).sum(1)
        self.largest = projected_norms.max()
        filling = -len(bank) % CELL_SIZE  # points at infinity make the last cell a whole one
        self.projected = torch.cat([projected, projected.new_zeros(filling, projected.shape[1])])
        self.projected_norms = torch.cat([projected_norms, projected_norms.new_full((filling,), torch.inf)])

    def _project(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, k + 1)"""
        x = x - self.mean
        kept = x @ self.directions
        rest = (x.square().sum(1) - kept.square().sum(1)).clamp(min=0.0).sqrt()
        return torch.cat([kept, rest[:, None]], dim=1)

    def _slack(self, own: Tensor) -> Tensor:
        """How far rounding may move bounds, for queries with these squared norms of their short vectors."""
        return 1e-5 * (own + self.largest)

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The bank's nearest point for every query (Q, D): squared distance (Q,) and index (Q,)."""
        projected = self._project(queries)
        own = (projected * projected).sum(1)
        each = torch.arange(queries.shape[0], device=queries.device)
        least, index = torch.full_like(own, torch.inf), torch.zeros_like(each)
        bounds: list[tuple[int, Tensor, Tensor]] = []
        for start in range(0, len(self.projected), BOUND_BLOCK):  # all bounds are less the query's own norm
            part = slice(start, start + BOUND_BLOCK)
            bound = torch.addmm(self.projected_norms[part], projected, self.projected[part].T, alpha=-2)
            bound = torch.unflatten(bound, 1, (-1, CELL_SIZE))
            cell = bound.amin(2)  # (Q, cells)
            lowest, at = cell.min(1)
            index = torch.where(lowest < least, start + at * CELL_SIZE + bound[each, at].argmin(1), index)
            least = torch.minimum(least, lowest)
            bounds.append((start, bound, cell))
        least = (queries - self.bank[index]).square().sum(1)  # the distance to a good candidate
        limit = least - own + self._slack(own)
        found = [self._below(limit, *given) for given in bounds]
        rows, columns = torch.cat([r for r, _ in found]), torch.cat([c for _, c in found])
        candidates = torch.zeros_like(index).scatter_add(0, rows, torch.ones_like(rows))
        many = candidates > MAX_CANDIDATES
        few = ~many[rows]
        rows, columns = rows[few], columns[few]
        distance = (queries[rows] - self.bank[columns]).square().sum(1)
        least = least.scatter_reduce(0, rows, distance, "amin")
        hit = distance == least[rows]
        index = index.scatter(0, rows[hit], columns[hit])
        rest = many.nonzero()[:, 0]  # most often none: no blocks, which would cost something even so
        at = torch.addmm(self.norms, queries[rest], self.bank.T, alpha=-2).argmin(1)
        distance = (queries[rest] - self.bank[at]).square().sum(1)
        return least.scatter(0, rest, distance), index.scatter(0, rest, at)

    def _below(self, limit: Tensor, start: int, bound: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and points, (n,) each, whose bound (Q, cells, CELL_SIZE) is below the query's limit (Q,)."""
        rows, cells = (cell < limit[:, None]).nonzero(as_tuple=True)
        if torch.compiler.is_exporting():  # it would allow for sizes that ONNX cannot write down
            torch._check(rows.shape[0] < 2**31)  # type: ignore[no-untyped-call]
        which, inside = (bound[rows, cells] < limit[rows][:, None]).nonzero(as_tuple=True)
        return rows[which], start + cells[which] * CELL_SIZE + inside

    def neighbours(self, count: int) -> Tensor:
        """Indices (M, count) of every bank point's nearest points in the bank, itself included, nearest first."""
        return torch.cat([self._neighbours(start, count) for start in range(0, len(self.bank), SEARCH_BLOCK)])

    def _neighbours(self, start: int, count: int) -> Tensor:
        """The same of ``SEARCH_BLOCK`` points from ``start`` on."""
        points = self.bank[start : start + SEARCH_BLOCK]
        part = slice(start, start + len(points))  # without the points at infinity
        own = self.projected_norms[part]
        bound = torch.addmm(
            self.projected_norms, self.projected[part], self.projected.T, alpha=-2
        )  # less the point's own norm
        close = bound.topk(count, largest=False).indices
        reach = torch.stack([(points - self.bank[at]).square().sum(1) for at in close.T]).amax(0)
        rows, columns = (bound <= (reach - own + self._slack(own))[:, None]).nonzero(as_tuple=True)
        if len(rows) > MAX_CANDIDATES * len(points):
            return neighbours(points, self.bank, self.norms, count)
        parts = zip(torch.split(rows, SEARCH_BLOCK_PAIRS), torch.split(columns, SEARCH_BLOCK_PAIRS), strict=True)
        distance = torch.cat([(points[r] - self.bank[c]).square().sum(1) for r, c in parts])
        order = distance.argsort(stable=True)
        order = order[rows[order].argsort(stable=True)]  # by point, then by distance
        first = torch.searchsorted(rows, torch.arange(len(points), device=rows.device))
        return columns[order[first[:, None] + torch.arange(count, device=rows.device)]]


def neighbours(points: Tensor, bank: Tensor, norms: Tensor, count: int) -> Tensor:
    """Indices (N, count) of the bank's nearest points for every one of ``points`` (N, D), nearest first."""
    parts = (torch.addmm(norms, some, bank.T, alpha=-2) for some in torch.split(points, SEARCH_BLOCK))
    return torch.cat([distance.topk(count, largest=False).indices for distance in parts])
