"""Labelled defects, as whatever learns from them sees them: where they are, and which are left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.splits import assign_folds, group_numbers
from pellucid.acquisition.truth import open_truth
from pellucid.acquisition.views import views_of
from pellucid.calibration import HeldOutScore, SeenImages
from pellucid.detectors._taught import UNNAMED, Taught
from pellucid.errors import DataError
from pellucid.records import Sample

MIN_TEACHERS = 10  # labelled defects: of fewer, cross-validation tells nothing
FOLDS = 5  # of good images, and of defects


def check_teachers(defects: Sequence[Sample]) -> None:
    """Refuse to learn from too few labelled training defects.

    Raises:
        DataError: there are fewer than :data:`MIN_TEACHERS`.
    """
    if len(defects) < MIN_TEACHERS:
        raise DataError(
            f"To learn from defects takes at least {MIN_TEACHERS} labelled training defects, and there are"
            f" {len(defects) or 'none'}: put images of them into abnormal_train/, or write split=train into a CSV file"
            " (MVTec's layout has no place for them); or leave --learn-defects out."
        )


class Lesson(NamedTuple):
    """What came of it.

    Attributes:
        taught: what was learned, and what it is worth.
        defects: scores of the labelled defects, in order, each of a head that has not learned from it.
        held_out: what is known of every good image that places the limit, by heads that have not seen it.
    """

    taught: Taught
    defects: tuple[float, ...]
    held_out: list[HeldOutScore]


@dataclass(frozen=True, eq=False)
class Choices:
    """Which defects a head learns from. The first choice is all of them.

    Attributes:
        types: of each defect.
        folds: of each defect.
        left_out: for each choice the types and the folds that it leaves out.
        known: (M,) the choice that leaves out each defect with its fold.
        unknown: (M,) the choice that leaves out its type; None where there are fewer than two.
    """

    types: tuple[str, ...]
    folds: tuple[int, ...]
    left_out: tuple[frozenset[str | int], ...]
    known: NDArray[np.int64]
    unknown: NDArray[np.int64] | None

    @classmethod
    def of(cls, defects: Sequence[Sample], seed: int) -> Choices:
        """Leave out a fifth of the defects at a time, with their groups, and every type where there are several."""
        folds = assign_folds(defects, min(FOLDS, len(set(group_numbers(defects)))), seed)
        types = [sample.type or UNNAMED for sample in defects]
        names = sorted(set(types)) if len(set(types)) > 1 else []
        left_out: list[str | int] = [*sorted(set(folds)), *names]
        known = np.array([1 + left_out.index(fold) for fold in folds])
        unknown = np.array([1 + left_out.index(name) for name in types]) if names else None
        return cls(tuple(types), tuple(folds), (frozenset(), *(frozenset([one]) for one in left_out)), known, unknown)

    def kept(self, choice: int) -> list[int]:
        """List the defects that a choice does not leave out."""
        left_out = self.left_out[choice]
        return [k for k, own in enumerate(zip(self.types, self.folds, strict=True)) if not left_out & set(own)]

    def asks(self, choice: int, defect: int) -> bool:
        """Tell whether a defect is scored by what has learned from a choice, which leaves it out."""
        return choice in (self.known[defect], None if self.unknown is None else self.unknown[defect])


def marked_views(defect: Sample, shown: SeenImages, fitted_images: FittedImages) -> Tensor | None:
    """How much of every pixel of its views is defective, (V, H, W) in [0, 1]; None where nobody knows."""
    region = open_truth(defect, shown.sizes[defect.path])[1]
    if region is None:
        return None
    drawn = np.repeat(region[..., None], 3, 2).astype(np.float32)
    views = np.stack([planes[0] for planes in views_of(drawn, shown.batches.size, fitted_images.framing)])
    marked = torch.from_numpy(views)
    return marked if marked.any() else None
