"""What another limit would have done: counted from scores that are there already."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from pellucid.service.registry import Loaded
from pellucid.service.storage.record import Filter, Record

LATELY = 10_000  # inspections that are looked back on


@dataclass(frozen=True)
class Count:
    """So many of so many."""

    count: int
    of: int


@dataclass(frozen=True)
class Recount:
    """A limit's consequences on every kind of image whose truth is known, and on the latest ones, where it is not."""

    limit: float
    held_out_rejected: Count  # normal images that the model was not fitted on
    tested_rejected: Count  # good test images of the comparison that the model comes from
    tested_escaped: Count  # defective ones
    decided_rejected: Count  # parts that people called ok or nuisance
    decided_escaped: Count  # parts that people called defective
    latest_rejected: Count  # of the latest inspections, whatever they were


class Scores:
    """All scores that a model's limit can be counted on.

    Args:
        model: whose limit it is.
        record: of what it inspected.
    """

    def __init__(self, model: Loaded, record: Record) -> None:
        self.held_out = list(model.calibrated.scores)
        tested = _tested(model.path)
        self.tested_good = [score for score, defective in tested if not defective]
        self.tested_bad = [score for score, defective in tested if defective]
        mine = Filter(model_sha256=model.sha256)
        decided = record.scores(Filter(model_sha256=model.sha256, decision="any"), LATELY)
        self.decided_good = [score for score, decision in decided if decision != "defect"]
        self.decided_bad = [score for score, decision in decided if decision == "defect"]
        self.latest = [score for score, _ in record.scores(mine, LATELY)]

    def at(self, limit: float) -> Recount:
        """Counted at one limit."""

        def above(scores: list[float]) -> Count:
            return Count(sum(score > limit for score in scores), len(scores))

        def below(scores: list[float]) -> Count:
            return Count(sum(score <= limit for score in scores), len(scores))

        return Recount(
            limit,
            above(self.held_out),
            above(self.tested_good),
            below(self.tested_bad),
            above(self.decided_good),
            below(self.decided_bad),
            above(self.latest),
        )

    def extent(self) -> tuple[float, float]:
        """The lowest and the highest of them."""
        every = [*self.held_out, *self.tested_good, *self.tested_bad, *self.latest]
        return min(every), max(every)


def _tested(model: Path) -> list[tuple[float, bool]]:
    """Scores and truths of the test images, when the model is a comparison's."""
    file = model.parent / "scores.csv"
    if not model.is_file() or not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [(float(row["score"]), row["label"] == "abnormal") for row in csv.DictReader(stream)]
