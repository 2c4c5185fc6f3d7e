"""Tables for the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from pellucid.records import Evaluation

LEADERBOARD = (
    ("detector", "", "{}"),
    ("image AUROC", "image_auroc", "{:.4f}"),
    ("F1 at limit", "image_f1", "{:.3f}"),
    ("false rejects", "false_reject_rate", "{:.1%}"),
    ("escapes", "escape_rate", "{:.1%}"),
    ("pixel AUROC", "pixel_auroc", "{:.4f}"),
    ("AUPRO 0.3", "aupro", "{:.4f}"),
    ("fit s", "fit_seconds", "{:.1f}"),
    ("ms median", "ms_per_image_median", "{:.1f}"),
    ("ms p95", "ms_per_image_p95", "{:.1f}"),
    ("model MB", "model_mb", "{:.1f}"),
    ("peak RAM MB", "peak_ram_mb", "{:.0f}"),
)


def cell(value: Any, form: str) -> str:
    """A value in its format; None as a dash."""
    return "-" if value is None else form.format(value)


def leaderboard(rows: Iterable[Mapping[str, Any]]) -> Table:
    """One row a detector; the recommended one is marked."""
    table = Table(title="Comparison on the test images")
    for title, _, _ in LEADERBOARD:
        table.add_column(title, justify="left" if title == "detector" else "right")
    for row in rows:
        name = f"[bold green]{row['detector']} ←[/]" if row["recommended"] else row["detector"]
        table.add_row(name, *(cell(row[key], form) for _, key, form in LEADERBOARD[1:]))
    return table


Part = tuple[str, str, int, int]  # name, type, parameters, trained parameters


def summary(models: Mapping[str, tuple[Iterable[Part], float]], size: tuple[int, int]) -> Table:
    """The networks of every model with their parameters; models are given as name: (parts, megabytes of the file)."""
    table = Table(title=f"Models for {size[0]}x{size[1]} images")
    for title in ("model", "part", "network", "parameters", "trained", "frozen", "MB as float32", "model file MB"):
        table.add_column(title, justify="left" if title in ("model", "part", "network") else "right")
    for model, (parts, file_mb) in models.items():
        rows = list(parts)
        for n, (name, kind, count, own) in enumerate(rows):
            table.add_row(model if n == 0 else "", name, kind, *_counts(count, own))
        total, trained = sum(r[2] for r in rows), sum(r[3] for r in rows)
        table.add_row("", "total", "", *_counts(total, trained), f"{file_mb:.1f}", style="bold")
        table.add_section()
    return table


def _counts(parameters: int, trained: int) -> tuple[str, str, str, str]:
    return _count(parameters), _count(trained), _count(parameters - trained), f"{parameters * 4 / 1e6:.1f}"


def evaluation(result: Evaluation) -> Table:
    """Test metrics, then escapes by type of defect."""
    table = Table(title="Test metrics")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in result.metrics.items():
        table.add_row(name, cell(value, "{:d}" if isinstance(value, int) else "{:.4f}"))
    if result.by_type:
        table.add_section()
        for kind, counts in result.by_type.items():
            table.add_row(f"escapes: {kind}", f"{counts['escapes']} of {counts['images']}")
    return table


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M" if parameters >= 100_000 else f"{parameters / 1e3:.1f} K"
