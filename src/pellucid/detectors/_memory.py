"""The memory bank: which patches to keep (greedy k-center) and how far a patch is from them."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import OutputError
from pellucid.progress import bar

WORKING_SET = 2048  # points that greedy looks at between two passes over all of them
BLOCK = 512  # points of the bank that are compared at a time
MANY = 500  # candidates of one query from which on comparing it with the whole bank is faster
ROWS = 2048  # points a block when all are brought up to date: their distances stay in the cache


class Vectors(AbstractContextManager["Vectors"]):
    """Vectors (N, D) in a temporary file, written once and read in parts, so that memory does not grow with N.

    The file is where the environment variable TMPDIR says, ``/tmp`` by default, and goes when the context is left.

    Args:
        device: where the vectors are taken to when they are read.
    """

    dtype = torch.float32

    def __init__(self, device: torch.device) -> None:
        self.device, self.shape = device, (0, 0)
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def append(self, vectors: Tensor) -> None:
        """Write vectors (n, D) behind the others.

        Raises:
            OutputError: the file has no room.
        """
        try:
            self.file.write(vectors.cpu().contiguous().numpy().data)
            self.file.flush()
        except OSError as error:
            raise OutputError(
                f"The patches do not fit into the temporary folder '{tempfile.gettempdir()}' ({error.strerror}): make"
                " room there, or name another folder in the environment variable TMPDIR."
            ) from None
        self.shape = (self.shape[0] + len(vectors), vectors.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            found = self._read(np.empty((stop - start, self.shape[1]), np.float32), start)
        else:
            found = np.empty((len(rows), self.shape[1]), np.float32)
            for into, row in zip(found, rows.tolist(), strict=True):
                self._read(into, row)
        return torch.from_numpy(found).to(self.device)

    def _read(self, into: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        """Not by mapping the file: its pages would count as this process's memory."""
        self.file.seek(start * self.shape[1] * into.itemsize)
        self.file.readinto(into.data)
        return into


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


def nearest(queries: Tensor, bank: Tensor, norms: Tensor) -> Tensor:
    """Index (Q,) of the bank's nearest point for every query.

    The bank is taken in blocks, so that what a matrix product has written is still in the cache when its minimum is
    looked for. The query's own norm is the same for all points and left out.

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
    return index


def principal_directions(points: Tensor, count: int) -> Tensor:
    """(D, count): the directions in which points (N, D) vary most; of many points, a few thousand are looked at."""
    some = points[:: -(-len(points) // WORKING_SET)]
    directions: Tensor = torch.linalg.eigh(torch.cov(some.T)).eigenvectors  # the one that varies most comes last
    return directions.flip(1)[:, :count].contiguous()


class Sketch:
    """The same search through lower bounds: exact, and several times faster where features are long.

    With P the principal directions and R the rest, |x - m|^2 >= |P(x - m)|^2 + (|Rx| - |Rm|)^2, which is the distance
    of vectors with k + 1 entries. Only points whose bound is below a distance that is known already are looked at.

    Args:
        bank: (M, D).
        norms: squared norms of the bank's points, (M,).
        directions: orthonormal, (D, k).
    """

    def __init__(self, bank: Tensor, norms: Tensor, directions: Tensor) -> None:
        self.bank, self.norms, self.directions = bank, norms, directions
        self.mean = bank.mean(0)
        self.short = self._shorten(bank)
        self.short_norms = (self.short * self.short).sum(1)

    def _shorten(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, k + 1)"""
        x = x - self.mean
        kept = x @ self.directions
        rest = (x.square().sum(1) - kept.square().sum(1)).clamp(min=0.0).sqrt()
        return torch.cat([kept, rest[:, None]], dim=1)

    def nearest(self, queries: Tensor) -> Tensor:
        """Index (Q,) of the bank's nearest point for every query (Q, D)."""
        short = self._shorten(queries)
        own = (short * short).sum(1)
        bound = torch.addmm(self.short_norms, short, self.short.T, alpha=-2)  # (Q, M), less the query's own norm
        index = bound.argmin(1)
        least = (queries - self.bank[index]).square().sum(1)
        slack = 1e-5 * (own + self.short_norms.max())  # rounding of the bounds
        rows, columns = (bound < (least - own + slack)[:, None]).nonzero(as_tuple=True)
        candidates = torch.zeros_like(index).scatter_add(0, rows, torch.ones_like(rows))
        many = candidates > MANY
        few = ~many[rows]
        rows, columns = rows[few], columns[few]
        distance = (queries[rows] - self.bank[columns]).square().sum(1)
        least = least.scatter_reduce(0, rows, distance, "amin")
        hit = distance == least[rows]
        index = index.scatter(0, rows[hit], columns[hit])
        rest = many.nonzero()[:, 0]
        return index.scatter(0, rest, nearest(queries[rest], self.bank, self.norms))


def neighbours(bank: Tensor, norms: Tensor, count: int) -> Tensor:
    """Indices (M, count) of every point's nearest points in its own bank, itself included, nearest first."""
    starts = range(0, len(bank), BLOCK)
    parts = (torch.addmm(norms, bank[start : start + BLOCK], bank.T, alpha=-2) for start in starts)
    return torch.cat([distance.topk(count, largest=False).indices for distance in parts])
