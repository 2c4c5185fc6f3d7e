"""Read every file once before the work begins: what cannot be used is named and counted, not met half-way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.acquisition.images import is_constant, read_image, read_mask
from pellucid.errors import DataError, listed
from pellucid.progress import track
from pellucid.records import Sample, Samples, Split


@dataclass(frozen=True)
class Checked:
    """A data set whose files can all be read, and the SHA-256 of each."""

    samples: Samples
    hashes: Mapping[Path, str]


def check(samples: Samples) -> Checked:
    """Read every image and mask; leave out, with a note, what cannot be read and what cannot be learned from.

    Raises:
        DataError: no usable normal image is left, or a mask has another size than its image.
    """
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        results = pool.map(_check_one, samples.samples)
        found = list(track(zip(samples.samples, results, strict=True), "checking files", len(samples.samples)))
    bad = [problem for _, (_, problem) in found if problem]
    good = {sample.path: digest for sample, (digest, problem) in found if not problem}
    kept = tuple(s for s in samples.samples if s.path in good)
    if not any(s.label == "normal" and s.split != "test" for s in kept):
        raise DataError(f"None of the normal images in '{samples.root}' can be used. First: {bad[0]}")
    notes = (f"{len(bad)} files are skipped: {' '.join(bad[:5])}",) if bad else ()
    return Checked(replace(samples, samples=kept, notes=(*samples.notes, *notes)), good)


def _check_one(sample: Sample) -> tuple[str, str]:
    """(SHA-256 of the file, what is wrong with it or nothing)."""
    try:
        pixels = read_image(sample.path)
    except DataError as error:
        return "", str(error)
    if sample.label == "normal" and sample.split != "test" and is_constant(pixels):
        return "", f"'{sample.path}' is one flat colour and says nothing about normal glass."
    if sample.mask is not None and (size := read_mask(sample.mask).shape) != pixels.shape[:2]:
        theirs, ours = (f"{s[1]}x{s[0]}" for s in (size, pixels.shape[:2]))
        raise DataError(f"Mask '{sample.mask}' is {theirs} px but its image '{sample.path.name}' is {ours} px.")
    return hashlib.sha256(sample.path.read_bytes()).hexdigest(), ""


def note_duplicates(split: Split, hashes: Mapping[Path, str]) -> tuple[str, ...]:
    """A warning when the same bytes are both learned from and tested on."""
    learned = {hashes[s.path]: s.path.name for s in (*split.fit, *split.calibrate)}
    twice = [f"{learned[hashes[s.path]]} = {s.path.name}" for s in split.test if hashes[s.path] in learned]
    if not twice:
        return ()
    return (f"{len(twice)} test images are also training images, so the test is too easy: {listed(twice)}.",)


def fingerprint(samples: Iterable[Sample], hashes: Mapping[Path, str]) -> str:
    """SHA-256 over the contents of the given images, whatever their names and order."""
    return hashlib.sha256("".join(sorted(hashes[s.path] for s in samples)).encode()).hexdigest()
