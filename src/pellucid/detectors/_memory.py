"""The memory bank: which patches to keep (greedy k-center) and how far a patch is from them."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.detectors._vectors import Vectors
from pellucid.progress import bar

WORKING_SET = 2048  # points that greedy looks at between two passes over all of them
BLOCK = 512  # points of the bank that are compared at a time
REST = 0.06  # of the variance, that the directions of a sketch leave out
CELL = 64  # points of the bank whose bounds are judged together
COLUMNS = 2048  # points of the bank whose bounds are computed together: what that writes stays in the cache
MANY = 200  # candidates of one query from which on comparing it with the whole bank is faster
ROWS = 2048  # points a block when all are brought up to date: their distances stay in the cache


def k_center_greedy(points: Tensor | Vectors, count: int, first: int) -> Tensor:
    """Indices (count,) of the greedy k-center coreset (Sener & Savarese, ICLR 2018), in the order of selection.

    Exact, but lazy: distances only ever shrink, so a stale distance is an upper bound. Greedy runs inside the points
    with the largest bounds for as long as its maximum is no less than every bound outside; then one matrix product
    brings all points up to date with the centres found since. Centres are at least the cover radius from each other,
    so a point that is within half of it of one centre is not nearer to any other and is left out of the product.

    Args:
        points: (N, d).
        count: how many to select, at most N.
        first: index of the first centre.
    """
    bound = torch.full((len(points),), torch.inf, dtype=points.dtype, device=points.device)
    chosen: list[int] = [first]
    fresh = 0  # centres before this one are reflected in every bound
    radius = 0.0  # squared distance of the last centre from those before it
    with bar() as progress:
        task = progress.add_task("choosing patches", total=count)
        while True:
            centres = torch.tensor(chosen[fresh:], device=points.device)
            _bring_up_to_date(bound, points, centres, radius / 4)
            fresh = len(chosen)
            progress.update(task, completed=fresh)
            if fresh >= count:
                return torch.tensor(chosen[:count])
            size = min(WORKING_SET, len(points))
            largest, working = torch.topk(bound, size)
            outside = float(largest[-1]) if size < len(points) else -1.0
            near, inside = points[working], largest.clone()
            norms = (near * near).sum(1)
            while len(chosen) < count:
                best = int(inside.argmax())
                if len(chosen) > fresh and float(inside[best]) < outside:
                    break
                radius = float(inside[best])
                chosen.append(int(working[best]))
                distance = norms + norms[best] - 2 * (near @ near[best])
                torch.minimum(inside, distance, out=inside)
                inside[best] = -1.0  # a centre is never chosen twice, whatever the rounding


def _bring_up_to_date(bound: Tensor, points: Tensor | Vectors, centres: Tensor, settled: float) -> None:
    """Lower the bounds above ``settled`` to the squared distance from the nearest of the new centres."""
    new = points[centres]
    norms = (new * new).sum(1)
    for start in range(0, len(points), ROWS):
        rows = slice(start, start + ROWS)
        moving = (bound[rows] > settled).nonzero()[:, 0]
        x = points[rows][moving]
        distance = torch.addmm(norms, x, new.T, alpha=-2).amin(1) + (x * x).sum(1)
        bound[start + moving] = torch.minimum(bound[start + moving], distance)
    bound[centres] = -1.0


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
    for start in range(0, len(bank), BLOCK):
        rows = slice(start, start + BLOCK)
        values, at = torch.addmm(norms[rows], queries, bank[rows].T, alpha=-2).min(dim=1)
        closer = values < best
        best = torch.where(closer, values, best)
        index = torch.where(closer, at + start, index)
    return (queries - bank[index]).square().sum(1), index


def principal_directions(points: Tensor) -> Tensor:
    """(D, k): the directions in which points (N, D) vary most, as many as leave at most ``REST`` of their variance.

    Of many points, a few thousand are looked at. k is a multiple of 16, from 32 to 128.
    """
    some = points[:: -(-len(points) // WORKING_SET)]
    variance, directions = torch.linalg.eigh(torch.cov(some.T))  # the one that varies most comes last
    kept = variance.flip(0).cumsum(0) / variance.sum()
    count = min(max(16 * -(-int((kept < 1 - REST).sum() + 1) // 16), 32), 128)
    most: Tensor = directions.flip(1)[:, :count].contiguous()
    return most


class Sketch:
    """The same search through lower bounds: exact, and several times faster where features are long.

    With P the principal directions and R the rest, |x - m|^2 >= |P(x - m)|^2 + (|Rx| - |Rm|)^2, which is the distance
    of vectors with k + 1 entries. Points are looked at whose bound is below a distance that is known already; a cell of
    ``CELL`` neighbours in the bank none of whose bounds is below it is passed over as one.

    Args:
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).
        directions: orthonormal, (D, k).
    """

    def __init__(self, bank: Tensor, norms: Tensor, directions: Tensor) -> None:
        self.bank, self.norms, self.directions = bank, norms, directions
        self.mean = bank.mean(0)
        short = self._shorten(bank)
        short_norms = (short * short).sum(1)
        self.largest = short_norms.max()
        filling = -len(bank) % CELL  # points at infinity make the last cell a whole one
        self.short = torch.cat([short, short.new_zeros(filling, short.shape[1])])
        self.short_norms = torch.cat([short_norms, short_norms.new_full((filling,), torch.inf)])

    def _shorten(self, x: Tensor) -> Tensor:
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
        short = self._shorten(queries)
        own = (short * short).sum(1)
        each = torch.arange(queries.shape[0], device=queries.device)
        least, index = torch.full_like(own, torch.inf), torch.zeros_like(each)
        bounds: list[tuple[int, Tensor, Tensor]] = []
        for start in range(0, len(self.short), COLUMNS):  # all bounds are less the query's own norm
            part = slice(start, start + COLUMNS)
            bound = torch.addmm(self.short_norms[part], short, self.short[part].T, alpha=-2)
            bound = torch.unflatten(bound, 1, (-1, CELL))
            cell = bound.amin(2)  # (Q, cells)
            lowest, at = cell.min(1)
            index = torch.where(lowest < least, start + at * CELL + bound[each, at].argmin(1), index)
            least = torch.minimum(least, lowest)
            bounds.append((start, bound, cell))
        least = (queries - self.bank[index]).square().sum(1)  # the distance to a good candidate
        limit = least - own + self._slack(own)
        found = [self._below(limit, *given) for given in bounds]
        rows, columns = torch.cat([r for r, _ in found]), torch.cat([c for _, c in found])
        candidates = torch.zeros_like(index).scatter_add(0, rows, torch.ones_like(rows))
        many = candidates > MANY
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
        """Queries and points, (n,) each, whose bound (Q, cells, CELL) is below the query's limit (Q,)."""
        rows, cells = (cell < limit[:, None]).nonzero(as_tuple=True)
        if torch.compiler.is_exporting():  # it would allow for sizes that ONNX cannot write down
            torch._check(rows.shape[0] < 2**31)  # type: ignore[no-untyped-call]
        which, inside = (bound[rows, cells] < limit[rows][:, None]).nonzero(as_tuple=True)
        return rows[which], start + cells[which] * CELL + inside

    def neighbours(self, count: int) -> Tensor:
        """Indices (M, count) of every bank point's nearest points in the bank, itself included, nearest first."""
        return torch.cat([self._neighbours(start, count) for start in range(0, len(self.bank), BLOCK)])

    def _neighbours(self, start: int, count: int) -> Tensor:
        """The same of ``BLOCK`` points from ``start`` on."""
        points = self.bank[start : start + BLOCK]
        part = slice(start, start + len(points))  # without the points at infinity
        own = self.short_norms[part]
        bound = torch.addmm(self.short_norms, self.short[part], self.short.T, alpha=-2)  # less the point's own norm
        close = bound.topk(count, largest=False).indices
        reach = torch.stack([(points - self.bank[at]).square().sum(1) for at in close.T]).amax(0)
        rows, columns = (bound <= (reach - own + self._slack(own))[:, None]).nonzero(as_tuple=True)
        if len(rows) > MANY * len(points):
            return neighbours(points, self.bank, self.norms, count)
        parts = zip(torch.split(rows, ROWS), torch.split(columns, ROWS), strict=True)
        distance = torch.cat([(points[r] - self.bank[c]).square().sum(1) for r, c in parts])
        order = distance.argsort(stable=True)
        order = order[rows[order].argsort(stable=True)]  # by point, then by distance
        first = torch.searchsorted(rows, torch.arange(len(points), device=rows.device))
        return columns[order[first[:, None] + torch.arange(count, device=rows.device)]]


def neighbours(points: Tensor, bank: Tensor, norms: Tensor, count: int) -> Tensor:
    """Indices (N, count) of the bank's nearest points for every one of ``points`` (N, D), nearest first."""
    parts = (torch.addmm(norms, some, bank.T, alpha=-2) for some in torch.split(points, BLOCK))
    return torch.cat([distance.topk(count, largest=False).indices for distance in parts])
