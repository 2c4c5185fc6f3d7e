"""A model that learns more good images without a fit from scratch: a new lot's, or false alarms that people passed."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from pellucid.acquisition.files import list_images, note_passed_over
from pellucid.acquisition.fitted_images import describe_files
from pellucid.acquisition.folders import CSV_SUFFIXES, GOOD_IMAGES, LAYOUT_FOLDERS, read_folder
from pellucid.acquisition.images import read_image
from pellucid.acquisition.splits import group_numbers
from pellucid.acquisition.verify import VerifiedData, samples_sha256, verify
from pellucid.calibration import HeldOutScore, choose_limit, fit_leaving_out, score_files
from pellucid.errors import DataError, join_names
from pellucid.inspector import Inspector
from pellucid.limits.area import needed_area, unit_per_px
from pellucid.limits.lot import move_to_lot
from pellucid.limits.promise import BETTER_CONFIDENCE, Promise
from pellucid.models.file import Ancestor, read_header
from pellucid.models.load import load
from pellucid.records import Inspection, Sample, Samples, Split
from pellucid.records.limits import Limit
from pellucid.runtimes.torch import Torch
from pellucid.study.intervals import Interval, wilson
from pellucid.study.planted import fewer_than_chance, find_flaws, spread

MIN_LOT_IMAGES = 4  # independent of each other; of fewer nothing can be said about a lot


@dataclass(frozen=True)
class Update:
    """A model before and after it learned more images.

    Attributes:
        inspector: the updated model, with this update in its ancestry.
        accepted: it does not find fewer planted flaws than chance explains.
        step: what was done, as the model's file remembers it.
        rejected: how many of the images the model rejected before.
        found: how many of the planted flaws the model found as it was.
        notes: what was left out, and what is odd about the images, a sentence each.
    """

    inspector: Inspector
    accepted: bool
    step: Ancestor
    rejected: int
    found: int
    notes: tuple[str, ...] = ()

    @property
    def rejected_interval(self) -> Interval:
        """The 95 % interval of the share of such images that the model rejected before."""
        return wilson(self.rejected, self.step.images) or (0.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        low, high = self.rejected_interval
        return {
            "accepted": self.accepted,
            "rejected_before": self.rejected,
            "rejected_before_low": low,
            "rejected_before_high": high,
            "false_reject_expected": self.inspector.limit.false_reject_rate,
            "found_at_earlier_limit": self.found,
            **self.step.model_dump(),
            "notes": list(self.notes),
        }


def update(
    model: str | Path,
    images: str | Path | Samples | Sequence[str | Path],
    *,
    false_alarms: bool = False,
    device: str = "auto",
) -> Update:
    """Learn good images on top of those that a model was fitted on, in closed form, and see that it still finds flaws.

    Images of a new lot also move the limit to where they score, each left out in turn: fewer than would place one with
    confidence 0.95 by :func:`pellucid.limits.lot.move_to_lot`, more place it by themselves as in a fit. False alarms
    were picked by their scores and say nothing about where the limit should be: it stays.

    Args:
        model: a model file of a detector in closed form.
        images: files and folders of good images, or data sets, whose normal images that are not for testing are taken.
        false_alarms: the model rejected the images, and people passed them.
        device: where to compute, as for :func:`pellucid.load`.

    Returns:
        The updated model, whether it is accepted, and what is different; nothing is written.

    Raises:
        DataError: too few images are left that can be learned.
        ModelFileError: the model cannot be read.
        ParameterError: it is an exported model, or of a detector that cannot learn on.

    Example:
        >>> found = pellucid.update("glass.pellucid", "lot_7")
        >>> if found.accepted:
        ...     found.inspector.save("glass.pellucid")
    """
    before = load(model, device=device)
    before.detector.check_updates()
    data, inspections = _learnable(before, images, 1 if false_alarms else MIN_LOT_IMAGES)
    after, held_out = _learn(before, data, data.samples.samples)
    moved = limit = before.limit
    if not false_alarms:
        moved, limit = _place_limits(before, after, data.samples.samples, held_out)
    after = replace(after, limit=limit)
    as_it_was, earlier, later = _find_flaws(before, moved, after, data)
    step = Ancestor(
        date=datetime.now(UTC).date().isoformat(),
        model_sha256=read_header(Path(model))[1],
        learned="false alarms" if false_alarms else "lot",
        images=len(data.samples.samples),
        data_sha256=samples_sha256(data.samples.samples, data.hashes),
        limit=before.limit.value,
        updated_limit=after.limit.value,
        planted=len(later),
        found=sum(earlier),
        updated_found=sum(later),
    )
    rejected = sum(one.verdict == "reject" for one in inspections)
    after = replace(after, ancestry=(*before.ancestry, step))
    accepted = not fewer_than_chance(earlier, later)
    return Update(after, accepted, step, rejected, sum(as_it_was), data.samples.notes)


def _learnable(
    before: Inspector, images: str | Path | Samples | Sequence[str | Path], fewest: int
) -> tuple[VerifiedData, list[Inspection]]:
    """The images to be learned, verified, and what the model thinks of each; what is left out is counted in notes."""
    data = verify(images if isinstance(images, Samples) else _find_good(images))
    good = [s for s in data.samples.samples if s.label == "normal" and s.split != "test"]
    first = {data.hashes[s.path]: s for s in reversed(good)}
    different = [s for s in good if first[data.hashes[s.path]] is s]
    new = [s for s in different if not before.fitted_images.contain(data.hashes[s.path])]
    inspected = list(before.inspect_many([s.path for s in new]))
    judged = [(s, one) for s, one in zip(new, inspected, strict=True) if not one.reason]
    odd = [f"{one.path.name}: {one.reason}" for one in inspected if one.reason]
    counts = (
        (len(data.samples.samples) - len(good), "are defective or for testing"),
        (len(good) - len(different), "are there twice"),
        (len(different) - len(new), "were learned from already"),
        (len(odd), f"cannot be judged ({join_names(odd, 2)})"),
    )
    left_out = [f"{count} images {why} and are left out." for count, why in counts if count]
    samples = replace(data.samples, samples=tuple(s for s, _ in judged), notes=(*data.samples.notes, *left_out))
    independent = len({s.group or s.path for s, _ in judged})
    if independent < fewest:
        words = f"An update needs {fewest} new good images that are independent of each other, and there are"
        raise DataError(" ".join((f"{words} {independent}: take more of them.", *left_out)))
    return replace(data, samples=samples), [one for _, one in judged]


def _find_good(images: str | Path | Sequence[str | Path]) -> Samples:
    """Read data sets, folders of images and image files as good images."""
    places = [Path(place) for place in ([images] if isinstance(images, (str, Path)) else images)]
    samples: list[Sample] = []
    notes: list[str] = []
    for place in places:
        if place.suffix.lower() in CSV_SUFFIXES or any(
            (place / name).is_dir() for names in LAYOUT_FOLDERS.values() for name in names
        ):
            read = read_folder(place)
            samples, notes = [*samples, *read.samples], [*notes, *read.notes]
        elif place.is_dir():
            listing = list_images(place)
            samples += [Sample(path, "normal") for path in listing.images]
            notes += note_passed_over(listing.passed_over)
        else:
            samples.append(Sample(place, "normal"))
    if not samples:
        raise DataError(f"There are no images in {join_names(places)}.")
    return Samples(places[0], GOOD_IMAGES, tuple(dict.fromkeys(samples)), tuple(notes))


def _learn(before: Inspector, data: VerifiedData, samples: Sequence[Sample]) -> tuple[Inspector, list[HeldOutScore]]:
    """A model that learned samples on top, with the limit as it was, and what is known of each sample, left out."""
    detector, known = copy.copy(before.detector), before.fitted_images
    by_area = before.limit.false_alarms is not None
    held_out = fit_leaving_out(detector, samples, before.image_size, known, before.zones, update=True, by_area=by_area)
    paths = [s.path for s in samples]
    fitted_images = known.with_more((data.hashes[path] for path in paths), describe_files(paths, known.bits))
    return replace(before, runtime=Torch(detector), fitted_images=fitted_images, held_out=()), held_out


def _place_limits(
    before: Inspector, after: Inspector, samples: Sequence[Sample], held_out: Sequence[HeldOutScore]
) -> tuple[Limit, Limit]:
    """The limits of both models for a new lot: the one that has not learned from it, and the other."""
    limit, groups = before.limit, group_numbers(samples)
    seen = before.image_size, before.fitted_images, before.zones
    earlier = score_files(before.runtime, samples, *seen, by_area=limit.false_alarms is not None)
    confidence = max(BETTER_CONFIDENCE, limit.confidence or 0.0)
    asked, scale = limit.false_alarms, before.measuring.mm_per_px
    enough = Promise(before.false_reject, confidence).needed

    def is_enough(found: Sequence[HeldOutScore]) -> bool:
        if asked is None:
            return len(set(groups)) >= enough
        area = math.fsum(one.counted_px for one in found) * unit_per_px(asked.unit, scale)
        return len(set(groups)) == len(found) and area >= needed_area(asked, confidence)

    def place(inspector: Inspector, found: Sequence[HeldOutScore]) -> Limit:
        if not is_enough(found):
            moved = move_to_lot(limit, [one.score for one in found], groups)
            return replace(moved, pixel_median=median(one.median for one in found))
        return choose_limit(
            inspector.runtime,
            Split(tuple(samples), (), (), ()),
            inspector.image_size,
            inspector.fitted_images,
            inspector.false_reject,
            found,
            leaves_out=True,
            method="conformal",
            confidence=limit.confidence,
            false_alarms=asked,
            mm_per_px=scale,
        )

    return place(before, earlier), place(after, held_out)


def _find_flaws(
    before: Inspector, moved: Limit, after: Inspector, data: VerifiedData
) -> tuple[list[bool], list[bool], list[bool]]:
    """Which planted flaws are found before, before but at the limit for the lot, and after.

    No flaw is looked for by a model that has learned the image without it: that would be easy. One half of the images
    judges what the other half taught.
    """
    samples = data.samples.samples
    halves = [number % 2 for number in group_numbers(samples)]
    trials = [after, after]
    if len(set(halves)) == 2:
        taught = [[s for s, half in zip(samples, halves, strict=True) if half != judging] for judging in (0, 1)]
        trials = [replace(after, runtime=_learn(before, data, some)[0].runtime) for some in taught]
    images = [read_image(s.path, before.fitted_images.bits) for s in spread(samples)]
    earlier = find_flaws(images, [before] * len(images), (before.limit, moved))
    later = find_flaws(images, [trials[half] for half in spread(halves)], (after.limit,))
    return [one for one, _ in earlier], [other for _, other in earlier], [one for (one,) in later]
