"""What another limit would have done: counted from scores that are there already."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.service.served_model import KnownModel
from pellucid.service.storage.record import Database, Filter

MAX_PREVIEW_ROWS = 10_000  # inspections that are looked back on


@dataclass(frozen=True)
class Count:
    """A number of images, of so many."""

    count: int
    of: int


@dataclass(frozen=True)
class LimitPreview:
    """A limit's consequences on every kind of image whose truth is known, and on the latest ones, where it is not."""

    limit: float
    held_out_rejected: Count  # normal images that the model was not fitted on
    tested_rejected: Count  # good test images of the comparison that the model comes from
    tested_escaped: Count  # defective ones
    decided_rejected: Count  # parts that people called ok or nuisance
    decided_escaped: Count  # parts that people called defective
    latest_rejected: Count  # of the latest inspections, whatever they were


class ScoreHistory:
    """Holds all scores that a model's limit can be counted on.

    Args:
        model: whose limit it is.
        database: with what it inspected.
    """

    def __init__(self, model: KnownModel, database: Database) -> None:
        self.held_out = list(model.calibrated.scores)
        tested = _test_scores(model.path)
        self.tested_good = [score for score, defective in tested if not defective]
        self.tested_bad = [score for score, defective in tested if defective]
        of_model = Filter(model_sha256=model.sha256)
        decided = database.values(("score", "decision"), replace(of_model, decision="any"), MAX_PREVIEW_ROWS)
        self.decided_good = [score for score, decision in decided if decision != "defect"]
        self.decided_bad = [score for score, decision in decided if decision == "defect"]
        self.latest = [score for (score,) in database.values(("score",), of_model, MAX_PREVIEW_ROWS)]

    def preview(self, limit: float) -> LimitPreview:
        """Count what a limit rejects and lets escape."""

        def above(scores: list[float]) -> Count:
            return Count(sum(score > limit for score in scores), len(scores))

        def below(scores: list[float]) -> Count:
            return Count(sum(score <= limit for score in scores), len(scores))

        return LimitPreview(
            limit,
            above(self.held_out),
            above(self.tested_good),
            below(self.tested_bad),
            above(self.decided_good),
            below(self.decided_bad),
            above(self.latest),
        )

    def score_range(self) -> tuple[float, float]:
        """Find the lowest and the highest of them, but for those of images that were not judged."""
        scores = [*self.held_out, *self.tested_good, *self.tested_bad, *self.latest]
        finite = [score for score in scores if math.isfinite(score)]
        return min(finite), max(finite)


def _test_scores(model: Path) -> list[tuple[float, bool]]:
    """Read scores and truths of the test images, when the model is a comparison's."""
    file = model.parent / "scores.csv"
    if not model.is_file() or not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [(float(row["score"]), row["label"] == "abnormal") for row in csv.DictReader(stream)]
