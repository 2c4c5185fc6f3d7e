"""A model by anomalib's name: hyper-parameters, and what inspects once it is fitted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from pellucid import backbones, detectors
from pellucid.anomalib._files import load_model
from pellucid.anomalib._said import say_once, without_effect
from pellucid.anomalib.data.batches import ImageBatch, as_array
from pellucid.anomalib.data.modes import LearningType
from pellucid.anomalib.metrics import take_evaluator
from pellucid.anomalib.models.table import MODELS, NEAREST, Row
from pellucid.anomalib.post_processing import take_post_processor
from pellucid.anomalib.pre_processing import PreProcessor, take_pre_processor
from pellucid.anomalib.predictions import batch_of
from pellucid.anomalib.visualization import take_visualizer
from pellucid.detectors._networks import networks_of
from pellucid.errors import NotFittedError, ParameterError, unknown_name
from pellucid.inspector import Inspector

BACKBONES = {  # names of anomalib's backbones that are others here
    "dinov2_vit_small_14": "dinov2_small",
    "dinov2_vit_base_14": "dinov2_base",
    "dinov2reg_vit_small_14": "dinov2_small",
    "dinov2reg_vit_base_14": "dinov2_base",
}


class EfficientAdModelSize(StrEnum):
    """Sizes of EfficientAd's networks; the small one is here."""

    S = "small"
    M = "medium"


class AnomalyMapGenerationMode(StrEnum):
    """How anomalib's reverse distillation joins the maps of its layers; here they are added."""

    ADD = "add"
    MULTIPLY = "multiply"


class AnomalibModule:
    """A detector by its anomalib name; it holds hyper-parameters, and the inspector once it is fitted.

    Args:
        arguments: those of anomalib's constructor, in its order.
        parameters: by anomalib's names or the detector's; ``pre_trained`` is always true. ``pre_processor`` says the
            size, ``post_processor`` the unit of scores, ``evaluator`` the metrics of a test, and ``visualizer`` where
            its pictures go.

    Attributes:
        hparams: hyper-parameters of the detector that differ from its own defaults.
        inspector: what inspects; None before a fit.

    Raises:
        ParameterError: an unknown hyper-parameter, or a value that is not allowed.
    """

    row: ClassVar[Row]

    def __init__(self, *arguments: Any, **parameters: Any) -> None:
        known = self.row.arguments
        if len(arguments) > len(known):
            raise TypeError(f"{type(self).__name__} takes {len(known)} arguments in order: {', '.join(known)}")
        given = parameters | dict(zip(known, arguments, strict=False))
        self.pre_processor = take_pre_processor(given.pop("pre_processor", None))
        self.post_processor = take_post_processor(given.pop("post_processor", None))
        self.evaluator = take_evaluator(given.pop("evaluator", None))
        self.visualizer = take_visualizer(given.pop("visualizer", None))
        if (size := given.pop("input_size", None)) is not None:  # of 1.x
            self.pre_processor = PreProcessor(image_size=size)
        if not given.pop("pre_trained", True):
            raise ParameterError("pre_trained=False is not allowed: features of random weights show little.")
        self.hparams = dict(self.row.paper) | _translate(type(self).__name__, self.row, given)
        detectors.create(self.row.detector, **self.hparams)  # what is not allowed is refused here, not hours later
        self.inspector: Inspector | None = None
        self.trainer: Any = None

    @property
    def detector(self) -> str:
        """Name of the detector."""
        return self.row.detector

    @property
    def name(self) -> str:
        """Name of the model."""
        return type(self).__name__

    learning_type = LearningType.ONE_CLASS

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, **parameters: Any) -> Self:
        """Return a model that is fitted already.

        Args:
            checkpoint_path: of its file, as an engine wrote it.
            parameters: of the constructor.

        Raises:
            ModelFileError: it is no model of pellucid's.
        """
        model = cls(**{k: v for k, v in parameters.items() if k not in ("map_location", "weights_only", "strict")})
        model.adopt(load_model(checkpoint_path))
        return model

    @staticmethod
    def configure_pre_processor(image_size: Any = None, **_: Any) -> PreProcessor:
        """Return a pre-processor for a size.

        Args:
            image_size: N, the shorter side, or (height, width), px.
        """
        return PreProcessor(image_size=image_size)

    def adopt(self, inspector: Inspector) -> None:
        """Become a model that is fitted."""
        self.inspector = inspector
        self.post_processor.learn(inspector.limit)

    def fitted(self) -> Inspector:
        """Return what inspects.

        Raises:
            NotFittedError: there has been no fit.
        """
        if self.inspector is None:
            raise NotFittedError(
                f"This {self.name} has not been fitted: call engine.fit or give ckpt_path; before, it has no networks."
            )
        return self.inspector

    def __call__(self, batch: Any) -> ImageBatch:
        """Inspect images: a tensor (B, 3, H, W) in [0, 1], or a batch that has one as its ``image``.

        Raises:
            NotFittedError: there has been no fit.
        """
        tensor = batch if isinstance(batch, Tensor) else batch["image"]
        inspector = self.fitted()
        found = [inspector.inspect(image) for image in as_array(tensor)]
        return batch_of(found, inspector, self.post_processor)

    forward = __call__

    @property
    def model(self) -> nn.ModuleDict:
        """The networks of the fitted detector."""
        return nn.ModuleDict(networks_of(self.fitted().detector))

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Yield the parameters of the networks of the fitted detector."""
        return self.model.parameters(recurse)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield them with their names."""
        return self.model.named_parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that was learned, as tensors by name."""
        return self.fitted().detector.state()

    def load_state_dict(self, *_: Any, **__: Any) -> None:
        """Refuse: tensors alone do not say what the limit is.

        Raises:
            ParameterError: always.
        """
        raise ParameterError(f"Tensors alone are no model: take {self.name}.load_from_checkpoint(path), or ckpt_path=.")

    @property
    def device(self) -> torch.device:
        """Where the fitted detector computes."""
        return self.fitted().detector.device

    def to(self, *_: Any, **__: Any) -> Self:
        """Return itself: an engine says where it computes."""
        return self

    eval = train = cpu = cuda = freeze = unfreeze = requires_grad_ = float = half = to  # of torch, as scripts call them

    @property
    def image_threshold(self) -> _Threshold:
        """The limit, with the name that it has in 1.x."""
        return _Threshold(self.post_processor.image_threshold)

    @property
    def pixel_threshold(self) -> _Threshold:
        """The limit of pixels, with the name that it has in 1.x."""
        return _Threshold(self.post_processor.pixel_threshold)


class _Threshold:
    """A number, as 1.x has it: ``value``, ``item()`` and ``cpu()``."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"{float(self.value):.6g}"

    def __float__(self) -> float:
        return float(self.value)

    def item(self) -> float:
        """The number."""
        return float(self.value)

    def cpu(self) -> Self:
        """Itself."""
        return self


def _translate(name: str, row: Row, given: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters of the detector from arguments of anomalib's constructor."""
    if row.detector not in detectors.names():
        raise ParameterError(
            f"{name} is not here yet: there is no detector '{row.detector}'; `pellucid detectors` lists those that"
            " there are."
        )
    defaults = detectors.describe(row.detector).defaults
    found, idle = {}, []
    for key, value in given.items():
        new = row.renamed.get(key, key)
        if key == "layer" and "layers" in given:
            raise ParameterError("layer and layers are the same: give one of them.")
        if key in row.only:
            allowed, sentence = row.only[key]
            if value not in (None, allowed) and str(getattr(value, "value", value)) != allowed:
                raise ParameterError(f"{key}={value} is not allowed: {sentence}.")
        elif key == "layer" and key in row.arguments:
            found["layers"] = (value,) if isinstance(value, str) else value
        elif new in defaults:
            translated = row.values[key].get(value, value) if key in row.values else value
            found[new] = _backbone(value) if new == "backbone" else translated
        elif key in row.arguments:
            idle.append(key)
        else:
            raise unknown_name(f"parameter of {name}", key, {*defaults, *row.arguments})
    without_effect(name, idle, f"the detector {row.detector} has no such parameter")
    return found


def _backbone(value: Any) -> Any:
    """The name of a backbone as it is here: without the name of its weights, as timm puts it behind a dot."""
    if not isinstance(value, str):
        raise ParameterError(
            f"backbone={type(value).__name__} is not allowed: give one by name; `pellucid backbones` lists them."
        )
    name = BACKBONES.get(value, value)
    bare = name.partition(".")[0]
    if name == value and bare != name and bare in backbones.names() and not bare.startswith(("prism", "pdn")):
        say_once(f"backbone='{value}' is taken as '{bare}': the weights are those that belong to it here.")
        return bare
    if name != value:
        say_once(f"backbone='{value}' is taken as '{name}'.")
    return name


@cache
def model_class(name: str) -> type[AnomalibModule]:
    """Return the class of a model by anomalib's name, made when it is first asked for.

    Raises:
        ParameterError: there is no such model.
    """
    if name not in MODELS:
        raise unknown_name("model", name, (*MODELS, *NEAREST))
    row = MODELS[name]
    doc = f"The detector ``{row.detector}`` by anomalib's name; see ``pellucid detectors {row.detector}``."
    return type(name, (AnomalibModule,), {"row": row, "__doc__": doc, "__module__": "pellucid.anomalib.models"})
