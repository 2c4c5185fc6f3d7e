"""What an inspector says of samples, and how it is written down."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pellucid._io.files import csv_text
from pellucid._io.progress import track
from pellucid.acquisition.images import DecodedImage, decode_image, read_content
from pellucid.acquisition.splits import path_in_data
from pellucid.errors import DataError, join_names
from pellucid.inspector import Inspector
from pellucid.records import Inspection, Sample
from pellucid.study.results import ScoredSample

SCORES_COLUMNS = (
    *("path", "label", "type", "score", "limit", "p_value", "verdict", "reason", "warnings", "ignored"),
    *("grade", "clauses"),  # of a grading rule, where one was asked for, and which of its clauses decided
)
ABOVE_ALL_SHARE = 0.05  # of the range of scores, that an image which was not judged lies above it


def score_samples(
    inspector: Inspector, samples: Sequence[Sample], description: str = "inspecting"
) -> Iterator[ScoredSample]:
    """Inspect samples, in order, one after the other."""
    inspections = inspector.inspect_many(s.path for s in samples)
    for sample, inspection in track(zip(samples, inspections, strict=True), description, len(samples)):
        yield ScoredSample(sample, inspection)


class LeftOut:
    """Which of the images to score were left out, and why."""

    def __init__(self) -> None:
        self.seen: list[str] = []  # names of those that the model was made from
        self.problems: list[str] = []  # of those that cannot be read

    def add(self, error: DataError) -> None:
        """Note one image."""
        if isinstance(error, SeenImageError):
            self.seen.append(error.path.name)
        else:
            self.problems.append(str(error))

    def notes(self) -> tuple[str, ...]:
        """Say it, in a sentence for each reason."""
        found = []
        if self.seen:
            found.append(
                f"{len(self.seen)} images are not tested on, because the model was fitted on them or calibrated with"
                f" them: {join_names(self.seen)}."
            )
        if self.problems:
            found.append(f"{len(self.problems)} files are skipped: {' '.join(self.problems[:5])}")
        return tuple(found)


class SeenImageError(DataError):
    """An image that the model was fitted on or calibrated with.

    Args:
        path: of the image.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"The model was fitted on '{path}' or calibrated with it.")
        self.path = path


def score_unseen(
    inspector: Inspector,
    samples: Sequence[Sample],
    left_out: LeftOut,
    description: str = "testing",
    *,
    finish: Callable[[int, Inspection], None] | None = None,
) -> Iterator[ScoredSample]:
    """Inspect samples, in order, but for those that the model was made from or that cannot be read.

    The former are recognised by their content and not decoded; every file is read once.

    Args:
        inspector: a model of an earlier pellucid does not know its images and takes all.
        samples: what to inspect.
        left_out: told which are left out.
        description: of the work, in a few words.
        finish: called in another thread with the number of a sample and what was found on it, with its map.
    """

    def open_unseen(path: Path, bits: int) -> DecodedImage:
        content = read_content(path)
        if inspector.fitted_images.contain(hashlib.sha256(content).hexdigest()):
            raise SeenImageError(path)
        return decode_image(content, path, bits)

    paths = [sample.path for sample in samples]
    inspections = inspector.inspect_many(paths, finish=finish, skip=left_out.add, open_file=open_unseen)
    remaining = track(samples, description, len(samples))
    for inspection in inspections:
        yield ScoredSample(next(sample for sample in remaining if sample.path == inspection.path), inspection)


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
    numbers = (found.score, found.limit, found.p_value)
    graded = ("", "") if found.grade is None else (found.grade.verdict, found.grade.clauses)
    return (*known, *numbers, found.verdict, found.reason, " ".join(found.warnings), ignored_text(found), *graded)


def ignored_text(found: Inspection) -> str:
    """Say how many defects do not count, by reason, as in ``2 margin, 1 area``; empty where all do."""
    counts = Counter(one.reason for one in found.ignored)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def _exact(value: str | float) -> str:
    return value if isinstance(value, str) else repr(value)
