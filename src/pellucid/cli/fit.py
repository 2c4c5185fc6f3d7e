"""Learning what good parts look like: one model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli._console import out, print_line, print_text, read_plan
from pellucid.cli._limit_options import Confidence, CostEscape, CostReject, DefectRate, FalseReject, Folds, LimitMethod
from pellucid.cli._models import (
    check_backbone,
    costs_of,
    model_parameters,
    read_zones,
    scale_of,
    values_to_choose,
)
from pellucid.cli._options import (
    Backbone,
    Choose,
    Data,
    Detector,
    Device,
    Ignore,
    ImageSize,
    LearnDefects,
    Margin,
    MillimetresPerPixel,
    MinArea,
    ModelOutput,
    Only,
    Outline,
    Resume,
    Seed,
    Set,
    Weights,
)
from pellucid.cli._tile_options import (
    FalseAlarmsPerM2,
    FalseAlarmsPerMpx,
    GateLoss,
    Reduce,
    SmallestMm,
    SmallestPx,
    Tile,
    smallest_of,
)

if TYPE_CHECKING:
    from pellucid.acquisition.plan import Plan
    from pellucid.inspector import Inspector
    from pellucid.limits.costs import Costs
    from pellucid.limits.gap import LimitMove
    from pellucid.records import Split
    from pellucid.regions.defects import Measuring


def fit(
    data: Data,
    output: ModelOutput,
    detector: Detector = "patchcore",
    backbone: Backbone = None,
    weights: Weights = None,
    image_size: ImageSize = "256",
    tile: Tile = None,
    reduce: Reduce = None,
    smallest_px: SmallestPx = None,
    smallest_mm: SmallestMm = None,
    gate_loss: GateLoss = 0.0,
    settings: Set = None,
    choose: Choose = None,
    false_reject: FalseReject = 0.05,
    false_alarms_per_m2: FalseAlarmsPerM2 = None,
    false_alarms_per_mpx: FalseAlarmsPerMpx = None,
    confidence: Confidence = None,
    folds: Folds = None,
    limit: LimitMethod = "conformal",
    cost_escape: CostEscape = None,
    cost_reject: CostReject = None,
    defect_rate: DefectRate = None,
    learn_defects: LearnDefects = False,
    ignore: Ignore = None,
    only: Only = None,
    margin: Margin = 0,
    min_area: MinArea = 0,
    outline: Outline = "auto",
    mm_per_px: MillimetresPerPixel = None,
    seed: Seed = 0,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Learn what good parts look like and write one model file.

    Reads the images of good parts in DATA, fits one detector on them and places the limit by scores of images that it
    has not seen: each is left out in turn, or a fifth is kept aside for detectors that cannot do that. Defects in DATA
    are not learned from, unless --learn-defects asks for it. What is to be ignored is stored in the model, and the
    limit is placed for what counts. Writes the model file, whole or not at all, and prints the networks inside it and
    the limit.

    ```
    pellucid fit GlassDefect -o glass.pellucid --detector padim --image-size 192x320
    ```
    """
    parameters = model_parameters(detector, backbone, weights, settings or [], seed)
    choice = values_to_choose(detector, choose, settings or [], parameters)
    from pellucid.acquisition.tiles import check_tile
    from pellucid.fitting import fit as fit_plan
    from pellucid.limits.area import FEWEST_ASIDE, check_false_alarms, false_alarms_of
    from pellucid.limits.gate_loss import check_gate_loss
    from pellucid.tiling import AUTOMATIC_TILE_PX

    costs, scale = costs_of(cost_escape, cost_reject, defect_rate), scale_of(mm_per_px)
    check_tile(tile, reduce or 1)
    check_gate_loss(gate_loss)
    false_alarms = false_alarms_of(false_alarms_per_m2, false_alarms_per_mpx)
    check_false_alarms(false_alarms, scale is not None, limit)
    if false_alarms is not None:
        false_reject = FEWEST_ASIDE
    smallest = smallest_of(smallest_px, smallest_mm, scale, tile, reduce)
    leaves_out = _check(detector, parameters, output, image_size, device, false_reject, confidence, folds)
    with _progress(output, resume) as checkpoint:
        plan = read_plan(data, false_reject, seed, confidence=confidence, folds=folds, leaves_out=leaves_out)
        if smallest is not None:
            reduce = _choose_reduction(detector, parameters, plan, smallest, tile, device)
        seen: dict[str, Any] = {
            "image_size": image_size,
            "tile": tile if smallest is None else tile or AUTOMATIC_TILE_PX,
            "reduce": reduce or 1,
            "zones": read_zones(ignore, only, margin, min_area, plan.split.fit[0].path),
        }
        if choice is not None:
            parameters |= _choose_value(detector, parameters, choice, plan, false_reject, device, seen)
        inspector = fit_plan(
            plan,
            detector,
            gate_loss=gate_loss,
            false_reject=false_reject,
            confidence=confidence,
            false_alarms=false_alarms,
            limit=limit,
            costs=costs,
            learn_defects=learn_defects,
            outline=outline,
            mm_per_px=scale,
            checkpoint=checkpoint,
            device=device,
            **seen,
            **parameters,
        )
        inspector.save(output)
    _print_model(inspector, detector, output, _propose_move(inspector, plan.split, costs))


def _check(
    detector: str,
    parameters: Mapping[str, Any],
    output: Path,
    image_size: str,
    device: str,
    false_reject: float,
    confidence: float | None,
    folds: int | None,
) -> bool:
    """Refuse what is not allowed, or not there, before any image is read; whether the detector leaves images out."""
    from pellucid import detectors
    from pellucid.acquisition.images import parse_size
    from pellucid.acquisition.splits import check_confidence, check_rate
    from pellucid.detectors._device import resolve_device
    from pellucid.fitting import check_folds
    from pellucid.models.file import check_model_writable

    parse_size(image_size)
    check_model_writable(output)
    resolve_device(device)
    check_rate(false_reject)
    check_confidence(confidence)
    made = detectors.create(detector, **parameters)
    check_backbone(parameters)
    check_folds(detector, made.leaves_out, folds)
    return made.leaves_out


def _choose_reduction(
    detector: str, parameters: Mapping[str, Any], plan: Plan, smallest_px: float, tile: int | None, device: str
) -> int:
    """Compare scales by planted flaws of the smallest size that matters, and say what each finds."""
    from pellucid import detectors
    from pellucid.study.scales import choose_scale, compare_scales

    made, bits = detectors.create(detector, **parameters).to(device), plan.fitted_images().bits
    trials = compare_scales(made, plan.split.normals, smallest_px, tile=tile, bits=bits)
    chosen = choose_scale(trials)
    _print_trials(trials, chosen)
    return chosen.reduce


def _choose_value(
    detector: str,
    parameters: Mapping[str, Any],
    choice: tuple[str, list[Any]],
    plan: Plan,
    false_reject: float,
    device: str,
    seen: Mapping[str, Any],
) -> dict[str, Any]:
    """Compare values of a hyper-parameter by planted flaws, and say what each finds."""
    from pellucid import detectors
    from pellucid.study.tuning import choose_value, compare_values

    name, values = choice
    made = detectors.create(detector, **parameters).to(device)
    trials = compare_values(made, name, values, plan, false_reject=false_reject, **seen)
    chosen = choose_value(trials)
    _print_trials(trials, chosen)
    return {name: chosen.value}


def _print_trials(trials: Sequence[object], chosen: object) -> None:
    """Say what each choice finds, and which is taken."""
    for trial in trials:
        print_text(out, f"{trial}{' (chosen)' if trial is chosen else ''}")


@contextlib.contextmanager
def _progress(output: Path, resume: bool) -> Iterator[Path]:
    """The folder for the progress of a training, removed when the model is written."""
    folder = output.with_name(output.name + ".training")
    if not resume:
        _remove_progress(folder)
    yield folder
    _remove_progress(folder)


def _remove_progress(folder: Path) -> None:
    """Remove the progress of trainings, and its folder if nothing else is in there."""
    for file in folder.glob("*.pt*"):  # and what a kill left of one
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _propose_move(inspector: Inspector, split: Split, costs: Costs) -> LimitMove | None:
    """Where the limit could go by labelled training defects; None of too few."""
    from pellucid.limits.gap import MIN_DEFECTS, propose_move

    if len(split.select) < MIN_DEFECTS:
        return None
    scores = list(inspector.held_out_defects) or [
        found.score for found in inspector.inspect_many(sample.path for sample in split.select)
    ]
    return propose_move(inspector.limit, scores, costs)


def _print_model(inspector: Inspector, detector: str, output: Path, move: LimitMove | None) -> None:
    """The networks of a new model, its limit, what that promises, and where labelled defects leave room."""
    from pellucid.acquisition.views import describe_view
    from pellucid.detectors._networks import summarise_networks
    from pellucid.limits.promise import promise_sentence
    from pellucid.reports.tables import summary

    out.print(summary({detector: (summarise_networks(inspector.detector), output.stat().st_size / 1e6)}))
    print_text(out, f"images are seen {describe_view(inspector.image_size, inspector.fitted_images.framing)}")
    limit = inspector.limit
    groups = f" in {limit.groups} groups" if limit.weights else ""
    area = "" if limit.alarm_unit is None else f", {limit.normal_area:.4g} {limit.alarm_unit} of good glass"
    print_text(out, f"limit {limit.value:.6g} ({limit.method}) from {len(limit.scores)} normal images{groups}{area}")
    print_text(out, promise_sentence(limit, inspector.false_reject))
    if move is not None:
        print_text(out, move.sentence(made=limit.method == "gap"))
    if inspector.taught is not None:
        print_text(out, inspector.taught.sentence)
    if inspector.gate_report is not None:
        print_text(out, inspector.gate_report.sentence)
        if prices := inspector.gate_report.prices_sentence:
            print_text(out, prices)
    if not inspector.zones.are_everything:
        print_text(out, f"what counts: {inspector.zones}")
    print_text(out, _outline_sentence(inspector.measuring))
    print_line(out, f"wrote {output}")


def _outline_sentence(measuring: Measuring) -> str:
    """What outlines the defects, and why."""
    sentence = f"defects are outlined by the {measuring.outline}"
    if measuring.image_iou is not None and measuring.map_iou is not None:
        sentence += (
            f": its outlines of {measuring.chosen_on} {measuring.chosen_by} have an intersection over union of"
            f" {max(measuring.image_iou, measuring.map_iou):.2f} with the masks, the other's"
            f" {min(measuring.image_iou, measuring.map_iou):.2f}"
        )
    elif not measuring.chosen_by:
        sentence += ": the map shows too few of the flaws that were planted to compare it with the image"
    return sentence
