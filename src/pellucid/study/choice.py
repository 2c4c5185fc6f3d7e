"""Which model to run: accuracy first, then the report's argument, that equals are told apart by what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.study.intervals import Interval, areas, interval, resamples

Prefer = Literal["balanced", "accuracy", "speed", "size"]
Row = Mapping[str, Any]
Draws = NDArray[np.float64]  # AUROC of every resample of the images, the same resamples for every model
TIE_MARGIN_AUROC = 0.01  # what costs more than this is not given away for being cheap, however few the images
TIMING_NOISE = 2.0  # factor by which a time differs from run to run as other work comes and goes on the machine


@dataclass(frozen=True)
class ComparedScores:
    """What one training made of the images that it is compared on.

    Attributes:
        labels: true where defective.
        scores: higher is more anomalous.
        groups: of images that are drawn together; None: the image stands alone.
    """

    labels: tuple[bool, ...]
    scores: tuple[float, ...]
    groups: tuple[str | None, ...]

    def auroc_draws(self) -> Draws | None:
        """Return the AUROC over resamples, the same ones for any model with these images; None with one class only."""
        if len(set(self.labels)) < 2:
            return None
        return areas(self.labels, self.scores, resamples(self.labels, self.groups))[0]


@dataclass(frozen=True)
class Choice:
    """The recommended model, in a sentence for those who run it, and the rule that led to it."""

    name: str | None
    sentence: str
    reason: str


def mean_draws(compared: Sequence[ComparedScores]) -> Draws | None:
    """Return the AUROC over resamples, the mean over trainings; None where a training has one class only."""
    drawn = [scores.auroc_draws() for scores in compared]
    known = [d for d in drawn if d is not None]
    return np.mean(known, axis=0) if known and len(known) == len(drawn) else None


def choose(
    rows: Sequence[Row],
    draws: Mapping[str, Draws | None],
    *,
    prefer: Prefer = "balanced",
    max_ms: float | None = None,
    max_mb: float | None = None,
) -> Choice:
    """Name the model to run.

    A model within the budgets ties with the best AUROC when the images cannot tell the two apart, that is when the
    95 % interval of their difference over the same resampled images includes zero, and when it is at most
    ``TIE_MARGIN_AUROC`` behind. Ties go to the cheapest. Of those whose costs differ by no more than ``TIMING_NOISE``
    in each time, the highest AUROC is taken and then the smallest file: the machine's load does not choose.

    Args:
        rows: with ``name``, ``selection_auroc`` on ``selection_on`` ("labelled training defects" or "test images"),
            ``fit_seconds``, ``ms_per_image_median``, ``model_mb``, and the counts on the test images.
        draws: by name, the selection AUROC over resamples.
        prefer: how ties are told apart; ``accuracy`` takes the highest AUROC.
        max_ms: milliseconds an image may take.
        max_mb: megabytes a model may have.
    """
    within = [
        r
        for r in rows
        if (max_ms is None or r["ms_per_image_median"] <= max_ms) and (max_mb is None or r["model_mb"] <= max_mb)
    ]
    limits = [f"at most {v:g} {unit}" for v, unit in ((max_ms, "ms an image"), (max_mb, "MB")) if v is not None]
    budget = f" Only models of {' and '.join(limits)} were considered." if limits else ""
    if not within:
        return Choice(None, f"No model keeps the budget of {' and '.join(limits)}.", "")
    scored = [r for r in within if r["selection_auroc"] is not None]
    if scored:
        top = max(scored, key=lambda r: r["selection_auroc"])
        ties = [r for r in scored if _ties(r, top, draws)]
    else:
        ties = list(within)
    cheap = ties if prefer == "accuracy" and scored else _cheapest(ties, prefer)
    best = min(cheap, key=lambda r: (-(r["selection_auroc"] or 0), r["model_mb"], r["name"]))
    basis = _basis(best, top, ties, draws, prefer) if scored else f"No labelled defects: {_CHEAPEST[prefer]} of all."
    return Choice(best["name"], _sentence(best), basis + budget)


def paired(first: Draws, other: Draws) -> Interval:
    """Return the 95 % interval of how far the other is behind the first, on the same images."""
    return interval(first - other)


def pareto(rows: Sequence[Row]) -> list[str]:
    """Return the names of the rows that no other row beats on AUROC, time an image, size and training time at once."""

    def merits(row: Row) -> NDArray[np.float64]:
        costs = (row["ms_per_image_median"], row["model_mb"], row["fit_seconds"])
        return np.array([row["image_auroc"] or 0, *(-c for c in costs)])

    def beats(a: Row, b: Row) -> bool:
        better = merits(a) - merits(b)
        return bool(better.min() >= 0 and better.max() > 0)

    return [r["name"] for r in rows if not any(beats(other, r) for other in rows)]


_CHEAPEST: dict[Prefer, str] = {
    "balanced": "the cheapest by the product of training time, time per image and size, where times that differ by less"
    f" than {TIMING_NOISE:g} are alike",
    "accuracy": "the most accurate",
    "speed": f"the fastest per image, where times that differ by less than {TIMING_NOISE:g} are alike",
    "size": "the smallest",
}


def _ties(row: Row, top: Row, draws: Mapping[str, Draws | None]) -> bool:
    mine, best = draws.get(row["name"]), draws.get(top["name"])
    alike = mine is not None and best is not None and paired(best, mine)[0] <= 0
    return row is top or (alike and row["selection_auroc"] >= top["selection_auroc"] - TIE_MARGIN_AUROC)


def _cheapest(rows: Sequence[Row], prefer: Prefer) -> list[Row]:
    """Return the cheapest and those that may be as cheap: times are of one run each."""
    noise = {"speed": TIMING_NOISE, "size": 1.0}.get(prefer, TIMING_NOISE**2)  # of one time, of none, of two
    lowest = min(_cost(r, prefer) for r in rows)
    return [r for r in rows if _cost(r, prefer) <= lowest * noise]


def _cost(row: Row, prefer: Prefer) -> float:
    ms, mb, seconds = row["ms_per_image_median"], row["model_mb"], row["fit_seconds"]
    if prefer == "speed":
        return float(ms)
    if prefer == "size":
        return float(mb)
    return float(ms * mb * max(seconds, 1e-3))


def _basis(best: Row, top: Row, ties: Sequence[Row], draws: Mapping[str, Draws | None], prefer: Prefer) -> str:
    on, defective, normal = (best[f"selection_{key}"] for key in ("on", "positives", "negatives"))
    said = f"On the {on} ({defective:g} defective, {normal:g} normal) its AUROC is"
    if len(ties) == 1:
        said += f" {best['selection_auroc']:.3f}, and no other model ties with that."
    elif best is top:
        said += f" the best, {best['selection_auroc']:.3f}, and of the {len(ties)} that tie it is {_CHEAPEST[prefer]}."
    else:
        mine, first = draws[best["name"]], draws[top["name"]]
        assert mine is not None  # both tie
        assert first is not None
        low, high = paired(first, mine)
        said += (
            f" {best['selection_auroc']:.3f}, which ties with the best ({top['name']}, {top['selection_auroc']:.3f};"
            f" 95 % interval of the difference {low:.3f} to {high:.3f}), and of the {len(ties)} that tie it is"
            f" {_CHEAPEST[prefer]}."
        )
    if on == "test images":
        said += " Test labels had to choose, so its test numbers are optimistic."
    return said


def _sentence(row: Row) -> str:
    """What a plant manager asks first."""
    seen = []
    if row["defectives"]:
        seen.append(f"missed {_share(row, 'escape', 'defectives', 'defective test images')}")
    if row["normals"]:
        seen.append(f"rejected {_share(row, 'false_reject', 'normals', 'good ones')}")
    mean = "" if row["seeds"] == 1 else f"on average over {row['seeds']} trainings "
    result = f"{mean}it {' and '.join(seen)}, and " if seen else ""
    return f"Run {row['name']}: {result}it takes {row['ms_per_image_median']:.0f} ms an image on this machine."


def _share(row: Row, what: str, total: str, images: str) -> str:
    count = row[f"{what}s"]
    number = "none" if count == 0 else f"{count:g}" if float(count).is_integer() else f"{count:.1f}"
    share = f" ({row[f'{what}_rate']:.1%})" if count else ""
    return f"{number} of {row[total]:g} {images}{share}"
