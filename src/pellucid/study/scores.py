"""What an inspector says of samples, and how it is written down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pellucid._io.files import csv_text
from pellucid._io.progress import track
from pellucid.acquisition.splits import path_in_data
from pellucid.inspector import Inspector
from pellucid.records import Sample
from pellucid.study.results import ScoredSample

SCORES_COLUMNS = ("path", "label", "type", "score", "limit", "p_value", "verdict", "reason", "warnings")
ABOVE_ALL_SHARE = 0.05  # of the range of scores, that an image which was not judged lies above it


def score_samples(
    inspector: Inspector, samples: Sequence[Sample], description: str = "inspecting"
) -> Iterator[ScoredSample]:
    """Inspect samples, in order, one after the other."""
    inspections = inspector.inspect_many(s.path for s in samples)
    for sample, inspection in track(zip(samples, inspections, strict=True), description, len(samples)):
        yield ScoredSample(sample, inspection)


def by_label(scored: Iterable[ScoredSample]) -> dict[str, list[float]]:
    """Return the scores of normal and of abnormal images, as :func:`finite_scores` has them."""
    kept = list(scored)
    scores: dict[str, list[float]] = {"normal": [], "abnormal": []}
    for one, score in zip(kept, finite_scores(one.inspection.score for one in kept), strict=True):
        scores[one.sample.label].append(score)
    return scores


def finite_scores(scores: Iterable[float]) -> list[float]:
    """Return scores for ranking and drawing: those of images that were not judged, infinite, lie just above all others.

    Nothing else is changed, and no order is.
    """
    kept = list(scores)
    finite = [score for score in kept if math.isfinite(score)] or [0.0]
    above = max(finite) + ABOVE_ALL_SHARE * ((max(finite) - min(finite)) or 1.0)
    return [score if math.isfinite(score) else above for score in kept]


def scores_csv(scored: Iterable[ScoredSample], root: Path, *, labelled: bool = True) -> str:
    """Return the scores as CSV text; floats are written so that reading them gives the same float again."""
    rows = (scores_row(one, root, labelled=labelled) for one in scored)
    return csv_text(SCORES_COLUMNS, (map(_exact, row) for row in rows))


def scores_row(scored: ScoredSample, root: Path, *, labelled: bool = True) -> tuple[str | float, ...]:
    """Return the values of one image, in the order of :data:`SCORES_COLUMNS`; what is not known is empty."""
    sample, found = scored.sample, scored.inspection
    known = (path_in_data(found.path, root), sample.label if labelled else "", sample.type or "")
    return (*known, found.score, found.limit, found.p_value, found.verdict, found.reason, " ".join(found.warnings))


def _exact(value: str | float) -> str:
    return value if isinstance(value, str) else repr(value)
