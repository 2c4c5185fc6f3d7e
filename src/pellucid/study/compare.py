"""Train and test models side by side, each in its own process, and name the one to run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import tomli_w

from pellucid._io.cluster import Engine
from pellucid._io.files import write_bytes, write_text
from pellucid._io.names import printable
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.splits import splits_csv
from pellucid.acquisition.tiles import Tiling
from pellucid.acquisition.views import choose_view
from pellucid.errors import OutputError, PellucidError
from pellucid.models.file import read_header
from pellucid.reports import curves
from pellucid.reports.page import ReportedModel, render_report
from pellucid.study import owned
from pellucid.study.choice import Choice, ComparedScores, Draws, choose, mean_draws, paired, pareto
from pellucid.study.engines import display_name, run_all
from pellucid.study.estimate import Remaining, expect, measure_pass
from pellucid.study.groups import caveats
from pellucid.study.measure import CONFIG_FILE, COST_FILE, FITTED_IMAGES_FILE
from pellucid.study.sweep import Candidate, Sweep
from pellucid.tiling import tile_side
from pellucid.tracking import with_tensorboard

Row = dict[str, Any]
SETTING_COLUMNS = ("name", "detector", "backbone", "image_size", "seeds")
TEST_COLUMNS = (
    *("image_auroc", "image_auroc_low", "image_auroc_high", "image_ap", "image_ap_low", "image_ap_high"),
    *("image_f1", "image_f1_best_optimistic", "recall_at_5_percent_false_rejects_optimistic", "limit"),
    *("false_reject_rate", "false_reject_rate_low", "false_reject_rate_high", "false_rejects", "normals"),
    *("escape_rate", "escape_rate_low", "escape_rate_high", "escapes", "defectives"),
    *("pixel_auroc", "pixel_ap", "aupro", "aupro_0.05", "aupimo", "aupimo_low", "aupimo_high"),
)
COST_COLUMNS = (
    *("fit_seconds", "ms_per_image_median", "ms_per_image_p95", "model_mb", "params_total", "params_trained"),
    *("fit_cost", "image_cost"),
)
SELECTION_COLUMNS = (
    *("selection_auroc", "selection_auroc_low", "selection_auroc_high", "selection_positives", "selection_negatives"),
    *("localisation", "localisation_low", "localisation_high", "localisation_flaws"),
)
TAUGHT_COLUMNS = (  # of --learn-defects; empty without it
    *("taught_weight", "taught_defects"),
    *("known_auroc_without", "known_auroc_with", "known_auroc_se"),  # of types that were learned from
    *("unknown_auroc_without", "unknown_auroc_with", "unknown_auroc_se"),  # of types that were left out
)
SELECTED_ON_COLUMNS = ("selection_on", "localisation_on")
COLUMNS_WITH_SPREAD = (
    *("image_auroc", "image_ap", "image_f1", "false_reject_rate", "escape_rate"),
    *("pixel_auroc", "aupro", "aupimo"),
)
RANKING_COLUMNS = ("behind", "behind_low", "behind_high", "pareto", "recommended")  # behind the leaderboard's first
LEADERBOARD_COLUMNS = (
    *(*SETTING_COLUMNS, *TEST_COLUMNS, *COST_COLUMNS, "peak_ram_mb", *SELECTION_COLUMNS, *SELECTED_ON_COLUMNS),
    *TAUGHT_COLUMNS,
    *(*(f"{name}_sd" for name in COLUMNS_WITH_SPREAD), *RANKING_COLUMNS),
)


@dataclass(frozen=True)
class Comparison:
    """The leaderboard, best first, and what follows from it.

    Attributes:
        rows: of the leaderboard, with the columns of ``leaderboard.json``.
        choice: which model to run, and why.
        failures: reasons by name of the model, with ``seed-N/`` before it where it is not the first seed's.
    """

    rows: list[Row]
    choice: Choice
    failures: Mapping[str, str]


@dataclass(frozen=True)
class _Training:
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
    """Fit, test and measure every model of a sweep, once for every seed.

    Those of the first seed lie in ``output/NAME``, those of others in ``output/seed-N/NAME``. What lies in the folder
    and was not made there by a comparison is never replaced or removed; an earlier comparison's result is kept in
    ``output/.previous`` until the new one is complete.

    Args:
        sweep: what to compare.
        output: folder of the results.
        resume: do not run again what an earlier run of the same configuration finished. A half-trained model starts
            afresh, so that its training time is measured whole.
        engine: ``local`` runs one model after the other; ``ray`` as many as its cluster has machines.
        trackers: names of trackers; TensorBoard is added where it is installed.
        command: to write on the report.
        announce: told the first seed's plan before the work begins.

    Raises:
        OutputError: the output cannot be written to, holds something else in the way, or lies among the images.
        PellucidError: nothing could be measured; the first reason is given.
    """
    candidates = sweep.candidates()
    paths = _paths(sweep, candidates)
    owned.check_foreign(output, paths)
    first = _plan(sweep)
    _check_outside(output, first)
    announce(first)
    owned.claim(output, paths)
    if not resume and owned.set_aside(output):
        kept = output / owned.PREVIOUS_FOLDER
        print(f"the earlier result is kept in {kept} until this one is complete", file=sys.stderr, flush=True)
    trainings = _trainings(output, sweep, first)
    for name in owned.RESULT_FILES:
        owned.remove(output / name)
    write_text(output / CONFIG_FILE, sweep.to_toml())
    waiting = [folder for training in trainings for folder in _prepare(training, candidates.values(), sweep, resume)]
    remaining = _announce_work(waiting if engine == "local" else [], candidates, sweep, first)
    failures = run_all(waiting, engine, with_tensorboard(trackers), remaining)
    failed = {Path(folder).name for folder in failures}
    done = [candidate for name, candidate in candidates.items() if name not in failed]
    if not done:
        owned.bring_back(output)
        raise PellucidError(next(iter(failures.values())))
    rows = sorted((_row(candidate, trainings) for candidate in done), key=lambda r: -(r["image_auroc"] or 0))
    choice = _rank(rows, trainings, sweep)
    reasons = {display_name(Path(folder)): reason for folder, reason in failures.items()}
    failed_notes = [f"{name} failed: {reason}" for name, reason in reasons.items()]
    notes = [*first.notes, *failed_notes, *caveats([candidate.detector for candidate in done])]
    _write(output, rows, choice, notes, command, first)
    owned.forget_previous(output)
    return Comparison(rows, choice, reasons)


def _plan(sweep: Sweep) -> Plan:
    """Read the data of a sweep, split by its first seed."""
    rate, confidence, folds = sweep.split_rate, sweep.confidence, sweep.folds
    return Plan.from_data(sweep.data, false_reject=rate, confidence=confidence, folds=folds, seed=sweep.seed)


def read_cost(folder: Path) -> dict[str, Any]:
    """Return what a finished model cost: times, sizes, and the parameters of its parts."""
    cost: dict[str, Any] = json.loads((folder / COST_FILE).read_text("utf-8"))
    return cost


def read_limit_sentences(folder: Path) -> list[str]:
    """Return what a finished model's limit promises, where it could go, and what labelled defects taught it.

    The second is left out where too few defects are known, the third where nobody asked.
    """
    tested = json.loads((folder / "metrics.json").read_text("utf-8"))
    return [tested["promise"], *(tested[key]["sentence"] for key in ("limit_move", "taught") if tested[key])]


# --- the models -----------------------------------------------------------------------------------------------------


def _paths(sweep: Sweep, names: Iterable[str]) -> list[str]:
    """Everything that a comparison writes into its folder."""
    seeds = ("", *(f"seed-{seed}/" for seed in range(sweep.seed + 1, sweep.seed + sweep.seeds)))
    names = (*owned.SPLIT_FILES, *names)
    return [*owned.RESULT_FILES, *(f"{folder}{name}" for folder in seeds for name in names)]


def _check_outside(output: Path, plan: Plan) -> None:
    """Refuse results among the images: pictures of them would be taken for images the next time."""
    samples, place = plan.verified.samples, output.resolve()
    root = samples.root.resolve()
    if samples.layout == "CSV" or not place.is_relative_to(root):
        return
    files = (path for s in samples.samples for path in (s.path, s.mask) if path is not None)
    parts = {path.resolve().relative_to(root).parts[0] for path in files if path.resolve().is_relative_to(root)}
    if part := next((part for part in parts if place.is_relative_to(root / part)), None):
        raise OutputError(f"'{output}' lies among the images of '{root / part}': give a folder outside of it with -o.")


def _trainings(output: Path, sweep: Sweep, first: Plan) -> list[_Training]:
    """One for every seed; the first seed's plan is there already."""
    trainings = [_Training(output, sweep.seed, first)]
    for seed in range(sweep.seed + 1, sweep.seed + sweep.seeds):
        plan = first.resplit(false_reject=sweep.split_rate, confidence=sweep.confidence, folds=sweep.folds, seed=seed)
        trainings.append(_Training(output / f"seed-{seed}", seed, plan))
    return trainings


def _prepare(training: _Training, candidates: Iterable[Candidate], sweep: Sweep, resume: bool) -> list[Path]:
    """Write the split and every configuration; return the folders of the models that have to be trained."""
    samples = training.plan.verified.samples
    write_text(training.folder / "splits.csv", splits_csv(training.plan.split, samples.root))
    write_text(training.folder / FITTED_IMAGES_FILE, training.plan.fitted_images().model_dump_json())
    waiting = []
    for candidate in candidates:
        folder = training.folder / candidate.name
        config = _config(candidate, training, sweep)
        same = (folder / CONFIG_FILE).exists() and (folder / CONFIG_FILE).read_text("utf-8") == config
        if resume and same and (folder / COST_FILE).exists():
            continue
        owned.remove(folder)
        write_text(folder / CONFIG_FILE, config)
        waiting.append(folder)
    return waiting


def _announce_work(
    folders: Sequence[Path], candidates: Mapping[str, Candidate], sweep: Sweep, plan: Plan
) -> Callable[[Path, float], str]:
    """Say how long the models of these folders will take, and how much room; nothing where any sees tiles.

    Returns:
        What says, whenever one is done, how long the others will take.
    """
    split, framing = plan.split, plan.fitted_images().framing
    assert not isinstance(framing, Tiling)  # which a fit chooses
    views = {name: choose_view(one.image_size, framing)[0] for name, one in candidates.items()}
    if any(tile_side(sweep.tile, sweep.reduce, view, framing) for view in views.values()):
        return lambda *_: ""
    counts = {"n_fitted": len(split.normals), "n_tested": len(split.test) + len(split.select)}
    expected = {}
    for folder in folders:
        candidate, view = candidates[folder.name], views[folder.name]
        with suppress(PellucidError):  # its own process says why
            one = measure_pass(candidate.parameters, view)
            expected[folder] = expect(candidate, view, one, **counts, fits=1 + (split.folds or 0))
    if not expected:
        return lambda *_: ""
    remaining = Remaining(expected, len(split.normals))
    print(remaining.announce(display_name), file=sys.stderr, flush=True)
    return remaining.done


def _config(candidate: Candidate, training: _Training, sweep: Sweep) -> str:
    """All that shapes one model and its test."""
    plan, by_area = training.plan, sweep.false_alarms()
    values: dict[str, Any] = {
        "detector": candidate.detector,
        "data": printable(str(plan.verified.samples.root.resolve())),
        "data_sha256": plan.data_sha256(),
        "tested_sha256": plan.tested_sha256(),
        "image_size": candidate.image_size,
        "tile": sweep.tile,
        "reduce": None if sweep.reduce == 1 else sweep.reduce,
        "false_reject": sweep.split_rate,
        "false_alarms": by_area and asdict(by_area),
        "mm_per_px": sweep.mm_per_px,
        "confidence": sweep.confidence,
        "limit": sweep.limit,
        "learn_defects": sweep.learn_defects or None,
        "seed": training.seed,
        "folds": plan.split.folds,
        "weights_sha256": _sha256(candidate.parameters["weights"]),
        "costs": asdict(sweep.costs()),
        "parameters": {k: v for k, v in (candidate.parameters | {"seed": training.seed}).items() if v is not None},
    }
    return tomli_w.dumps({k: v for k, v in values.items() if v is not None})


def _sha256(path: str | None) -> str | None:
    if path is None:
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the table ------------------------------------------------------------------------------------------------------


def _row(candidate: Candidate, trainings: Sequence[_Training]) -> Row:
    """Metrics are means over the trainings, with their standard deviations where there are several."""
    folders = [training.folder / candidate.name for training in trainings]
    tested = [json.loads((folder / "metrics.json").read_text("utf-8")) for folder in folders]
    found = [t["metrics"] | t["selection"] | read_cost(folder) for t, folder in zip(tested, folders, strict=True)]
    row: Row = {"name": candidate.name, "detector": candidate.detector, "backbone": candidate.parameters["backbone"]}
    header, _ = read_header(folders[0] / "model.pellucid")
    tiles = " tiles" if header.fitted_images.are_tiled else ""
    row |= {"image_size": f"{header.image_size[0]}x{header.image_size[1]}{tiles}", "seeds": len(trainings)}
    row |= {key: _mean([f[key] for f in found]) for key in (*TEST_COLUMNS, *COST_COLUMNS, *SELECTION_COLUMNS)}
    row |= {"peak_ram_mb": max(f["peak_ram_mb"] for f in found)}
    row |= {key: found[0][key] for key in SELECTED_ON_COLUMNS}
    row |= {key: _mean([t["taught"] and t["taught"][key] for t in tested]) for key in TAUGHT_COLUMNS}
    return row | {f"{key}_sd": _spread([f[key] for f in found]) for key in COLUMNS_WITH_SPREAD}


def _mean(values: Sequence[Any]) -> Any:
    """The value itself where all agree, so that counts stay whole."""
    if any(v is None for v in values):
        return None
    return values[0] if all(v == values[0] for v in values) else fmean(values)


def _spread(values: Sequence[Any]) -> float | None:
    return None if len(values) < 2 or any(v is None for v in values) else stdev(values)


def _rank(rows: list[Row], trainings: Sequence[_Training], sweep: Sweep) -> Choice:
    """Add to the rows how far each is behind the first on the test images, and which one is chosen."""
    tested = {row["name"]: _draws(row["name"], trainings, "scores.csv") for row in rows}
    selected = {
        row["name"]: _draws(row["name"], trainings, "selection.csv")
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


def _draws(name: str, trainings: Sequence[_Training], file: str) -> Draws | None:
    return mean_draws([_compared_scores(training, training.folder / name / file) for training in trainings])


def _compared_scores(training: _Training, file: Path) -> ComparedScores:
    """Scores of one model; groups come from the split."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (training.folder / "splits.csv").open(encoding="utf-8", newline="") as stream:
        groups = {row["path"]: row["group"] or None for row in csv.DictReader(stream)}
    return ComparedScores(
        tuple(row["label"] == "abnormal" for row in rows),
        tuple(float(row["score"]) for row in rows),
        tuple(groups[row["path"]] for row in rows),
    )


def _write(output: Path, rows: list[Row], choice: Choice, notes: Sequence[str], command: str, plan: Plan) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(
        out, LEADERBOARD_COLUMNS, lineterminator="\n"
    )  # refuses a row with a column that it does not know
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
        config=(output / CONFIG_FILE).read_text("utf-8"),
        versions=_versions(),
    )
    write_text(output / "report.html", page)
    write_text(output / "leaderboard.json", json.dumps(rows, indent=2) + "\n")


def _model(output: Path, name: str) -> ReportedModel:
    folder = output / name
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as stream:
        scores = list(csv.DictReader(stream))
    tested, gallery = (json.loads((folder / file).read_text("utf-8")) for file in ("metrics.json", "gallery.json"))
    return ReportedModel(name, folder, scores, tested, gallery, (folder / CONFIG_FILE).read_text("utf-8"))


def _versions() -> dict[str, str]:
    known = {name: metadata.version(name) for name in ("pellucid", "torch", "numpy")}
    return known | {"Python": platform.python_version(), "on": f"{platform.platform()}, {os.cpu_count()} cores"}
