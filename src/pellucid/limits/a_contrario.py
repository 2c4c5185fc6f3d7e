"""The number of false alarms (NFA): a threshold that no image has to place, where the model of good parts is exact.

Of good parts a flow's latents are independent standard normals, or that is the hypothesis. The sum U of the squares of
the C latents at a position is then chi-squared with C degrees of freedom, and a connected region of r positions, none
of which is below u, has at most the probability P(U >= u)^r. Looked at are the regions of the tree of upper level sets
{U >= u}, each of which could have had any shape; times the number of those, the probability is the region's NFA: how
many regions as odd as this one are expected in an image of a good part. One with NFA < 1 is an alarm (Desolneux, Moisan
& Morel, "From Gestalt Theory to Image Analysis", 2008; Tailanian, Pardo & Muse, "U-Flow", JMIV 2024, arXiv 2211.12353).

    z = uflow.latents(pixels)  # per level (B, C, h, w)
    found = log_nfa([level[0].numpy() for level in z])
    rejected = min(level.min() for level in found) < 0

A flow is never exact: ``docs/decisions/0055-flows.md`` has how often good parts raise an alarm. The limit of
:mod:`pellucid.limits.conformal` needs no such hypothesis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ALPHA, BETA = 0.316915, 4.062570  # polyominoes of r cells: about ALPHA * BETA^r / r (Jensen & Guttmann, 2000)
Tests = Literal["total", "by_size"]
Latents = NDArray[np.floating]


def log_nfa(latents: Sequence[Latents], tests: Tests = "total") -> list[NDArray[np.float64]]:
    """Compute for each position the lowest log10 NFA of the regions that hold it, (h, w) of each level.

    The lowest of all is the image's; an alarm is one below 0.

    Deviations from the paper's code: where U is below its mean C, the Chernoff bound of its tail is 1, where the code
    goes on with a formula that does not hold there. No branch of the tree is pruned before the lowest is taken, which
    changes nothing for the image. Maps are not enlarged.

    Args:
        latents: (C, h, w) of each level; whatever is not a number raises an alarm.
        tests: regions that count: ``total``, as the paper has it: all of any size, the same for each region. The large
            ones are so many that a region of a few positions hardly ever raises an alarm. ``by_size``: those of the
            region's own size, times how many sizes and levels there are; the expected number of false alarms is as
            before at most 1.
    """
    sizes = [int(np.prod(level.shape[1:])) for level in latents]
    found = []
    for level in latents:
        U = np.square(level.astype(np.float64)).sum(0)  # (h, w)
        tree = UpperLevelSets(np.where(np.isnan(U), np.inf, U))
        cells = np.arange(1, U.size + 1)
        counted = log_tests(U.size) + math.log10(U.size * len(latents)) if tests == "by_size" else _log_total(*sizes)
        counts = np.broadcast_to(counted, cells.shape)
        own = counts[tree.sizes - 1] + tree.sizes * log_tail(tree.values, len(level))
        found.append(tree.lowest(own).reshape(U.shape))
    return found


def log_tail(u: NDArray[np.float64], degrees: int) -> NDArray[np.float64]:
    """Bound log10 P(U >= u) of a chi-squared U from above, by Chernoff.

    Args:
        u: of any shape, 0 or more.
        degrees: of freedom.
    """
    x = np.maximum(u / degrees, 1.0)  # below the mean the bound is 1
    with np.errstate(invalid="ignore"):
        bound: NDArray[np.float64] = -0.5 * degrees * (x - 1 - np.log(x)) / math.log(10)
    bound[np.isinf(x)] = -np.inf
    return bound


@lru_cache(maxsize=64)
def log_tests(cells: int) -> NDArray[np.float64]:
    """Compute log10 of the connected regions of 1, 2, ... cells on a grid of so many, (cells,).

    Args:
        cells: of the grid: as many places does a shape have.
    """
    r = np.arange(1, cells + 1, dtype=np.float64)
    return math.log10(cells * ALPHA) + r * math.log10(BETA) - np.log10(r)


@lru_cache(maxsize=64)
def _log_total(*cells: int) -> float:
    """Compute log10 of the connected regions of any size on grids of so many cells."""
    exponents = np.concatenate([log_tests(count) for count in cells])
    return float(exponents.max() + np.log10((10 ** (exponents - exponents.max())).sum()))


class UpperLevelSets:
    """The tree of the connected components of {U >= u} of a map, by union and find (Najman & Couprie, 2006).

    One of its pixels of the lowest value stands for a component. Every other pixel of that value points to it, and it
    points to the one that stands for the next larger component. Pixels are connected by their sides.

    Args:
        U: (h, w) values.

    Attributes:
        values: (h*w,) of each pixel, the lowest of the component that it stands for.
        sizes: (h*w,) of these components, in pixels; 1 where a pixel stands for none.
    """

    def __init__(self, U: NDArray[np.float64]) -> None:
        self.values = U.ravel()
        self._order: list[int] = np.argsort(self.values, kind="stable").tolist()
        self._parent = self._components(*U.shape)
        values, parent = self.values.tolist(), self._parent
        for pixel in self._order:  # from the largest component inwards
            if values[parent[parent[pixel]]] == values[parent[pixel]]:
                parent[pixel] = parent[parent[pixel]]
        sizes = [1] * len(parent)
        for pixel in reversed(self._order):
            if parent[pixel] != pixel:
                sizes[parent[pixel]] += sizes[pixel]
        self.sizes = np.array(sizes)

    def _components(self, height: int, width: int) -> list[int]:
        """Add pixels from the highest to the lowest; each joins the components that it touches."""
        parent, root = [-1] * (height * width), [-1] * (height * width)
        for pixel in reversed(self._order):
            parent[pixel] = root[pixel] = pixel
            row, column = divmod(pixel, width)
            inside = (row > 0, row < height - 1, column > 0, column < width - 1)
            for step, there in zip((-width, width, -1, 1), inside, strict=True):
                if not there or root[pixel + step] < 0:
                    continue
                other = pixel + step
                while root[other] != other:
                    root[other] = other = root[root[other]]
                if other != pixel:
                    root[other] = parent[other] = pixel
        return parent

    def lowest(self, own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for each pixel the lowest value of the components that hold it, (h*w,).

        Args:
            own: (h*w,) of the components that pixels stand for.
        """
        found, values, parent = own.tolist(), self.values.tolist(), self._parent
        for pixel in self._order:
            above = parent[pixel]
            if values[above] == values[pixel] and above != pixel:
                found[pixel] = found[above]
            elif above != pixel:
                found[pixel] = min(found[pixel], found[above])
        return np.array(found)
