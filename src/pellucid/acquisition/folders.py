"""Folders and CSV files to samples. Five layouts are recognised by what lies in the folder, never by a switch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from pellucid.acquisition.csv_files import read_csv
from pellucid.acquisition.files import Look, image_files, list_images, look_into, note_passed_over
from pellucid.acquisition.truth import MASK_FOLDERS, add_truth, find_folders, part_masks
from pellucid.errors import DataError, join_names
from pellucid.records import Sample, Samples

LAYOUT_DESCRIPTIONS = """  five folders  normal_train/ [normal_test/ abnormal_train/ abnormal_test/ mask/]
  MVTec         train/good/ [test/good/ test/<type>/ ground_truth/<type>/<stem>_mask.png]
  plain         normal/ [abnormal/[<type>/] mask/[<type>/]]
  good images   images of good parts and no folders, to learn from
  CSV           a file with the columns path,label[,split,type,mask,group]"""
LAYOUT_FOLDERS = {
    "five folders": ("normal_train", "normal_test", "abnormal_train", "abnormal_test", "mask"),
    "MVTec": ("train", "test", "ground_truth"),
    "plain": ("normal", "abnormal", "mask"),
}
GOOD_IMAGES = "good images"  # the layout of a folder that has nothing but these
CSV_SUFFIXES = (".csv", ".tsv")


def read_folder(data: str | Path, *, training_required: bool = True) -> Samples:
    """Read a data set in any of the five layouts; files are listed, not opened.

    Args:
        data: a folder in the five-folder, MVTec or plain layout or of good images alone, or a CSV file.
        training_required: refuse data without normal images to learn from; False also takes test images alone, and no
            folder of images whose labels nothing tells.

    Returns:
        Every image with what the layout says about it, and remarks about what is missing.

    Raises:
        DataError: nothing is there, the layout is unknown, or there are no normal images to learn from.
    """
    root = Path(data)
    if not root.exists():
        raise DataError(f"'{root}' does not exist.")
    look = cache(look_into)  # a share of a million files takes minutes to list
    if root.is_file():
        samples = read_csv(root) if root.suffix.lower() in CSV_SUFFIXES else _unknown_layout(root)
    elif (root / "normal_train").is_dir():
        samples = _read_five_folders(root, look)
    elif (root / "train" / "good").is_dir():
        samples = _read_mvtec(root, look)
    elif (root / "normal").is_dir():
        samples = _read_plain(root, look)
    elif (root / "normal_test").is_dir() or (root / "abnormal_test").is_dir():
        samples = _read_five_folders(root, look)
    elif any(is_folder for _, is_folder in look(root / "test") or ()):
        samples = _read_mvtec(root, look)
    elif (root / "abnormal").is_dir():
        samples = _read_plain(root, look)
    else:
        samples = (_read_good_images(root, look) if training_required else None) or _unknown_layout(root)
    if training_required and not any(s.label == "normal" and s.split != "test" for s in samples.samples):
        raise DataError(f"'{root}' has no normal images to learn from ({samples.layout} layout).")
    return _with_truth(samples, look)


def _with_truth(samples: Samples, look: Look) -> Samples:
    """Add masks, annotations and what they and the file names say of the types; a CSV that names masks names all."""
    folder, images, notes = samples.root.parent, samples.samples, samples.notes
    masks: list[Path] = []
    if samples.root.is_dir():
        folder = samples.root
        notes += _note_unused(samples, look)
        images, masks, told = part_masks(images)
        notes += told
    if not any(sample.mask for sample in images):
        masks += [path for place in find_folders(folder, MASK_FOLDERS, look) for path in image_files(place, look)]
    known, told = add_truth(images, masks, folder, look)
    if samples.layout == "five folders":
        type_of = _type_namer([sample.path for sample in known if sample.label == "abnormal"])
        known = tuple(
            replace(s, type=type_of(s.path)) if s.label == "abnormal" and s.type is None else s for s in known
        )
    return replace(samples, samples=known, notes=(*notes, *told, *_note_missing(known)))


def _note_unused(samples: Samples, look: Look) -> tuple[str, ...]:
    """What lies in or beside the folders of a layout and is neither an image of it nor a mask."""
    folders = LAYOUT_FOLDERS.get(samples.layout, ())
    listings = [list_images(samples.root / name, look) for name in folders]
    taken = {sample.path for sample in samples.samples}
    stray = [
        p for name, listing in zip(folders, listings, strict=True) if name not in MASK_FOLDERS for p in listing.images
    ]
    stray = [path for path in stray if path not in taken]
    notes = note_passed_over(path for listing in listings for path in listing.passed_over)
    where = f"the {samples.layout} layout"
    if stray:
        shown = join_names(path.relative_to(samples.root).as_posix() for path in stray)
        notes += (f"{len(stray)} images lie where {where} takes none from and are passed over: {shown}.",)
    known = (*folders, *MASK_FOLDERS)
    beside = [path for path, is_folder in look(samples.root) or () if is_folder and path.name not in known]
    found = {path.name: len(list_images(path, look).images) for path in sorted(beside) if folders}
    if unused := {name: count for name, count in found.items() if count}:
        notes += (
            f"{sum(unused.values())} images lie in folders that {where} does not have and are passed over:"
            f" {join_names(unused)}.",
        )
    return notes


def _unknown_layout(root: Path) -> Samples:
    if root.is_file():
        raise DataError(f"'{root}' is neither a folder nor a CSV file; known layouts are:\n{LAYOUT_DESCRIPTIONS}")
    found = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())
    if not found:
        raise DataError(f"'{root}' is empty; known layouts are:\n{LAYOUT_DESCRIPTIONS}")
    raise DataError(
        f"The layout of '{root}' is unknown: found {join_names(found)}; known layouts are:\n{LAYOUT_DESCRIPTIONS}"
    )


def _note_missing(samples: Iterable[Sample]) -> list[str]:
    """What the absent folders make impossible, said before the work rather than after."""
    samples = list(samples)
    defects = [s for s in samples if s.label == "abnormal" and s.split != "train"]
    notes = []
    if not defects:
        notes.append("No defective test images: escapes and AUROC cannot be computed.")
    elif not any(s.mask for s in defects):
        notes.append("No masks or annotations: pixel metrics cannot be computed.")
    elif bare := [s.path.name for s in defects if s.mask is None]:
        notes.append(
            f"{len(bare)} defective test images have no mask or annotation and count for image metrics only:"
            f" {join_names(bare)}."
        )
    return notes


def _type_namer(paths: list[Path]) -> Callable[[Path], str | None]:
    """``<class>_<x>_<y>.png`` names the type, unless nearly every file would get a type of its own."""
    prefixes = {p.stem.split("_")[0] for p in paths if "_" in p.stem}
    if len(prefixes) * 2 > len(paths):
        return lambda _: None
    return lambda path: path.stem.split("_")[0] if "_" in path.stem else None


def _read_five_folders(root: Path, look: Look) -> Samples:
    samples: list[Sample] = []
    for split in ("train", "test"):
        samples += [Sample(p, "normal", split) for p in image_files(root / f"normal_{split}", look)]
        for path in image_files(folder := root / f"abnormal_{split}", look):
            samples.append(Sample(path, "abnormal", split, type=_type_folder(path, folder)))
    return Samples(root, "five folders", tuple(samples))


def _read_mvtec(root: Path, look: Look) -> Samples:
    samples = [Sample(p, "normal", "train") for p in image_files(root / "train" / "good", look)]
    samples += [Sample(p, "normal", "test") for p in image_files(root / "test" / "good", look)]
    for folder in sorted(path for path, is_folder in look(root / "test") or () if is_folder and path.name != "good"):
        samples += [Sample(p, "abnormal", "test", type=folder.name) for p in image_files(folder, look)]
    return Samples(root, "MVTec", tuple(samples))


def _read_plain(root: Path, look: Look) -> Samples:
    samples = [Sample(p, "normal") for p in image_files(root / "normal", look)]
    for path in image_files(root / "abnormal", look):
        samples.append(Sample(path, "abnormal", type=_type_folder(path, root / "abnormal")))
    return Samples(root, "plain", tuple(samples))


def _read_good_images(root: Path, look: Look) -> Samples | None:
    """Images in a folder that has no others below it; None where there are none, or folders that may mean something."""
    listing = list_images(root, look)
    if not listing.images or any(path.parent != root for path in listing.images):
        return None
    told = f"{len(listing.images)} images lie in '{root}' itself: all are taken as images of good parts."
    samples = tuple(Sample(path, "normal") for path in listing.images)
    return Samples(root, GOOD_IMAGES, samples, (told, *note_passed_over(listing.passed_over)))


def _type_folder(path: Path, folder: Path) -> str | None:
    """``<folder>/<type>/.../<image>``: the type, where there is one."""
    inside = path.relative_to(folder).parts
    return inside[0] if len(inside) > 1 else None
