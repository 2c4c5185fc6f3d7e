"""Read every file once before the work begins: what cannot be used is named and counted, not met half-way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid._io.pipeline import IO_THREADS
from pellucid._io.progress import track
from pellucid.acquisition.images import Pixels, decode_image, is_constant, read_content, read_mask
from pellucid.errors import DataError, join_names, printable
from pellucid.records import Role, Sample, Samples, Split

Thumbprint = NDArray[np.float32]  # (THUMBPRINT_SIDE_PX**2,), of length one; zero for an image without detail
THUMBPRINT_SIDE_PX = 64  # that images are compared at
MAX_PROBLEMS_SHOWN = 5
MIN_DUPLICATE_CORRELATION = 0.98  # of two files that show the same; real pairs of one kind reach 0.97


@dataclass(frozen=True)
class VerifiedData:
    """A data set whose files can all be read.

    Attributes:
        samples: those that can be read, with a note about the others.
        hashes: SHA-256 of each image file, by its path.
        thumbprints: what each image looks like, by its path.
    """

    samples: Samples
    hashes: Mapping[Path, str]
    thumbprints: Mapping[Path, Thumbprint] = field(repr=False, compare=False)


def verify(samples: Samples, *, training_required: bool = True) -> VerifiedData:
    """Read every image and mask; leave out, with a note, what cannot be read and what cannot be learned from.

    Args:
        samples: a data set as :func:`pellucid.read_folder` returns it.
        training_required: refuse data of which no normal image to learn from is left.

    Raises:
        DataError: no usable normal image is left, or a mask has another size than its image.
    """
    with ThreadPoolExecutor(IO_THREADS) as pool:
        results = pool.map(_verify_file, samples.samples)
        found = list(track(zip(samples.samples, results, strict=True), "checking files", len(samples.samples)))
    bad = [one.problem for _, one in found if one.problem]
    good = {sample.path: one for sample, one in found if not one.problem}
    kept = tuple(s for s in samples.samples if s.path in good)
    if training_required and not any(s.label == "normal" and s.split != "test" for s in kept):
        first = f" First: {bad[0]}" if bad else ""
        raise DataError(f"None of the normal images in '{samples.root}' can be used.{first}")
    notes = (*_note_problems(bad), *_note_warnings(found))
    return VerifiedData(
        replace(samples, samples=kept, notes=(*samples.notes, *notes)),
        {path: one.digest for path, one in good.items()},
        {path: one.thumbprint for path, one in good.items()},
    )


@dataclass(frozen=True)
class _FileCheck:
    """One file: its SHA-256 and thumbprint, or what is wrong with it."""

    digest: str = ""
    thumbprint: Thumbprint = field(default_factory=lambda: np.zeros(THUMBPRINT_SIDE_PX**2, np.float32))
    problem: str = ""
    warnings: tuple[str, ...] = ()


def _note_problems(problems: list[str]) -> tuple[str, ...]:
    if not problems:
        return ()
    more = len(problems) - MAX_PROBLEMS_SHOWN
    rest = f" And {more} more." if more > 0 else ""
    return (f"{len(problems)} files are skipped: {' '.join(problems[:MAX_PROBLEMS_SHOWN])}{rest}",)


def _note_warnings(found: Iterable[tuple[Sample, _FileCheck]]) -> tuple[str, ...]:
    """A sentence for everything that is unusual about images, with how many there are."""
    by_warning: dict[str, list[str]] = {}
    for sample, one in found:
        for warning in one.warnings:
            by_warning.setdefault(warning, []).append(sample.path.name)
    return tuple(f"{len(names)} images: {warning} ({join_names(names)})" for warning, names in by_warning.items())


def _verify_file(sample: Sample) -> _FileCheck:
    try:
        content = read_content(sample.path)
        image = decode_image(content, sample.path)
    except DataError as error:
        return _FileCheck(problem=str(error))
    pixels = image.pixels
    if sample.label == "normal" and sample.split != "test" and is_constant(pixels):
        return _FileCheck(problem=f"'{printable(sample.path)}' is one flat colour and says nothing about normal glass.")
    if sample.mask is not None and (size := read_mask(sample.mask).shape) != pixels.shape[:2]:
        theirs, ours = (f"{s[1]}x{s[0]}" for s in (size, pixels.shape[:2]))
        raise DataError(f"Mask '{sample.mask}' is {theirs} px but its image '{sample.path.name}' is {ours} px.")
    digest = hashlib.sha256(content).hexdigest()
    return _FileCheck(digest, compute_thumbprint(pixels), warnings=image.warnings)


def compute_thumbprint(pixels: Pixels) -> Thumbprint:
    """Compute the details of an image at a small size, without its light.

    The product of two thumbprints is the correlation of their images. A photo that was stored again, brighter or
    smaller, keeps its thumbprint; two photos of good glass share none.

    Args:
        pixels: (H, W, 3) in [0, 1].
    """
    grey = cv2.resize(pixels.mean(2), (THUMBPRINT_SIDE_PX, THUMBPRINT_SIDE_PX), interpolation=cv2.INTER_AREA)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), THUMBPRINT_SIDE_PX / 16)
    detail -= detail.mean()
    length = float(np.linalg.norm(detail))
    return np.asarray(detail / length if length > 1e-4 else np.zeros_like(detail), np.float32).ravel()


_LEAK_CONSEQUENCES: dict[tuple[Role, Role], str] = {
    ("fit", "calibrate"): "calibration images are also images that are fitted on, so the limit is too low",
    ("fit", "test"): "test images are also training images, so the test is too easy",
    ("calibrate", "test"): "test images are also calibration images, so the test is too easy",
    ("select", "test"): "test images are also images that models are chosen by, so the test is too easy",
}


def note_duplicates(split: Split, verified: VerifiedData) -> tuple[str, ...]:
    """Warn about every two roles that share a photo: the same bytes, or details that correlate as only theirs do.

    Args:
        split: the roles of ``verified.samples``.
        verified: their hashes and thumbprints.

    Returns:
        A sentence for each pair of roles and kind of sharing; none where all is well.
    """
    members: dict[Role, list[Path]] = {"fit": [], "calibrate": [], "select": [], "test": []}
    for sample, role in split.roles():
        members[role].append(sample.path)
    notes = []
    for (one, other), harm in _LEAK_CONSEQUENCES.items():
        if not members[one] or not members[other]:
            continue
        by_hash = {verified.hashes[path]: path for path in members[one]}
        same = {path: by_hash[h] for path in members[other] if (h := verified.hashes[path]) in by_hash}
        thumbprints = np.stack([verified.thumbprints[path] for path in members[one]])
        near = {}
        for path in members[other]:
            likeness = thumbprints @ verified.thumbprints[path]
            if path not in same and likeness.max() >= MIN_DUPLICATE_CORRELATION:
                near[path] = members[one][int(likeness.argmax())]
        for pairs, consequence in ((same, harm), (near, harm.replace("are also", "look the same as", 1))):
            if pairs:
                shown = join_names(f"{theirs.name} = {ours.name}" for ours, theirs in pairs.items())
                notes.append(f"{len(pairs)} {consequence}: {shown}.")
    return tuple(notes)


def hash_files(samples: Iterable[Sample]) -> dict[Path, str]:
    """Compute the SHA-256 of every image file, by its path.

    Args:
        samples: whose images are read.

    Raises:
        DataError: a file cannot be read.
    """
    hashes = {}
    for sample in track(list(samples), "hashing files"):
        hashes[sample.path] = hashlib.sha256(read_content(sample.path)).hexdigest()
    return hashes


def samples_sha256(samples: Iterable[Sample], hashes: Mapping[Path, str]) -> str:
    """Compute one SHA-256 over the contents of several images, whatever their names and order.

    Args:
        samples: the images.
        hashes: SHA-256 of each, by its path.
    """
    return hashlib.sha256("".join(sorted(hashes[s.path] for s in samples)).encode()).hexdigest()
