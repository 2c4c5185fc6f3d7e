"""Which patches a memory bank keeps: greedy k-center."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid._io.progress import progress_bar
from pellucid.detectors._spill import DiskTensor

WORKING_SET = 2048  # points that greedy looks at between two passes over all of them
UPDATE_BLOCK = 2048  # points that are brought up to date together: their distances stay in the cache
GPU_WORKING_SET = 32768  # the same two for a GPU, on which a step costs as much for many points as for few
GPU_UPDATE_BLOCK = 8192


def k_center_greedy(
    points: Tensor | DiskTensor, count: int, first: int | None = None, *, known: Tensor | None = None
) -> Tensor:
    """Select the greedy k-center coreset (Sener & Savarese, ICLR 2018): always the point farthest from all centres.

    Exact, but lazy: distances to the nearest centre only ever shrink, so a stale one is an upper bound. Greedy runs
    inside the points with the largest bounds for as long as its maximum is no less than every bound outside; then one
    matrix product brings all points up to date with the centres found since. Centres are at least the cover radius
    from each other, so a point that is within half of it of one centre is not nearer to any other and is left out of
    the product.

    Args:
        points: (N, d).
        count: how many to select, from 1 to N.
        first: index of the first centre; None: the point farthest from those that are ``known``.
        known: points (n, d) that are centres already and are not selected again.

    Returns:
        Indices (count,) of the centres, in the order of their selection.
    """
    on_cpu = points.device.type == "cpu"
    working_set, block = (WORKING_SET, UPDATE_BLOCK) if on_cpu else (GPU_WORKING_SET, GPU_UPDATE_BLOCK)
    bounds = torch.full((len(points),), torch.inf, dtype=points.dtype, device=points.device)
    if known is not None:
        _lower_bounds(bounds, points, known, -1.0, block)
    first = int(bounds.argmax()) if first is None else first
    centres, new, radius = [first], [first], 0.0  # all; those that the bounds do not know of yet; squared
    with progress_bar() as progress:
        task = progress.add_task("choosing patches", total=count)
        while True:
            chosen = torch.tensor(new, device=points.device)
            _lower_bounds(bounds, points, points[chosen], radius / 4, block)
            bounds[chosen] = -1.0
            progress.update(task, completed=len(centres))
            if len(centres) == count:
                return torch.tensor(centres)
            largest, working = torch.topk(bounds, min(working_set, len(points)))
            outside = float(largest[-1]) if len(working) < len(points) else -1.0
            places, radius = _greedy(points[working], largest, outside, count - len(centres))
            numbers = working.tolist()
            new = [numbers[at] for at in places]
            centres += new


def few_centres(points: Tensor, count: int, first: int, known: Tensor | None = None) -> Tensor:
    """Select as :func:`k_center_greedy` does, among points that are few enough to be compared with all at once.

    Args:
        points: (N, d).
        count: how many to select, from 1 to N.
        first: index of the first centre, unless there are ``known`` ones, from which the first is farthest.
        known: points (n, d) that are centres already.

    Returns:
        Indices (count,) of the centres, in the order of their selection.
    """
    if known is None:
        bounds = torch.full_like(points[:, 0], torch.finfo(points.dtype).max)
        bounds[first] = torch.inf
    else:
        bounds = torch.full_like(points[:, 0], torch.inf)
        _lower_bounds(bounds, points, known, -1.0, len(points))
    return torch.tensor(_greedy(points, bounds, -1.0, count)[0])


def _greedy(points: Tensor, bounds: Tensor, outside: float, count: int) -> tuple[list[int], float]:
    """Select among some points for as long as none outside can be farther from the centres.

    Args:
        points: (n, d).
        bounds: squared distances to the nearest centre (n,), up to date.
        outside: largest bound of all other points.
        count: how many to select at most; one is selected in any case.

    Returns:
        Their places in ``points``, and the squared distance of the last one from the centres before it.
    """
    nearest, norms = bounds.clone(), (points * points).sum(1)
    chosen: list[int] = []
    radius = 0.0
    while len(chosen) < count:
        farthest = int(nearest.argmax())
        distance = float(nearest[farthest])
        if chosen and distance < outside:
            break
        radius = distance
        chosen.append(farthest)
        from_it = norms + norms[farthest] - 2 * (points @ points[farthest])
        torch.minimum(nearest, from_it, out=nearest)
        nearest[farthest] = -1.0  # a centre is never chosen twice, whatever the rounding
    return chosen, radius


def _lower_bounds(bounds: Tensor, points: Tensor | DiskTensor, new: Tensor, settled: float, block: int) -> None:
    """Lower the bounds (N,) above ``settled`` to the squared distance from the nearest of the new centres (n, d)."""
    norms = (new * new).sum(1)
    for start in range(0, len(points), block):
        rows = slice(start, start + block)
        moving = (bounds[rows] > settled).nonzero()[:, 0]
        x = points[rows][moving]
        distance = torch.addmm(norms, x, new.T, alpha=-2).amin(1) + (x * x).sum(1)
        bounds[start + moving] = torch.minimum(bounds[start + moving], distance)
