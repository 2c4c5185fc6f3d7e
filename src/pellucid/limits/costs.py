"""What wrong decisions cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ParameterError

Rate = TypeVar("Rate", float, NDArray[np.float64])


@dataclass(frozen=True)
class Costs:
    """What a wrong decision costs, in any unit, and how many parts are defective.

    Args:
        escape: cost of a defect that is passed, above 0.
        reject: cost of a good part that is rejected, above 0.
        defect_rate: share of defective parts among all that pass the camera, in (0, 1).

    Raises:
        ParameterError: a cost is not above zero or not finite, or the rate is not between 0 and 1.
    """

    escape: float = 100.0
    reject: float = 1.0
    defect_rate: float = 0.01

    def __post_init__(self) -> None:
        if not (0 < self.escape < math.inf and 0 < self.reject < math.inf):
            raise ParameterError(
                f"Costs {self.escape:g} and {self.reject:g} are not allowed: give two above zero, and finite."
            )
        if not 0 < self.defect_rate < 1:
            raise ParameterError(f"A defect rate of {self.defect_rate:g} is not allowed: give one between 0 and 1.")

    @property
    def ratio(self) -> float:
        """What the escapes of all defects would cost over what the rejects of all good parts would."""
        return self.escape * self.defect_rate / (self.reject * (1 - self.defect_rate))

    @classmethod
    def of_ratio(cls, ratio: float) -> Self:
        """Return costs with a given :attr:`ratio`, of which half of all parts are defective."""
        return cls(ratio, 1.0, 0.5)

    def expected_cost(self, escape_rate: Rate, false_reject_rate: Rate) -> Rate:
        """Return the expected cost of one part."""
        return self.escape * self.defect_rate * escape_rate + self.reject * (1 - self.defect_rate) * false_reject_rate
