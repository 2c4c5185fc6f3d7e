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


def by_label(judged: Iterable[ScoredSample]) -> dict[str, list[float]]:
    """Scores of normal and of abnormal images."""
    scores: dict[str, list[float]] = {"normal": [], "abnormal": []}
    for j in judged:
        scores[j.sample.label].append(j.inspection.score)
    return scores


def scores_csv(judged: Iterable[ScoredSample], root: Path, *, labelled: bool = True) -> str:
    """The scores as CSV text; floats are written so that reading them gives the same float again."""
    rows = (
        (
            *(path_in_data(j.inspection.path, root), j.sample.label if labelled else "", j.sample.type or ""),
            *(repr(j.inspection.score), repr(j.inspection.limit), repr(j.inspection.p_value), j.inspection.verdict),
        )
        for j in judged
    )
    return csv_text(SCORES_COLUMNS, rows)
