"""One image, or a batch of them, with what is known of it and what was predicted.

In anomalib 1.x this is a dictionary with keys in the plural, in 2.x an object with names in the singular; here it is
both. A field of 2.x that is not there is None, a key of 1.x that is not there raises KeyError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch


class _Name(NamedTuple):
    """The key that a field of 2.x lies under, whether 2.x leaves out a channel of its maps, and whether it is bool."""

    key: str
    has_channel: bool = False
    is_flag: bool = False


BATCH_FIELDS = {  # of 2.x
    **{name: _Name(name) for name in ("image", "image_path", "mask_path", "explanation")},
    "pred_score": _Name("pred_scores"),
    "pred_label": _Name("pred_labels"),
    "anomaly_map": _Name("anomaly_maps", True),
    "pred_mask": _Name("pred_masks", True),
    "gt_label": _Name("label", is_flag=True),
    "gt_mask": _Name("mask"),
}
ITEM_FIELDS = {  # of 2.x; of one image nothing is in the plural
    **{name: _Name(name) for name in BATCH_FIELDS},
    "gt_label": _Name("label", is_flag=True),
    "gt_mask": _Name("mask"),
}


class _Named(dict[str, Any]):
    """A dictionary with the keys of 1.x, whose values are also found by the names of 2.x, as attributes or keys."""

    _fields: dict[str, _Name]

    def __init__(self, values: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__()
        for name, value in {**(values or {}), **more}.items():
            self[name] = value

    def __getattr__(self, name: str) -> Any:
        if name not in self._fields and name not in self.keys():
            raise AttributeError(f"'{type(self).__name__}' has no '{name}'; it has {', '.join(self.keys())}.")
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(self._fields[name].key if name in self._fields else name, value)

    def __getitem__(self, name: str) -> Any:
        key, has_channel, is_flag = self._fields.get(name, _Name(name))
        value = super().__getitem__(key)
        if is_flag and isinstance(value, torch.Tensor):
            return value.bool()
        return value[:, 0] if has_channel and value.ndim == 4 else value

    def __contains__(self, name: object) -> bool:
        key = self._fields[name].key if isinstance(name, str) and name in self._fields else name
        return super().__contains__(key)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value by either name; ``default`` where it is not there."""
        return self[name] if name in self else default  # noqa: SIM401 - this is it

    def to(self, *_: Any, **__: Any) -> Self:
        """Return itself: results are on the CPU."""
        return self


class ImageItem(_Named):
    """One image: ``image`` (3, H, W) RGB in [0, 1], ``image_path``, ``gt_label``, ``gt_mask``, and predictions.

    Predictions are ``pred_score`` and ``pred_label``, one value each, and ``anomaly_map`` and ``pred_mask`` (H, W).
    """

    _fields = ITEM_FIELDS


class _Items(list[ImageItem]):
    """The images of a batch, and, called, the pairs of its dictionary: 2.x has the one, 1.x the other."""

    def __init__(self, images: list[ImageItem], pairs: Callable[[], Any]) -> None:
        super().__init__(images)
        self._pairs = pairs

    def __call__(self) -> Any:
        return self._pairs()


class ImageBatch(_Named):
    """A batch of images: its length and its iteration are over images, as in 2.x; ``keys()`` are those of 1.x.

    ``image`` is (B, 3, H, W); ``pred_score`` and ``pred_label`` (B,); ``anomaly_map``, ``pred_mask`` and ``gt_mask``
    (B, H, W). By the keys of 1.x, ``anomaly_maps`` and ``pred_masks`` are (B, 1, H, W).
    """

    _fields = BATCH_FIELDS

    @property
    def batch_size(self) -> int:
        """How many images."""
        return next((len(value) for value in self.values() if value is not None), 0)

    def __len__(self) -> int:
        return self.batch_size

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[ImageItem]:  # type: ignore[override]
        for number in range(self.batch_size):
            yield ImageItem({name: self[name][number] for name in self._fields if self.get(name) is not None})

    @property
    def items(self) -> _Items:
        """The images as a list; ``items()`` are the pairs of keys and values."""
        return _Items(list(self.__iter__()), super().items)


def collate(items: Sequence[ImageItem]) -> ImageBatch:
    """Make a batch of images that have the same fields.

    Args:
        items: at least one.
    """
    batch = ImageBatch()
    for name in items[0].keys():  # noqa: SIM118 - a batch iterates over images
        values = [item[name] for item in items]
        stackable = isinstance(values[0], torch.Tensor)
        batch[name] = torch.stack(values) if stackable else values
    return batch


def as_array(image: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    """Return images as pellucid takes them.

    Args:
        image: (C, H, W) or (B, C, H, W), C = 1 or 3, uint8 or floats in [0, 1].

    Returns:
        One array (H, W, C) for each.
    """
    batch = image.detach().cpu()
    batch = batch[None] if batch.ndim == 3 else batch
    return [np.ascontiguousarray(one.permute(1, 2, 0).numpy()) for one in batch]


def read_image(path: str | Path, as_tensor: bool = False) -> Any:
    """Read an image by anomalib's name.

    Args:
        path: of the file.
        as_tensor: return a tensor (3, H, W) instead.

    Returns:
        (H, W, 3), float32 RGB in [0, 1].

    Raises:
        DataError: it cannot be read.
    """
    from pellucid.acquisition import images

    pixels = images.read_image(Path(path))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()) if as_tensor else pixels


def get_image_filenames(path: str | Path, base_dir: object = None) -> list[Path]:
    """List the images of a folder, or a file alone, by anomalib's name.

    Args:
        path: of either.
        base_dir: taken without effect.
    """
    from pellucid.acquisition.files import image_files

    del base_dir
    return image_files(Path(path)) if Path(path).is_dir() else [Path(path)]
