"""How large the networks inside a detector are."""

from __future__ import annotations

from torch import nn

from pellucid.detectors._base import Detector


def count_parameters(detector: Detector) -> tuple[int, int]:
    """Count (all, trained) parameters of the networks; what is estimated without gradients does not count."""
    parts = summarise_networks(detector)
    return sum(total for *_, total, _ in parts), sum(trained for *_, trained in parts)


def summarise_networks(detector: Detector) -> list[tuple[str, str, int, int]]:
    """List (name, type, parameters, trained parameters) of every network inside a fitted detector."""
    return [
        (
            name.rstrip("_"),
            type(getattr(network, "net", network)).__name__,
            sum(p.numel() for p in network.parameters()),
            sum(p.numel() for p in network.parameters() if p.requires_grad),
        )
        for name, network in networks_of(detector).items()
    ]


def networks_of(detector: Detector) -> dict[str, nn.Module]:
    """Return the networks inside a fitted detector, and inside the parts of a fusion, by name."""
    found = {name: value for name, value in vars(detector).items() if isinstance(value, nn.Module)}
    parts: dict[str, Detector] = vars(detector).get("_parts", {})
    for part, made in parts.items():
        found |= {f"{part}_{name}": network for name, network in networks_of(made).items()}
    return found
