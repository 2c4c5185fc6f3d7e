"""The contract of every detector, and the only base class.

A detector is a class with four methods of its own, of which it needs two. This one remembers the mean image:

>>> import torch
>>> from pellucid.detectors._base import Detector
>>> class MeanImage(Detector):
...     mean_: torch.Tensor  # learned, hence the underscore: (3, H, W)
...
...     def __init__(self, *, backbone="prism_s", layers=("layer1",), weights=None, seed=0):
...         self.backbone, self.layers, self.weights, self.seed = backbone, layers, weights, seed
...
...     def _fit(self, images, checkpoint):
...         self.mean_ = torch.cat([pixels.to(self.device) for pixels in images]).mean(0)
...
...     def _score(self, pixels):
...         anomaly_map = (pixels - self.mean_).abs().mean(1)  # (B, H, W)
...         return anomaly_map, anomaly_map.flatten(1).amax(1)
>>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
>>> maps, scores = MeanImage().fit(images.split(4)).score(images[:2])
>>> maps.shape, scores.shape
(torch.Size([2, 64, 64]), torch.Size([2]))
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from operator import length_hint
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from pellucid.backbones import create
from pellucid.backbones._extractor import Backbone
from pellucid.detectors._device import full_float32, resolve_device
from pellucid.detectors._known_defects import Head
from pellucid.detectors._state import learned_tensors, load_modules
from pellucid.detectors._tiles import Reach, Tile
from pellucid.errors import DataError, NotFittedError, ParameterError, WeightsError
from pellucid.records import ScoreOf

MIN_PIXELS_TO_COMPILE = 100 * 256 * 256  # pixels from which on the backbone is compiled for a fit
Images = Iterable[Tensor]  # re-iterable float32 batches (B, 3, H, W) in [0, 1]


class Detector(ABC):
    """Learns what normal looks like, then scores: **higher is more anomalous, everywhere**.

    The constructor takes keyword-only hyper-parameters, ``backbone``, ``layers``, ``weights`` and ``seed`` among them,
    and stores each under its name, nothing else. What is learned lives in attributes that end in an underscore, tensors
    and modules, declared in the class; it travels through :meth:`state` and to another device by itself. The same seed
    gives the same state on the same processor, so whatever is random is drawn on the CPU.
    """

    backbone: str
    layers: Sequence[str]
    weights: str | None
    seed: int

    backbone_: Backbone  # pixels (B, 3, H, W) -> one map (B, C, h, w) for each of ``layers``, frozen
    size_: Tensor  # (2,) height and width that the detector was fitted on, px
    margin_: Tensor | None = None  # () of tiles, px on every side that their maps are not about; None: no tiles
    head_direction_: Tensor | None = None  # what labelled defects taught, if anything: see :class:`Head`
    head_threshold_: Tensor
    head_gain_: Tensor
    tile: Tile  # both as numbers, which graphs are traced with
    _device: torch.device | None = None  # chosen by :meth:`to`, or resolved when it was first needed
    score_of: ScoreOf = "peak"  # what of its map a score follows: an attribute of the class, or a property
    reach: ClassVar[Reach] = Reach()  # how much farther a map looks than the backbone does, where a tile's is exact
    _renamed: ClassVar[Mapping[str, tuple[str, Mapping[Any, Any]]]] = {}  # old name -> new one, and new values by old

    # --- what a detector writes -------------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        """Learn from normal images.

        Everything is seeded, ``self.backbone_`` and ``self.size_`` are there, and networks are on ``self.device``;
        batches are on the CPU.

        Args:
            images: re-iterable of float32 batches (B, 3, H, W) in [0, 1].
            checkpoint: file where a long training may keep its progress; None keeps none.
        """

    @abstractmethod
    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the map (B, H, W) and the score (B,) of a batch (B, 3, H, W), all on ``self.device``.

        Gradients are off, the size is that of the fit, and nothing of the detector is changed. It is traced for export:
        what is computed has to be the same for every batch but for its values.
        """

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Learn as :meth:`_fit` does, then yield what :meth:`fit_leaving_out` asks for: maps (B, H, W) and scores (B,).

        For detectors that can do so without being fitted anew for every group; others leave it out, and some images
        have to be held out of their fit to place a limit. Gradients, if there are any, are for it to turn off.

        Args:
            images: as :meth:`_fit` gets them.
            groups: a number for each image, in order; images of a group follow each other.
        """
        raise NotImplementedError

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Learn more images on top of those learned before, then yield what :meth:`update_leaving_out` asks for.

        For detectors in closed form that need not see the earlier images again; others leave it out. Tensors are
        replaced, never changed in place: a copy of the detector may share them.

        Args:
            images: as :meth:`_fit` gets them; only the new ones.
            groups: a number for each of them, in order; images of a group follow each other.
        """
        raise NotImplementedError

    def _check_parameters(self) -> None:  # noqa: B027 - some take every value
        """Refuse values of hyper-parameters that are not allowed, by :func:`require`, before any data are read."""

    def _build(self, height: int, width: int) -> None:  # noqa: B027 - most have nothing to build
        """Make the trainable networks, if any, with random weights; ``self.backbone_`` is there already."""

    def _prepare_scoring(self) -> None:  # noqa: B027 - most have nothing to derive
        """Derive what scoring needs from what was learned; called after a fit, a load and a move."""

    # --- what everybody calls ---------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        signature = inspect.signature(type(self)).parameters
        given = {name: tuple(v) if isinstance(v, list) else v for name, v in self.parameters().items()}
        changed = (f"{name}={value!r}" for name, value in given.items() if value != signature[name].default)
        return f"{type(self).__name__}({', '.join(changed)})"

    @property
    def device(self) -> torch.device:
        """Where the work is done: what :meth:`to` chose, else what ``auto`` means when it is first needed."""
        if self._device is None:
            self._device = resolve_device()
        return self._device

    def to(self, device: str | torch.device) -> Self:
        """Choose where to work; what was learned already is moved there.

        Args:
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``auto`` is the environment variable
                ``PELLUCID_DEVICE`` if that is set, else a GPU if there is one.

        Raises:
            ParameterError: another name, or a device that this machine does not have.
        """
        self._device = resolve_device(str(device))
        if hasattr(self, "size_"):
            self._move()
        return self

    def parameters(self) -> dict[str, Any]:
        """Return the hyper-parameters by name, as given to the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def fit(self, images: Images, *, checkpoint: Path | None = None, margin: int | None = None) -> Self:
        """Learn from normal images.

        Args:
            images: re-iterable of float32 batches (B, 3, H, W) in [0, 1], all of one size.
            checkpoint: where gradient-trained detectors keep their progress; a killed fit goes on from there.
            margin: of tiles, px on every side that maps are not about; scores are then the inner maps' highest values.

        Raises:
            DataError: no images, or batches of another shape.
            ParameterError: a hyper-parameter has a value that is not allowed.
            WeightsError: the backbone's weights cannot be had.
        """
        with self._fitting(images, margin):
            self._fit(images, checkpoint)
        self._prepare_scoring()
        return self

    @property
    def leaves_out(self) -> bool:
        """Whether it can score each image that it learned from as if that had been left out."""
        return type(self)._fit_leaving_out is not Detector._fit_leaving_out

    def fit_leaving_out(
        self, images: Images, groups: Sequence[int], *, margin: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Learn from normal images, and score each of them as if its group had been left out.

        Such scores are like those of new images, so that every image can place the limit and none is held out. The
        detector is fitted when all have been taken.

        Args:
            images: re-iterable of float32 batches (B, 3, H, W) in [0, 1], all of one size.
            groups: a number for each image, in order; images of one group are left out together and follow each other.
            margin: of tiles, as :meth:`fit` has it.

        Yields:
            Maps (B, H, W) and scores (B,), float32 on the CPU, in the order of the images.

        Raises:
            DataError: as for :meth:`fit`, or so little is left without a group that nothing can be learned from it.
            ParameterError: a hyper-parameter has a value that is not allowed.
            WeightsError: the backbone's weights cannot be had.
        """
        with self._fitting(images, margin):
            for found in self._fit_leaving_out(images, groups):
                maps, scores = self.tile.finish(*found)
                yield maps.float().cpu(), scores.float().cpu()
        self._prepare_scoring()

    def check_updates(self) -> None:
        """Refuse to learn more images where that needs those that were learned from already.

        Raises:
            ParameterError: the detector has to be fitted again.
        """
        name = type(self).__name__
        if type(self)._update_leaving_out is Detector._update_leaving_out:
            raise ParameterError(
                f"{name} cannot learn more images on top of those that it was fitted on: fit it again, on all of them."
            )
        if self.head_direction_ is not None:
            raise ParameterError(
                f"Labelled defects taught this {name} beside the images that it was fitted on: fit it again, on all of"
                " them, with --learn-defects."
            )

    def update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Learn more normal images, and score each of them as if its group had been left out of these.

        What was learned before stays; nothing is fitted anew. The detector is updated when all have been taken.

        Args:
            images: re-iterable of float32 batches (B, 3, H, W) in [0, 1], of the size that was fitted on.
            groups: a number for each image, in order; images of one group are left out together and follow each other.

        Yields:
            Maps (B, H, W) and scores (B,), float32 on the CPU, in the order of the images.

        Raises:
            NotFittedError: there is nothing to be updated.
            ParameterError: it cannot learn on, or what is needed for it was not kept by an earlier pellucid.
        """
        if not hasattr(self, "size_"):
            raise NotFittedError(f"This {type(self).__name__} has not been fitted: call fit first.")
        self.check_updates()
        with full_float32():
            for found in self._update_leaving_out(images, groups):
                maps, scores = self.tile.finish(*found)
                yield maps.float().cpu(), scores.float().cpu()
        self._prepare_scoring()

    @contextmanager
    def _fitting(self, images: Images, margin: int | None) -> Iterator[None]:
        """Make everything ready to learn from images, and compute as a fit does while it is open."""
        self._check_parameters()
        if (first := next(iter(images), None)) is None:
            raise DataError("There are no images to fit on.")
        _check_shape(first)
        height, width = first.shape[-2:]
        for part in Head._fields:
            vars(self).pop(f"head_{part}_", None)
        torch.manual_seed(self.seed)  # of the CPU, where what is random is drawn: the same on every device
        self.backbone_ = create(self.backbone, layers=self.layers, weights=self.weights)
        self.size_ = torch.tensor([height, width])
        self.margin_, self.tile = None if margin is None else torch.tensor(margin), Tile(height, width, margin)
        if margin is not None:
            self.backbone_ = self.backbone_.with_level_of(images)  # what is near alone shapes a place's features
        self._build(height, width)
        self._move_networks()
        with self.extracting(length_hint(images) * len(first)):
            yield

    @contextmanager
    def extracting(self, count: int) -> Iterator[None]:
        """Extract features in full float32 while it is open, on a processor by a compiled backbone where that pays.

        Args:
            count: of images that will go through the backbone.
        """
        height, width = (int(side) for side in self.size_)
        many = count * height * width >= MIN_PIXELS_TO_COMPILE and self.device.type == "cpu"
        with full_float32(), self.backbone_.compiled(height, width) if many else nullcontext():
            yield

    def score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the anomaly map (B, H, W) and the score (B,) of images, float32 on the CPU; higher is more anomalous.

        Args:
            pixels: (B, 3, H, W) in [0, 1], of the size that was fitted on.

        Raises:
            NotFittedError: :meth:`fit` or :meth:`load_state` has not run.
            DataError: another shape than the detector was fitted on.
        """
        if not hasattr(self, "size_"):
            raise NotFittedError(f"This {type(self).__name__} has not been fitted: call fit first.")
        _check_shape(pixels)
        height, width = (int(side) for side in self.size_)
        if pixels.shape[-2:] != (height, width):
            got = "x".join(str(side) for side in pixels.shape[-2:])
            raise DataError(f"The detector was fitted on {height}x{width} images but got {got}.")
        with torch.inference_mode(), full_float32():
            anomaly_map, score = self.compute(pixels.to(self.device))
        return anomaly_map.float().cpu(), score.float().cpu()

    def compute(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute what :meth:`score` returns, of a batch (B, 3, H, W) on the device, unchecked: what exports trace."""
        if self.head_direction_ is None:
            return self.tile.finish(*self._score(pixels))
        with self.backbone_.overheard() as calls:  # what labelled defects taught needs no second look
            anomaly_map, score = self._score(pixels)
        head = Head(self.head_direction_, self.head_threshold_, self.head_gain_)
        return self.tile.finish(*head.fuse(anomaly_map, score, calls[0]))

    @property
    def can_be_taught(self) -> bool:
        """Whether labelled defects can teach it, once fitted: scoring sends a batch through the backbone once."""
        height, width = (int(side) for side in self.size_)
        with torch.inference_mode(), self.backbone_.overheard() as calls:
            self._score(torch.zeros(1, 3, height, width, device=self.device))
        return len(calls) == 1 and len(calls[0][0]) == 1

    def teach(self, head: Head) -> None:
        """Add what labelled defects taught to every map and score from now on; another fit forgets it."""
        self.head_direction_, self.head_threshold_, self.head_gain_ = (part.float().to(self.device) for part in head)

    def state(self) -> dict[str, Tensor]:
        """Return everything learned, as tensors on the CPU by name, the backbone's weights included."""
        return learned_tensors(vars(self))

    def load_state(self, state: dict[str, Tensor], *, backbone: Backbone | None = None) -> Self:
        """Become the detector whose :meth:`state`, tensors by name, this is; needs no network and no weights file.

        Args:
            state: of it.
            backbone: the extractor that it is for; by default that of ``self.backbone`` as it is built today.

        Raises:
            WeightsError: the state is of another detector or of other hyper-parameters.
        """
        try:
            height, width, _ = self._see_as(state)
            self.backbone_ = backbone or create(self.backbone, layers=self.layers, pretrained=False)
            self._build(height, width)
            load_modules(vars(self), state)
            for name, tensor in state.items():
                if "." not in name:
                    setattr(self, name, tensor)
            for name in inspect.get_annotations(type(self)):
                if name.endswith("_") and not hasattr(self, name):
                    raise KeyError(name)
        except (KeyError, RuntimeError):
            raise WeightsError(f"This state is not that of a {type(self).__name__} with these parameters.") from None
        self._move()
        return self

    def _see_as(self, state: Mapping[str, Tensor]) -> Tile:
        """Take over what images a state is of."""
        self.size_, self.margin_ = state["size_"], state.get("margin_")
        height, width = (int(side) for side in self.size_)
        self.tile = Tile(height, width, None if self.margin_ is None else int(self.margin_))
        return self.tile

    def _move(self) -> None:
        """Bring what was learned to the device, and derive there what scoring needs."""
        self._move_networks()
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor) and name not in ("size_", "margin_"):
                setattr(self, name, value.to(self.device))
        self._prepare_scoring()

    def _move_networks(self) -> None:
        for value in list(vars(self).values()):
            if isinstance(value, nn.Module):
                value.to(self.device)
        self.backbone_.fold()


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise ParameterError when a hyper-parameter has a value that is not allowed.

    Args:
        condition: whether it is.
        name: of the hyper-parameter.
        value: that it has.
        allowed: what would be, as in "odd and at least 1".
    """
    if not condition:
        raise ParameterError(f"{name}={value!r} is not allowed: it has to be {allowed}.")


def _check_shape(pixels: Tensor) -> None:
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
        raise DataError(f"A batch has to be float32 (B, 3, H, W) in [0, 1]; got {pixels.dtype} {tuple(pixels.shape)}.")
