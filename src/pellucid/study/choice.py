"""Which detector to run: accuracy first, then the report's argument, that equals are told apart by what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Prefer = Literal["balanced", "accuracy", "speed", "size"]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """The recommended detector and the rule that led to it, in a sentence."""

    detector: str | None
    reason: str


def auroc_error(auroc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUROC (Hanley & McNeil, Radiology 1982).

    A perfect score on few images is not known to be perfect: half an image is taken to be ranked wrongly, or else the
    error would be zero and nothing could tie.
    """
    auroc = min(auroc, 1 - 0.5 / min(positives, negatives))
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc) + (positives - 1) * (q1 - auroc**2) + (negatives - 1) * (q2 - auroc**2)
    return math.sqrt(max(spread, 0) / (positives * negatives))


def choose(
    rows: Sequence[Row], *, prefer: Prefer = "balanced", max_ms: float | None = None, max_mb: float | None = None
) -> Choice:
    """Name the detector to run.

    Rows carry ``selection_auroc`` with ``selection_on`` ("labelled training defects" or "test images"),
    ``selection_positives``, ``selection_negatives``, ``fit_seconds``, ``ms_per_image_median`` and ``model_mb``.
    Those within the budgets and within one standard error of the best AUROC tie; ties go to the cheapest.
    """
    within = [
        r
        for r in rows
        if (max_ms is None or r["ms_per_image_median"] <= max_ms) and (max_mb is None or r["model_mb"] <= max_mb)
    ]
    budget = "".join(
        f", at most {v:g} {unit}" for v, unit in ((max_ms, "ms per image"), (max_mb, "MB")) if v is not None
    )
    if not within:
        return Choice(None, f"No detector keeps the budget{budget}.")
    scored = [r for r in within if r["selection_auroc"] is not None]
    if scored:
        top = max(scored, key=lambda r: r["selection_auroc"])
        error = auroc_error(top["selection_auroc"], top["selection_positives"], top["selection_negatives"])
        ties = [r for r in scored if r["selection_auroc"] >= top["selection_auroc"] - error]
        on = top["selection_on"]
        basis = f"AUROC on {on} within one standard error ({error:.3f}) of the best ({top['selection_auroc']:.3f})"
        if on == "test images":
            basis += "; test labels had to choose, so its test numbers are optimistic"
    else:
        ties, basis = within, "no labelled defects, so cost alone decides"
    if prefer == "accuracy" and scored:
        best = min(ties, key=lambda r: (-r["selection_auroc"], r["ms_per_image_median"]))
    else:
        best = min(ties, key=lambda r: _cost(r, prefer))
    others = len(ties) - 1
    how = {
        "balanced": "cheapest by the product of fit time, time per image and size",
        "accuracy": "highest AUROC",
        "speed": "fastest per image",
        "size": "smallest",
    }[prefer]
    among = f" among {others + 1}" if others else ""
    return Choice(best["detector"], f"{best['detector']}: {how}{among}; {basis}{budget}.")


def _cost(row: Row, prefer: Prefer) -> float:
    ms, mb, seconds = row["ms_per_image_median"], row["model_mb"], row["fit_seconds"]
    if prefer == "speed":
        return float(ms)
    if prefer == "size":
        return float(mb)
    return float(ms * mb * max(seconds, 1e-3))


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other row beats on AUROC, time per image and size at once."""

    def beats(a: Row, b: Row) -> bool:
        better = [
            (a["image_auroc"] or 0) - (b["image_auroc"] or 0),
            b["ms_per_image_median"] - a["ms_per_image_median"],
            b["model_mb"] - a["model_mb"],
        ]
        return bool(min(better) >= 0 and max(better) > 0)

    return [r for r in rows if not any(beats(other, r) for other in rows)]
