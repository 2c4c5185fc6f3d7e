"""Train and test several detectors side by side, each in its own process, and name the one to run."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid import detectors
from pellucid._files import write_bytes, write_text
from pellucid.acquisition.images import Size
from pellucid.acquisition.splits import splits_csv
from pellucid.errors import PellucidError
from pellucid.inspector import Plan
from pellucid.reports import curves
from pellucid.reports.page import report
from pellucid.study.choice import Choice, Prefer, choose, pareto
from pellucid.study.measure import ERROR

COLUMNS = (
    *("detector", "backbone", "image_size", "image_auroc", "image_ap", "image_f1", "image_f1_best_optimistic"),
    *("limit", "false_reject_rate", "false_rejects", "normals", "escape_rate", "escapes", "defectives"),
    *("pixel_auroc", "aupro", "fit_seconds", "ms_per_image_median", "ms_per_image_p95", "model_mb"),
    *("params_total", "params_trained", "peak_ram_mb", "selection_auroc", "selection_on", "selection_positives"),
    *("selection_negatives", "recommended"),
)


def compare(
    plan: Plan,
    output: Path,
    parameters: Mapping[str, Mapping[str, Any]],
    size: Size,
    *,
    false_reject: float,
    seed: int,
    prefer: Prefer = "balanced",
    max_ms: float | None = None,
    max_mb: float | None = None,
    resume: bool = False,
    command: str = "",
) -> tuple[list[dict[str, Any]], Choice]:
    """Fit, test and measure every detector of ``parameters``; returns the leaderboard, best first, and the choice.

    With ``resume`` the detectors that an earlier run of the same configuration finished are not run again; a
    half-trained one starts afresh, so that its fit time is measured whole.

    Raises:
        OutputError: the output cannot be written to.
        PellucidError: no detector could be measured; the first one's reason is given.
    """
    config = _toml(plan, parameters, size, false_reject, seed)
    previous = output / "config.toml"
    same = resume and previous.exists() and previous.read_text("utf-8") == config
    for name in ("leaderboard.json", "leaderboard.csv", "report.html"):
        (output / name).unlink(missing_ok=True)
    if not same:  # nothing of another configuration is ever mixed in
        for name in detectors.names():
            shutil.rmtree(output / name, ignore_errors=True)
    write_text(previous, config)
    write_text(output / "splits.csv", splits_csv(plan.split, plan.checked.samples.root))

    failures: dict[str, str] = {}
    for name in parameters:
        if not (same and (output / name / "cost.json").exists()):
            print(f"{name}: fitting and testing ...", file=sys.stderr, flush=True)
            if reason := _run(output, name):
                failures[name] = reason
    rows = [_row(output, name, parameters[name], size) for name in parameters if name not in failures]
    if not rows:
        raise PellucidError(next(iter(failures.values())))
    choice = choose(rows, prefer=prefer, max_ms=max_ms, max_mb=max_mb)
    for row in rows:
        row["recommended"] = row["detector"] == choice.detector
    rows.sort(key=lambda r: -(r["image_auroc"] or 0))
    notes = [*plan.notes, *(f"{name} failed: {reason}" for name, reason in failures.items())]
    _write(output, rows, choice, notes, command)
    return rows, choice


def _run(output: Path, name: str) -> str:
    """Measure one detector in a fresh process; returns why it failed, or nothing."""
    arguments = [sys.executable, "-m", "pellucid.study.measure", str(output), name]
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH")) if p)
    error = output / name / ERROR
    error.unlink(missing_ok=True)
    code = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"}, check=False).returncode
    if code == 0:
        return ""
    return error.read_text("utf-8") if error.exists() else f"its process ended with code {code}"


def read_cost(output: Path, name: str) -> dict[str, Any]:
    """What a finished detector cost: times, sizes, and the parameters of its parts."""
    cost: dict[str, Any] = json.loads((output / name / "cost.json").read_text("utf-8"))
    return cost


def _row(output: Path, name: str, parameters: Mapping[str, Any], size: Size) -> dict[str, Any]:
    tested = json.loads((output / name / "metrics.json").read_text("utf-8"))
    cost = read_cost(output, name)
    known = {"detector": name, "backbone": parameters["backbone"], "image_size": f"{size[0]}x{size[1]}"}
    known |= tested["metrics"] | tested["selection"] | cost
    return {column: known.get(column) for column in COLUMNS}


def _write(output: Path, rows: list[dict[str, Any]], choice: Choice, notes: Sequence[str], command: str) -> None:
    names = [row["detector"] for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(output / "leaderboard.csv", out.getvalue())
    plot = curves.pareto(rows, [row["detector"] for row in pareto(rows)])
    write_bytes(output / "pareto.png", plot)
    page = report(
        rows,
        choice.reason,
        notes,
        command,
        plot,
        {name: sorted((output / name / "curves").glob("*.png")) for name in names},
        {name: sorted((output / name / "images").glob("*.png"))[:6] for name in names},
    )
    write_text(output / "report.html", page)
    write_text(output / "leaderboard.json", json.dumps(rows, indent=2) + "\n")


def _toml(plan: Plan, parameters: Mapping[str, Mapping[str, Any]], size: Size, false_reject: float, seed: int) -> str:
    """The configuration as TOML; JSON's strings, numbers and lists are TOML's too, and None is left out."""
    lines = [
        f"data = {json.dumps(str(plan.checked.samples.root.resolve()))}",
        f"data_sha256 = {json.dumps(plan.data_sha256())}",
        f"image_size = {json.dumps(list(size))}",
        f"false_reject = {json.dumps(false_reject)}",
        f"seed = {seed}",
    ]
    if plan.split.folds is not None:
        lines.append(f"folds = {plan.split.folds}")
    for name, values in parameters.items():
        lines += ["", f"[parameters.{name}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"
