"""What an engine takes images from: a data module, or one part of it as a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.acquisition.files import image_files
from pellucid.acquisition.images import Size, as_planes, read_image, resize
from pellucid.acquisition.masks import read_mask
from pellucid.acquisition.splits import plan_split
from pellucid.acquisition.views import ImageSize, choose_view, framing_of
from pellucid.anomalib._said import without_effect
from pellucid.anomalib.data.batches import ImageItem, collate
from pellucid.errors import DataError, ParameterError, missing_extra
from pellucid.records import Sample, Samples, Split

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import DataLoader

WHY_NO_TRANSFORM = "images are brought to image_size and normalised inside the model; nothing else is done to them"


class Source(ABC):
    """Images, as an engine takes them.

    Attributes:
        name: of the data set; part of the results' path.
        category: of the data set, or nothing; the next part of that path.
        root: folder that the images lie in.
        image_size: N, the shorter side of what the network sees, or (height, width), in px.
        train_batch_size: images in a batch of ``train_dataloader()``; None: 32.
        eval_batch_size: images in a batch of predictions.
        seed: of the split and the folds; None: that of ``seed_everything``, or 0.
        labelled: whether it is known which images are defective.
    """

    name: str
    category: str = ""
    root: Path
    image_size: ImageSize = 256
    train_batch_size: int | None = None
    eval_batch_size: int = 32
    seed: int | None = None
    labelled = True

    @abstractmethod
    def listed(self) -> Samples:
        """List the files.

        Raises:
            DataError: a folder is missing or empty.
        """


class AnomalibDataset(Source):
    """Images of one part of a data module, one by one.

    Args:
        images: what it holds.
        source: that they are of.
        batch_size: of the loader over them.
    """

    def __init__(self, images: Sequence[Sample], source: Source, batch_size: int) -> None:
        self._images, self._batch_size = tuple(images), batch_size
        self.name, self.category, self.root = source.name, source.category, source.root
        self.image_size, self.eval_batch_size = source.image_size, source.eval_batch_size
        self.seed, self.labelled = source.seed, source.labelled

    def listed(self) -> Samples:
        """List the files."""
        return Samples(self.root, "folder", self._images)

    def __len__(self) -> int:
        return len(self.listed().samples)

    def __getitem__(self, number: int) -> ImageItem:
        """Read an image, and its mask where any image of the set has one."""
        samples = self.listed().samples
        one, size = samples[number], self._size
        pixels = read_image(one.path)
        item = ImageItem(image_path=str(one.path), image=torch.from_numpy(as_planes(pixels, size).copy()))
        if self.labelled:
            item["label"] = torch.tensor(int(one.label == "abnormal"))
        if any(sample.mask for sample in samples):
            shape = pixels.shape[:2]
            mask = read_mask(one.mask, one.path, shape) if one.mask else np.zeros(shape, bool)
            item["mask"] = torch.from_numpy(resize(mask.astype(np.float32), size) > 0.5)
        return item

    def __iter__(self) -> Iterator[ImageItem]:
        return (self[number] for number in range(len(self)))

    @property
    def collate_fn(self) -> Any:
        """What makes a batch of images."""
        return collate

    @property
    def samples(self) -> pd.DataFrame:
        """A table with a row for each image: its path, split, label and mask.

        Raises:
            ParameterError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ParameterError(missing_extra(None, "pandas", "The table of a data set's samples")) from None
        rows = [
            {
                "image_path": str(one.path),
                "split": one.split or "",
                "label": one.label,
                "label_index": int(one.label == "abnormal"),
                "mask_path": str(one.mask or ""),
            }
            for one in self.listed().samples
        ]
        return pd.DataFrame(rows, columns=["image_path", "split", "label", "label_index", "mask_path"])

    @property
    def has_normal(self) -> bool:
        """Whether it holds good parts."""
        return any(one.label == "normal" for one in self.listed().samples)

    @property
    def has_anomalous(self) -> bool:
        """Whether it holds defective parts."""
        return any(one.label == "abnormal" for one in self.listed().samples)

    @cached_property
    def _size(self) -> Size:
        """Height and width of the images of a batch: what a model that was fitted on such images sees."""
        height, width = read_image(self.listed().samples[0].path).shape[:2]
        return choose_view(self.image_size, framing_of([(height, width)]))[0]

    def loader(self, *, shuffle: bool = False) -> DataLoader[Any]:
        """Return batches.

        Args:
            shuffle: in another order each time.

        Raises:
            DataError: it holds no images.
        """
        from torch.utils.data import DataLoader

        if not len(self):
            raise DataError(f"This part of '{self.root}' has no images.")
        size = self._batch_size
        return DataLoader(self, batch_size=size, shuffle=shuffle, collate_fn=collate)  # type: ignore[arg-type]


class AnomalibDataModule(Source):
    """Images with labels, in parts to fit on, to choose the limit by and to test on.

    Attributes:
        samples: the images, once :meth:`setup` has listed them.
        notes: what is odd about them.
    """

    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()

    @abstractmethod
    def setup(self, stage: str | None = None) -> None:
        """List the files.

        Raises:
            DataError: a folder is missing or empty.
        """

    def prepare_data(self) -> None:
        """Do nothing: no data set is downloaded."""

    def listed(self) -> Samples:
        """List the files, once."""
        if not self.samples:
            self.setup()
        return Samples(self.root, "folder", self.samples, self.notes)

    @property
    def task(self) -> str:
        """``segmentation`` where there are masks; an engine uses these whatever it says."""
        given: str | None = vars(self).get("_task")
        return given or ("segmentation" if any(one.mask for one in self.samples) else "classification")

    @cached_property
    def _roles(self) -> Split:
        """Who would be fitted on, calibrate and test; the engine verifies every file before, and may leave some out."""
        samples = self.listed()
        return plan_split(samples, false_reject=usual_rate(samples, None), seed=self.seed or 0)

    def _part(self, images: Iterable[Sample], batch_size: int) -> AnomalibDataset:
        return AnomalibDataset(tuple(images), self, batch_size)

    @property
    def train_data(self) -> AnomalibDataset:
        """Normal images that are fitted on."""
        return self._part(self._roles.fit, self.train_batch_size or 32)

    @property
    def val_data(self) -> AnomalibDataset:
        """Normal images that choose the limit: held out, or where they are few those that are fitted on."""
        return self._part(self._roles.calibrate or self._roles.fit, self.eval_batch_size)

    @property
    def test_data(self) -> AnomalibDataset:
        """Images of either label that are tested on."""
        return self._part(self._roles.test, self.eval_batch_size)

    predict_data = test_data

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of :attr:`train_data`, shuffled."""
        return self.train_data.loader(shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of :attr:`val_data`."""
        return self.val_data.loader()

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of :attr:`test_data`."""
        return self.test_data.loader()

    def predict_dataloader(self) -> DataLoader[Any]:
        """Batches of :attr:`test_data`."""
        return self.test_data.loader()


class PredictDataset(AnomalibDataset):
    """Images without labels, to predict on.

    Args:
        path: of an image, or of a folder whose images are all taken.
        transform: taken without effect: the model knows what it does to an image.
        image_size: height and width of what a loader gives; the model knows the size that it takes.
    """

    labelled = False

    def __init__(
        self, path: str | Path, transform: object = None, image_size: int | Sequence[int] = (256, 256)
    ) -> None:
        if transform is not None:
            without_effect("PredictDataset", ["transform"], WHY_NO_TRANSFORM)
        self.root, self.image_size, self._batch_size = Path(path), image_size, 1
        self.name = self.root.stem

    def setup(self, stage: str | None = None) -> None:
        """Do nothing: files are listed when they are asked for."""

    def listed(self) -> Samples:
        """List the files.

        Raises:
            DataError: there are none.
        """
        files = image_files(self.root) if self.root.is_dir() else [self.root]
        if not files:
            raise DataError(f"There are no images in '{self.root}'.")
        return Samples(self.root, "folder", tuple(Sample(path, "normal", "test") for path in files))


def usual_rate(samples: Samples, false_reject: float | None) -> float:
    """Return the promised share of false rejects: 0.05 where nobody asked, or the lowest that a few images allow.

    Args:
        samples: of the data set.
        false_reject: what was asked for.
    """
    if false_reject is not None:
        return false_reject
    return max(0.05, 1 / (len(plan_split(samples, false_reject=0.5).normals) + 1))


def part_of(source: object) -> Source:
    """Return the images of a data module, a data set, or a loader over one.

    Raises:
        ParameterError: it is something else.
    """
    found = getattr(source, "dataset", source)
    if isinstance(found, Source):
        return found
    raise ParameterError(
        f"Images cannot be taken from a {type(source).__name__}: give a Folder or another data module, a"
        " PredictDataset, or data_path=, a file or a folder."
    )


def one_source(given: dict[str, object]) -> Source:
    """Return the images that a script gives by one of several arguments.

    Args:
        given: by the names of the arguments.

    Raises:
        ParameterError: none is given, or several are, or one cannot be taken from.
    """
    sources = [source for source in given.values() if source is not None]
    if len(sources) != 1:
        *names, last = given
        raise ParameterError(f"Give one of {', '.join(names)} and {last}: {len(sources)} are given.")
    return part_of(sources[0])


def batch_size_of(loader: object, datamodule: object) -> int:
    """Return how many images make a batch of predictions: as a loader or a data module says, else 1.

    Args:
        loader: of torch's, a data module, or None.
        datamodule: or None.
    """
    given = datamodule or loader
    size: int | None = given.eval_batch_size if isinstance(given, Source) else getattr(given, "batch_size", None)
    return size or 1
