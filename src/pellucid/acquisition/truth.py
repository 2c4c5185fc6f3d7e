"""What is known of where images are defective: masks and annotations found, paired with their images, and checked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from pellucid.acquisition.annotations import ANNOTATION_SUFFIXES, FORMATS, read_annotations
from pellucid.acquisition.files import Entry, Look, look_into
from pellucid.acquisition.images import Size, read_image
from pellucid.acquisition.masks import is_annotation, open_mask
from pellucid.acquisition.pairing import lie_beside, pair, share_a_stem
from pellucid.acquisition.shapes import Region
from pellucid.errors import DataError, join_names
from pellucid.records import Sample

MASK_FOLDERS = ("mask", "masks", "ground_truth", "gt", "segmentationclass")
ANNOTATION_FOLDERS = ("annotation", "annotations", "label", "labels")
MIN_EQUAL_MASKS = 3  # that are told; two panes may have been hit at the same place

REMARKS = {
    "unusable": "masks cannot be used, and their images count for image metrics only",
    "empty": "masks of defective images are empty and are ignored, their images count for image metrics only",
    "covering": "masks cover their whole image",
    "more than half": "masks cover more than half of their image; if good glass is white in them, they are inverted and"
    " pixel metrics are wrong until their files are corrected",
    "good, marked": "images of good parts have masks that mark defects, and either is wrong; the masks are ignored",
    "good, empty": "images of good parts have empty masks, as they should",
    "equal": "masks are equal; one may have been copied to several images",
    "grey": "masks are grey, as JPEG makes them, and were cut in the middle between their darkest and brightest pixel",
    "void": "masks have Pascal VOC's colour of borders that belong to nothing, which counts as good",
    "box": "images are annotated with boxes: pixel metrics measure boxes, not outlines",
    "without area": "images are annotated with points or lines, which cover no pixels and are left out",
    "turned": "masks lie as their photos are stored and were turned with them, as EXIF says",
    "perhaps turned": "photos have an EXIF orientation, and their size does not tell whether their masks lie like the"
    " upright photo, which is assumed, or like the stored one",
}  # by what was found out about one mask; the notes read: "3 masks are grey ...: names."


class _Source(NamedTuple):
    """Truth of one kind: for each image, as the truth names it, the file that holds it and the kind of defect."""

    kind: str
    images: list[PurePath]
    files: list[Path]
    types: list[str | None]


def find_folders(root: Path, names: Sequence[str], look: Look = look_into) -> list[Path]:
    """Find the folders of given names, in small letters, that lie in a data set's folder; sorted.

    Args:
        root: the data set's folder.
        names: as in :data:`MASK_FOLDERS`.
        look: tells what lies in a folder, as :func:`look_into` does.
    """
    return sorted(path for path, is_folder in look(root) or () if is_folder and path.name.casefold() in names)


def add_truth(
    samples: Sequence[Sample], masks: Sequence[Path], folder: Path, look: Look = look_into
) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """Give every sample the file that says where it is defective: a mask, or else annotations.

    Args:
        samples: of one data set; those that have a mask keep it.
        masks: mask files.
        folder: of the data set. Annotations are looked for in it, beside its images and in the folders
            :data:`ANNOTATION_FOLDERS` and :data:`MASK_FOLDERS`.
        look: tells what lies in a folder, as :func:`look_into` does.

    Returns:
        The samples, with the names of what is annotated as their type where they had none, and notes about what was
        found and what was left over.
    """
    annotations, notes = _find_annotations(samples, folder, look)
    truth = {n: "masks" for n, sample in enumerate(samples) if sample.mask is not None}
    found = list(samples)
    for source in (_Source("masks", list(masks), list(masks), [None] * len(masks)), *annotations):
        pairs = pair(
            [sample.path for sample in samples],
            source.images,
            preferred={n for n, sample in enumerate(samples) if sample.label == "abnormal"},
        )
        notes += _note_left_over(samples, source, pairs)
        twice: dict[str, list[str]] = {}
        for theirs, ours in pairs.items():
            if ours in truth:
                twice.setdefault(truth[ours], []).append(samples[ours].path.name)
            else:
                truth[ours] = source.kind
                found[ours] = replace(found[ours], mask=source.files[theirs])
            found[ours] = replace(found[ours], type=found[ours].type or source.types[theirs])
        for first, names in sorted(twice.items()):
            notes.append(
                f"{len(names)} images have {source.kind} beside {first}, which are taken: {join_names(names)}."
            )
    counts = Counter(truth[n] for n in truth if truth[n] != "masks")
    notes += [f"The {kind} of {count} images say where these are defective." for kind, count in counts.items()]
    return tuple(found), tuple(notes)


def part_masks(samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], list[Path], tuple[str, ...]]:
    """Part images from masks that lie beside them in the same folder, as ``a_mask.png`` beside ``a.png``.

    Args:
        samples: every image file of a data set.

    Returns:
        The images, the masks, and a note where there are any.
    """
    is_mask = lie_beside([sample.path for sample in samples])
    masks = [sample.path for sample, beside in zip(samples, is_mask, strict=True) if beside]
    shown = join_names(_names(masks))
    told = f"{len(masks)} files are named as masks of images beside them and are taken as such: {shown}."
    images = tuple(sample for sample, beside in zip(samples, is_mask, strict=True) if not beside)
    return images, masks, (told,) if masks else ()


def _note_left_over(samples: Sequence[Sample], source: _Source, pairs: Mapping[int, int]) -> list[str]:
    left = [n for n in range(len(source.images)) if n not in pairs]
    same = share_a_stem((sample.path for sample in samples), [source.images[n] for n in left])
    ambiguous = _names(source.images[n] for n, shares in zip(left, same, strict=True) if shares)
    foreign = _names(source.images[n] for n, shares in zip(left, same, strict=True) if not shares)
    notes = []
    if foreign:
        notes.append(f"{len(foreign)} {source.kind} have no image and are ignored: {join_names(foreign)}.")
    if ambiguous:
        notes.append(
            f"{len(ambiguous)} {source.kind} have names that do not say which image they belong to and are ignored:"
            f" {join_names(ambiguous)}. Put them into folders named like their images' folders."
        )
    return notes


def _names(paths: Iterable[PurePath]) -> list[str]:
    """Names of files, with their folders where the names alone are not enough."""
    paths = list(paths)
    counts = Counter(path.name for path in paths)
    return [path.name if counts[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths]


def _find_annotations(samples: Sequence[Sample], folder: Path, look: Look) -> tuple[list[_Source], list[str]]:
    """Annotations by format, and notes about files that cannot be read."""
    named = find_folders(folder, (*ANNOTATION_FOLDERS, *MASK_FOLDERS), look)
    places = {folder, *(sample.path.parent for sample in samples)}
    found = [entry for place in places for entry in look(place) or ()]
    found += [entry for place in named for entry in _all_below(place, look)]
    files = {path for path, _ in found if path.suffix.lower() in ANNOTATION_SUFFIXES}
    sources = {name: _Source(f"{name} annotations", [], [], []) for name in FORMATS}
    problems, unknown = [], []
    of_images = dict(zip(files, share_a_stem((sample.path for sample in samples), list(files)), strict=True))
    for file in sorted(files):
        try:
            annotations = read_annotations(file)
        except DataError as error:
            problems.append(str(error))
            continue
        if not annotations and of_images[file]:
            unknown.append(file)
        for one in annotations:
            source = sources[one.format]
            source.images.append(one.image)
            source.files.append(file)
            source.types.append(one.type)
    notes = [f"{len(problems)} annotation files are ignored: {' '.join(problems[:5])}"] if problems else []
    if unknown:
        known = ", ".join(FORMATS)
        notes.append(
            f"{len(unknown)} files are named like images and hold no annotations that can be read ({known} can):"
            f" {join_names(_names(unknown))}."
        )
    return [source for source in sources.values() if source.images], notes


def _all_below(folder: Path, look: Look) -> Iterator[Entry]:
    """All that lies below a folder; a linked one is not entered, it may lead back."""
    for entry in look(folder) or ():
        yield entry
        if entry.is_folder and not entry.path.is_symlink():
            yield from _all_below(entry.path, look)


@dataclass(frozen=True)
class TruthCheck:
    """What was found out about the mask of one sample.

    Attributes:
        sample: itself, without its mask where that is of no use.
        remarks: keys of :data:`REMARKS`.
        digest: of a mask that is used, the same for equal ones.
        problem: why the mask cannot be used.
    """

    sample: Sample
    remarks: tuple[str, ...] = ()
    digest: str = ""
    problem: str = ""


def check_truth(sample: Sample, size: Size) -> TruthCheck:
    """Read the mask of a sample and find out whether it can be used; without one there is nothing to find out.

    Args:
        sample: with or without a mask.
        size: height and width of its image, px.
    """
    return open_truth(sample, size)[0]


def open_truth(sample: Sample, size: Size) -> tuple[TruthCheck, Region | None]:
    """Read where a sample is defective as well, (H, W); None where that is not known, or nowhere.

    Args:
        sample: with or without a mask.
        size: height and width of its image, px.
    """
    if sample.mask is None:
        return TruthCheck(sample), None
    without = replace(sample, mask=None)
    try:
        mask = open_mask(sample.mask, sample.path, size)
    except DataError as error:
        return TruthCheck(without, ("unusable",), problem=str(error)), None
    share = float(np.mean(mask.defective))
    if sample.label == "normal":
        told = ("good, marked",) if share else ("good, empty",) * (not is_annotation(sample.mask))
        return TruthCheck(without, told), None
    if share == 0:
        told = ("empty", *(remark for remark in mask.remarks if remark == "without area"))
        return TruthCheck(without, told), None
    extent = ("covering",) if share == 1 else ("more than half",) * (share > 0.5)
    digest = hashlib.sha256(repr(size).encode() + np.packbits(mask.defective).tobytes()).hexdigest()
    return TruthCheck(sample, (*extent, *mask.remarks), digest), mask.defective


def note_truth(checks: Iterable[TruthCheck]) -> tuple[str, ...]:
    """Count what was found out about the masks of a data set.

    Args:
        checks: of all its samples.

    Returns:
        A sentence for each kind of remark, with names.
    """
    told: dict[str, list[str]] = {remark: [] for remark in REMARKS}
    equal: dict[str, list[str]] = {}
    for check in checks:
        name = check.sample.path.name
        for remark in check.remarks:
            told[remark].append(check.problem or name)
        if check.digest:
            equal.setdefault(check.digest, []).append(name)
    told["equal"] = [name for names in equal.values() if len(names) >= MIN_EQUAL_MASKS for name in names]
    return tuple(
        f"{len(names)} {REMARKS[remark]}: {join_names(names).removesuffix('.')}."
        for remark, names in told.items()
        if names
    )


def verify_truth(samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """Check the masks of samples whose images nobody verifies.

    Args:
        samples: with or without masks.

    Returns:
        The samples, without masks that are of no use, and notes.

    Raises:
        DataError: an image that has a mask cannot be read.
    """
    checks = []
    for sample in samples:
        size = (0, 0) if sample.mask is None else read_image(sample.path).shape[:2]
        checks.append(check_truth(sample, size))
    return tuple(check.sample for check in checks), note_truth(checks)
