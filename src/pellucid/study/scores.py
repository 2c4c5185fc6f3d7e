"""What an inspector says of samples, and how it is written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pellucid._io.files import csv_text
from pellucid._io.progress import track
from pellucid.acquisition.splits import path_in_data
from pellucid.inspector import Inspector
from pellucid.records import Sample
from pellucid.study.results import ScoredSample

SCORES_COLUMNS = ("path", "label", "type", "score", "limit", "p_value", "verdict")


def score_samples(
    inspector: Inspector, samples: Sequence[Sample], description: str = "inspecting"
) -> Iterator[ScoredSample]:
    """Inspect samples, in order, one after the other."""
    inspections = inspector.inspect_many(s.path for s in samples)
    for sample, inspection in track(zip(samples, inspections, strict=True), description, len(samples)):
        yield ScoredSample(sample, inspection)


def by_label(scored: Iterable[ScoredSample]) -> dict[str, list[float]]:
    """Return the scores of normal and of abnormal images."""
    scores: dict[str, list[float]] = {"normal": [], "abnormal": []}
    for one in scored:
        scores[one.sample.label].append(one.inspection.score)
    return scores


def scores_csv(scored: Iterable[ScoredSample], root: Path, *, labelled: bool = True) -> str:
    """Return the scores as CSV text; floats are written so that reading them gives the same float again."""
    rows = (scores_row(one, root, labelled=labelled) for one in scored)
    return csv_text(SCORES_COLUMNS, (map(_exact, row) for row in rows))


def scores_row(scored: ScoredSample, root: Path, *, labelled: bool = True) -> tuple[str | float, ...]:
    """Return the values of one image, in the order of :data:`SCORES_COLUMNS`; what is not known is empty."""
    sample, found = scored.sample, scored.inspection
    known = (path_in_data(found.path, root), sample.label if labelled else "", sample.type or "")
    return (*known, found.score, found.limit, found.p_value, found.verdict)


def _exact(value: str | float) -> str:
    return value if isinstance(value, str) else repr(value)
