"""Learning what good parts look like: one model."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.cli._console import out, print_line, print_text, read_plan
from pellucid.cli._models import check_backbone, model_parameters
from pellucid.cli._options import (
    Backbone,
    Data,
    Detector,
    Device,
    FalseReject,
    ImageSize,
    LimitMethod,
    ModelOutput,
    Resume,
    Seed,
    Set,
    Weights,
)

if TYPE_CHECKING:
    from pellucid.inspector import Inspector


def fit(
    data: Data,
    output: ModelOutput,
    detector: Detector = "patchcore",
    backbone: Backbone = "prism_s",
    weights: Weights = None,
    image_size: ImageSize = "256",
    settings: Set = None,
    false_reject: FalseReject = 0.05,
    limit: LimitMethod = "conformal",
    seed: Seed = 0,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Learn what good parts look like and write one model file.

    Reads the images of good parts in DATA, fits one detector on most of them and places the limit by the others.
    Defects in DATA are not learned from. Writes the model file, whole or not at all, and prints the networks inside it
    and the limit.

    ```
    pellucid fit GlassDefect -o glass.pellucid --detector padim --image-size 192x320
    ```
    """
    parameters = model_parameters(detector, backbone, weights, settings or [], seed)
    from pellucid import detectors
    from pellucid.acquisition.images import parse_size
    from pellucid.acquisition.splits import check_rate
    from pellucid.detectors._device import resolve_device
    from pellucid.fitting import fit as fit_plan
    from pellucid.models.file import check_model_writable

    size = parse_size(image_size)
    check_model_writable(output)
    resolve_device(device)
    check_rate(false_reject)
    detectors.create(detector, **parameters)  # refuses values that are not allowed
    check_backbone(parameters)
    checkpoint = output.with_name(output.name + ".training")
    if not resume:
        _remove_progress(checkpoint)
    inspector = fit_plan(
        read_plan(data, false_reject, seed),
        detector,
        image_size=size,
        false_reject=false_reject,
        limit=limit,
        checkpoint=checkpoint,
        device=device,
        **parameters,
    )
    inspector.save(output)
    _remove_progress(checkpoint)
    _print_model(inspector, detector, output)


def _remove_progress(folder: Path) -> None:
    """Remove the progress of trainings, and its folder if nothing else is in there."""
    for file in folder.glob("*.pt*"):  # and what a kill left of one
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _print_model(inspector: Inspector, detector: str, output: Path) -> None:
    """The networks of a new model, its limit, and how far the limit can be trusted."""
    from pellucid.acquisition.splits import few_groups_sentence, min_calibration_images
    from pellucid.limits.conformal import realised_rate
    from pellucid.reports.tables import summary

    out.print(summary({detector: (inspector.detector.module_summary(), output.stat().st_size / 1e6)}))
    limit = inspector.limit
    sentence = f"limit {limit.value:.6g} ({limit.method}) from {len(limit.scores)} normal images"
    if limit.weights:
        sentence += f" in {limit.groups} groups"
    if limit.method == "f1":
        sentence += " and labelled defects: what it shows on those images is optimistic"
    elif limit.groups < min_calibration_images(inspector.false_reject):
        sentence += f", the highest score among them; they {few_groups_sentence(limit.groups, inspector.false_reject)}"
    else:
        low, high = realised_rate(limit.groups, inspector.false_reject)
        sentence += (
            f" for {inspector.false_reject:.1%} false rejects; from so many, the true rate lies between {low:.1%} and"
            f" {high:.1%} nine times in ten"
        )
    print_text(out, sentence)
    print_line(out, f"wrote {output}")
