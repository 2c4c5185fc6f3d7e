"""The values that travel between the stages: frozen, without behaviour beyond what follows from their fields."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Label = Literal["normal", "abnormal"]
Role = Literal["fit", "calibrate", "select", "test"]
Verdict = Literal["ok", "reject"]


@dataclass(frozen=True)
class Sample:
    """One image file and what is known about it."""

    path: Path
    label: Label
    split: Literal["train", "test"] | None = None  # as the data's layout says; None: to be planned
    type: str | None = None  # kind of defect
    mask: Path | None = None  # same size as the image, > 0 where defective
    group: str | None = None  # images of one group (photo, pane, session) never sit in two roles


@dataclass(frozen=True)
class Samples:
    """A data set as read from disk: every sample, the layout it was recognised by, and remarks for the reader."""

    root: Path
    layout: str
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Who does what; the four are disjoint. ``select`` holds labelled defects for choosing between detectors."""

    fit: tuple[Sample, ...]
    calibrate: tuple[Sample, ...]  # empty when ``folds`` is set
    select: tuple[Sample, ...]
    test: tuple[Sample, ...]
    folds: int | None = None  # calibrate by folds over ``fit`` when normals are few
    notes: tuple[str, ...] = ()

    def roles(self) -> list[tuple[Sample, Role]]:
        """Every sample with its role, in reading order."""
        pairs: list[tuple[Sample, Role]] = []
        pairs += [(s, "fit") for s in self.fit] + [(s, "calibrate") for s in self.calibrate]
        pairs += [(s, "select") for s in self.select] + [(s, "test") for s in self.test]
        return pairs


@dataclass(frozen=True)
class Limit:
    """Where normal ends, in the score's own unit, and the normal scores that it was chosen from."""

    value: float  # reject when score > value
    pixel: float  # defective where map > pixel
    false_reject_rate: float  # promised; for "f1" the rate realised on ``scores``
    scores: tuple[float, ...]  # of normal images that were not fitted on, ascending
    method: Literal["conformal", "cross-conformal", "f1"] = "conformal"

    def p_value(self, score: float) -> float:
        """Conformal p-value: (1 + number of normal scores >= score) / (n + 1), in (0, 1]."""
        at_least = len(self.scores) - bisect_left(self.scores, score)
        return (1 + at_least) / (len(self.scores) + 1)


@dataclass(frozen=True)
class Defect:
    """One connected region above the pixel limit, in pixels of the image's own size."""

    box: tuple[int, int, int, int]  # x, y, width, height
    area_px: int
    peak: float  # highest map value inside
    centroid: tuple[float, float]  # x, y


@dataclass(frozen=True)
class Inspection:
    """What was found on one image."""

    path: Path
    score: float
    limit: float
    p_value: float
    verdict: Verdict
    map: NDArray[np.float32] = field(repr=False, compare=False)  # (H, W), the image's own size
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True)
class Judged:
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
    higher: float  # share of pairs in which the test image scores higher, a tie is a half; 0.5 if they are alike
    beyond: float  # p-value that so many or more lie above the limit, if they are alike
    words: str


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on test images. A metric that the data do not allow is None, and a note says why."""

    metrics: Mapping[str, float | int | None]
    by: Mapping[str, Mapping[str, Mapping[str, float | int | None]]]  # "type", "size", "group": counts of each part
    operating_points: tuple[OperatingPoint, ...] = ()
    shift: Shift | None = None
    notes: tuple[str, ...] = ()
    judged: tuple[Judged, ...] = field(default=(), repr=False, compare=False)  # without their maps

    def written(self) -> dict[str, Any]:
        """As metrics.json has it."""
        return {
            "metrics": dict(self.metrics),
            **{f"by_{part}": counts for part, counts in self.by.items()},
            "operating_points": [asdict(point) for point in self.operating_points],
            "shift": None if self.shift is None else asdict(self.shift),
            "notes": list(self.notes),
        }
