"""The command line. Exit codes: 0 done, 1 the user's error with one sentence, 2 usage, 3 something was rejected."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pellucid import backbones as backbone_catalogue
from pellucid import detectors as detector_catalogue
from pellucid.errors import DataError, ParameterError, PellucidError

if TYPE_CHECKING:
    from pellucid.acquisition.plan import Plan
    from pellucid.records import Inspection
    from pellucid.study.engines import Engine

app = typer.Typer(no_args_is_help=True, add_completion=False, help="pellucid finds the flaw in the glass.")
study = typer.Typer(no_args_is_help=True, help="What a model can and cannot do.")
app.add_typer(study, name="study")
out = Console(width=None if sys.stdout.isatty() else 150)  # a log file is not 80 columns wide
err = Console(stderr=True)
ABSENT = ("torch", "scipy", "sklearn", "matplotlib", "safetensors")  # from the slim runtime, see slim/pyproject.toml
CHECKED = 32  # images that an export is compared with torch on, at most

Data = Annotated[Path, typer.Argument(help="folder (five folders, MVTec or plain layout) or CSV file")]
Output = Annotated[Path, typer.Option("-o", "--output", help="where results go")]
Backbone = Annotated[str, typer.Option(help="network that the features come from; see 'pellucid backbones'")]
Weights = Annotated[Path | None, typer.Option(help="checkpoint of the backbone (torchvision, timm, safetensors)")]
ImageSize = Annotated[str, typer.Option(help="N or HxW; images are resized, never cropped")]
Set = Annotated[list[str] | None, typer.Option("--set", help="hyper-parameter as key=value; repeatable")]
FalseReject = Annotated[float, typer.Option(help="share of good images that may be rejected")]
Seed = Annotated[int, typer.Option(help="of the split and of the detectors")]
Resume = Annotated[bool, typer.Option("--resume", help="go on where a killed run stopped")]
Runtime = Annotated[
    Literal["auto", "torch", "openvino", "onnx"],
    typer.Option(help="what computes; auto: the fastest that is installed and agrees with torch"),
]
CostEscape = Annotated[float | None, typer.Option(help="what a defect that is missed costs; 100 by default")]
CostReject = Annotated[float | None, typer.Option(help="what a good part that is rejected costs; 1 by default")]
DefectRate = Annotated[float | None, typer.Option(help="share of defective parts on the line; 0.01 by default")]
Json = Annotated[bool, typer.Option("--json", help="print JSON for machines")]


@app.command()
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
        _plan(data, false_reject, seed),
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
    _line(out, f"wrote {output}")


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="model file, or the folder of an exported model")],
    images: Annotated[list[Path], typer.Argument(help="image files or folders")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="scores.csv and result pictures go here")
    ] = None,
    runtime: Runtime = "auto",
    as_json: Json = False,
    fail_on_reject: Annotated[
        bool, typer.Option("--fail-on-reject", help="exit with 3 when an image is rejected")
    ] = False,
) -> None:
    """Score images, show where the flaw is, decide."""
    from pellucid._io.files import check_writable, write_bytes, write_text
    from pellucid._io.progress import track
    from pellucid.models.load import load
    from pellucid.records import Sample
    from pellucid.study.results import ScoredSample
    from pellucid.study.scores import scores_csv

    if output is not None:
        check_writable(output / "scores.csv")
    paths = _files(images)
    inspector = load(model, runtime, images=len(paths))
    judged: list[ScoredSample] = []
    skipped: list[str] = []
    rejected = 0

    def draw(number: int, found: Inspection) -> None:
        if output is not None:
            write_bytes(output / "images" / f"{number:05d}_{found.path.stem}.png", found.png())

    def skip(error: DataError) -> None:
        skipped.append(str(error))
        _line(err, ("skipped:", "yellow"), f" {error}")

    inspections = inspector.inspect_many(paths, finish=draw, skip=skip)
    for found in track(inspections, "inspecting", len(paths)):
        rejected += found.verdict == "reject"
        kept = replace(found, map=found.map[:0])  # maps are not kept: memory stays flat
        judged.append(ScoredSample(Sample(found.path, "normal"), kept))
        if as_json:
            print(json.dumps(_as_json(found)))
    if not judged:
        raise DataError(f"None of the {len(paths)} files could be inspected. First: {skipped[0]}")
    if output is not None:
        write_text(output / "scores.csv", scores_csv(judged, Path.cwd(), labelled=False))
    if not as_json:
        _print_inspections(judged)
        out.print(f"{len(judged)} inspected, {rejected} rejected, {len(skipped)} skipped")
    if rejected and fail_on_reject:
        raise typer.Exit(3)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="model file")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    format: Annotated[Literal["openvino", "onnx"], typer.Option(help="of the graph")] = "openvino",
    check: Annotated[
        Path | None, typer.Option(help="images to compare the graph with torch on; else drawn panes of glass")
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="8-bit backbone; DATA is what the model was fitted on and gives a new limit"),
    ] = None,
) -> None:
    """Write a model as one graph, from pixels to map and score, that inspects without torch."""
    from pellucid.models.export import TOLERANCE
    from pellucid.models.load import load
    from pellucid.models.quantise import MIN_RANK_CORRELATION

    images = [] if check is None else _files([check])
    images = images[:: -(-len(images) // CHECKED) or 1]
    written = load(model).export(output, format, images=images, int8=int8)
    compared, off = f"{len(images)} images" if images else "drawn panes of glass", written.max_difference
    out.print(f"differs from torch by at most {off:.1e} on {compared} ({TOLERANCE:g} allowed)", highlight=False)
    if written.rank_correlation is not None:
        limit = written.model.limit
        out.print(
            f"int8 ranks {len(limit.scores)} held-out normal images as float32 does (correlation"
            f" {written.rank_correlation:.3f}, {MIN_RANK_CORRELATION:g} asked);"
            f" limit {limit.value:.6g} from their scores",
            highlight=False,
        )
    _line(out, f"wrote {output}; its limit may be edited in {output / 'model.json'}")


@app.command()
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
    from pellucid.study.evaluate import evaluate as evaluate_judged
    from pellucid.study.operating import Costs
    from pellucid.study.scores import score_samples, scores_csv

    named = {"escape": cost_escape, "reject": cost_reject, "defect_rate": defect_rate}
    costs = Costs(**{name: value for name, value in named.items() if value is not None})
    if output is not None:
        check_writable(output / "metrics.json")
    inspector = load(model)
    plan = _plan(data, inspector.false_reject, inspector.seed)
    if not plan.split.test:
        raise DataError(f"'{data}' has no test images.")
    defects = [j.inspection.score for j in score_samples(inspector, plan.split.select, "selection")]
    judged = score_samples(inspector, plan.split.test, "testing")
    result = evaluate_judged(judged, inspector.limit, selection=defects, costs=costs)
    written = result.to_dict()
    if output is not None:
        write_text(output / "scores.csv", scores_csv(result.judged, plan.verified.samples.root))
        write_text(output / "metrics.json", json.dumps(written, indent=2) + "\n")
    if as_json:
        print(json.dumps(written, indent=2))
    else:
        for table in evaluation(written):
            out.print(table)
        for note in (*([result.shift.message] if result.shift else []), *result.notes):
            out.print(note, highlight=False, markup=False)


@app.command()
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
    _compare(data, given, output, goes_on, engine, tracker or [], as_json)


@study.command()
def power(
    model: Annotated[Path, typer.Argument(help="model file, or the folder of an exported model")],
    data: Data,
    output: Output = Path("power"),
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
    from pellucid.study.detectability import power as plant_all
    from pellucid.study.detectability import unseen

    check_writable(output / "power.json")
    inspector = load(model, runtime)
    plan = _plan(data, inspector.false_reject, inspector.seed)
    found = plant_all(inspector, unseen(plan, inspector), each=each, seed=seed)
    written = found.to_dict()
    write_text(output / "power.csv", found.csv())
    write_bytes(output / "power.png", curves.power(written["cells"]))
    write_text(output / "power.json", json.dumps(written, indent=2) + "\n")
    if as_json:
        print(json.dumps(written, indent=2))
        return
    out.print(smallest(written["smallest_px_found_9_of_10"]))
    out.print(
        f"{each} flaws of every kind, size and contrast in {found.images} good images that were not fitted on and are"
        f" passed as they are ({found.rejected_clean} were not); picture: {output / 'power.png'}",
        highlight=False,
    )


@app.command()
def serve(
    models: Annotated[Path, typer.Option(help="folder of model files, exported models and results of compare")] = Path(
        "models"
    ),
    record: Annotated[Path, typer.Option(help="folder of the database and the pictures")] = Path("record"),
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="postgresql://USER:PASSWORD@HOST/NAME; SQLite in the record else")
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen on; others than this machine's need accounts")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    accounts: Annotated[Path | None, typer.Option(help="file of 'pellucid account'")] = None,
    watch: Annotated[Path | None, typer.Option(help="folder whose new images are inspected")] = None,
    watch_model: Annotated[str | None, typer.Option(help="model for them, if there are several")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of data sets that the pages may train on")] = None,
    runtime: Runtime = "auto",
    waiting: Annotated[int, typer.Option(help="requests under way; one more is answered by 429")] = 64,
    waiting_mb: Annotated[int, typer.Option(help="megabytes of uploads under way")] = 256,
    request_mb: Annotated[int, typer.Option(help="megabytes that one request may have")] = 64,
    megapixels: Annotated[float, typer.Option(help="that one image may have")] = 50.0,
    timeout: Annotated[float, typer.Option(help="seconds until a request is given up")] = 30.0,
    keep_ok: Annotated[int, typer.Option(help="days that pictures of accepted parts are kept")] = 30,
    keep_reject: Annotated[int, typer.Option(help="days for those of rejected and of reviewed parts")] = 365,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="the pages to work with, or HTTP alone")] = True,
) -> None:
    """Inspect what is sent, keep a record of everything, and show pages to work with."""
    try:
        from pellucid.service.access import Accounts, of_token
        from pellucid.service.app import serve as run
        from pellucid.service.settings import Settings
    except ModuleNotFoundError as error:
        raise ParameterError(f"The service needs {error.name}: pip install 'pellucid[serve]'.") from None

    members = () if accounts is None else Accounts.read(accounts).members
    if token := os.environ.get("PELLUCID_TOKEN"):
        members = (*members, of_token(token))
    run(
        Settings(
            models=models,
            record=record,
            database=database or os.environ.get("PELLUCID_DATABASE"),
            host=host,
            port=port,
            runtime=runtime,
            watch=watch,
            watch_model=watch_model,
            data=data,
            accounts=Accounts(members),
            waiting=waiting,
            waiting_mb=waiting_mb,
            request_mb=request_mb,
            megapixels=megapixels,
            timeout=timeout,
            keep_ok=keep_ok,
            keep_reject=keep_reject,
            pages=pages,
        )
    )


@app.command()
def account(
    name: Annotated[str, typer.Argument(help="of a person or a machine")],
    file: Annotated[Path, typer.Option("-f", "--file", help="of accounts; made if need be")],
    role: Annotated[
        Literal["operator", "engineer"],
        typer.Option(help="operators inspect and review, engineers also move limits, reload and train"),
    ] = "operator",
) -> None:
    """Make an account for the service, or give one a new key; the key is shown once."""
    from pellucid.service.access import add_account

    key = add_account(file, name, role)
    out.print(f"{role} '{name}' has this key, which is kept nowhere: log in with it, or send it as a bearer token")
    print(key)


@app.command()
def demo(output: Output = Path("pellucid-demo")) -> None:
    """Draw a glass set, compare the detectors on it, write the report: no data, no network."""
    from pellucid.synthesis.glass import draw_data_set

    data = output / "data"
    draw_data_set(data, seed=0)
    _line(err, f"drew panes of glass in {data}")
    fewer = {"stfpm": {"epochs": 15}, "reverse_distillation": {"epochs": 10}}  # a first look, not a last word
    _compare(data, {"parameters": fewer, "image_size": 128}, output, False, "local", [], False)


@app.command(name="detectors")
def detectors_command(name: Annotated[str | None, typer.Argument()] = None, as_json: Json = False) -> None:
    """What detectors there are, with their parameters and defaults."""
    chosen = [detector_catalogue.describe(n) for n in ([name] if name else detector_catalogue.names())]
    if as_json:
        print(
            json.dumps([{"name": d.name, "paper": d.paper, "parameters": dict(d.defaults)} for d in chosen], indent=2)
        )
        return
    for d in chosen:
        out.print(f"[bold]{d.name}[/]  {d.summary}", highlight=False)
        if name:
            out.print(d.paper, highlight=False)
            table = Table("parameter", "default")
            for key, value in d.defaults.items():
                table.add_row(key, json.dumps(value))
            out.print(table)


@app.command()
def backbones(as_json: Json = False) -> None:
    """What backbones there are and where their weights come from."""
    entries = [backbone_catalogue.entry(n) for n in backbone_catalogue.names()]
    if as_json:
        print(json.dumps([{"name": e.name, "weights": e.source} for e in entries], indent=2))
        return
    table = Table("backbone", "weights")
    for e in entries:
        table.add_row(e.name, escape(e.source))
    out.print(table)


def _compare(
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
    networks = {(p["backbone"], *p["layers"]): p for p in (cell.parameters for cell in sweep.cells().values())}
    for needed in networks.values():  # the networks and their weights, before any work begins
        create_backbone(needed["backbone"], layers=needed["layers"], weights=needed["weights"])
    command = "pellucid " + " ".join(sys.argv[1:])
    done = run(sweep, output, resume=resume, engine=engine, trackers=trackers, command=command, announce=_announce)
    if as_json:
        print(json.dumps(done.rows, indent=2))
        return
    costs = {row["name"]: read_cost(output / row["name"]) for row in done.rows}
    out.print(summary({name: (cost["parts"], cost["model_mb"]) for name, cost in costs.items()}))
    out.print(leaderboard(done.rows))
    out.print(f"[bold]{done.choice.sentence}[/] {done.choice.reason}".rstrip(), highlight=False)
    _line(out, f"report: {output / 'report.html'}")


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


def _plan(data: Path, false_reject: float, seed: int) -> Plan:
    from pellucid.acquisition.plan import Plan

    plan = Plan.from_data(data, false_reject=false_reject, seed=seed)
    _announce(plan)
    return plan


def _announce(plan: Plan) -> None:
    """Say who does what, and what is odd about the data."""
    split = plan.split
    how = f"{len(split.calibrate)} calibrate" if split.folds is None else f"calibrated by {split.folds} folds"
    tested = sum(s.label == "normal" for s in split.test)
    err.print(
        f"{plan.verified.samples.layout} layout: {len(split.fit)} normal images fit, {how}, {len(split.select)} defects"
        f" select, {tested} normal and {len(split.test) - tested} defective images test",
        highlight=False,
    )
    for note in plan.notes:
        _line(err, ("note:", "yellow"), f" {note}")


def _print_inspections(judged: list[Any]) -> None:
    table = Table("image", "verdict", "score", "limit", "p", "defects (x, y, width, height)")
    for j in judged[:200]:
        i: Inspection = j.inspection
        colour = "red" if i.verdict == "reject" else "green"
        boxes = "; ".join(str(d.box) for d in i.defects[:3]) + (" ..." if len(i.defects) > 3 else "")
        verdict = f"[{colour}]{i.verdict}[/]"
        table.add_row(escape(i.path.name), verdict, f"{i.score:.5g}", f"{i.limit:.5g}", f"{i.p_value:.3f}", boxes)
    out.print(table)


def _files(given: list[Path]) -> list[Path]:
    """The image files given, and those in the folders given."""
    from pellucid.acquisition.folders import image_files

    paths = [path for place in given for path in (image_files(place) if place.is_dir() else [place])]
    if not paths:
        raise DataError(f"There are no images in {', '.join(str(place) for place in given)}.")
    return paths


def _as_json(i: Inspection) -> dict[str, Any]:
    defects = [{"box": d.box, "area_px": d.area_px, "peak": d.peak, "centroid": d.centroid} for d in i.defects]
    known = {"path": str(i.path), "score": i.score, "limit": i.limit, "p_value": i.p_value, "verdict": i.verdict}
    return known | {"defects": defects}


def main() -> None:
    """Entry point: a user's error becomes one sentence and exit code 1."""
    try:
        app()
    except PellucidError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in ABSENT:
            raise
        _fail(f"The slim runtime only inspects exported models; this needs {error.name}: pip install pellucid.")


def _fail(message: str) -> None:
    _line(err, ("error:", "bold red"), f" {message}")
    sys.exit(1)


def _line(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print text, or (text, style), as one line, however long: it may name files, with brackets in their names."""
    console.print(Text.assemble(*parts), soft_wrap=True)
