"""What tests of models give: frozen values, as files and tables show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pellucid.records import Inspection, Sample


@dataclass(frozen=True)
class ScoredSample:
    """A sample with what an inspector said of it."""

    sample: Sample
    inspection: Inspection
    defect_px: int | None = None  # area of the largest region of the mask, once it was looked at


@dataclass(frozen=True)
class OperatingPoint:
    """A limit by a rule, and what the test images make of it."""

    rule: str
    limit: float
    chosen_on: str
    counts: Mapping[str, float | int | None]


@dataclass(frozen=True)
class Shift:
    """Whether normal test images look like the normal images that the limit was chosen from."""

    p_value: float  # that two samples of one kind differ so much
    win_rate: float  # share of pairs in which the test image scores higher, a tie is a half; 0.5 if they are alike
    excess_p_value: float  # p-value that so many or more lie above the limit, if they are alike
    message: str


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on test images. A metric that the data do not allow is None, and a note says why."""

    metrics: Mapping[str, float | int | None]
    by: Mapping[str, Mapping[str, Mapping[str, float | int | None]]]  # "type", "size", "group": counts of each part
    operating_points: tuple[OperatingPoint, ...] = ()
    shift: Shift | None = None
    notes: tuple[str, ...] = ()
    judged: tuple[ScoredSample, ...] = field(default=(), repr=False, compare=False)  # without their maps

    def to_dict(self) -> dict[str, Any]:
        """As metrics.json has it."""
        return {
            "metrics": dict(self.metrics),
            **{f"by_{part}": counts for part, counts in self.by.items()},
            "operating_points": [asdict(point) for point in self.operating_points],
            "shift": None if self.shift is None else asdict(self.shift),
            "notes": list(self.notes),
        }
