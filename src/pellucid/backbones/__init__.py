"""Pixels to features: frozen networks, each ``(B, 3, H, W) in [0, 1] -> list of (B, C, h, w)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.errors import ParameterError, join_names, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from pellucid.backbones._extractor import Backbone


@dataclass(frozen=True)
class Entry:
    """What is known of a backbone without importing torch."""

    name: str
    family: str  # module that builds it
    source: str  # where its weights come from


_FAMILIES = {
    "prism_s": Entry("prism_s", "prism", "embedded in the package: the fast one, and the default"),
    "prism_m": Entry("prism_m", "prism", "embedded in the package: sees more, in three times the time"),
    "mobilenet_v2": Entry("mobilenet_v2", "mobilenet", "--weights FILE"),
    "resnet18": Entry("resnet18", "resnet", "--weights FILE, or the hub: timm/resnet18.tv_in1k"),
    "resnet34": Entry("resnet34", "resnet", "--weights FILE, or the hub: timm/resnet34.tv_in1k"),
    "resnet50": Entry("resnet50", "resnet", "--weights FILE, or the hub: timm/resnet50.tv_in1k"),
    "wide_resnet50_2": Entry("wide_resnet50_2", "resnet", "--weights FILE, or the hub: timm/wide_resnet50_2.tv_in1k"),
    "dinov2_small": Entry("dinov2_small", "dinov2", "extra [vit]; --weights FILE, or the hub: facebook/dinov2-small"),
    "dinov2_base": Entry("dinov2_base", "dinov2", "extra [vit]; --weights FILE, or the hub: facebook/dinov2-base"),
}


def names() -> list[str]:
    """Every backbone by name, the default first; beside these, ``timm/NAME`` is any network of timm."""
    return list(_FAMILIES)


def entry(name: str) -> Entry:
    """What is known of one backbone.

    Raises:
        ParameterError: there is no such backbone.
    """
    if name.startswith("timm/"):
        return Entry(name, "timm", "extra [timm]; --weights FILE, or the hub")
    if name not in _FAMILIES:
        raise unknown_name("backbone", name, _FAMILIES)
    return _FAMILIES[name]


def network(name: str, *, student: bool = False) -> nn.Module:
    """The bare, randomly initialised network of a backbone; for a student without what would be right untrained."""
    from importlib import import_module

    known = entry(name)
    family = import_module(f"pellucid.backbones.{known.family}")
    build: Callable[..., nn.Module] = (
        partial(family.Timm, name.removeprefix("timm/")) if known.family == "timm" else getattr(family, name)
    )
    return build(contrast=0.0) if student and known.family == "prism" else build()


def create(name: str, *, layers: Sequence[str], weights: str | Path | None = None, pretrained: bool = True) -> Backbone:
    """A frozen feature extractor.

    Args:
        name: one of :func:`names`.
        layers: which layers to return, in that order, for example ``("layer2", "layer3")``.
        weights: a checkpoint file; without one the embedded weights or the hub.
        pretrained: False leaves the weights random, to be filled from a model file.

    Raises:
        ParameterError: unknown backbone or layer.
        WeightsError: the weights are missing, unreachable or of another network.
    """
    from pellucid.backbones._extractor import Backbone
    from pellucid.backbones._weights import load_weights

    net = network(name)
    known: Sequence[str] = net.layers  # type: ignore[assignment]
    if wrong := [layer for layer in layers if layer not in known]:
        raise ParameterError(f"Backbone '{name}' has no layer {join_names(wrong)}; it has {join_names(known, 12)}.")
    if pretrained:
        load_weights(net, name, weights)
    return Backbone(net, tuple(layers))
