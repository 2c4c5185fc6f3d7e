"""Train and test models side by side, each in its own process, and name the one to run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import tomli_w

from pellucid._io.files import write_bytes, write_text
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.splits import splits_csv
from pellucid.errors import PellucidError
from pellucid.reports import curves
from pellucid.reports.page import ReportedModel, render_report
from pellucid.study.choice import Choice, Draws, Trial, choose, mean_draws, paired, pareto
from pellucid.study.engines import Engine, label, run_all
from pellucid.study.measure import CONFIG, DONE
from pellucid.study.sweep import Cell, Sweep

Row = dict[str, Any]
KNOWN = ("name", "detector", "backbone", "image_size", "seeds")
TESTED = (
    *("image_auroc", "image_auroc_low", "image_auroc_high", "image_ap", "image_ap_low", "image_ap_high"),
    *("image_f1", "image_f1_best_optimistic", "recall_at_5_percent_false_rejects_optimistic", "limit"),
    *("false_reject_rate", "false_reject_rate_low", "false_reject_rate_high", "false_rejects", "normals"),
    *("escape_rate", "escape_rate_low", "escape_rate_high", "escapes", "defectives"),
    *("pixel_auroc", "pixel_ap", "aupro", "aupro_0.05", "aupimo", "aupimo_low", "aupimo_high"),
)
COSTS = ("fit_seconds", "ms_per_image_median", "ms_per_image_p95", "model_mb", "params_total", "params_trained")
SELECTED = ("selection_auroc", "selection_positives", "selection_negatives")
SPREAD = ("image_auroc", "image_ap", "image_f1", "false_reject_rate", "escape_rate", "pixel_auroc", "aupro", "aupimo")
RANKED = ("behind", "behind_low", "behind_high", "pareto", "recommended")  # behind the first of the leaderboard
COLUMNS = (
    *(*KNOWN, *TESTED, *COSTS, "peak_ram_mb", *SELECTED, "selection_on"),
    *(*(f"{name}_sd" for name in SPREAD), *RANKED),
)


@dataclass(frozen=True)
class Comparison:
    """The leaderboard, best first, and what follows from it."""

    rows: list[Row]
    choice: Choice
    failures: Mapping[str, str]  # by cell


@dataclass(frozen=True)
class _Trial:
    """One split with its seed, and where its models go."""

    folder: Path
    seed: int
    plan: Plan


def compare(
    sweep: Sweep,
    output: Path,
    *,
    resume: bool = False,
    engine: Engine = "local",
    trackers: Sequence[str] = (),
    command: str = "",
    announce: Callable[[Plan], None] = lambda _: None,
) -> Comparison:
    """Fit, test and measure every cell of a sweep, once for every seed.

    The models of the first seed lie in ``output/CELL``, those of others in ``output/seed-N/CELL``.

    Args:
        sweep: what to compare.
        output: folder of the results.
        resume: do not run again what an earlier run of the same configuration finished. A half-trained model starts
            afresh, so that its training time is measured whole.
        engine: ``local`` runs one model after the other; ``ray`` as many as its cluster has machines.
        trackers: names of trackers beside TensorBoard.
        command: to write on the report.
        announce: told the first seed's plan before the work begins.

    Raises:
        OutputError: the output cannot be written to.
        PellucidError: nothing could be measured; the first reason is given.
    """
    cells = sweep.cells()
    first = Plan.from_data(sweep.data, false_reject=sweep.false_reject, seed=sweep.seed)
    announce(first)
    trials = [_Trial(output, sweep.seed, first)]
    for seed in range(sweep.seed + 1, sweep.seed + sweep.seeds):
        plan = first.resplit(false_reject=sweep.false_reject, seed=seed)
        trials.append(_Trial(output / f"seed-{seed}", seed, plan))
    for name in ("leaderboard.json", "leaderboard.csv", "report.html"):
        (output / name).unlink(missing_ok=True)
    write_text(output / CONFIG, sweep.toml())
    waiting = [folder for trial in trials for folder in _prepare(trial, cells.values(), sweep, resume)]
    failures = run_all(waiting, engine, trackers)
    done = {
        name: cell for name, cell in cells.items() if not any(str(trial.folder / name) in failures for trial in trials)
    }
    if not done:
        raise PellucidError(next(iter(failures.values())))
    rows = [_row(cell, trials) for cell in done.values()]
    rows.sort(key=lambda r: -(r["image_auroc"] or 0))
    choice = _rank(rows, trials, sweep)
    reasons = {label(Path(folder)): reason for folder, reason in failures.items()}
    notes = [*first.notes, *(f"{name} failed: {reason}" for name, reason in reasons.items())]
    _write(output, rows, choice, notes, command, first)
    return Comparison(rows, choice, reasons)


def read_cost(folder: Path) -> dict[str, Any]:
    """What a finished model cost: times, sizes, and the parameters of its parts."""
    cost: dict[str, Any] = json.loads((folder / DONE).read_text("utf-8"))
    return cost


# --- the cells ------------------------------------------------------------------------------------------------------


def _prepare(trial: _Trial, cells: Iterable[Cell], sweep: Sweep, resume: bool) -> list[Path]:
    """Write the split and every configuration; returns the folders of the cells that have to be run."""
    samples = trial.plan.verified.samples
    write_text(trial.folder / "splits.csv", splits_csv(trial.plan.split, samples.root))
    waiting = []
    for cell in cells:
        folder = trial.folder / cell.name
        config = _config(cell, trial, sweep)
        same = (folder / CONFIG).exists() and (folder / CONFIG).read_text("utf-8") == config
        if resume and same and (folder / DONE).exists():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / CONFIG, config)
        waiting.append(folder)
    return waiting


def _config(cell: Cell, trial: _Trial, sweep: Sweep) -> str:
    """All that shapes one model and its test."""
    plan = trial.plan
    values: dict[str, Any] = {
        "detector": cell.detector,
        "data": str(plan.verified.samples.root.resolve()),
        "data_sha256": plan.data_sha256(),
        "tested_sha256": plan.tested_sha256(),
        "image_size": list(cell.size),
        "false_reject": sweep.false_reject,
        "seed": trial.seed,
        "folds": plan.split.folds,
        "weights_sha256": _sha256(cell.parameters["weights"]),
        "costs": asdict(sweep.costs()),
        "parameters": {k: v for k, v in (cell.parameters | {"seed": trial.seed}).items() if v is not None},
    }
    return tomli_w.dumps({k: v for k, v in values.items() if v is not None})


def _sha256(path: str | None) -> str | None:
    if path is None:
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the table ------------------------------------------------------------------------------------------------------


def _row(cell: Cell, trials: Sequence[_Trial]) -> Row:
    """Metrics are means over the trials, with their standard deviations where there are several."""
    folders = [trial.folder / cell.name for trial in trials]
    tested = [json.loads((folder / "metrics.json").read_text("utf-8")) for folder in folders]
    found = [t["metrics"] | t["selection"] | read_cost(folder) for t, folder in zip(tested, folders, strict=True)]
    row: Row = {"name": cell.name, "detector": cell.detector, "backbone": cell.parameters["backbone"]}
    row |= {"image_size": f"{cell.size[0]}x{cell.size[1]}", "seeds": len(trials)}
    row |= {key: _mean([f[key] for f in found]) for key in (*TESTED, *COSTS, *SELECTED)}
    row |= {"peak_ram_mb": max(f["peak_ram_mb"] for f in found), "selection_on": found[0]["selection_on"]}
    return row | {f"{key}_sd": _spread([f[key] for f in found]) for key in SPREAD}


def _mean(values: Sequence[Any]) -> Any:
    """The value itself where all agree, so that counts stay whole."""
    if any(v is None for v in values):
        return None
    return values[0] if all(v == values[0] for v in values) else fmean(values)


def _spread(values: Sequence[Any]) -> float | None:
    return None if len(values) < 2 or any(v is None for v in values) else stdev(values)


def _rank(rows: list[Row], trials: Sequence[_Trial], sweep: Sweep) -> Choice:
    """Add to the rows how far each is behind the first on the test images, and which one is chosen."""
    tested = {row["name"]: _draws(row["name"], trials, "scores.csv") for row in rows}
    selected = {
        row["name"]: _draws(row["name"], trials, "selection.csv")
        if row["selection_on"] != "test images"
        else tested[row["name"]]
        for row in rows
    }
    choice = choose(rows, selected, prefer=sweep.prefer, max_ms=sweep.max_ms, max_mb=sweep.max_mb)
    front, first = pareto(rows), rows[0]
    for row in rows:
        best, mine = tested[first["name"]], tested[row["name"]]
        row["behind"] = row["behind_low"] = row["behind_high"] = None
        if best is not None and mine is not None:
            row["behind"] = first["image_auroc"] - row["image_auroc"]
            row["behind_low"], row["behind_high"] = paired(best, mine)
        row["pareto"], row["recommended"] = row["name"] in front, row["name"] == choice.name
    return choice


def _draws(name: str, trials: Sequence[_Trial], file: str) -> Draws | None:
    return mean_draws([_trial(trial, trial.folder / name / file) for trial in trials])


def _trial(trial: _Trial, file: Path) -> Trial:
    """Scores of one model; groups come from the split."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (trial.folder / "splits.csv").open(encoding="utf-8", newline="") as stream:
        groups = {row["path"]: row["group"] or None for row in csv.DictReader(stream)}
    return Trial(
        tuple(row["label"] == "abnormal" for row in rows),
        tuple(float(row["score"]) for row in rows),
        tuple(groups[row["path"]] for row in rows),
    )


def _write(output: Path, rows: list[Row], choice: Choice, notes: Sequence[str], command: str, plan: Plan) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")  # refuses a row with a column that it does not know
    writer.writeheader()
    writer.writerows(rows)
    write_text(output / "leaderboard.csv", out.getvalue())
    write_bytes(output / "pareto.png", curves.pareto(rows))
    page = render_report(
        rows,
        [_model(output, row["name"]) for row in rows],
        sentence=choice.sentence,
        reason=choice.reason,
        notes=notes,
        split=plan.split,
        command=command,
        config=(output / CONFIG).read_text("utf-8"),
        versions=_versions(),
    )
    write_text(output / "report.html", page)
    write_text(output / "leaderboard.json", json.dumps(rows, indent=2) + "\n")


def _model(output: Path, name: str) -> ReportedModel:
    folder = output / name
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as stream:
        scores = list(csv.DictReader(stream))
    tested, gallery = (json.loads((folder / file).read_text("utf-8")) for file in ("metrics.json", "gallery.json"))
    return ReportedModel(name, folder, scores, tested, gallery, (folder / CONFIG).read_text("utf-8"))


def _versions() -> dict[str, str]:
    known = {name: metadata.version(name) for name in ("pellucid", "torch", "numpy")}
    return known | {"Python": platform.python_version(), "on": f"{platform.platform()}, {os.cpu_count()} cores"}
