"""Tables for the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

CONSOLE_COLUMNS = (  # of the leaderboard: title, key, format
    ("model", "name", "{}"),
    ("image AUROC", "image_auroc", "{:.4f}"),
    ("F1 at limit", "image_f1", "{:.3f}"),
    ("false rejects", "false_reject_rate", "{:.1%}"),
    ("escapes", "escape_rate", "{:.1%}"),
    ("shows where", "localisation", "{:.2f}"),
    ("pixel AP", "pixel_ap", "{:.3f}"),
    ("AUPRO 0.3", "aupro", "{:.3f}"),
    ("AUPIMO", "aupimo", "{:.3f}"),
    ("fit s", "fit_seconds", "{:.1f}"),
    ("ms median", "ms_per_image_median", "{:.1f}"),
    ("ms p95", "ms_per_image_p95", "{:.1f}"),
    ("model MB", "model_mb", "{:.1f}"),
    ("peak RAM MB", "peak_ram_mb", "{:.0f}"),
)
SPREAD_SHOWN = ("image_auroc", "false_reject_rate", "escape_rate")  # on the console; the report shows every spread


def format_value(value: Any, form: str) -> str:
    """Return a value in its format; None as a dash."""
    return "-" if value is None else form.format(value)


def leaderboard(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row a model; the recommended one is marked. Several trainings are mean and standard deviation."""
    seeds = rows[0]["seeds"]
    table = Table(title="Comparison on the test images" + (f", mean of {seeds} trainings" if seeds > 1 else ""))
    for title, key, _ in CONSOLE_COLUMNS:
        table.add_column(title, justify="left" if key == "name" else "right", no_wrap=key == "name")
    for row in rows:
        name = f"[bold green]{row['name']} ←[/]" if row["recommended"] else row["name"]
        known = (
            format_with_spread(row, k, form) if k in SPREAD_SHOWN else format_value(row[k], form)
            for _, k, form in CONSOLE_COLUMNS[1:]
        )
        table.add_row(name, *known)
    return table


def format_interval(row: Mapping[str, Any], key: str, form: str) -> str:
    """Return the 95 % interval of a value as text; nothing where it is not known."""
    low, high = (row.get(f"{key}_{end}") for end in ("low", "high"))
    return f"{form.format(low)} to {form.format(high)}" if low is not None and high is not None else ""


def format_with_spread(row: Mapping[str, Any], key: str, form: str) -> str:
    """Return a value of a row as text, with its standard deviation over several trainings where that is known."""
    spread = row.get(f"{key}_sd")
    return format_value(row[key], form) + (f" ± {form.format(spread)}" if spread is not None else "")


Part = tuple[str, str, int, int]  # name, type, parameters, trained parameters


def summary(models: Mapping[str, tuple[Iterable[Part], float]]) -> Table:
    """Return the networks of every model with their numbers of parameters.

    Args:
        models: by name, (parts, size of the model file in megabytes).
    """
    table = Table(title="Models")
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


def evaluation(tested: Mapping[str, Any]) -> list[Table]:
    """Return the tables of one test: metrics with their intervals; counts by type, size and group; operating points.

    Args:
        tested: what ``metrics.json`` holds.
    """
    table = Table("metric", "value", "95 % interval", title="Test metrics")
    for row in metric_rows(tested["metrics"]):
        table.add_row(*row)
    parts = Table("part", "escapes", "of", "false rejects", "of", title="By type, size (px) and group")
    for kind in ("type", "size", "group"):
        for name, counts in tested[f"by_{kind}"].items():
            wrong = (("escapes", "defectives"), ("false_rejects", "normals"))
            shown = (str(counts[key]) if counts[total] else "-" for w, total in wrong for key in (w, total))
            parts.add_row(f"{kind}: {name}", *shown)
    points = Table("rule", "limit", "chosen on", "false rejects", "escapes", title="Where the limit could be")
    for point in tested["operating_points"]:
        shares = (_share(point["counts"], rate) for rate in ("false_reject_rate", "escape_rate"))
        points.add_row(point["rule"], f"{point['limit']:.5g}", point["chosen_on"], *shares)
    return [t for t in (table, parts, points) if t.row_count]


def metric_rows(metrics: Mapping[str, float | int | None]) -> list[tuple[str, str, str]]:
    """Return metrics as text: name, value, 95 % interval."""
    names = [name for name in metrics if not name.endswith(("_low", "_high"))]
    forms = {name: "{:d}" if isinstance(metrics[name], int) else "{:.4f}" for name in names}
    return [(n, format_value(metrics[n], forms[n]), format_interval(metrics, n, forms[n])) for n in names]


def _share(counts: Mapping[str, Any], key: str) -> str:
    return (
        f"{format_value(counts[key], '{:.1%}')} ({format_interval(counts, key, '{:.1%}')})"
        if counts[key] is not None
        else "-"
    )


def smallest(found: Mapping[str, Mapping[str, int | None]]) -> Table:
    """Return the smallest flaw found nine times in ten, by kind and contrast.

    Args:
        found: sizes in px by kind and contrast; None where even the largest was found less often.
    """
    contrasts = list(next(iter(found.values())))
    table = Table("flaw", title="Smallest flaw found nine times in ten, px")
    for contrast in contrasts:
        table.add_column(f"contrast {float(contrast):.0%}", justify="right")
    for kind, sizes in found.items():
        table.add_row(kind, *("-" if sizes[c] is None else str(sizes[c]) for c in contrasts))
    return table


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M" if parameters >= 100_000 else f"{parameters / 1e3:.1f} K"
