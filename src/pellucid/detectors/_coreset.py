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


def k_center_greedy(points: Tensor | DiskTensor, count: int, first: int) -> Tensor:
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
    on_cpu = points.device.type == "cpu"
    working_set, update_block = (WORKING_SET, UPDATE_BLOCK) if on_cpu else (GPU_WORKING_SET, GPU_UPDATE_BLOCK)
    bound = torch.full((len(points),), torch.inf, dtype=points.dtype, device=points.device)
    chosen: list[int] = [first]
    fresh = 0  # centres before this one are reflected in every bound
    radius = 0.0  # squared distance of the last centre from those before it
    with progress_bar() as progress:
        task = progress.add_task("choosing patches", total=count)
        while True:
            centres = torch.tensor(chosen[fresh:], device=points.device)
            _bring_up_to_date(bound, points, centres, radius / 4, update_block)
            fresh = len(chosen)
            progress.update(task, completed=fresh)
            if fresh >= count:
                return torch.tensor(chosen[:count])
            size = min(working_set, len(points))
            largest, working = torch.topk(bound, size)
            outside = float(largest[-1]) if size < len(points) else -1.0
            near, inside = points[working], largest.clone()
            norms, numbers = (near * near).sum(1), working.tolist()
            while len(chosen) < count:
                best = int(inside.argmax())
                highest = float(inside[best])
                if len(chosen) > fresh and highest < outside:
                    break
                radius = highest
                chosen.append(numbers[best])
                distance = norms + norms[best] - 2 * (near @ near[best])
                torch.minimum(inside, distance, out=inside)
                inside[best] = -1.0  # a centre is never chosen twice, whatever the rounding


def _bring_up_to_date(bound: Tensor, points: Tensor | DiskTensor, centres: Tensor, settled: float, block: int) -> None:
    """Lower the bounds above ``settled`` to the squared distance from the nearest of the new centres."""
    new = points[centres]
    norms = (new * new).sum(1)
    for start in range(0, len(points), block):
        rows = slice(start, start + block)
        moving = (bound[rows] > settled).nonzero()[:, 0]
        x = points[rows][moving]
        distance = torch.addmm(norms, x, new.T, alpha=-2).amin(1) + (x * x).sum(1)
        bound[start + moving] = torch.minimum(bound[start + moving], distance)
    bound[centres] = -1.0
