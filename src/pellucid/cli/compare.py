"""Learning side by side: many models, and which of them to run."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli._console import err, out, print_line, print_plan, print_text
from pellucid.cli._limit_options import (
    ComparedFalseReject,
    ComparedLimitMethod,
    Confidence,
    CostEscape,
    CostReject,
    DefectRate,
    Folds,
)
from pellucid.cli._models import check_backbone, scale_of
from pellucid.cli._options import (
    Backbone,
    ComparedData,
    ComparedImageSize,
    ComparedLearnDefects,
    ComparedResume,
    Detectors,
    Device,
    Engine,
    FirstSeed,
    Json,
    MaxMegabytes,
    MaxMilliseconds,
    MillimetresPerPixel,
    OutputFolder,
    Prefer,
    Seeds,
    Trackers,
    Weights,
)
from pellucid.cli._tile_options import DrawnSheet, FalseAlarmsPerM2, FalseAlarmsPerMpx, Reduce, Tile

if TYPE_CHECKING:
    from pellucid.study.compare import Comparison

DEMO_IMAGE_SIZE_PX = 128
DEMO_PARAMETERS = {"stfpm": {"epochs": 15}, "reverse_distillation": {"epochs": 10}}  # a first look, not a last word


def compare(
    data: ComparedData,
    output: OutputFolder = Path("out"),
    detectors: Detectors = None,
    backbone: Backbone = None,
    weights: Weights = None,
    image_size: ComparedImageSize = None,
    tile: Tile = None,
    reduce: Reduce = None,
    seeds: Seeds = None,
    seed: FirstSeed = None,
    false_reject: ComparedFalseReject = None,
    confidence: Confidence = None,
    false_alarms_per_m2: FalseAlarmsPerM2 = None,
    false_alarms_per_mpx: FalseAlarmsPerMpx = None,
    mm_per_px: MillimetresPerPixel = None,
    folds: Folds = None,
    limit: ComparedLimitMethod = None,
    learn_defects: ComparedLearnDefects = None,
    prefer: Prefer = None,
    max_ms: MaxMilliseconds = None,
    max_mb: MaxMegabytes = None,
    cost_escape: CostEscape = None,
    cost_reject: CostReject = None,
    defect_rate: DefectRate = None,
    engine: Engine = "local",
    trackers: Trackers = None,
    resume: ComparedResume = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train and test models side by side and name the one to run.

    Reads DATA, fits every detector on the same good images and tests it on the same test images, each in a process of
    its own. Writes leaderboard.json and .csv, report.html, splits.csv, config.toml, and a folder for every model with
    its model.pellucid, metrics.json, scores.csv, pictures, curves and TensorBoard's files; prints the leaderboard.

    ```
    pellucid compare GlassDefect -o out --detectors patchcore,padim --seeds 3
    ```
    """
    options: dict[str, Any] = {"backbone": backbone, "image_size": image_size, "seeds": seeds, "seed": seed}
    options |= {
        "tile": tile,
        "reduce": reduce,
        "false_reject": false_reject,
        "confidence": confidence,
        "false_alarms_per_m2": false_alarms_per_m2,
        "false_alarms_per_mpx": false_alarms_per_mpx,
        "mm_per_px": scale_of(mm_per_px),
        "folds": folds,
        "limit": limit,
        "learn_defects": learn_defects,
        "prefer": prefer,
        "max_ms": max_ms,
        "max_mb": max_mb,
    }
    options |= {"cost_escape": cost_escape, "cost_reject": cost_reject, "defect_rate": defect_rate}
    options["detectors"] = None if detectors is None else [name.strip() for name in detectors.split(",")]
    options["weights"] = None if weights is None else {backbone or "prism_s": weights}
    resumed = data.suffix.lower() == ".toml" if resume is None else resume
    comparison = _run(data, options, output, resume=resumed, engine=engine, trackers=trackers or [], device=device)
    if as_json:
        print(json.dumps(comparison.rows, indent=2))
    else:
        _print_comparison(comparison, output)


def demo(output: OutputFolder = Path("pellucid-demo"), sheet: DrawnSheet = False, device: Device = "auto") -> None:
    """Draw a glass set, compare the detectors on it, write the report: no data and no network are needed.

    Reads nothing. Writes drawn panes of glass, good and flawed, into the folder's data/, and beside it what `pellucid
    compare` writes; prints where the report is and what to type next. With --sheet, draws a whole sheet with defects
    whose size and place in mm are known, and good ones to learn from; a tiled model finds and measures them, a rule
    grades the sheet, and a page shows what was drawn beside what was found. Takes a few minutes.

    ```
    pellucid demo -o pellucid-demo
    ```
    """
    if sheet:
        from pellucid.cli._sheet_demo import sheet_demo

        sheet_demo(output, device)
        return
    from pellucid.errors import OutputError
    from pellucid.study import owned
    from pellucid.synthesis.glass import draw_data_set

    data = output / "data"
    if data.exists() and not owned.is_comparison(output):
        raise OutputError(f"'{data}' is there already, and no demo made it: give another folder with -o.")
    owned.claim(output, [])
    draw_data_set(data, seed=0)
    print_line(err, f"drew panes of glass in {data}")
    options = {"parameters": DEMO_PARAMETERS, "image_size": DEMO_IMAGE_SIZE_PX}
    comparison = _run(data, options, output, device=device)
    _print_comparison(comparison, output)
    recommended = comparison.choice.name or comparison.rows[0]["name"]
    model = output / recommended / "model.pellucid"
    command = ["pellucid", "inspect", str(model), str(data / "abnormal_test"), "-o", str(output / "inspected")]
    print_line(out, f"next: {shlex.join(command)}")


def _run(
    data: Path,
    options: dict[str, Any],
    output: Path,
    *,
    resume: bool = False,
    engine: Engine = "local",
    trackers: Sequence[str] = (),
    device: str,
) -> Comparison:
    """Check everything that can be checked beforehand, then compare."""
    from pellucid._io.files import check_writable
    from pellucid.detectors._device import ENVIRONMENT_VARIABLE, resolve_device
    from pellucid.study.compare import compare as compare_sweep
    from pellucid.study.sweep import Sweep
    from pellucid.tracking import check as check_tracker

    resolve_device(device)
    if device != "auto":
        os.environ[ENVIRONMENT_VARIABLE] = device  # models are trained in processes that are started from here
    sweep = Sweep.from_file(data, options)
    check_writable(output / "leaderboard.json")
    for name in trackers:
        check_tracker(name)
    cells = sweep.candidates().values()
    backbones = {(cell.parameters["backbone"], *cell.parameters["layers"]): cell.parameters for cell in cells}
    for parameters in backbones.values():
        check_backbone(parameters)
    command = shlex.join(["pellucid", *sys.argv[1:]])
    return compare_sweep(
        sweep, output, resume=resume, engine=engine, trackers=trackers, command=command, announce=print_plan
    )


def _print_comparison(comparison: Comparison, output: Path) -> None:
    """The networks of every model, the leaderboard, the recommendation, and where the report is."""
    from pellucid.reports.tables import leaderboard, summary
    from pellucid.study.compare import read_cost, read_limit_sentences

    rows, choice = comparison.rows, comparison.choice
    costs = {row["name"]: read_cost(output / row["name"]) for row in rows}
    out.print(summary({name: (cost["parts"], cost["model_mb"]) for name, cost in costs.items()}))
    out.print(leaderboard(rows))
    print_text(out, (choice.sentence, "bold"), f" {choice.reason}".rstrip())
    for sentence in read_limit_sentences(output / choice.name) if choice.name else ():
        print_text(out, sentence)
    print_line(out, f"report: {output / 'report.html'}")
