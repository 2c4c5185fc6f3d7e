"""Public data sets by anomalib's names, as they lie on this machine; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pellucid.acquisition.files import image_files
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.truth import add_truth
from pellucid.anomalib.data.datasets import AnomalibDataModule
from pellucid.anomalib.data.folder import take_common, take_share, take_splits
from pellucid.anomalib.data.modes import TestSplitMode
from pellucid.errors import DataError, ParameterError
from pellucid.records import Sample

CATEGORIES = (  # of MVTec AD
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile"),
    *("toothbrush", "transistor", "wood", "zipper"),
)


class MVTecAD(AnomalibDataModule):
    """One category of a data set in MVTec's layout that is on this machine; nothing is downloaded.

    Args:
        root: folder of the categories.
        category: name of the category's folder.
        train_batch_size: images in a batch of ``train_dataloader()``.
        eval_batch_size: images in a batch of predictions, at least 1.
        num_workers: taken without effect.
        task: ``classification`` or ``segmentation``: masks are used where there are any.
        image_size: N, the shorter side of what the network sees, or (height, width), in px.
        test_split_mode: ``from_dir``.
        val_split_mode: ``from_train``; another is taken without effect.
        seed: of the split and the folds.
        options: ratios, transforms and augmentations, taken without effect.

    Raises:
        ParameterError: a value that is not allowed; the message says what to use.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        category: str | None = None,
        train_batch_size: int | None = None,
        eval_batch_size: int = 32,
        num_workers: int | None = None,
        task: str | None = None,
        image_size: int | Sequence[int] | None = None,
        test_split_mode: str = "from_dir",
        val_split_mode: str = "from_train",
        seed: int | None = None,
        **options: Any,
    ) -> None:
        take_share("test_split_ratio", options.pop("test_split_ratio", None), 0.2, "of the normal images are tested on")
        take_share("val_split_ratio", options.pop("val_split_ratio", None), 0.2, "of them choose the limit")
        take_common(self, task, image_size, train_batch_size, eval_batch_size, {"num_workers": num_workers} | options)
        if take_splits(test_split_mode, val_split_mode) == TestSplitMode.SYNTHETIC:
            raise ParameterError(
                "test_split_mode='synthetic' is not allowed: the data set has test images; leave it out."
            )
        self.name, self.category, self.seed = type(self).__name__, category or self._first, seed
        self.root = Path(root or f"./datasets/{self.name}") / self.category

    _first = "bottle"  # category, where a script names none

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - a script may name a stage
        """List the files.

        Raises:
            DataError: there is no such folder, or it has another layout.
        """
        if not self.root.is_dir():
            raise DataError(f"'{self.root}' does not exist, and nothing is downloaded: bring the data set there.")
        self._read()

    def _read(self) -> None:
        read = read_folder(self.root)
        self.samples, self.notes = read.samples, read.notes


class MVTec(MVTecAD):
    """The same by its name in 1.x; see :class:`MVTecAD`."""


class Visa(MVTecAD):
    """VisA in MVTec's layout; see :class:`MVTecAD`."""

    _first = "capsules"


class MPDD(MVTecAD):
    """MPDD; see :class:`MVTecAD`."""

    _first = "bracket_black"


class BTech(MVTecAD):
    """BeanTech: ``train/ok``, ``test/ok``, ``test/ko`` and masks in ``ground_truth/ko``; see :class:`MVTecAD`."""

    _first = "01"

    def _read(self) -> None:
        parts = {part: image_files(self.root / part) for part in ("train/ok", "test/ok", "test/ko")}
        if missing := [part for part, files in parts.items() if not files and part != "test/ok"]:
            raise DataError(f"There are no images in '{self.root / missing[0]}'.")
        listed = [Sample(path, "normal", "train") for path in parts["train/ok"]]
        listed += [Sample(path, "normal", "test") for path in parts["test/ok"]]
        listed += [Sample(path, "abnormal", "test") for path in parts["test/ko"]]
        masks = self.root / "ground_truth" / "ko"
        self.samples, self.notes = add_truth(listed, image_files(masks) if masks.is_dir() else [], self.root)
