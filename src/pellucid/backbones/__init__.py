"""Pixels to features: frozen networks, each ``(B, 3, H, W) in [0, 1] -> list of (B, C, h, w)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.backbones._catalogue import Entry, embedded_names, entry, names, versions
from pellucid.errors import ParameterError, join_names

if TYPE_CHECKING:
    from torch import nn

    from pellucid.backbones._extractor import Backbone

__all__ = ["Entry", "create", "embedded_names", "entry", "names", "network", "rebuild", "versions"]


def network(name: str) -> nn.Module:
    """Build the bare network of a backbone, with random weights.

    Args:
        name: one of :func:`names`, with or without a version, or ``timm/NAME``.

    Raises:
        ParameterError: there is no such backbone.
    """
    from pellucid.backbones._families import make_network

    known = entry(name)
    return make_network({"family": known.family, **known.config})


def create(name: str, *, layers: Sequence[str], weights: str | Path | None = None, pretrained: bool = True) -> Backbone:
    """Make a frozen feature extractor.

    Args:
        name: one of :func:`names`; ``prism_s.v6`` asks for a version, the bare name for the newest.
        layers: which layers to return, in that order, for example ``("layer2", "layer3")``.
        weights: a checkpoint file; without one the embedded weights or the hub. Under a name with a version it has to
            be that version's file.
        pretrained: False leaves the weights random.

    Raises:
        ParameterError: unknown backbone, version or layer.
        WeightsError: the weights are missing, unreachable or of another network.

    Example:
        >>> import torch
        >>> backbone = create("prism_s", layers=("layer2", "layer3"))
        >>> [tuple(features.shape) for features in backbone(torch.rand(1, 3, 64, 64))]
        [(1, 32, 8, 8), (1, 160, 4, 4)]
    """
    from pellucid.backbones._families import make_network
    from pellucid.backbones._weights import load_weights, name_of_weights

    known = entry(name)
    config: dict[str, Any] = {"family": known.family, **known.config}
    net = make_network(config, pretrained=pretrained and weights is None)
    _check_layers(name, net, layers)
    if pretrained:
        load_weights(net, name, weights)
    return _frozen(net, layers, config, name_of_weights(name, weights))


def rebuild(config: Mapping[str, Any], *, layers: Sequence[str], name: str) -> Backbone:
    """Make the extractor that a model file describes, with random weights, whatever the catalogue says by now.

    Args:
        config: of a :class:`Backbone`, as the file holds it.
        layers: which layers to return, in that order.
        name: what the file calls it.

    Raises:
        ParameterError: the network is of a newer pellucid, or of a distribution that is not installed.
        WeightsError: the network's library is not installed.
    """
    from pellucid.backbones._families import make_network

    net = make_network(config)
    _check_layers(name, net, layers)
    return _frozen(net, layers, config, name)


def _check_layers(name: str, net: nn.Module, layers: Sequence[str]) -> None:
    known: Sequence[str] = net.layers  # type: ignore[assignment]
    if wrong := [layer for layer in layers if layer not in known]:
        raise ParameterError(f"Backbone '{name}' has no layer {join_names(wrong)}; it has {join_names(known, 12)}.")


def _frozen(net: nn.Module, layers: Sequence[str], config: Mapping[str, Any], name: str) -> Backbone:
    from pellucid.backbones._extractor import Backbone
    from pellucid.backbones._families import whole_config

    return Backbone(net, tuple(layers), name=name, config=whole_config(config, net))
