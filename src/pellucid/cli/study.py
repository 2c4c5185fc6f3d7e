"""What a model can and cannot do: its test, and the smallest flaw that it finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.cli._console import err, out, print_line, print_notes, print_text, read_plan
from pellucid.cli._limit_options import CostEscape, CostReject, DefectRate
from pellucid.cli._models import costs_of
from pellucid.cli._options import (
    Data,
    Device,
    EvaluateOutput,
    FlawSeed,
    FlawsPerCell,
    Json,
    Model,
    OutputFolder,
    Runtime,
    TestedData,
)

if TYPE_CHECKING:
    from pellucid.study.evaluate import EvaluationPlan


def evaluate(
    model: Model,
    data: TestedData,
    output: EvaluateOutput = None,
    cost_escape: CostEscape = None,
    cost_reject: CostReject = None,
    defect_rate: DefectRate = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Test a model on labelled images: how does last month's model do on this week's parts?

    Reads a model and the images of DATA that are not marked as training images; test images alone are enough. Those
    that the model was fitted on or calibrated with are recognised and left out. Prints metrics with their intervals,
    counts by type of defect, and where else the limit could be. With -o, writes metrics.json and scores.csv.

    ```
    pellucid evaluate glass.pellucid GlassDefect -o tested
    ```
    """
    from pellucid._io.files import check_writable, write_text
    from pellucid.models.load import load
    from pellucid.reports.tables import evaluation
    from pellucid.study.evaluate import evaluate_plan, plan_test
    from pellucid.study.scores import scores_csv

    costs = costs_of(cost_escape, cost_reject, defect_rate)
    if output is not None:
        check_writable(output / "metrics.json")
    inspector = load(model, device=device)
    plan = plan_test(inspector, data)
    _print_test(plan)
    result = evaluate_plan(inspector, plan, costs=costs)
    metrics = result.to_dict()
    if output is not None:
        write_text(output / "scores.csv", scores_csv(result.scored, plan.samples.root))
        write_text(output / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    if as_json:
        print(json.dumps(metrics, indent=2))
        return
    for table in evaluation(metrics):
        out.print(table)
    for note in (result.promise, *([result.shift.message] if result.shift else []), *result.notes):
        print_text(out, note)


def _print_test(plan: EvaluationPlan) -> None:
    """Say which images test, and what is odd about the data."""
    normal = sum(sample.label == "normal" for sample in plan.test)
    print_text(
        err,
        f"{plan.samples.layout} layout: {normal} normal and {len(plan.test) - normal} defective images to test on,"
        f" {len(plan.select)} defects select",
    )
    print_notes(plan.samples.notes)


def detectability(
    model: Model,
    data: Data,
    output: OutputFolder = Path("detectability"),
    flaws_per_cell: FlawsPerCell = 20,
    seed: FlawSeed = 0,
    runtime: Runtime = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Plant flaws into images of good parts: what is the smallest that the model finds?

    Reads a model and the good images of DATA that it was not fitted on, and plants scratches, seeds, stones, dust and
    bold lines of known size and contrast into them. Writes detectability.csv, .json and .png; prints the smallest
    size that is found nine times in ten. Takes a few minutes.

    ```
    pellucid detectability glass.pellucid GlassDefect -o detectability
    ```
    """
    from pellucid._io.files import check_writable, write_bytes, write_text
    from pellucid.models.load import load
    from pellucid.reports import curves
    from pellucid.reports.tables import smallest
    from pellucid.study.detectability import measure_detectability, unseen_normal

    check_writable(output / "detectability.json")
    inspector = load(model, runtime, device=device)
    limit = inspector.limit
    plan = read_plan(data, inspector.false_reject, inspector.seed, confidence=limit.confidence, folds=limit.folds)
    found = measure_detectability(inspector, unseen_normal(plan, inspector), flaws_per_cell=flaws_per_cell, seed=seed)
    result = found.to_dict()
    write_text(output / "detectability.csv", found.to_csv())
    write_bytes(output / "detectability.png", curves.detectability(result["cells"]))
    write_text(output / "detectability.json", json.dumps(result, indent=2) + "\n")
    if as_json:
        print(json.dumps(result, indent=2))
        return
    out.print(smallest(result["smallest_px_found_9_of_10"]))
    print_line(
        out,
        f"{flaws_per_cell} flaws of every kind, size and contrast in {found.images} good images that were not fitted on"
        f" and are passed as they are ({found.rejected_clean} were not); picture: {output / 'detectability.png'}",
    )
