"""Folders and CSV files to samples. Four layouts are recognised by what lies in the folder, never by a switch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pellucid.acquisition.csv_files import read_csv
from pellucid.acquisition.files import image_files, is_hidden, list_images, note_passed_over
from pellucid.errors import DataError, join_names
from pellucid.records import Sample, Samples

LAYOUT_DESCRIPTIONS = """  five folders  normal_train/ [normal_test/ abnormal_train/ abnormal_test/ mask/]
  MVTec         train/good/ [test/good/ test/<type>/ ground_truth/<type>/<stem>_mask.png]
  plain         normal/ [abnormal/[<type>/] mask/[<type>/]]
  CSV           a file with the columns path,label[,split,type,mask,group]"""
LAYOUT_FOLDERS = {
    "five folders": ("normal_train", "normal_test", "abnormal_train", "abnormal_test", "mask"),
    "MVTec": ("train", "test", "ground_truth"),
    "plain": ("normal", "abnormal", "mask"),
}
MASK_FOLDERS = ("mask", "ground_truth")
CSV_SUFFIXES = (".csv", ".tsv")


def read_folder(data: str | Path, *, training_required: bool = True) -> Samples:
    """Read a data set in any of the four layouts; files are listed, not opened.

    Args:
        data: a folder in the five-folder, MVTec or plain layout, or a CSV file.
        training_required: refuse data without normal images to learn from; False also takes test images alone.

    Returns:
        Every image with what the layout says about it, and remarks about what is missing.

    Raises:
        DataError: nothing is there, the layout is unknown, or there are no normal images to learn from.
    """
    root = Path(data)
    if not root.exists():
        raise DataError(f"'{root}' does not exist.")
    if root.is_file():
        samples = read_csv(root) if root.suffix.lower() in CSV_SUFFIXES else _unknown_layout(root)
    elif (root / "normal_train").is_dir():
        samples = _read_five_folders(root)
    elif (root / "train" / "good").is_dir():
        samples = _read_mvtec(root)
    elif (root / "normal").is_dir():
        samples = _read_plain(root)
    elif (root / "normal_test").is_dir() or (root / "abnormal_test").is_dir():
        samples = _read_five_folders(root)
    elif any(path.is_dir() and not is_hidden(path.name) for path in (root / "test").glob("*")):
        samples = _read_mvtec(root)
    elif (root / "abnormal").is_dir():
        samples = _read_plain(root)
    else:
        samples = _unknown_layout(root)
    if training_required and not any(s.label == "normal" and s.split != "test" for s in samples.samples):
        raise DataError(f"'{root}' has no normal images to learn from ({samples.layout} layout).")
    return replace(samples, notes=(*samples.notes, *_note_unused(samples), *_note_missing(samples.samples)))


def _note_unused(samples: Samples) -> tuple[str, ...]:
    """What lies in or beside the folders of a layout and is neither an image of it nor a mask."""
    folders = LAYOUT_FOLDERS.get(samples.layout, ())
    listings = [list_images(samples.root / name) for name in folders]
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
    beside = sorted(samples.root.iterdir()) if folders else []
    others = {path.name: list_images(path).images for path in beside if path.name not in folders and path.is_dir()}
    if unused := {name: len(images) for name, images in others.items() if images and not is_hidden(name)}:
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
        notes.append("No masks: pixel metrics cannot be computed.")
    elif bare := [s.path.name for s in defects if s.mask is None]:
        notes.append(
            f"{len(bare)} defective test images have no mask and count for image metrics only: {join_names(bare)}."
        )
    return notes


class _Masks:
    """Masks of one folder by stem, and which of them no image has asked for."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        self._paths = {p.stem.removesuffix(suffix) if suffix else p.stem: p for p in image_files(folder)}
        self._unused = set(self._paths)

    def take(self, image: Path) -> Path | None:
        self._unused.discard(image.stem)
        return self._paths.get(image.stem)

    def unused(self) -> list[str]:
        return [self._paths[stem].name for stem in sorted(self._unused)]


def _note_unused_masks(unused: list[str]) -> tuple[str, ...]:
    return (f"{len(unused)} masks have no image and are ignored: {join_names(unused)}.",) if unused else ()


def _type_namer(paths: list[Path]) -> Callable[[Path], str | None]:
    """``<class>_<x>_<y>.png`` names the type, unless nearly every file would get a type of its own."""
    prefixes = {p.stem.split("_")[0] for p in paths if "_" in p.stem}
    if len(prefixes) * 2 > len(paths):
        return lambda _: None
    return lambda path: path.stem.split("_")[0] if "_" in path.stem else None


def _read_five_folders(root: Path) -> Samples:
    masks = _Masks(root / "mask")
    type_of = _type_namer([*image_files(root / "abnormal_train"), *image_files(root / "abnormal_test")])
    samples: list[Sample] = []
    for split in ("train", "test"):
        samples += [Sample(p, "normal", split) for p in image_files(root / f"normal_{split}")]
        for path in image_files(root / f"abnormal_{split}"):
            samples.append(Sample(path, "abnormal", split, type=type_of(path), mask=masks.take(path)))
    return Samples(root, "five folders", tuple(samples), _note_unused_masks(masks.unused()))


def _read_mvtec(root: Path) -> Samples:
    samples = [Sample(p, "normal", "train") for p in image_files(root / "train" / "good")]
    samples += [Sample(p, "normal", "test") for p in image_files(root / "test" / "good")]
    unused: list[str] = []
    for folder in sorted(
        p for p in (root / "test").glob("*") if p.is_dir() and p.name != "good" and not is_hidden(p.name)
    ):
        masks = _Masks(root / "ground_truth" / folder.name, "_mask")
        for path in image_files(folder):
            samples.append(Sample(path, "abnormal", "test", type=folder.name, mask=masks.take(path)))
        unused += masks.unused()
    return Samples(root, "MVTec", tuple(samples), _note_unused_masks(unused))


def _read_plain(root: Path) -> Samples:
    samples = [Sample(p, "normal") for p in image_files(root / "normal")]
    by_type: dict[str, _Masks] = {}
    for path in image_files(root / "abnormal"):
        inside = path.relative_to(root / "abnormal").parts
        kind = inside[0] if len(inside) > 1 else ""
        masks = by_type.setdefault(kind, _Masks(root / "mask" / kind, "_mask"))
        samples.append(Sample(path, "abnormal", type=kind or None, mask=masks.take(path)))
    unused = [name for masks in by_type.values() for name in masks.unused()]
    return Samples(root, "plain", tuple(samples), _note_unused_masks(unused))
