"""What a model can and cannot do: its test, and the smallest flaw that it finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli._console import announce, out, planned
from pellucid.cli._options import (
    CostEscape,
    CostReject,
    Data,
    DefectRate,
    Json,
    Output,
    Runtime,
)


def evaluate(
    model: Annotated[Path, typer.Argument(help="model file")],
    data: Data,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="metrics.json and scores.csv go here")] = None,
    cost_escape: CostEscape = None,
    cost_reject: CostReject = None,
    defect_rate: DefectRate = None,
    as_json: Json = False,
) -> None:
    """Test a saved model on the test images of a data set."""
    from pellucid._io.files import check_writable, write_text
    from pellucid.models.load import load
    from pellucid.reports.tables import evaluation
    from pellucid.study.evaluate import evaluate_plan, plan_test
    from pellucid.study.operating import Costs
    from pellucid.study.scores import scores_csv

    named = {"escape": cost_escape, "reject": cost_reject, "defect_rate": defect_rate}
    costs = Costs(**{name: value for name, value in named.items() if value is not None})
    if output is not None:
        check_writable(output / "metrics.json")
    inspector = load(model)
    plan = plan_test(inspector, data)
    announce(plan)
    result = evaluate_plan(inspector, plan, costs=costs)
    written = result.to_dict()
    if output is not None:
        write_text(output / "scores.csv", scores_csv(result.scored, plan.verified.samples.root))
        write_text(output / "metrics.json", json.dumps(written, indent=2) + "\n")
    if as_json:
        print(json.dumps(written, indent=2))
    else:
        for table in evaluation(written):
            out.print(table)
        for note in (*([result.shift.message] if result.shift else []), *result.notes):
            out.print(note, highlight=False, markup=False)


def detectability(
    model: Annotated[Path, typer.Argument(help="model file, or the folder of an exported model")],
    data: Data,
    output: Output = Path("detectability"),
    each: Annotated[int, typer.Option(min=1, help="flaws of one kind, size and contrast")] = 20,
    seed: Annotated[int, typer.Option(help="of places and forms")] = 0,
    runtime: Runtime = "auto",
    as_json: Json = False,
) -> None:
    """Plant scratches, seeds, stones, dust and bold lines into good images: what is the smallest that is found?"""
    from pellucid._io.files import check_writable, write_bytes, write_text
    from pellucid.models.load import load
    from pellucid.reports import curves
    from pellucid.reports.tables import smallest
    from pellucid.study.detectability import measure_detectability, unseen_normal

    check_writable(output / "detectability.json")
    inspector = load(model, runtime)
    plan = planned(data, inspector.false_reject, inspector.seed)
    found = measure_detectability(inspector, unseen_normal(plan, inspector), flaws_per_cell=each, seed=seed)
    written = found.to_dict()
    write_text(output / "detectability.csv", found.to_csv())
    write_bytes(output / "detectability.png", curves.detectability(written["cells"]))
    write_text(output / "detectability.json", json.dumps(written, indent=2) + "\n")
    if as_json:
        print(json.dumps(written, indent=2))
        return
    out.print(smallest(written["smallest_px_found_9_of_10"]))
    out.print(
        f"{each} flaws of every kind, size and contrast in {found.images} good images that were not fitted on and are"
        f" passed as they are ({found.rejected_clean} were not); picture: {output / 'detectability.png'}",
        highlight=False,
    )
