"""What tests of models give: frozen values, as files, tables and notebooks show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from pellucid.records import Inspection, Sample


@dataclass(frozen=True)
class ScoredSample:
    """A sample with what an inspector said of it.

    Attributes:
        sample: what is known about the image.
        inspection: what was found on it.
        defect_px: area of the largest region of its mask, once that was looked at.
    """

    sample: Sample
    inspection: Inspection
    defect_px: int | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """A limit by a rule, and what the test images make of it."""

    rule: str
    limit: float
    chosen_on: str
    counts: Mapping[str, float | int | None]


@dataclass(frozen=True)
class Shift:
    """Whether normal test images look like the normal images that the limit was chosen from.

    Attributes:
        p_value: that two samples of one kind differ so much.
        win_rate: share of pairs in which the test image scores higher, a tie is a half; 0.5 if they are alike.
        excess_p_value: that so many or more lie above the limit, if they are alike.
        message: the same in a sentence.
    """

    p_value: float
    win_rate: float
    excess_p_value: float
    message: str


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on test images. In a notebook it shows its metrics as a table.

    Attributes:
        metrics: by name, with ``_low`` and ``_high`` where a 95 % interval is known. What the data do not allow is
            None, and a note says why.
        by: ``type``, ``size`` and ``group``: counts of each part of the test images.
        operating_points: where the limit could be, and what it would do.
        shift: whether normal test images are like those that the limit was chosen from; None with fewer than two.
        promise: what the model's limit promises, and what the next better promise needs, in a sentence.
        notes: what the test cannot show, a sentence each.
        scored: every test image with its inspection, whose map was let go of.
    """

    metrics: Mapping[str, float | int | None]
    by: Mapping[str, Mapping[str, Mapping[str, float | int | None]]]
    operating_points: tuple[OperatingPoint, ...] = ()
    shift: Shift | None = None
    promise: str = ""
    notes: tuple[str, ...] = ()
    scored: tuple[ScoredSample, ...] = field(default=(), repr=False, compare=False)

    def __repr__(self) -> str:
        auroc = self.metrics["image_auroc"]
        shown = [] if auroc is None else [f"image_auroc {auroc:.4f}"]
        for wrong, total in (("escapes", "defectives"), ("false_rejects", "normals")):
            if self.metrics[total]:
                shown.append(f"{self.metrics[wrong]} of {self.metrics[total]} {wrong}")
        return f"Evaluation({', '.join(shown) or 'no test images'})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the metrics with their intervals, and what is to be known about them."""
        from pellucid.reports.tables import metric_rows

        head = "<tr><th>metric</th><th>value</th><th>95 % interval</th></tr>"
        rows = (map(escape, row) for row in metric_rows(self.metrics))
        table = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in rows)
        said = (self.promise, self.shift.message if self.shift else "", *self.notes)
        return f"<table>{head}{table}</table>" + "".join(f"<p>{escape(note)}</p>" for note in said if note)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds."""
        return {
            "metrics": dict(self.metrics),
            **{f"by_{part}": counts for part, counts in self.by.items()},
            "operating_points": [asdict(point) for point in self.operating_points],
            "shift": None if self.shift is None else asdict(self.shift),
            "promise": self.promise,
            "notes": list(self.notes),
        }
