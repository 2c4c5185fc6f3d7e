"""Which model is asked for: its hyper-parameters from the command line, checked before any image is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import ParameterError

if TYPE_CHECKING:
    from pellucid.limits.costs import Costs
    from pellucid.regions.scale import Scale
    from pellucid.regions.zones import Zones


def costs_of(escape: float | None, reject: float | None, defect_rate: float | None) -> Costs:
    """Return the costs of wrong decisions, with the defaults of what was not given.

    Raises:
        ParameterError: a cost or the rate is not allowed.
    """
    from pellucid.limits.costs import Costs

    given = {"escape": escape, "reject": reject, "defect_rate": defect_rate}
    return Costs(**{name: value for name, value in given.items() if value is not None})


def scale_of(mm_per_px: str | None) -> Scale | None:
    """Return the scale that --mm-per-px gives.

    Raises:
        ParameterError: it is none.
    """
    from pellucid.regions.scale import parse_scale

    return parse_scale(mm_per_px)


def model_parameters(
    detector: str, backbone: str | None, weights: Path | None, settings: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return all hyper-parameters of a detector: its defaults, the options, then --set.

    Raises:
        ParameterError: an unknown detector, backbone or parameter, or a value of another kind than the default.
    """
    from pellucid import detectors

    defaults = detectors.describe(detector).defaults
    chosen = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals and text):
            raise ParameterError(f"--set {setting} is not understood: write key=value, as in num_neighbors=5.")
        if key in ("backbone", "weights", "seed"):
            raise ParameterError(f"--set {setting} is not allowed: {key} has an option of its own, --{key}.")
        chosen[key] = _parse(text, defaults.get(key))
    return detectors.complete(detector, chosen, backbone, weights) | {"seed": seed}


def values_to_choose(
    detector: str, text: str | None, settings: Sequence[str], parameters: Mapping[str, Any]
) -> tuple[str, list[Any]] | None:
    """Return the hyper-parameter that --choose names, and its values; None where nothing is to be chosen.

    Raises:
        ParameterError: it is not understood, is set as well, or a value is not allowed.
    """
    if text is None:
        return None
    key, _, listed = text.partition("=")
    texts = [value.strip() for value in listed.split("/")]
    if not key or len(texts) < 2 or not all(texts):
        raise ParameterError(f"--choose {text} is not understood: write key=value/value, as in window=none/1/2/4.")
    if any(setting.partition("=")[0] == key for setting in settings):
        raise ParameterError(f"{key} is both set and to be chosen: leave --set {key} or --choose {key} out.")
    values = [model_parameters(detector, None, None, [f"{key}={value}"], 0)[key] for value in texts]
    from pellucid import detectors

    for value in values:
        detectors.create(detector, **{**parameters, key: value})
    return key, values


def check_backbone(parameters: Mapping[str, Any]) -> None:
    """Make the backbone of a model, with its weights, only to find out whether it can be made.

    Raises:
        ParameterError: it has no such layer.
        WeightsError: its weights cannot be had.
    """
    from pellucid.backbones import create

    create(parameters["backbone"], layers=parameters["layers"], weights=parameters["weights"])


def read_zones(
    ignore: Sequence[Path] | None, only: Sequence[Path] | None, margin: int, min_area: int, image: Path | None
) -> Zones:
    """Read what the options of what counts say; ``image`` is one of those that they are for, None for a stream.

    Raises:
        DataError: a drawing cannot be used, or nothing is left that counts.
    """
    from pellucid.regions.zones import Zones

    return Zones.read(ignore=ignore or (), only=only or (), margin=margin, min_area=min_area, image=image)


def _parse(text: str, default: Any) -> Any:
    """Text as the value that it stands for, where a default of that kind is replaced."""
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(",")]
    if isinstance(default, str):
        return text
    if text.lower() == "none":
        return None
    try:
        return json.loads(text.lower())
    except json.JSONDecodeError:
        return text
