"""Data modules by anomalib's names."""

from __future__ import annotations

from pathlib import Path

from pellucid.acquisition.files import image_files
from pellucid.acquisition.images import Size, parse_size
from pellucid.acquisition.truth import add_truth, part_masks
from pellucid.errors import DataError
from pellucid.records import Sample


class Folder:
    """A folder of normal and abnormal images. Unlike anomalib's, it never moves images between train and test.

    Args:
        name: of the data set; part of the results' path.
        normal_dir: folder of normal images, below ``root``.
        root: folder that the others lie in; the current one by default.
        abnormal_dir: folder of defective images, below ``root``.
        normal_test_dir: folder of normal images that are only tested on, below ``root``.
        mask_dir: folder of masks with the names of their images, also as ``<stem>_mask``, below ``root``.
        task: accepted and without effect: masks are used where there are any.
        image_size: N or (height, width) in px.
        train_batch_size: accepted and without effect.
        eval_batch_size: images in a batch of predictions, at least 1.
        num_workers: accepted and without effect.
        seed: of the split and the folds; 0 by default.
    """

    def __init__(
        self,
        name: str,
        normal_dir: str | Path,
        root: str | Path | None = None,
        abnormal_dir: str | Path | None = None,
        normal_test_dir: str | Path | None = None,
        mask_dir: str | Path | None = None,
        task: str = "classification",
        image_size: int | tuple[int, int] = 256,
        train_batch_size: int = 32,
        eval_batch_size: int = 32,
        num_workers: int = 1,
        seed: int | None = None,
    ) -> None:
        self.name, self.task, self.seed = name, task, seed
        self.root = Path(root or ".")
        self.normal_dir, self.abnormal_dir = normal_dir, abnormal_dir
        self.normal_test_dir, self.mask_dir = normal_test_dir, mask_dir
        self.image_size: Size = parse_size(image_size)
        self.train_batch_size, self.eval_batch_size, self.num_workers = train_batch_size, eval_batch_size, num_workers
        self.samples: tuple[Sample, ...] = ()
        self.notes: tuple[str, ...] = ()  # about masks and annotations

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - the notebook may name a stage
        """List the files.

        Raises:
            DataError: a folder is missing or empty.
        """
        normal = [Sample(p, "normal") for p in self._files(self.normal_dir)]
        if self.normal_test_dir is not None:
            normal += [Sample(p, "normal", "test") for p in self._files(self.normal_test_dir)]
        abnormal = self._files(self.abnormal_dir) if self.abnormal_dir is not None else []
        masks = self._files(self.mask_dir) if self.mask_dir is not None else []
        images, beside, parted = part_masks([*normal, *(Sample(p, "abnormal") for p in abnormal)])
        self.samples, notes = add_truth(images, [*beside, *masks], self.root)
        self.notes = (*parted, *notes)

    def _files(self, folder: str | Path) -> list[Path]:
        found = image_files(self.root / folder)
        if not found:
            raise DataError(f"There are no images in '{self.root / folder}'.")
        return found
