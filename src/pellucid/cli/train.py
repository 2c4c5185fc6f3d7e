"""Learning: one model, or many side by side."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pellucid import detectors as detector_catalogue
from pellucid.cli._console import announce, err, out, planned, print_line
from pellucid.cli._options import (
    Backbone,
    CostEscape,
    CostReject,
    Data,
    DefectRate,
    FalseReject,
    ImageSize,
    Json,
    Output,
    Resume,
    Seed,
    Set,
    Weights,
)
from pellucid.errors import ParameterError

if TYPE_CHECKING:
    from pellucid.study.engines import Engine


def fit(
    data: Data,
    output: Annotated[Path, typer.Option("-o", "--output", help="model file to write")],
    detector: Annotated[str, typer.Option(help="see 'pellucid detectors'")] = "patchcore",
    backbone: Backbone = "prism_s",
    weights: Weights = None,
    image_size: ImageSize = "256",
    settings: Set = None,
    false_reject: FalseReject = 0.05,
    limit: Annotated[
        Literal["conformal", "f1"], typer.Option(help="f1 uses labelled defects: optimistic")
    ] = "conformal",
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Learn what normal looks like and write one model file."""
    parameters = _parameters(detector, backbone, weights, settings, seed)
    from pellucid._io.files import check_writable
    from pellucid.acquisition.images import parse_size
    from pellucid.fitting import fit as fit_plan
    from pellucid.limits.conformal import realised_rate
    from pellucid.reports.tables import summary

    size = parse_size(image_size)
    check_writable(output)
    checkpoint = output.with_name(output.name + ".training")
    if not resume:
        shutil.rmtree(checkpoint, ignore_errors=True)
    inspector = fit_plan(
        planned(data, false_reject, seed),
        detector,
        image_size=size,
        false_reject=false_reject,
        limit=limit,
        checkpoint=checkpoint,
        **parameters,
    )
    inspector.save(output)
    shutil.rmtree(checkpoint, ignore_errors=True)
    out.print(summary({detector: (inspector.detector.module_summary(), output.stat().st_size / 1e6)}))
    chosen, count = inspector.limit, len(inspector.limit.scores)
    said = f"limit {chosen.value:.6g} ({chosen.method}) from {count} normal images"
    if limit == "f1":
        out.print(f"{said} and labelled defects: what it shows on those images is optimistic", highlight=False)
    else:
        low, high = realised_rate(count, false_reject)
        said += f" for {false_reject:.1%} false rejects; from so many, the true rate lies between {low:.1%} and"
        out.print(f"{said} {high:.1%} nine times in ten", highlight=False)
    print_line(out, f"wrote {output}")


def compare(
    data: Annotated[Path, typer.Argument(help="folder, CSV file, or a sweep in TOML (options win over what it says)")],
    output: Output = Path("out"),
    detectors: Annotated[str | None, typer.Option(help="names with commas between; all by default")] = None,
    backbone: Annotated[str | None, typer.Option(help="where features come from; prism_s by default")] = None,
    weights: Weights = None,
    image_size: Annotated[str | None, typer.Option(help="N or HxW; 256 by default")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="how many splits and trainings to average over; 1 by default")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="the first of them; 0 by default")] = None,
    false_reject: Annotated[
        float | None, typer.Option(help="share of good images that may be rejected; 0.05 by default")
    ] = None,
    prefer: Annotated[
        Literal["balanced", "accuracy", "speed", "size"] | None, typer.Option(help="how equals are told apart")
    ] = None,
    max_ms: Annotated[float | None, typer.Option(help="budget: milliseconds per image")] = None,
    max_mb: Annotated[float | None, typer.Option(help="budget: megabytes of the model file")] = None,
    cost_escape: CostEscape = None,
    cost_reject: CostReject = None,
    defect_rate: DefectRate = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="ray: the cluster of RAY_ADDRESS or one here")
    ] = "local",
    tracker: Annotated[
        list[str] | None, typer.Option("--track", help="mlflow or wandb, beside TensorBoard; repeatable")
    ] = None,
    resume: Annotated[
        bool | None, typer.Option("--resume/--fresh", help="keep what is finished; a sweep does by default")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train and test models side by side and name the one to run."""
    given = {
        "detectors": [n.strip() for n in detectors.split(",")] if detectors else None,
        "backbone": backbone,
        "weights": {backbone or "prism_s": weights} if weights else None,
        "image_size": image_size,
        "seeds": seeds,
        "seed": seed,
        "false_reject": false_reject,
        "prefer": prefer,
        "max_ms": max_ms,
        "max_mb": max_mb,
        "cost_escape": cost_escape,
        "cost_reject": cost_reject,
        "defect_rate": defect_rate,
    }
    goes_on = data.suffix.lower() == ".toml" if resume is None else resume
    run_comparison(data, given, output, goes_on, engine, tracker or [], as_json)


def demo(output: Output = Path("pellucid-demo")) -> None:
    """Draw a glass set, compare the detectors on it, write the report: no data, no network."""
    from pellucid.synthesis.glass import draw_data_set

    data = output / "data"
    draw_data_set(data, seed=0)
    print_line(err, f"drew panes of glass in {data}")
    fewer = {"stfpm": {"epochs": 15}, "reverse_distillation": {"epochs": 10}}  # a first look, not a last word
    run_comparison(data, {"parameters": fewer, "image_size": 128}, output, False, "local", [], False)


def run_comparison(
    data: Path,
    given: dict[str, Any],
    output: Path,
    resume: bool,
    engine: Engine,
    trackers: list[str],
    as_json: bool,
) -> None:
    from pellucid._io.files import check_writable
    from pellucid.backbones import create as create_backbone
    from pellucid.reports.tables import leaderboard, summary
    from pellucid.study.compare import compare as run
    from pellucid.study.compare import read_cost
    from pellucid.study.sweep import Sweep
    from pellucid.tracking import check as check_tracker

    sweep = Sweep.from_file(data, given)
    check_writable(output / "leaderboard.json")
    for name in trackers:
        check_tracker(name)
    networks = {(p["backbone"], *p["layers"]): p for p in (cell.parameters for cell in sweep.candidates().values())}
    for needed in networks.values():  # the networks and their weights, before any work begins
        create_backbone(needed["backbone"], layers=needed["layers"], weights=needed["weights"])
    command = "pellucid " + " ".join(sys.argv[1:])
    done = run(sweep, output, resume=resume, engine=engine, trackers=trackers, command=command, announce=announce)
    if as_json:
        print(json.dumps(done.rows, indent=2))
        return
    costs = {row["name"]: read_cost(output / row["name"]) for row in done.rows}
    out.print(summary({name: (cost["parts"], cost["model_mb"]) for name, cost in costs.items()}))
    out.print(leaderboard(done.rows))
    out.print(f"[bold]{done.choice.sentence}[/] {done.choice.reason}".rstrip(), highlight=False)
    print_line(out, f"report: {output / 'report.html'}")


def _parameters(
    detector: str, backbone: str, weights: Path | None, settings: list[str] | None, seed: int
) -> dict[str, Any]:
    """All hyper-parameters of a detector: its defaults, the options, then --set."""
    defaults = detector_catalogue.describe(detector).defaults
    given = {}
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ParameterError(f"--set {setting} is not understood: write key=value, as in num_neighbors=5.")
        if key in ("backbone", "weights", "seed"):
            raise ParameterError(f"--set {setting} is not allowed: {key} has an option of its own, --{key}.")
        given[key] = _parse(text, defaults.get(key))
    return detector_catalogue.complete(detector, given, backbone, weights) | {"seed": seed}


def _parse(text: str, default: Any) -> Any:
    """Text as the value that it stands for, where a default of that kind is replaced."""
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(",")]
    if isinstance(default, str):
        return text
    try:
        return json.loads(text.lower())
    except json.JSONDecodeError:
        return text
