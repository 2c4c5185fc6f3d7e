"""Learning more good images without a fit from scratch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pellucid.cli._console import out, print_line, print_notes, print_text
from pellucid.cli._options import Device, Json, ModelFile, ModelOutput
from pellucid.cli._update_options import FalseAlarms, LearnedImages
from pellucid.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

    from pellucid.updating import Update


def update(
    model: ModelFile,
    images: LearnedImages,
    output: ModelOutput,
    false_alarms: FalseAlarms = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Learn more good images on top of a model, without a fit from scratch: a new lot, a new light.

    Reads a model of a detector in closed form (patchcore, padim, dfm), and good images. Four to thirty of a new lot,
    not picked by how they score, also move the limit to where they score. Images that the model rejected and people
    passed are learned with --false-alarms, and the limit stays. Then flaws are planted into the images. Writes the
    updated model, which remembers what was done, only if it finds no fewer of them than chance explains; otherwise the
    exit code is 1, and a model that is there stays. Prints limit, false rejects and planted flaws before and after.

    ```
    pellucid update glass.pellucid new_lot/ -o glass.pellucid
    ```
    """
    from pellucid.models.file import check_model_writable
    from pellucid.updating import update as learn

    check_model_writable(output)
    found = learn(model, images, false_alarms=false_alarms, device=device)
    if found.accepted:
        found.inspector.save(output)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        _print_update(found)
    if not found.accepted:
        step = found.step
        raise DataError(
            f"The updated model is not written: of {step.planted} planted flaws it finds {step.updated_found}, and"
            f" without what it learned {step.found}. Look at the {step.images} images: do they show flaws?"
        )
    if not as_json:
        print_line(out, f"wrote {output}")


def _print_update(found: Update) -> None:
    """What was learned, the model before and after, and what its limit promises now."""
    from pellucid.limits.promise import promise_sentence

    print_notes(found.notes)
    what = "false alarms" if found.step.learned == "false alarms" else "good images of a new lot"
    print_text(out, f"learned {found.step.images} {what}")
    out.print(_before_and_after(found))
    print_text(out, promise_sentence(found.inspector.limit, found.inspector.false_reject))


def _before_and_after(found: Update) -> Table:
    from rich.table import Table

    step = found.step
    table = Table("", "before", "after")
    table.add_row("limit", f"{step.limit:.6g}", f"{step.updated_limit:.6g}")
    low, high = found.rejected_interval
    if step.learned == "lot":
        before = f"{found.rejected} of {step.images} ({low:.0%} to {high:.0%})"
        table.add_row("good images rejected", before, f"{found.inspector.limit.false_reject_rate:.1%} expected")
    counts = (f"{count} of {step.planted}" for count in (found.found, step.updated_found))
    table.add_row("planted flaws found", *counts)
    if step.learned == "lot":
        counts = (f"{count} of {step.planted}" for count in (step.found, step.updated_found))
        table.add_row("planted flaws found, both at a limit for this lot", *counts)
    return table
