"""Whether labelled defects make a detector better, told by cross-validation: the weight of what they teach, or 0.

Every labelled defect is scored twice: by a head that has not learned from it nor from its group, which shows what is
gained where a type is known, and by one that has learned from no defect of its type, which shows what is lost where
none was labelled. Normal images are scored by heads that have not learned from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat

WEIGHTS = (0.25, 0.5, 1.0, 2.0)  # that are tried: spreads of the map's peaks for one spread of the head's
MAX_UNTESTED_WEIGHT = 0.25  # where no type can be left out, so that nobody knows what it does to others
MAX_LOSS_AUROC = 0.005  # on types that were left out, its standard error included
UNNAMED = "unnamed"  # type of defects whose type nobody has named
Values = NDArray[np.float64]


class TaughtGain(BaseModel):
    """AUROC between labelled defects and normal images, neither of which was learned from.

    Attributes:
        without: of the detector alone, in [0, 1].
        taught: with what the labelled defects teach.
        standard_error: of the difference, over the defects and the normal images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    without: FiniteFloat
    taught: FiniteFloat
    standard_error: FiniteFloat

    @property
    def gain(self) -> float:
        """How much is gained, below 0 where something is lost."""
        return self.taught - self.without

    @property
    def least(self) -> float:
        """The gain with one standard error taken off."""
        return self.gain - self.standard_error

    def __str__(self) -> str:
        """Both, and the difference, as in ``0.912 without and 0.954 with (+0.042 ± 0.011)``."""
        change = f"{self.gain:+.3f} ± {self.standard_error:.3f}"
        return f"{self.without:.3f} without and {self.taught:.3f} with ({change})"


class Taught(BaseModel):
    """What labelled defects taught a detector.

    Attributes:
        weight: of what they taught; 0: nothing is gained, and the detector is the one without.
        tried: the weight that the gains are of: the same, or the best of those that were refused.
        defects: how many were learned from, by type.
        outlined: of how many the place was known.
        known: on defects that were left out one group at a time: others of their type were learned from.
        unknown: on defects whose whole type was left out; None where fewer than two types are named.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: FiniteFloat
    tried: FiniteFloat
    defects: dict[str, int]
    outlined: int
    known: TaughtGain
    unknown: TaughtGain | None = None

    @property
    def sentence(self) -> str:
        """What was learned from what, and what it is worth."""
        count = sum(self.defects.values())
        named = ", ".join(f"{number} {name}" for name, number in self.defects.items())
        said = f"{count} labelled defects ({named}; of {self.outlined} the place is known) "
        if self.weight:
            said += f"teach what known defects look like, at weight {self.weight:g}"
        else:
            said += f"teach nothing that is sure to help: the model is the one without them, tried at {self.tried:g}"
        said += f". By cross-validation the AUROC is {self.known} for defects of types that were labelled"
        if self.unknown is None:
            return f"{said}; for others that is not known, as fewer than two types are named."
        return f"{said}, and {self.unknown} for types that were not."

    def to_dict(self) -> dict[str, Any]:
        """Return everything as ``metrics.json`` has it, with the columns of the leaderboard among it."""
        columns: dict[str, Any] = {"taught_weight": self.weight, "taught_defects": sum(self.defects.values())}
        for name, gain in (("known", self.known), ("unknown", self.unknown)):
            columns[f"{name}_auroc_without"] = None if gain is None else gain.without
            columns[f"{name}_auroc_with"] = None if gain is None else gain.taught
            columns[f"{name}_auroc_se"] = None if gain is None else gain.standard_error
        return {**columns, "tried": self.tried, "defects": self.defects, "sentence": self.sentence}


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Scores of images by detectors that have not learned from them, by what else was left out, and by weight.

    Attributes:
        normals: (N, C, 1 + W) of normal images: for each of C choices of defects that are left out, and for weight 0
            and every other.
        normal_groups: (N,) numbers.
        defects: (M, C, 1 + W) of labelled defects, by heads that have learned from all normal images.
        defect_groups: (M,) numbers.
        known: (M,) the choice that leaves out each defect with its group.
        unknown: (M,) the choice that leaves out its type; None where there are fewer than two.
    """

    normals: Values
    normal_groups: NDArray[np.int64]
    defects: Values
    defect_groups: NDArray[np.int64]
    known: NDArray[np.int64]
    unknown: NDArray[np.int64] | None

    def gains(self, choice: NDArray[np.int64]) -> list[TaughtGain]:
        """Return for every weight what it changes, each defect scored with the choice (M,) that leaves it out."""
        wins = [self._wins(choice, k) for k in range(self.normals.shape[2])]
        return [
            TaughtGain(
                without=float(wins[0].mean()),
                taught=float(won.mean()),
                standard_error=float(_standard_error(won - wins[0], self.defect_groups, self.normal_groups)),
            )
            for won in wins[1:]
        ]

    def _wins(self, choice: NDArray[np.int64], weight: int) -> Values:
        """(M, N): 1 where a defect scores above a normal image, 1/2 where both score the same."""
        own = self.defects[np.arange(len(choice)), choice, weight][:, None]
        normals = self.normals[:, choice, weight].T
        return np.asarray((own > normals) + 0.5 * (own == normals), np.float64)

    def choose(self, weights: Sequence[float], defects: Mapping[str, int], outlined: int) -> Taught:
        """Choose the lowest weight that is as good as the best one, as far as the images can tell, or 0.

        A weight is refused whose gain on known defects is within its standard error, or whose loss on types that were
        left out may be more than :data:`MAX_LOSS_AUROC`, one standard error included. Where types cannot be left out,
        so is every weight above :data:`MAX_UNTESTED_WEIGHT`. Of the others it is the lowest whose gain is within one
        standard error of the highest (Breiman et al., "Classification and regression trees", 1984).

        Args:
            weights: that were tried, ascending, (W,).
            defects: how many were learned from, by type.
            outlined: of how many the place was known.
        """
        known, unknown = self.gains(self.known), None if self.unknown is None else self.gains(self.unknown)
        possible = [k for k, weight in enumerate(weights) if unknown is not None or weight <= MAX_UNTESTED_WEIGHT]
        allowed = [
            k for k in possible if known[k].least > 0 and (unknown is None or unknown[k].least >= -MAX_LOSS_AUROC)
        ]
        highest = known[max(allowed or possible, key=lambda k: known[k].gain)]
        best = next(k for k in allowed or possible if known[k].gain >= highest.least)
        return Taught(
            weight=weights[best] if allowed else 0.0,
            tried=weights[best],
            defects=dict(defects),
            outlined=outlined,
            known=known[best],
            unknown=None if unknown is None else unknown[best],
        )


def _standard_error(difference: Values, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> float:
    """Standard error of the mean of a difference (M, N) of wins, over defects and normal images, by groups.

    DeLong, DeLong & Clarke-Pearson ("Comparing the areas under two or more correlated receiver operating characteristic
    curves", Biometrics 44, 1988); images of one group count as one.
    """
    variances = (_variance_of_mean(difference.mean(1), rows), _variance_of_mean(difference.mean(0), columns))
    return float(np.sqrt(sum(variances)))


def _variance_of_mean(values: Values, groups: NDArray[np.int64]) -> float:
    sums: Any = np.bincount(groups, values - values.mean())
    count = len(np.unique(groups))
    return float((sums**2).sum() / len(values) ** 2 * count / max(count - 1, 1))
