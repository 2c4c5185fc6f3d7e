"""Which model to run: accuracy first, then whether it shows where the flaw is, then what it costs.

Costs are counted in forward passes of a fixed network (:mod:`pellucid.study.reference`), so that the machine's load
does not choose; seconds and milliseconds are for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.limits.gap import TRAINING_DEFECTS
from pellucid.study.intervals import Interval, areas, interval, resamples

Prefer = Literal["balanced", "accuracy", "speed", "size"]
Row = Mapping[str, Any]
Draws = NDArray[np.float64]  # AUROC of every resample of the images, the same resamples for every model
TIE_MARGIN_AUROC = 0.01  # what costs more than this is not given away for being cheap, however few the images
TIE_MARGIN_DEFECTS = 0.1  # of one defect's rank among the normals, where so few defects are labelled that it is more
MIN_DEFECTS_TO_TELL = 6  # of fewer, chance ranks all on one side more often than one time in twenty (sign test)
TIE_MARGIN_LOCALISATION = 0.1  # of the mean average precision of pixels: masks are drawn by hand, planted flaws a proxy
COST_NOISE = 1.25  # factor by which a cost in reference passes differs from run to run


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
    95 % interval of their difference over the same resampled images includes zero or there are fewer than
    ``MIN_DEFECTS_TO_TELL`` defects, and when it is at most ``TIE_MARGIN_AUROC`` behind, or ``TIE_MARGIN_DEFECTS`` of
    one defect. Of those that tie, those stay whose maps show where the flaws are at most ``TIE_MARGIN_LOCALISATION``
    worse than the best of them do. These go to the cheapest. Of those whose costs differ by no more than ``COST_NOISE``
    in each cost, the highest AUROC is taken and then the smallest file.

    Args:
        rows: with ``name``, ``selection_auroc`` on ``selection_on`` ("labelled training defects" or "test images"),
            ``localisation`` on ``localisation_on`` ("labelled training defects" or "planted flaws"), ``fit_cost``,
            ``image_cost``, ``model_mb``, ``ms_per_image_median``, and the counts on the test images.
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
    top = max(scored, key=lambda r: r["selection_auroc"]) if scored else None
    ties = within if top is None else [r for r in scored if _ties(r, top, draws)]
    shown = _showing(ties)
    cheap = shown if prefer == "accuracy" and scored else _cheapest(shown, prefer)
    best = min(cheap, key=lambda r: (-(r["selection_auroc"] or 0), r["model_mb"], r["name"]))
    said = ["No labelled defects." if top is None else _accuracy(best, top, ties, draws)]
    said += _where(best, ties, shown)
    if len(shown) > 1:
        said.append(f"Of these {len(shown)} it is {_CHEAPEST[prefer]}.")
    if top is not None and best["selection_on"] == "test images":
        said.append("Test labels had to choose, so its test numbers are optimistic.")
    return Choice(best["name"], _sentence(best), " ".join(said) + budget)


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
    "balanced": "the cheapest by the product of training, inspecting and size",
    "accuracy": "the most accurate",
    "speed": "the fastest per image",
    "size": "the smallest",
}


def _ties(row: Row, top: Row, draws: Mapping[str, Draws | None]) -> bool:
    mine, best = draws.get(row["name"]), draws.get(top["name"])
    few = top["selection_positives"] < MIN_DEFECTS_TO_TELL
    alike = mine is not None and best is not None and (few or paired(best, mine)[0] <= 0)
    margin = max(TIE_MARGIN_AUROC, TIE_MARGIN_DEFECTS / top["selection_positives"])
    return row is top or (alike and row["selection_auroc"] >= top["selection_auroc"] - margin)


def _showing(rows: Sequence[Row]) -> list[Row]:
    """Return those whose maps show where the flaws are; all where nobody knows."""
    known = [r["localisation"] for r in rows if r["localisation"] is not None]
    return [r for r in rows if not known or (r["localisation"] or 0) >= max(known) - TIE_MARGIN_LOCALISATION]


def _cheapest(rows: Sequence[Row], prefer: Prefer) -> list[Row]:
    """Return the cheapest and those that may be as cheap: costs are of one run each."""
    noise = {"speed": COST_NOISE, "size": 1.0}.get(prefer, COST_NOISE**2)  # of one cost, of none, of two
    lowest = min(_cost(r, prefer) for r in rows)
    return [r for r in rows if _cost(r, prefer) <= lowest * noise]


def _cost(row: Row, prefer: Prefer) -> float:
    if prefer == "speed":
        return float(row["image_cost"])
    if prefer == "size":
        return float(row["model_mb"])
    return float(row["image_cost"] * row["model_mb"] * max(row["fit_cost"], 1e-3))


def _accuracy(best: Row, top: Row, ties: Sequence[Row], draws: Mapping[str, Draws | None]) -> str:
    on, defective, normal = (best[f"selection_{key}"] for key in ("on", "positives", "negatives"))
    said = f"On the {on} ({defective:g} defective, {normal:g} normal) its AUROC is"
    own = f"{best['selection_auroc']:.3f}{_interval(best, 'selection_auroc')}"
    if len(ties) == 1:
        return f"{said} {own}, and no other model ties with that."
    if best is top:
        return f"{said} the best, {own}, and {len(ties)} tie."
    mine, first = draws[best["name"]], draws[top["name"]]
    assert mine is not None  # both tie
    assert first is not None
    low, high = paired(first, mine)
    return (
        f"{said} {own}, which ties with the best ({top['name']}, {top['selection_auroc']:.3f};"
        f" 95 % interval of the difference {low:.3f} to {high:.3f}); {len(ties)} tie."
    )


def _where(best: Row, ties: Sequence[Row], shown: Sequence[Row]) -> Iterator[str]:
    """Whether it shows where the flaw is, on what that was looked at, and how far that can be trusted."""
    if best["localisation"] is None:
        yield "Whether its maps show where the flaw is could not be looked at."
        return
    said = (
        f"Its maps show where the flaws are with an average precision of {best['localisation']:.2f}"
        f"{_interval(best, 'localisation', '.2f')} on {best['localisation_flaws']:g} {best['localisation_on']}"
    )
    clearest = max(ties, key=lambda r: r["localisation"] or 0)
    if len(shown) < len(ties):
        said += f"; within {TIE_MARGIN_LOCALISATION:g} of the best ({clearest['name']}, {clearest['localisation']:.2f})"
        said += f" {'is' if len(shown) == 1 else 'are'} {len(shown)} of the {len(ties)} that tie"
    yield f"{said}."
    if best["localisation_on"] != TRAINING_DEFECTS:
        yield (
            "Planted flaws stand in for real ones: in one study they kept the order of detectors on MVTec AD and VisA,"
            " and lost it on MVTec AD 2."
        )


def _interval(row: Row, key: str, form: str = ".3f") -> str:
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return "" if low is None else f" ({low:{form}} to {high:{form}})"


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
