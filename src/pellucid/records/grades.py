"""What a grading rule says of an image: values that travel with its inspection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GradeVerdict = Literal["ok", "look", "reject"]  # look: a person has to


@dataclass(frozen=True)
class Sheet:
    """The pane that an image shows, from border to border.

    Attributes:
        width_mm: of the image.
        height_mm: of the image.
        mm_per_px: scale along x and along y.
        outline: what outlined its defects; what the map outlines is at most as large as it seems.
    """

    width_mm: float
    height_mm: float
    mm_per_px: tuple[float, float]
    outline: Literal["image", "map"] = "image"

    @property
    def area_m2(self) -> float:
        """Width by height."""
        return self.width_mm * self.height_mm / 1e6

    @property
    def perimeter_m(self) -> float:
        """All four sides."""
        return 2 * (self.width_mm + self.height_mm) / 1e3


@dataclass(frozen=True)
class BrokenClause:
    """A clause of a rule that an image does not keep, or may not keep.

    Attributes:
        clause: its name in the rule.
        text: what it demands, a sentence.
        source: where it was published.
        verdict: ``reject``: it is broken; ``look``: it may be, or it asks for a person.
        found: what was found, in ``unit``; of what may be broken, the most that there may be; of a separation the
            smallest. None where nothing was counted.
        limit: what is allowed, in ``unit``.
        unit: ``defects`` or ``mm``.
        defects: which of the inspection's defects, by number from 0.
        pane: of a cut plan, on which; empty where the image is one pane.
    """

    clause: str
    text: str
    source: str
    verdict: Literal["look", "reject"]
    found: float | None = None
    limit: float | None = None
    unit: Literal["defects", "mm"] = "defects"
    defects: tuple[int, ...] = ()
    pane: str = ""

    @property
    def label(self) -> str:
        """The clause, after its pane where there are several, as in ``A1/spots-M-2``."""
        return f"{self.pane}/{self.clause}" if self.pane else self.clause

    def __str__(self) -> str:
        """The clause with what was found, as in ``sum: at most 45 mm; found 60 mm, limit 45 (number 0, 3)``."""
        unit = " mm" if self.unit == "mm" else ""
        numbers = "" if self.found is None else f"; found {self.found:.4g}{unit}, limit {self.limit:.4g}"
        which = f" (number {', '.join(map(str, self.defects))})" if self.defects else ""
        return f"{self.label}: {self.text}{numbers}{which}"


@dataclass(frozen=True)
class PaneGrade:
    """What a grading rule says of one pane of a cut plan.

    Attributes:
        pane: its name.
        verdict: as of a :class:`Grade`; its clauses are among those of the sheet.
        defects: whose centres lie on it, by number from 0.
        corners_mm: of the pane, x and y from where the image begins.
        area_m2: of the pane.
    """

    pane: str
    verdict: GradeVerdict
    defects: tuple[int, ...]
    corners_mm: tuple[tuple[float, float], ...]
    area_m2: float


@dataclass(frozen=True)
class Grade:
    """What a grading rule says of an image; the detector's own verdict stands beside it.

    Attributes:
        rules: name of the rule.
        verdict: ``ok``: every clause is kept, whatever the measures leave open; ``reject``: one is broken, whatever
            they leave open; ``look``: neither.
        broken: the clauses that are broken or may be, those that reject first.
        panes: of glass that the unit has, where the rule counts them.
        by_pane: what it says of every pane of a cut plan; the verdict is then the worst of theirs. Empty where the
            image is one pane.
        cut_away: defects that lie on no pane of the plan, by number from 0.
    """

    rules: str
    verdict: GradeVerdict
    broken: tuple[BrokenClause, ...] = ()
    panes: int | None = None
    by_pane: tuple[PaneGrade, ...] = ()
    cut_away: tuple[int, ...] = ()

    @property
    def clauses(self) -> str:
        """Names of the clauses that decided, as in ``spots-M-2, scratches-M-sum``."""
        return ", ".join(one.label for one in self.broken if one.verdict == self.verdict)

    def __str__(self) -> str:
        """The verdict with what decided, as in ``REJECT by en1279: spots-M-2``."""
        return f"{self.verdict.upper()} by {self.rules}{': ' if self.broken else ''}{self.clauses}"
