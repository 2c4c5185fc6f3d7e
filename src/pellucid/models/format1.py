"""The backbone of a model file of format version 1, which held its tensors and its bare name and nothing else.

What stands here is history: what the pellucid that wrote those files computed. It does not follow the code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from pellucid.backbones import Entry, entry, versions

Tensors = Mapping[str, Mapping[str, Any]]  # shape, dtype and data_offsets by name, as safetensors writes them

_PREFIX = "backbone_.net."
_STEM = f"{_PREFIX}stem.0.weight"
_RELEASED = {  # how the SHA-256 of the stem's weights begins, in float32, by version
    "07c7c7a44d869253": "prism_s.v1",
    "8bf955214a5a1376": "prism_s.v2",
    "4c03e12a66a9499f": "prism_s.v3",
    "627011709d3ae944": "prism_s.v4",
    "cfd9cffbc03e1d07": "prism_s.v5",
    "6f9ea4da81181474": "prism_s.v6",
    "8d105db6c1007efd": "prism_m.v1",
    "2e1548bd85e40a12": "prism_m.v2",
}
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_NORMALISATION: dict[str, dict[str, list[float]]] = {
    "dinov2": _IMAGENET,
    "mobilenet": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "prism": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    "prism_v1": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    "resnet": _IMAGENET,
    "timm": {},  # timm's own
}


def recognise_backbone(name: str, tensors: Tensors, data: memoryview) -> tuple[str, dict[str, Any]]:
    """Tell a backbone from its tensors.

    Args:
        name: without a version.
        tensors: of the whole file.
        data: their bytes.

    Returns:
        The name of the weights, with their version where they are released ones, and the network's configuration; of
        a Prism with other weights that of the newest one whose tensors have these shapes.
    """
    known, weights = entry(name), name
    if _STEM in tensors:
        begin, end = tensors[_STEM]["data_offsets"]
        weights = _RELEASED.get(hashlib.sha256(data[begin:end]).hexdigest()[:16], name)
        fitting = [candidate for candidate in versions(name) if _fits(candidate, tensors)]
        known = entry(weights) if weights != name else next(iter(fitting), known)
    return weights, {"family": known.family, **known.config, **_NORMALISATION[known.family]}


def _fits(candidate: Entry, tensors: Tensors) -> bool:
    """Whether a Prism has these tensors: depth and width of every layer that the file holds."""
    blocks = "" if candidate.family == "prism_v1" else "blocks."
    stem, *channels = candidate.config["channels"]
    if tensors[_STEM]["shape"][:2] != [stem, 6 if blocks else 3]:
        return False
    for n, (width, depth) in enumerate(zip(channels, candidate.config["blocks"], strict=True), start=1):
        pattern = re.compile(rf"{re.escape(_PREFIX)}layer{n}\.{re.escape(blocks)}\d+\.conv1\.weight")
        found = [tensors[key]["shape"][0] for key in tensors if pattern.fullmatch(key)]
        if found and found != [width] * depth:
            return False
    return True
