"""Models by anomalib's names, found by a table: see :mod:`pellucid.anomalib.models.table`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.anomalib._absent import absent, find_absent
from pellucid.anomalib.models.module import AnomalibModule, AnomalyMapGenerationMode, EfficientAdModelSize, model_class
from pellucid.anomalib.models.table import FOLDERS, MODELS, NEAREST
from pellucid.errors import ParameterError

AnomalyModule = AnomalibModule  # in 1.x
ALL = (*MODELS, *NEAREST)
ABSENT = {name: f"{name} is not here: {instead}." for name, instead in NEAREST.items()} | {
    "MemoryBankMixin": "Models are pellucid's own: write a detector, as docs and examples show.",
}

__all__ = [
    "AnomalibModule",
    "AnomalyMapGenerationMode",
    "AnomalyModule",
    "EfficientAdModelSize",
    *MODELS,
    "get_available_models",
    "get_model",
    "list_models",
]


def get_model(model: str | Mapping[str, Any], *arguments: Any, **parameters: Any) -> AnomalibModule:
    """Make a model by name.

    Args:
        model: as ``Patchcore``, ``patchcore`` or ``anomalib.models.Patchcore``; or a mapping with ``class_path`` and
            ``init_args``.
        arguments: of its constructor.
        parameters: of its constructor.

    Raises:
        ParameterError: there is no such model, or an argument is not allowed.
    """
    if not isinstance(model, str):
        given = model.get("model", model)
        return get_model(str(given.get("class_path", "")), **{**dict(given.get("init_args") or {}), **parameters})
    short = model.rpartition(".")[2]
    by_plain_name = {name.lower(): name for name in (*MODELS, *NEAREST)} | {
        k.replace("_", ""): v for k, v in FOLDERS.items()
    }
    name = by_plain_name.get(short.lower().replace("_", "").replace("-", ""), short)
    if name in NEAREST:
        raise ParameterError(ABSENT[name])
    return model_class(name)(*arguments, **parameters)


def list_models() -> set[str]:
    """Return the names of all models of the table."""
    return set(MODELS)


get_available_models = list_models


def __getattr__(name: str) -> Any:
    if name in MODELS:
        return model_class(name)
    if name.endswith("Model") and name.removesuffix("Model").capitalize() in {m.capitalize() for m in ALL}:
        return absent(name, "Networks are pellucid's own: the attribute `model` of a fitted model has them.")
    return find_absent(__name__, name, ABSENT)


def __dir__() -> list[str]:
    return __all__
