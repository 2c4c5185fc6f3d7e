"""How far a patch is from the nearest one of a memory bank: by blocks, through exact lower bounds, or in a window."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.detectors._device import double_precision_device
from pellucid.errors import DataError

SEARCH_BLOCK = 512  # points of the bank that are compared at a time
MAX_RESIDUAL_VARIANCE = 0.06  # share of the variance that the directions of a bounded search leave out
MAX_PCA_POINTS = 2048  # points that the directions are found from
CELL_SIZE = 64  # points of the bank whose bounds are judged together
BOUND_BLOCK = 2048  # points of the bank whose bounds are computed together: what that writes stays in the cache
MAX_CANDIDATES = 200  # of one query, from which on comparing it with the whole bank is faster
SEARCH_BLOCK_PAIRS = 2048  # pairs of points whose distances are computed together
ROUNDING = 1e-5  # relative, that a bound may be off by
MIN_CHANNELS_TO_BOUND = 128  # length of features from which on the search goes through lower bounds


def bounding_directions(bank: Tensor) -> Tensor | None:
    """Find the directions (D, k) of a :class:`BoundedSearch` in a bank (M, D); None where comparing with all pays."""
    return principal_directions(bank) if MIN_CHANNELS_TO_BOUND <= bank.shape[1] < len(bank) else None


def search_in(bank: Tensor, norms: Tensor, directions: Tensor | None) -> Search | BoundedSearch:
    """Make a search in a bank: through bounds if there are directions, and not on a GPU, which compares all in less
    time.

    Args:
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).
        directions: as :func:`bounding_directions` finds them.
    """
    if directions is None or bank.device.type != "cpu":
        return Search(bank, norms)
    return BoundedSearch(bank, norms, directions)


def nearest(queries: Tensor, bank: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
    """Find the bank's nearest point for every query.

    The bank is taken in blocks, so that what a matrix product has written is still in the cache when its minimum is
    looked for. The query's own norm is the same for all points and left out. The distance returned is that of the
    difference: norms cancel where it is small.

    Args:
        queries: (Q, D).
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).

    Returns:
        Squared distance (Q,) and index (Q,).
    """
    best = torch.full(queries.shape[:1], torch.inf, dtype=queries.dtype, device=queries.device)
    index = torch.zeros(queries.shape[:1], dtype=torch.long, device=queries.device)
    for start in range(0, len(bank), SEARCH_BLOCK):
        rows = slice(start, start + SEARCH_BLOCK)
        values, at = torch.addmm(norms[rows], queries, bank[rows].T, alpha=-2).min(dim=1)
        closer = values < best
        best = torch.where(closer, values, best)
        index = torch.where(closer, at + start, index)
    return _squared_distance(queries, bank[index]), index


def neighbours(points: Tensor, bank: Tensor, norms: Tensor, count: int) -> Tensor:
    """Find the bank's nearest points for every one of some points.

    Args:
        points: (N, D).
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).
        count: how many, at most M.

    Returns:
        Indices (N, count), nearest first.
    """
    parts = (torch.addmm(norms, some, bank.T, alpha=-2) for some in torch.split(points, SEARCH_BLOCK))
    return torch.cat([distance.topk(count, largest=False).indices for distance in parts])


def principal_directions(points: Tensor) -> Tensor:
    """Find the directions (D, k) in which points (N, D) vary most; they leave at most ``MAX_RESIDUAL_VARIANCE``.

    Of many points, a few thousand are looked at. k is a multiple of 16, from 32 to 128.
    """
    some = points[:: -(-len(points) // MAX_PCA_POINTS)].to(double_precision_device(points.device))
    variance, directions = torch.linalg.eigh(torch.cov(some.T))  # the one that varies most comes last
    kept = variance.flip(0).cumsum(0) / variance.sum()
    count = min(max(16 * -(-int((kept < 1 - MAX_RESIDUAL_VARIANCE).sum() + 1) // 16), 32), 128)
    most: Tensor = directions.flip(1)[:, :count].contiguous().to(points.device)
    return most


class Search:
    """Compares queries with the whole bank.

    Args:
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).
    """

    def __init__(self, bank: Tensor, norms: Tensor) -> None:
        self.bank, self.norms = bank, norms

    def without(self, left_out: Tensor) -> Search:
        """Return a search that finds none of the points that are left out, (M,) bool: they are at infinity."""
        return Search(self.bank, self.norms.masked_fill(left_out, torch.inf))

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Find the bank's nearest point for every query (Q, D): squared distance (Q,) and index (Q,)."""
        return nearest(queries, self.bank, self.norms)

    def neighbours(self, count: int) -> Tensor:
        """Find every bank point's nearest points in the bank, itself included: indices (M, count), nearest first."""
        return neighbours(self.bank, self.bank, self.norms, count)


class BoundedSearch:
    """Searches as :func:`nearest` and :func:`neighbours` do, exactly, and several times faster where features are long.

    With P the principal directions and R the rest, |x - m|^2 >= |P(x - m)|^2 + (|Rx| - |Rm|)^2: the distance of vectors
    with k + 1 entries is a lower bound. A query is compared with the point of the least bound; its distance from that
    is a limit, and only points whose bound is below it can be nearer. The bank lies in cells of ``CELL_SIZE``
    successive points; a cell none of whose bounds is below the limit is passed over as one.

    The squared norm of the query is part of every bound and left out of all of them here, and so of the limits.

    Args:
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).
        directions: orthonormal, (D, k), as :func:`principal_directions` finds them.
    """

    def __init__(self, bank: Tensor, norms: Tensor, directions: Tensor) -> None:
        self.bank, self.norms, self.directions = bank, norms, directions
        self.mean = bank.mean(0)
        projected = self._project(bank)
        projected_norms = (projected * projected).sum(1)
        self.largest_norm = projected_norms.max()
        filling = -len(bank) % CELL_SIZE  # points at infinity make the last cell a whole one
        self.projected = torch.cat([projected, projected.new_zeros(filling, projected.shape[1])])
        self.projected_norms = torch.cat([projected_norms, projected_norms.new_full((filling,), torch.inf)])

    def without(self, left_out: Tensor) -> BoundedSearch:
        """Return a search that finds none of the points that are left out, (M,) bool; it shares its tensors with this.

        They are at infinity, so that :meth:`nearest` alone can be asked.
        """
        search = copy.copy(self)
        search.norms = self.norms.masked_fill(left_out, torch.inf)
        search.projected_norms = self.projected_norms.clone()
        search.projected_norms[: len(left_out)].masked_fill_(left_out, torch.inf)
        return search

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Find the bank's nearest point for every query (Q, D): squared distance (Q,) and index (Q,)."""
        projected = self._project(queries)
        blocks = self._bounds(projected)
        index = self._least_bound(blocks)
        distance = _squared_distance(queries, self.bank[index])
        rows, columns = self._below(self._limit(projected, distance), blocks)
        candidates = torch.zeros_like(index).scatter_add(0, rows, torch.ones_like(rows))
        too_many = candidates > MAX_CANDIDATES
        few = ~too_many[rows]
        distance, index = self._compare(queries, rows[few], columns[few], distance, index)
        return self._compare_with_all(queries, too_many.nonzero()[:, 0], distance, index)

    def neighbours(self, count: int) -> Tensor:
        """Find every bank point's nearest points in the bank, itself included: indices (M, count), nearest first."""
        return torch.cat([self._neighbours(start, count) for start in range(0, len(self.bank), SEARCH_BLOCK)])

    def _project(self, x: Tensor) -> Tensor:
        """Shorten vectors (N, D) to their principal part and the norm of the rest, (N, k + 1)."""
        x = x - self.mean
        kept = x @ self.directions
        rest = (x.square().sum(1) - kept.square().sum(1)).clamp(min=0.0).sqrt()
        return torch.cat([kept, rest[:, None]], dim=1)

    def _limit(self, projected: Tensor, distance: Tensor) -> Tensor:
        """Turn squared distances (Q,) of queries into limits of their bounds, wide enough for rounding."""
        norms = (projected * projected).sum(1)
        return distance - norms + ROUNDING * (norms + self.largest_norm)

    def _bounds(self, projected: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """Compute all bounds, in blocks of the bank: first point, bounds (Q, cells, CELL_SIZE), least of each cell."""
        blocks = []
        for start in range(0, len(self.projected), BOUND_BLOCK):
            part = slice(start, start + BOUND_BLOCK)
            bounds = torch.addmm(self.projected_norms[part], projected, self.projected[part].T, alpha=-2)
            bounds = torch.unflatten(bounds, 1, (-1, CELL_SIZE))
            blocks.append((start, bounds, bounds.amin(2)))
        return blocks

    def _least_bound(self, blocks: list[tuple[int, Tensor, Tensor]]) -> Tensor:
        """Find the point with the least bound for every query, (Q,)."""
        queries = torch.arange(blocks[0][2].shape[0], device=self.bank.device)
        least = torch.full_like(blocks[0][2][:, 0], torch.inf)
        index = torch.zeros_like(queries)
        for start, bounds, cells in blocks:
            lowest, cell = cells.min(1)
            point = start + cell * CELL_SIZE + bounds[queries, cell].argmin(1)
            index = torch.where(lowest < least, point, index)
            least = torch.minimum(least, lowest)
        return index

    def _below(self, limit: Tensor, blocks: list[tuple[int, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """List the pairs of a query and a point, (n,) each, whose bound is below the query's limit (Q,)."""
        found = []
        for start, bounds, cells in blocks:
            rows, cell = (cells < limit[:, None]).nonzero(as_tuple=True)
            if torch.compiler.is_exporting():  # it would allow for sizes that ONNX cannot write down
                torch._check(rows.shape[0] < 2**31)  # type: ignore[no-untyped-call]
            which, inside = (bounds[rows, cell] < limit[rows][:, None]).nonzero(as_tuple=True)
            found.append((rows[which], start + cell[which] * CELL_SIZE + inside))
        return torch.cat([rows for rows, _ in found]), torch.cat([columns for _, columns in found])

    def _compare(
        self, queries: Tensor, rows: Tensor, columns: Tensor, distance: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Improve distances and indices (Q,) by pairs of a query and a point, (n,) each."""
        of_pair = _squared_distance(queries[rows], self.bank[columns])
        distance = distance.scatter_reduce(0, rows, of_pair, "amin")
        hit = of_pair == distance[rows]
        return distance, index.scatter(0, rows[hit], columns[hit])

    def _compare_with_all(
        self, queries: Tensor, rows: Tensor, distance: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Replace distances and indices (Q,) of some queries, most often none, by those from the whole bank."""
        some = queries[rows]
        at = torch.addmm(self.norms, some, self.bank.T, alpha=-2).argmin(1)
        return distance.scatter(0, rows, _squared_distance(some, self.bank[at])), index.scatter(0, rows, at)

    def _neighbours(self, start: int, count: int) -> Tensor:
        """Find the neighbours (n, count) of ``SEARCH_BLOCK`` points from ``start`` on."""
        points = self.bank[start : start + SEARCH_BLOCK]
        projected = self.projected[start : start + len(points)]  # without the points at infinity
        bounds = torch.addmm(self.projected_norms, projected, self.projected.T, alpha=-2)  # (n, M)
        close = bounds.topk(count, largest=False).indices
        reach = torch.stack([_squared_distance(points, self.bank[at]) for at in close.T]).amax(0)
        rows, columns = (bounds <= self._limit(projected, reach)[:, None]).nonzero(as_tuple=True)
        if len(rows) > MAX_CANDIDATES * len(points):
            return neighbours(points, self.bank, self.norms, count)
        parts = zip(torch.split(rows, SEARCH_BLOCK_PAIRS), torch.split(columns, SEARCH_BLOCK_PAIRS), strict=True)
        distance = torch.cat([_squared_distance(points[r], self.bank[c]) for r, c in parts])
        order = distance.argsort(stable=True)
        order = order[rows[order].argsort(stable=True)]  # by point, then by distance
        first = torch.searchsorted(rows, torch.arange(len(points), device=rows.device))
        return columns[order[first[:, None] + torch.arange(count, device=rows.device)]]


class WindowSearch:
    """Compares queries with what is remembered of their own place and of those within a window around it.

    Queries are the patches of whole images, (B * h * w, D), row by row. A row of places is compared with one row of the
    bank at a time, so that all are matrix products, and places of it beyond the window are at infinity.

    Args:
        bank: as many points of each place of a grid as of every other, of one place after the other, (M, D).
        norms: squared norms of the bank's points, (M,).
        grid: places in an image, rows and columns (h, w).
        window: places in each direction, 0 or more.
    """

    def __init__(self, bank: Tensor, norms: Tensor, grid: tuple[int, int], window: int) -> None:
        self.bank, self.norms, self.grid = bank, norms, grid
        h, w = grid
        self.window = min(window, max(h, w) - 1)
        columns = torch.arange(w, device=bank.device)
        beyond = torch.zeros(w, w, device=bank.device)
        beyond.masked_fill_((columns[:, None] - columns).abs() > self.window, torch.inf)
        self.beyond = beyond.repeat_interleave(len(bank) // (h * w), 1)  # (w, w * m)

    def without(self, left_out: Tensor) -> WindowSearch:
        """Return a search that finds none of the points that are left out, (M,) bool: they are at infinity.

        Raises:
            DataError: there are no others within the window around a place.
        """
        left = (~left_out).float().view(1, *self.grid, -1).amax(3)
        if not F.max_pool2d(left, 2 * self.window + 1, 1, self.window).all():
            raise DataError(
                f"Within window={self.window} of some places all memories are of one image or group, and nothing is"
                " left without it: give more images, a larger window, or a larger coreset_sampling_ratio."
            )
        search = copy.copy(self)
        search.norms = self.norms.masked_fill(left_out, torch.inf)
        return search

    def nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Find the nearest point within the window for every query: squared distance and index, (B * h * w,) each."""
        (h, w), k = self.grid, min(self.window, self.grid[0] - 1)
        per_row, D = len(self.bank) // h, self.bank.shape[1]
        rows = queries.view(-1, h, w, D).transpose(0, 1).flatten(1, 2)  # (h, B * w, D)
        bank = F.pad(self.bank.view(h, per_row, D), (0, 0, 0, 0, k, k))  # (k + h + k, w * m, D)
        norms = F.pad(self.norms.view(h, 1, per_row), (0, 0, 0, 0, k, k), value=torch.inf)
        firsts = torch.arange(h, device=queries.device).view(h, 1, 1) * per_row  # of each row, in the bank
        best = torch.full_like(rows[:, :, 0], torch.inf).view(h, -1, w)  # (h, B, w)
        index = torch.zeros_like(best, dtype=torch.long)
        for up in range(-k, k + 1):
            near = slice(k + up, k + up + h)
            distances = torch.baddbmm(norms[near], rows, bank[near].transpose(1, 2), alpha=-2)  # (h, B * w, w * m)
            values, at = (distances.view(h, -1, w, per_row) + self.beyond).min(3)  # (h, B, w)
            closer = values < best
            best = torch.where(closer, values, best)
            index = torch.where(closer, at + firsts + up * per_row, index)
        found = index.transpose(0, 1).flatten()
        return _squared_distance(queries, self.bank[found]), found

    def neighbours(self, count: int) -> Tensor:
        """Find every bank point's nearest points in the whole bank: indices (M, count), nearest first."""
        return neighbours(self.bank, self.bank, self.norms, count)


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Compute |a - b|^2 of vectors (N, D), (N,)."""
    return (a - b).square().sum(1)
