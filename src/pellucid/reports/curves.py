"""Curves as PNG bytes: ROC, precision-recall, score histogram with the limit, Pareto."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

NORMAL_COLOUR, DEFECT_COLOUR, CHANCE_COLOUR = "#2a9d8f", "#d1495b", "#888888"


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def png(figure: Figure) -> bytes:
    """Return a figure as PNG bytes, the same for the same figure."""
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def roc(labels: Sequence[bool], scores: Sequence[float], auroc: float) -> bytes:
    """Draw the ROC curve of test images; labels are true where defective."""
    false, found, _ = roc_curve(labels, scores)
    figure, axes = _figure(f"ROC, area {auroc:.4f}", "false-reject rate", "share of defects found")
    axes.plot([0, 1], [0, 1], "--", color=CHANCE_COLOUR, lw=1)
    axes.plot(false, found, color=DEFECT_COLOUR, lw=2)
    return png(figure)


def precision_recall(labels: Sequence[bool], scores: Sequence[float], ap: float) -> bytes:
    """Draw the precision-recall curve of test images; labels are true where defective."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    figure, axes = _figure(f"Precision-recall, average precision {ap:.4f}", "recall", "precision")
    axes.step(recall, precision, color=DEFECT_COLOUR, lw=2, where="post")
    axes.set_ylim(0, 1.03)
    return png(figure)


def histogram(labels: Sequence[bool], scores: Sequence[float], limit: float) -> bytes:
    """Draw the scores of normal and defective images with the limit."""
    values, defective = np.asarray(scores), np.asarray(labels, bool)
    figure, axes = _figure("Scores", "score", "images")
    bins = [float(edge) for edge in np.histogram_bin_edges(values, 40)]
    for name, chosen, colour in (("normal", ~defective, NORMAL_COLOUR), ("defective", defective, DEFECT_COLOUR)):
        if chosen.any():
            axes.hist(values[chosen], bins, color=colour, alpha=0.65, label=name)
    axes.axvline(limit, color="black", lw=1.5, label=f"limit {limit:.4g}")
    axes.legend(frameon=False)
    return png(figure)


def pareto(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw accuracy against time per image; area is the model's size; models off the front are faint."""
    figure, axes = _figure("Accuracy, time and size", "milliseconds per image", "image AUROC")
    for row in rows:
        accuracy = row["image_auroc"] if row["image_auroc"] is not None else 0.0
        area = 30 + 40 * np.sqrt(row["model_mb"])
        face = DEFECT_COLOUR if row["recommended"] else NORMAL_COLOUR
        where = (row["ms_per_image_median"], accuracy)
        axes.scatter(*where, s=area, color=face, alpha=0.75 if row["pareto"] else 0.25)
        axes.annotate(row["name"], where, (0, 9), textcoords="offset points", fontsize=8, ha="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.margins(x=0.2, y=0.15)
    return png(figure)


def detectability(cells: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the share of planted flaws that were found, a panel for each kind, size against contrast.

    Args:
        cells: with ``kind``, ``size_px``, ``contrast`` and ``share``.
    """
    kinds = list(dict.fromkeys(c["kind"] for c in cells))
    figure = Figure(figsize=(3.1 * len(kinds) + 0.6, 3.4), dpi=110, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(kinds)))
    for axes, kind in zip(panels, kinds, strict=True):
        own = {(c["size_px"], c["contrast"]): c["share"] for c in cells if c["kind"] == kind}
        sizes, contrasts = sorted({s for s, _ in own}), sorted({c for _, c in own})
        shares = np.array([[own[s, c] for c in contrasts] for s in sizes])
        shown = axes.imshow(shares, origin="lower", cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                colour = "black" if share > 0.6 else "white"
                weight = "bold" if share >= 0.9 else "normal"
                axes.text(x, y, f"{share:.0%}", ha="center", va="center", color=colour, weight=weight, fontsize=8)
        axes.set(title=kind, xticks=range(len(contrasts)), yticks=range(len(sizes)))
        axes.set_xticklabels([f"{c:.0%}" for c in contrasts])
        axes.set_yticklabels([str(s) for s in sizes])
    panels[0].set_ylabel("width or diameter, px")
    figure.supxlabel("contrast to the glass around")
    figure.colorbar(shown, ax=list(panels), label="share found", pad=0.01)
    return png(figure)
