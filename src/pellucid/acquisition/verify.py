"""Read every file once before the work begins: what cannot be used is named and counted, not met half-way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pellucid._io.pipeline import IO_THREADS
from pellucid._io.progress import track
from pellucid.acquisition.groups import with_groups
from pellucid.acquisition.images import is_constant, read_image, read_mask
from pellucid.acquisition.likeness import Fingerprint, find_alike, fingerprint
from pellucid.errors import DataError
from pellucid.records import Sample, Samples


@dataclass(frozen=True)
class VerifiedData:
    """A data set whose files can all be read.

    Attributes:
        samples: those that can be read, with the groups that they were found to form, and notes about both.
        hashes: SHA-256 of each image file, by its path.
        alike: paths of images that show the same in whole or in part, two by two.
    """

    samples: Samples
    hashes: Mapping[Path, str]
    alike: tuple[tuple[Path, Path], ...] = field(default=(), repr=False)


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
    notes = (f"{len(bad)} files are skipped: {' '.join(bad[:5])}",) if bad else ()
    hashes = {path: one.digest for path, one in good.items()}
    fingerprints = {path: one.fingerprint for path, one in good.items() if one.fingerprint}
    alike = tuple(dict.fromkeys([*_same_bytes(hashes), *_same_content(fingerprints)]))
    read = replace(samples, samples=kept, notes=(*samples.notes, *notes))
    return VerifiedData(with_groups(read, alike), hashes, alike)


def _same_bytes(hashes: Mapping[Path, str]) -> list[tuple[Path, Path]]:
    first: dict[str, Path] = {}
    return [(one, path) for path, digest in hashes.items() if (one := first.setdefault(digest, path)) != path]


def _same_content(fingerprints: Mapping[Path, Fingerprint]) -> list[tuple[Path, Path]]:
    paths = list(fingerprints)
    return [(paths[one], paths[other]) for one, other in find_alike(list(fingerprints.values()))]


@dataclass(frozen=True)
class _FileCheck:
    """One file: its SHA-256 and fingerprint, or what is wrong with it."""

    digest: str = ""
    fingerprint: Fingerprint | None = None
    problem: str = ""


def _verify_file(sample: Sample) -> _FileCheck:
    try:
        pixels = read_image(sample.path)
    except DataError as error:
        return _FileCheck(problem=str(error))
    if sample.label == "normal" and sample.split != "test" and is_constant(pixels):
        return _FileCheck(problem=f"'{sample.path}' is one flat colour and says nothing about normal glass.")
    if sample.mask is not None and (size := read_mask(sample.mask).shape) != pixels.shape[:2]:
        theirs, ours = (f"{s[1]}x{s[0]}" for s in (size, pixels.shape[:2]))
        raise DataError(f"Mask '{sample.mask}' is {theirs} px but its image '{sample.path.name}' is {ours} px.")
    return _FileCheck(hashlib.sha256(sample.path.read_bytes()).hexdigest(), fingerprint(pixels))


def hash_files(samples: Iterable[Sample]) -> dict[Path, str]:
    """Compute the SHA-256 of every image file, by its path.

    Args:
        samples: whose images are read.

    Raises:
        DataError: a file cannot be read.
    """
    hashes = {}
    for sample in track(list(samples), "hashing files"):
        try:
            hashes[sample.path] = hashlib.sha256(sample.path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"Cannot read '{sample.path}': {error.strerror or error}.") from None
    return hashes


def samples_sha256(samples: Iterable[Sample], hashes: Mapping[Path, str]) -> str:
    """Compute one SHA-256 over the contents of several images, whatever their names and order.

    Args:
        samples: the images.
        hashes: SHA-256 of each, by its path.
    """
    return hashlib.sha256("".join(sorted(hashes[s.path] for s in samples)).encode()).hexdigest()
