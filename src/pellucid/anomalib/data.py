"""Data modules by anomalib's names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pellucid.acquisition.decoding import IMAGE_SUFFIXES
from pellucid.acquisition.files import image_files
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.images import parse_size
from pellucid.acquisition.splits import CALIBRATION_SHARE, TEST_SHARE
from pellucid.acquisition.truth import add_truth, part_masks
from pellucid.acquisition.views import ImageSize
from pellucid.errors import DataError, ParameterError, join_names
from pellucid.records import Sample

Folders = str | Path | Sequence[str | Path]


class TaskType(StrEnum):
    """What is to be found; masks are used where there are any, whatever it says."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"


class TestSplitMode(StrEnum):
    """Where test images come from."""

    NONE = "none"
    FROM_DIR = "from_dir"
    SYNTHETIC = "synthetic"


class ValSplitMode(StrEnum):
    """Where the images come from that the limit is chosen by."""

    NONE = "none"
    SAME_AS_TEST = "same_as_test"
    FROM_TRAIN = "from_train"
    FROM_TEST = "from_test"
    SYNTHETIC = "synthetic"
    FROM_DIR = "from_dir"


class DataModule(ABC):
    """Images with labels, as an engine takes them.

    Attributes:
        name: of the data set; part of the results' path.
        root: folder that the images lie in.
        image_size: N, the shorter side of what the network sees, or (height, width), in px.
        eval_batch_size: images in a batch of predictions.
        seed: of the split and the folds; None is 0.
        samples: the images, once :meth:`setup` has listed them.
        notes: what is odd about them.
        labelled: whether it is known which images are defective.
    """

    name: str
    root: Path
    image_size: ImageSize = 256
    eval_batch_size: int = 32
    seed: int | None = None
    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    labelled = True

    @abstractmethod
    def setup(self, stage: str | None = None) -> None:
        """List the files.

        Raises:
            DataError: a folder is missing or empty.
        """


class Folder(DataModule):
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
        normal_split_ratio: 0.2, or left out.
        extensions: suffixes of the files to take, as in ``(".png",)``; all that can be read by default.
        task: ``classification`` or ``segmentation``: masks are used where there are any.
        image_size: N, the shorter side of what the network sees, or (height, width), in px.
        train_batch_size: accepted and without effect.
        eval_batch_size: images in a batch of predictions, at least 1.
        num_workers: accepted and without effect.
        test_split_mode: ``from_dir``, or ``none`` to fit on all of ``normal_dir``.
        test_split_ratio: 0.2, or left out.
        val_split_mode: ``from_train``, or left out: the limit is chosen from held-out normal training images.
        val_split_ratio: 0.2, or left out: the share of the normal training images that are held out for the limit.
        seed: of the split and the folds; 0 by default.
        transforms: transforms and augmentations by anomalib's names; only None is accepted.

    Raises:
        ParameterError: a value that means something else than what is done here; the message says what to use.
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
        train_batch_size: int = 32,
        eval_batch_size: int = 32,
        num_workers: int = 1,
        task: str = "classification",
        image_size: int | Sequence[int] = 256,
        test_split_mode: str = "from_dir",
        test_split_ratio: float | None = None,
        val_split_mode: str = "from_train",
        val_split_ratio: float | None = None,
        seed: int | None = None,
        **transforms: object,
    ) -> None:
        check_data_arguments(transforms=transforms, image_size=image_size, task=task, eval_batch_size=eval_batch_size)
        check_split_arguments(test_split_mode, val_split_mode)
        check_share("normal_split_ratio", normal_split_ratio, TEST_SHARE, "of the normal images are tested on")
        check_share("test_split_ratio", test_split_ratio, TEST_SHARE, "of the normal images are tested on")
        check_share("val_split_ratio", val_split_ratio, CALIBRATION_SHARE, "of the training images choose the limit")
        self.name, self.task, self.seed = name, task, seed
        self.root = Path(root or ".")
        self.normal_dir, self.abnormal_dir = normal_dir, abnormal_dir
        self.normal_test_dir, self.mask_dir = normal_test_dir, mask_dir
        self.extensions = IMAGE_SUFFIXES if extensions is None else _suffixes(extensions)
        self.image_size = image_size
        self.train_batch_size, self.eval_batch_size, self.num_workers = train_batch_size, eval_batch_size, num_workers
        self.test_split_mode = TestSplitMode(test_split_mode)

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - the notebook may name a stage
        """List the files.

        Raises:
            DataError: a folder is missing or empty.
        """
        train: Literal["train"] | None = "train" if self.test_split_mode == TestSplitMode.NONE else None
        listed = [Sample(path, "normal", train) for path in self._files(self.normal_dir)]
        listed += [Sample(path, "normal", "test") for path in self._files(self.normal_test_dir)]
        listed += [Sample(path, "abnormal") for path in self._files(self.abnormal_dir)]
        images, beside, parted = part_masks(listed)
        self.samples, notes = add_truth(images, [*beside, *self._files(self.mask_dir, IMAGE_SUFFIXES)], self.root)
        self.notes = (*parted, *notes)

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


class MVTec(DataModule):
    """One category of a data set in MVTec's layout that is on this machine; nothing is downloaded.

    Args:
        root: folder of the categories.
        category: name of the category's folder.
        train_batch_size: accepted and without effect.
        eval_batch_size: images in a batch of predictions, at least 1.
        num_workers: accepted and without effect.
        task: ``classification`` or ``segmentation``: masks are used where there are any.
        image_size: N, the shorter side of what the network sees, or (height, width), in px.
        test_split_mode: ``from_dir``.
        val_split_mode: ``from_train``, or left out: the limit is chosen from held-out normal training images.
        seed: of the split and the folds; 0 by default.
        transforms: transforms and augmentations by anomalib's names; only None is accepted.

    Raises:
        ParameterError: a value that means something else than what is done here; the message says what to use.
    """

    def __init__(
        self,
        root: str | Path = "./datasets/MVTec",
        category: str = "bottle",
        train_batch_size: int = 32,
        eval_batch_size: int = 32,
        num_workers: int = 1,
        task: str = "segmentation",
        image_size: int | Sequence[int] = 256,
        test_split_mode: str = "from_dir",
        val_split_mode: str = "from_train",
        seed: int | None = None,
        **transforms: object,
    ) -> None:
        check_data_arguments(transforms=transforms, image_size=image_size, task=task, eval_batch_size=eval_batch_size)
        check_split_arguments(test_split_mode, val_split_mode)
        self.name, self.category, self.task, self.seed = "MVTec", category, task, seed
        self.root = Path(root) / category
        self.image_size = image_size
        self.train_batch_size, self.eval_batch_size, self.num_workers = train_batch_size, eval_batch_size, num_workers

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - the notebook may name a stage
        """List the files.

        Raises:
            DataError: there is no such folder, or it has another layout.
        """
        if not self.root.is_dir():
            raise DataError(f"'{self.root}' does not exist, and nothing is downloaded: bring the data set there.")
        read = read_folder(self.root)
        self.samples, self.notes = read.samples, read.notes


class PredictDataset(DataModule):
    """Images without labels, to predict on.

    Args:
        path: of an image, or of a folder whose images are all taken.
        transform: only None is accepted.
        image_size: accepted and without effect: the model knows the size that it takes.
    """

    labelled = False

    def __init__(self, path: str | Path, transform: object = None, image_size: int | Sequence[int] = 256) -> None:
        check_data_arguments(transforms={"transform": transform}, image_size=image_size)
        self.root, self.image_size = Path(path), image_size
        self.name = self.root.stem

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - the notebook may name a stage
        """List the files.

        Raises:
            DataError: there are none.
        """
        files = image_files(self.root) if self.root.is_dir() else [self.root]
        if not files:
            raise DataError(f"There are no images in '{self.root}'.")
        self.samples = tuple(Sample(path, "normal", "test") for path in files)


def check_data_arguments(
    *, transforms: dict[str, object], image_size: ImageSize, task: str = "classification", eval_batch_size: int = 1
) -> None:
    """Refuse what a data module cannot do.

    Raises:
        ParameterError: with what to use instead.
    """
    for name, value in transforms.items():
        if not (name == "transform" or name.endswith(("_transform", "augmentations"))):
            raise TypeError(f"a data module has no argument '{name}'")
        if value is not None:
            raise ParameterError(
                f"{name} is not taken: images are brought to image_size, and normalised inside the model. Change the"
                " files themselves for anything else."
            )
    parse_size(image_size)  # refuses what is not allowed
    if task not in (TaskType.CLASSIFICATION, TaskType.SEGMENTATION):
        raise ParameterError(f"task='{task}' is not allowed: give classification or segmentation.")
    if eval_batch_size < 1:
        raise ParameterError(f"eval_batch_size={eval_batch_size} is not allowed: it has to be at least 1.")


def check_split_arguments(test_split_mode: str, val_split_mode: str) -> None:
    """Refuse ways of splitting that are not done here.

    Raises:
        ParameterError: with what to use instead.
    """
    if test_split_mode not in (TestSplitMode.FROM_DIR, TestSplitMode.NONE):
        raise ParameterError(
            f"test_split_mode='{test_split_mode}' is not allowed: give from_dir, to test on images that lie there, or"
            " none. `pellucid detectability` plants flaws that are drawn."
        )
    if val_split_mode != ValSplitMode.FROM_TRAIN:
        raise ParameterError(
            f"val_split_mode='{val_split_mode}' is not allowed: the limit is chosen from held-out normal training"
            " images, never from those that are tested on; leave it out, or give from_train."
        )


def check_share(name: str, value: float | None, used: float, of_what: str) -> None:
    """Refuse a share that is not the one in use.

    Raises:
        ParameterError: with the one that is.
    """
    if value is not None and value != used:
        raise ParameterError(f"{name}={value} is not allowed: {used:g} {of_what}; leave it out.")


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
