"""Read every file once before the work begins: what cannot be used is named and counted, not met half-way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pellucid._io.pipeline import IO_THREADS
from pellucid._io.progress import track
from pellucid.acquisition.appearance import Appearance, fitted_range
from pellucid.acquisition.band_appearance import describe
from pellucid.acquisition.fitted_images import SHORT_HASH_DIGITS, FittedImages, describe_files
from pellucid.acquisition.groups import with_groups
from pellucid.acquisition.images import FULL_BITS, decode_image, is_constant, read_content, significant_bits
from pellucid.acquisition.likeness import Fingerprint, find_alike, fingerprint
from pellucid.acquisition.truth import TruthCheck, check_truth, note_truth
from pellucid.acquisition.views import framing_of
from pellucid.errors import DataError, join_names
from pellucid.records import Sample, Samples

MAX_PROBLEMS_SHOWN = 5


@dataclass(frozen=True)
class VerifiedData:
    """A data set whose files can all be read.

    Attributes:
        samples: those that can be read, with the groups that they were found to form, and notes about both.
        hashes: SHA-256 of each image file, by its path.
        appearances: what each looks like, whatever is on it, by its path.
        bits: significant bits of the 16-bit files: fewer than 16 where none of their values needs more.
        alike: paths of images that show the same in whole or in part, two by two.
    """

    samples: Samples
    hashes: Mapping[Path, str]
    appearances: Mapping[Path, Appearance] = field(repr=False, compare=False)
    bits: int = FULL_BITS
    alike: tuple[tuple[Path, Path], ...] = field(default=(), repr=False)


def verify(samples: Samples, *, training_required: bool = True) -> VerifiedData:
    """Read every image and mask; leave out, with a note, what cannot be read and what cannot be learned from.

    A mask that cannot be used is left out, and its image stays.

    Args:
        samples: a data set as :func:`pellucid.read_folder` returns it.
        training_required: refuse data of which no normal image to learn from is left.

    Raises:
        DataError: no usable normal image is left.
    """
    with ThreadPoolExecutor(IO_THREADS) as pool:
        results = pool.map(_verify_file, samples.samples)
        found = list(track(zip(samples.samples, results, strict=True), "checking files", len(samples.samples)))
    bad = [one.problem for _, one in found if one.problem]
    good = {sample.path: one for sample, one in found if not one.problem}
    truth = [one.truth for _, one in found if one.truth is not None]
    kept = tuple(one.sample for one in truth)
    if training_required and not any(s.label == "normal" and s.split != "test" for s in kept):
        first = f" First: {bad[0]}" if bad else ""
        raise DataError(f"None of the normal images in '{samples.root}' can be used.{first}")
    notes = [*_note_problems(bad), *_note_warnings(found)]
    appearances = {path: one.appearance for path, one in good.items() if one.appearance is not None}
    deep = {path: one.peak for path, one in good.items() if one.peak is not None}
    bits = significant_bits(max(deep.values(), default=2**FULL_BITS - 1))
    if bits < FULL_BITS:
        appearances |= dict(zip(deep, describe_files(list(deep), bits), strict=True))
        notes.append(
            f"{len(deep)} files of 16 bits hold values of {bits} bits (the highest is {max(deep.values())}), and are"
            " read as such."
        )
    hashes = {path: one.digest for path, one in good.items()}
    fingerprints = {path: one.fingerprint for path, one in good.items() if one.fingerprint}
    seen = list(fingerprints)
    likeness = find_alike([fingerprints[path] for path in seen])
    alike = tuple(dict.fromkeys([*_same_bytes(hashes), *((seen[one], seen[other]) for one, other in likeness.pairs)]))
    undecided = [[seen[number] for number in group] for group in likeness.undecided]
    read = replace(samples, samples=kept, notes=(*samples.notes, *notes, *note_truth(truth)))
    return VerifiedData(with_groups(read, alike, undecided), hashes, appearances, bits, alike)


def _same_bytes(hashes: Mapping[Path, str]) -> list[tuple[Path, Path]]:
    first: dict[str, Path] = {}
    return [(one, path) for path, digest in hashes.items() if (one := first.setdefault(digest, path)) != path]


@dataclass(frozen=True)
class _FileCheck:
    """One file: its SHA-256, fingerprint, appearance, highest 16-bit value and mask, or what is wrong with it."""

    digest: str = ""
    fingerprint: Fingerprint | None = None
    appearance: Appearance | None = None
    peak: int | None = None
    truth: TruthCheck | None = None
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
        return _FileCheck(problem=f"'{sample.path}' is one flat colour and says nothing about normal glass.")
    digest = hashlib.sha256(content).hexdigest()
    truth = check_truth(sample, pixels.shape[:2])
    return _FileCheck(digest, fingerprint(pixels), describe(pixels), image.peak, truth, warnings=image.warnings)


def remember(samples: Sequence[Sample], verified: VerifiedData | None = None) -> FittedImages:
    """Gather what a model is to remember of the images that it is fitted on and calibrated with.

    Args:
        samples: these images.
        verified: what is known of them already; by default they are read.

    Raises:
        DataError: one of them cannot be read.
    """
    if verified is None:
        unlabelled = Samples(Path(), "split", tuple(replace(sample, mask=None, split="test") for sample in samples))
        verified = verify(unlabelled, training_required=False)
        if len(verified.samples.samples) < len(samples):
            raise DataError(" ".join(verified.samples.notes))
    hashes = [verified.hashes[sample.path] for sample in samples]
    appearances = [verified.appearances[sample.path] for sample in samples]
    lowest, highest = fitted_range(appearances)
    return FittedImages(
        data_sha256=samples_sha256(samples, verified.hashes),
        hashes=tuple(sorted(digest[:SHORT_HASH_DIGITS] for digest in hashes)),
        bits=verified.bits,
        lowest=lowest,
        highest=highest,
        framing=framing_of([(one.height, one.width) for one in appearances]),
    )


def note_odd_images(samples: Sequence[Sample], verified: VerifiedData, fitted_images: FittedImages) -> tuple[str, ...]:
    """Tell which images a model would not judge although it is fitted on them: they are unlike all the others.

    Args:
        samples: the images that are fitted on and calibrated with.
        verified: what they look like.
        fitted_images: their range, which a few that lie apart are no part of.
    """
    found = {s.path.name: fitted_images.compare(verified.appearances[s.path]) for s in samples}
    odd = [f"{name} is {' and '.join(far)}" for name, (far, _) in found.items() if far]
    if not odd:
        return ()
    return (f"{len(odd)} of the images to learn from are unlike all the others: {join_names(odd)}. Look at them.",)


def samples_sha256(samples: Iterable[Sample], hashes: Mapping[Path, str]) -> str:
    """Compute one SHA-256 over the contents of several images, whatever their names and order.

    Args:
        samples: the images.
        hashes: SHA-256 of each, by its path.
    """
    return hashlib.sha256("".join(sorted(hashes[s.path] for s in samples)).encode()).hexdigest()
