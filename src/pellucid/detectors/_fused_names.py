"""Names and hyper-parameters of fusions, ``a+b``; torch is not imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pellucid.errors import ParameterError, unknown_name

SHARED_PARAMETERS = ("backbone", "weights", "seed")  # that a fusion has once for all of its parts
Parameters = Mapping[str, Any]


def is_fusion(name: str) -> bool:
    """Tell the name of a fusion, as in ``patchcore+padim``, from that of a detector."""
    return "+" in name


def parts_of(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a fusion's parts.

    Args:
        name: of the fusion.
        known: names of all detectors.

    Raises:
        ParameterError: a part is no detector, or is there twice.
    """
    parts = tuple(name.split("+"))
    for part in parts:
        if part not in (names := list(known)):
            raise unknown_name("detector", part, names)
        if parts.count(part) > 1:
            raise ParameterError(f"'{name}' has {part} twice: a fusion is of different detectors.")
    return parts


def fused_defaults(defaults: Mapping[str, Parameters]) -> dict[str, Any]:
    """Return the hyper-parameters of a fusion: one backbone and seed for all, and ``part.key`` for the rest.

    The backbone is the first part's. ``layers`` are those of all parts, and follow from them.

    Args:
        defaults: hyper-parameters of the parts, by their names.
    """
    first = next(iter(defaults.values()))
    own = {
        f"{part}.{key}": value
        for part, parameters in defaults.items()
        for key, value in parameters.items()
        if key not in SHARED_PARAMETERS
    }
    own = {"backbone": first["backbone"], "layers": (), "weights": None, **own, "seed": first["seed"]}
    return own | {"layers": fused_layers(list(defaults), own)}


def fused_layers(parts: Sequence[str], parameters: Parameters) -> tuple[str, ...]:
    """Return the layers of all parts, each once."""
    return tuple(dict.fromkeys(layer for part in parts for layer in parameters[f"{part}.layers"]))


def parameters_of(part: str, parameters: Parameters) -> dict[str, Any]:
    """Return a part's hyper-parameters of those of its fusion."""
    own = {key.removeprefix(f"{part}."): value for key, value in parameters.items() if key.startswith(f"{part}.")}
    return own | {key: parameters[key] for key in SHARED_PARAMETERS}
