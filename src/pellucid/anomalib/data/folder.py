"""Folders of normal and abnormal images, and tables of them, by anomalib's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pellucid.acquisition.decoding import IMAGE_SUFFIXES
from pellucid.acquisition.files import image_files
from pellucid.acquisition.images import parse_size
from pellucid.acquisition.splits import CALIBRATION_SHARE, TEST_SHARE
from pellucid.acquisition.truth import add_truth, part_masks
from pellucid.acquisition.views import ImageSize
from pellucid.anomalib._said import say_once, without_effect
from pellucid.anomalib.data.datasets import WHY_NO_TRANSFORM, AnomalibDataModule
from pellucid.anomalib.data.modes import TaskType, TestSplitMode, ValSplitMode
from pellucid.anomalib.data.planted import hold_out_and_plant, temporary_folder
from pellucid.errors import DataError, ParameterError, join_names, unknown_name
from pellucid.records import Sample

Folders = str | Path | Sequence[str | Path]
IDLE = ("num_workers", "val_batch_size", "test_batch_size", "center_crop", "normalization")  # taken by any data module


class Folder(AnomalibDataModule):
    """Folders of normal and abnormal images.

    Where there are abnormal images and no ``normal_test_dir``, a fit holds a fifth of the normal images out, and
    :meth:`Engine.test` tests on those and the abnormal ones. The limit is chosen from further normal images.

    Args:
        name: of the data set; part of the results' path.
        normal_dir: folder of normal images, below ``root``, or a list of folders.
        root: folder that the others lie in; the current one by default.
        abnormal_dir: folder or folders of defective images, below ``root``.
        normal_test_dir: folder or folders of normal images that are only tested on, below ``root``.
        mask_dir: folder or folders of masks with the names of their images, also as ``<stem>_mask``, below ``root``.
        normal_split_ratio: 0.2; another share is taken without effect.
        extensions: suffixes of the files to take, as in ``(".png",)``; all that can be read by default.
        train_batch_size: images in a batch of ``train_dataloader()``; a network is trained by the model's own number.
        eval_batch_size: images in a batch of predictions, at least 1.
        num_workers: taken without effect.
        task: ``classification`` or ``segmentation``: masks are used where there are any.
        image_size: N, the shorter side of what the network sees, or (height, width), in px; 256 by default. That of a
            model's ``pre_processor`` goes before it.
        test_split_mode: ``from_dir``; ``none`` to fit on all of ``normal_dir``; or ``synthetic`` to test on a fifth of
            them and on copies of these with a drawn flaw each.
        test_split_ratio: 0.2; another share is taken without effect.
        val_split_mode: ``from_train``: the limit is chosen from held-out normal training images; another mode is taken
            without effect.
        val_split_ratio: 0.2, the share of these; another is taken without effect.
        seed: of the split and the folds.
        transforms: transforms and augmentations by anomalib's names, taken without effect.

    Raises:
        ParameterError: a value that is not allowed; the message says what to use.
        TypeError: there is no such argument.
    """

    def __init__(
        self,
        name: str,
        normal_dir: Folders,
        root: str | Path | None = None,
        abnormal_dir: Folders | None = None,
        normal_test_dir: Folders | None = None,
        mask_dir: Folders | None = None,
        normal_split_ratio: float | None = None,
        extensions: str | Sequence[str] | None = None,
        train_batch_size: int | None = None,
        eval_batch_size: int = 32,
        num_workers: int | None = None,
        task: str | None = None,
        image_size: int | Sequence[int] | None = None,
        test_split_mode: str = "from_dir",
        test_split_ratio: float | None = None,
        val_split_mode: str = "from_train",
        val_split_ratio: float | None = None,
        seed: int | None = None,
        **transforms: Any,
    ) -> None:
        take_common(
            self, task, image_size, train_batch_size, eval_batch_size, {"num_workers": num_workers} | transforms
        )
        self.test_split_mode = take_splits(test_split_mode, val_split_mode)
        take_share("normal_split_ratio", normal_split_ratio, TEST_SHARE, "of the normal images are tested on")
        take_share("test_split_ratio", test_split_ratio, TEST_SHARE, "of the normal images are tested on")
        take_share("val_split_ratio", val_split_ratio, CALIBRATION_SHARE, "of the training images choose the limit")
        self.name, self.seed = name, seed
        self.root = Path(root or ".")
        self.normal_dir, self.abnormal_dir = normal_dir, abnormal_dir
        self.normal_test_dir, self.mask_dir = normal_test_dir, mask_dir
        self.extensions = IMAGE_SUFFIXES if extensions is None else _suffixes(extensions)

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - a script may name a stage
        """List the files.

        Raises:
            DataError: a folder is missing or empty.
        """
        train: Literal["train"] | None = "train" if self.test_split_mode == TestSplitMode.NONE else None
        listed = [Sample(path, "normal", train) for path in self._files(self.normal_dir)]
        listed += [Sample(path, "normal", "test") for path in self._files(self.normal_test_dir)]
        listed += [Sample(path, "abnormal") for path in self._files(self.abnormal_dir)]
        if self.test_split_mode == TestSplitMode.SYNTHETIC:
            listed = self._planted(listed)
        images, beside, parted = part_masks(listed)
        self.samples, notes = add_truth(images, [*beside, *self._files(self.mask_dir, IMAGE_SUFFIXES)], self.root)
        self.notes = (*parted, *notes)

    def _planted(self, listed: list[Sample]) -> list[Sample]:
        """All images; of the good ones to learn from some are held out, and copied with a flaw each."""
        self._folder = temporary_folder(self)
        free = [one for one in listed if one.label == "normal" and one.split is None]
        good, planted = hold_out_and_plant(free, self.image_size, self.seed or 0, self._folder)
        say_once(
            f"test_split_mode='synthetic' tests on {len(planted)} good images with a drawn flaw each, and on the same"
            " without: the metrics say how well such drawings are found, not how well defects are."
        )
        return [*good, *planted, *(one for one in listed if one not in free)]

    def _files(self, folders: Folders | None, suffixes: tuple[str, ...] | None = None) -> list[Path]:
        """The images of folders; each has to have some, and none is listed twice."""
        suffixes = self.extensions if suffixes is None else suffixes
        files: dict[Path, None] = {}
        for folder in _list(folders):
            found = [path for path in image_files(self.root / folder) if path.suffix.lower() in suffixes]
            if not found:
                kinds = "" if suffixes is IMAGE_SUFFIXES else f" with the extension {join_names(suffixes)}"
                raise DataError(f"There are no images in '{self.root / folder}'{kinds}.")
            files |= dict.fromkeys(found)
        return list(files)


class Tabular(AnomalibDataModule):
    """Images that a table lists.

    Args:
        name: of the data set; part of the results' path.
        samples: path of a CSV file; a pandas table; a dictionary of columns; or a list of dictionaries. Columns are
            ``image_path``, ``label_index`` (0 normal, 1 abnormal) or ``label`` (``normal`` or another name), and
            perhaps ``split`` (``train``, ``val`` or ``test``) and ``mask_path``. Normal images of
            ``val`` are fitted on, too, defective ones tested on.
        root: folder that paths are relative to.
        options: the others of :class:`Folder`.

    Raises:
        DataError: a column is missing.
    """

    def __init__(
        self,
        name: str,
        samples: str | Path | Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | Any,
        root: str | Path | None = None,
        *,
        task: str | None = None,
        image_size: int | Sequence[int] | None = None,
        train_batch_size: int | None = None,
        eval_batch_size: int = 32,
        seed: int | None = None,
        test_split_mode: str = "from_dir",
        val_split_mode: str = "from_train",
        **options: Any,
    ) -> None:
        shares = ("normal_split_ratio", "test_split_ratio", "val_split_ratio")
        for share in shares:
            take_share(share, options.pop(share, None), TEST_SHARE, "of the normal images are held out")
        take_common(self, task, image_size, train_batch_size, eval_batch_size, options)
        take_splits(test_split_mode, val_split_mode)
        self.name, self.seed, self.root = name, seed, Path(root or ".")
        self._table = samples

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - a script may name a stage
        """Read the table.

        Raises:
            DataError: it cannot be read, or a column is missing.
        """
        self.samples, self.notes = tuple(self._sample(row) for row in _rows(self._table)), ()

    def _sample(self, row: Mapping[str, Any]) -> Sample:
        known = {key: value for key, value in row.items() if value is not None and value == value and value != ""}
        if "image_path" not in known or not {"label_index", "label"} & known.keys():
            raise DataError("A table of images needs the columns image_path and label_index, or label.")
        normal = (
            int(known["label_index"]) == 0
            if "label_index" in known
            else str(known["label"]).lower() in ("normal", "good")
        )
        split: Literal["train", "test"] | None = None
        if known.get("split") is not None:
            split = "test" if str(known["split"]) == "test" or not normal else "train"
        mask = self.root / str(known["mask_path"]) if "mask_path" in known and not normal else None
        return Sample(self.root / str(known["image_path"]), "normal" if normal else "abnormal", split, mask=mask)


def take_common(
    module: AnomalibDataModule,
    task: str | None,
    image_size: ImageSize | None,
    train_batch_size: int | None,
    eval_batch_size: int,
    others: Mapping[str, Any],
) -> None:
    """Take the arguments that every data module has, and say which have no effect.

    Raises:
        ParameterError: a value that is not allowed.
        TypeError: there is no such argument.
    """
    transforms, idle = [], []
    for name, value in others.items():
        if name == "transform" or name.endswith(("_transform", "augmentations")):
            transforms += [name] if value is not None else []
        elif name in IDLE:
            idle += [name] if value is not None else []
        else:
            raise TypeError(f"a data module has no argument '{name}'")
    kind = type(module).__name__
    without_effect(kind, transforms, WHY_NO_TRANSFORM)
    without_effect(kind, idle, "images are read ahead by as many threads as there is need of, and never cropped")
    if image_size is not None:
        parse_size(image_size)  # refuses what is not allowed
        module.image_size = image_size
    if task is not None and task not in (TaskType.CLASSIFICATION, TaskType.SEGMENTATION):
        raise ParameterError(f"task='{task}' is not allowed: give classification or segmentation.")
    for name, size in (("eval_batch_size", eval_batch_size), ("train_batch_size", train_batch_size or 1)):
        if size < 1:
            raise ParameterError(f"{name}={size} is not allowed: it has to be at least 1.")
    vars(module)["_task"] = task
    module.train_batch_size, module.eval_batch_size = train_batch_size, eval_batch_size


def take_splits(test_split_mode: str, val_split_mode: str) -> TestSplitMode:
    """Take the ways of splitting.

    Raises:
        ParameterError: there is no such way.
    """
    for name, value, modes in (
        ("test_split_mode", test_split_mode, TestSplitMode),
        ("val_split_mode", val_split_mode, ValSplitMode),
    ):
        if value not in set(modes):
            raise unknown_name(name, value, list(modes))
    if val_split_mode != ValSplitMode.FROM_TRAIN:
        say_once(
            f"val_split_mode='{val_split_mode}' is taken without effect: the limit is chosen from held-out normal"
            " training images, never from those that are tested on."
        )
    return TestSplitMode(test_split_mode)


def take_share(name: str, value: float | None, used: float, of_what: str) -> None:
    """Say that a share is not the one in use."""
    if value is not None and value != used:
        say_once(f"{name}={value} is taken without effect: {used:g} {of_what}.")


def _rows(table: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(table, (str, Path)):
        import csv

        try:
            text = Path(table).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"Cannot read '{table}': {error}.") from None
        return list(csv.DictReader(text.splitlines()))
    if hasattr(table, "to_dict") and not isinstance(table, Mapping):
        found: list[dict[str, Any]] = table.to_dict("records")
        return found
    if isinstance(table, Mapping):
        return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return list(table)


def _list(folders: Folders | None) -> list[str | Path]:
    if folders is None:
        return []
    return [folders] if isinstance(folders, (str, Path)) else list(folders)


def _suffixes(extensions: str | Sequence[str]) -> tuple[str, ...]:
    """Suffixes in lower case, with their dots.

    Raises:
        ParameterError: files of such a kind cannot be read.
    """
    given = [extensions] if isinstance(extensions, str) else list(extensions)
    suffixes = tuple(f".{suffix.lower().removeprefix('.')}" for suffix in given)
    if not suffixes or not set(suffixes) <= set(IMAGE_SUFFIXES):
        raise ParameterError(
            f"extensions={given} is not allowed: files of the kinds {join_names(IMAGE_SUFFIXES, 20)} are read."
        )
    return suffixes
