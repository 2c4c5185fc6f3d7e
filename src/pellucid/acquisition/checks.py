"""Read every file once before the work begins: what cannot be used is named and counted, not met half-way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import Pixels, is_constant, read_image, read_mask
from pellucid.errors import DataError, listed
from pellucid.progress import track
from pellucid.records import Role, Sample, Samples, Split

Look = NDArray[np.float32]  # (LOOK * LOOK,), of length one; zero for an image without detail
LOOK = 64  # px, the side that images are compared at
ALIKE = 0.98  # correlation of details from which on two files show the same; real pairs of one kind reach 0.97


@dataclass(frozen=True)
class Checked:
    """A data set whose files can all be read, the SHA-256 of each, and what it looks like."""

    samples: Samples
    hashes: Mapping[Path, str]
    looks: Mapping[Path, Look] = field(repr=False, compare=False)


def check(samples: Samples) -> Checked:
    """Read every image and mask; leave out, with a note, what cannot be read and what cannot be learned from.

    Raises:
        DataError: no usable normal image is left, or a mask has another size than its image.
    """
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        results = pool.map(_check_one, samples.samples)
        found = list(track(zip(samples.samples, results, strict=True), "checking files", len(samples.samples)))
    bad = [one.problem for _, one in found if one.problem]
    good = {sample.path: one for sample, one in found if not one.problem}
    kept = tuple(s for s in samples.samples if s.path in good)
    if not any(s.label == "normal" and s.split != "test" for s in kept):
        raise DataError(f"None of the normal images in '{samples.root}' can be used. First: {bad[0]}")
    notes = (f"{len(bad)} files are skipped: {' '.join(bad[:5])}",) if bad else ()
    return Checked(
        replace(samples, samples=kept, notes=(*samples.notes, *notes)),
        {path: one.digest for path, one in good.items()},
        {path: one.look for path, one in good.items()},
    )


@dataclass(frozen=True)
class _Seen:
    """One file: its SHA-256 and look, or what is wrong with it."""

    digest: str = ""
    look: Look = field(default_factory=lambda: np.zeros(LOOK * LOOK, np.float32))
    problem: str = ""


def _check_one(sample: Sample) -> _Seen:
    try:
        pixels = read_image(sample.path)
    except DataError as error:
        return _Seen(problem=str(error))
    if sample.label == "normal" and sample.split != "test" and is_constant(pixels):
        return _Seen(problem=f"'{sample.path}' is one flat colour and says nothing about normal glass.")
    if sample.mask is not None and (size := read_mask(sample.mask).shape) != pixels.shape[:2]:
        theirs, ours = (f"{s[1]}x{s[0]}" for s in (size, pixels.shape[:2]))
        raise DataError(f"Mask '{sample.mask}' is {theirs} px but its image '{sample.path.name}' is {ours} px.")
    return _Seen(hashlib.sha256(sample.path.read_bytes()).hexdigest(), look_of(pixels))


def look_of(pixels: Pixels) -> Look:
    """The details of an image at a small size, without its light: the product of two looks is their correlation.

    A photo that was stored again, brighter or smaller, keeps its look; two photos of good glass share none.
    """
    grey = cv2.resize(pixels.mean(2), (LOOK, LOOK), interpolation=cv2.INTER_AREA)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), LOOK / 16)
    detail -= detail.mean()
    length = float(np.linalg.norm(detail))
    return np.asarray(detail / length if length > 1e-4 else np.zeros_like(detail), np.float32).ravel()


_HARM: dict[tuple[Role, Role], str] = {
    ("fit", "calibrate"): "calibration images are also images that are fitted on, so the limit is too low",
    ("fit", "test"): "test images are also training images, so the test is too easy",
    ("calibrate", "test"): "test images are also calibration images, so the test is too easy",
    ("select", "test"): "test images are also images that models are chosen by, so the test is too easy",
}


def note_duplicates(split: Split, checked: Checked) -> tuple[str, ...]:
    """A warning for every two roles that share a photo: the same bytes, or details that correlate by ``ALIKE``."""
    members: dict[Role, list[Path]] = {"fit": [], "calibrate": [], "select": [], "test": []}
    for sample, role in split.roles():
        members[role].append(sample.path)
    notes = []
    for (one, other), harm in _HARM.items():
        if not members[one] or not members[other]:
            continue
        by_hash = {checked.hashes[path]: path for path in members[one]}
        same = {path: by_hash[h] for path in members[other] if (h := checked.hashes[path]) in by_hash}
        looks = np.stack([checked.looks[path] for path in members[one]])
        near = {}
        for path in members[other]:
            likeness = looks @ checked.looks[path]
            if path not in same and likeness.max() >= ALIKE:
                near[path] = members[one][int(likeness.argmax())]
        for pairs, said in ((same, harm), (near, harm.replace("are also", "look the same as", 1))):
            if pairs:
                shown = listed(f"{theirs.name} = {ours.name}" for ours, theirs in pairs.items())
                notes.append(f"{len(pairs)} {said}: {shown}.")
    return tuple(notes)


def fingerprint(samples: Iterable[Sample], hashes: Mapping[Path, str]) -> str:
    """SHA-256 over the contents of the given images, whatever their names and order."""
    return hashlib.sha256("".join(sorted(hashes[s.path] for s in samples)).encode()).hexdigest()
