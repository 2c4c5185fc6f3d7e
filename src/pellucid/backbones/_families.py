"""A backbone's configuration to its network, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from typing import Any

from torch import nn

from pellucid.backbones._catalogue import ENTRY_POINTS, PLUGIN
from pellucid.errors import ParameterError

NETWORKS = {  # class by module
    "dinov2": "DinoV2",
    "mobilenet": "MobileNetV2",
    "pdn": "PDN",
    "prism": "Prism",
    "prism_v1": "PrismV1",
    "resnet": "ResNet",
    "timm": "Timm",
}


def make_network(config: Mapping[str, Any], *, pretrained: bool = False) -> nn.Module:
    """Build a network.

    Args:
        config: ``family``, the arguments of its network, and maybe ``mean`` and ``std`` in place of the network's own.
        pretrained: whether a network of another distribution brings its weights; all others are random.

    Raises:
        ParameterError: another pellucid's family, or a distribution that is not installed.
    """
    arguments = {name: value for name, value in config.items() if name not in ("family", "mean", "std")}
    family = config["family"]
    if family == PLUGIN:
        net = _load_plugin(arguments.pop("name"))(pretrained=pretrained, **arguments)
    elif family in NETWORKS:
        net = getattr(import_module(f"pellucid.backbones.{family}"), NETWORKS[family])(**arguments)
    else:
        raise ParameterError(f"Backbones of the family '{family}' are unknown to this pellucid: install a newer one.")
    if "mean" in config:
        vars(net).update(mean=tuple(config["mean"]), std=tuple(config["std"]))  # of the model file
    return net


def whole_config(config: Mapping[str, Any], net: nn.Module) -> dict[str, Any]:
    """Return everything that rebuilds a network that was made from ``config``: what it chose itself is filled in."""
    chosen: Mapping[str, Any] = getattr(net, "config", {}) if config["family"] in (PLUGIN, "timm") else {}
    return {**chosen, **config, "mean": list(net.mean), "std": list(net.std)}  # type: ignore[arg-type]


def _load_plugin(name: str) -> Callable[..., nn.Module]:
    points = list(metadata.entry_points(group=ENTRY_POINTS, name=name))
    if not points:
        raise ParameterError(f"Backbone '{name}' comes from another distribution: install the one that brings it.")
    function: Callable[..., nn.Module] = points[0].load()
    return function
