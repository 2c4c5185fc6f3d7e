"""Features to map and score. A detector is a file of this package whose name has no underscore in front."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid import backbones
from pellucid.detectors._renamed import current_parameters
from pellucid.errors import ParameterError, unknown_name

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector


@dataclass(frozen=True)
class Description:
    """What is known of a detector without importing torch: read from its source."""

    name: str
    class_name: str
    paper: str
    summary: str
    defaults: Mapping[str, Any]


def names() -> list[str]:
    """Every detector, sorted."""
    found = [m.name for m in pkgutil.iter_modules(__path__)]
    return sorted(name for name in found if not name.startswith("_"))


def describe(name: str) -> Description:
    """Class, paper, first sentence and hyper-parameters of a detector, without importing it.

    Raises:
        ParameterError: there is no such detector.
    """
    if name not in names():
        raise unknown_name("detector", name, names())
    module = ast.parse((Path(__path__[0]) / f"{name}.py").read_text(encoding="utf-8"))
    cls = next(
        node
        for node in module.body
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Detector" for b in node.bases)
    )
    init = next(node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    defaults = {
        argument.arg: ast.literal_eval(default)
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
        if default is not None
    }
    summary = (ast.get_docstring(cls) or "").split("\n\n")[0]
    paper = " ".join((ast.get_docstring(module) or "").split())
    return Description(name, cls.name, paper, " ".join(summary.split()), defaults)


def create(name: str, **parameters: Any) -> Detector:
    """A detector by name; hyper-parameters not given take their defaults.

    Raises:
        ParameterError: unknown detector or hyper-parameter.
    """
    from importlib import import_module

    description = describe(name)
    cls = getattr(import_module(f"pellucid.detectors.{name}"), description.class_name)
    parameters = current_parameters(cls, parameters)
    for parameter in parameters:
        if parameter not in description.defaults:
            raise unknown_name(f"parameter of {name}", parameter, description.defaults)
    made: Detector = cls(**parameters)
    return made


def complete(name: str, given: Mapping[str, Any], backbone: str, weights: Path | None) -> dict[str, Any]:
    """All hyper-parameters of a detector but its seed: the defaults, with what is given in their place.

    Raises:
        ParameterError: an unknown detector, backbone or parameter, one that has a place of its own, or a value of
            another kind than the default.
    """
    defaults = describe(name).defaults
    backbones.entry(backbone)
    if given.keys() - defaults.keys():  # old names perhaps: only then torch is imported
        from importlib import import_module

        cls = getattr(import_module(f"pellucid.detectors.{name}"), describe(name).class_name)
        given = current_parameters(cls, given, FutureWarning)
    chosen = {**defaults, "backbone": backbone, "weights": str(weights) if weights else None}
    for key, value in given.items():
        if key in ("backbone", "weights", "seed"):
            raise ParameterError(f"{key} is not allowed among the parameters of {name}: it has a place of its own.")
        if key not in defaults:
            raise unknown_name(f"parameter of {name}", key, defaults)
        chosen[key] = _of_its_kind(key, value, defaults[key])
    del chosen["seed"]
    return chosen


def _of_its_kind(key: str, value: Any, default: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        bool: isinstance(value, bool),
        int: number and not isinstance(value, float),
        float: number,
        str: isinstance(value, str),
        tuple: isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value),
        type(None): number or value is None,
    }[type(default)]
    if not fits:
        raise ParameterError(f"{key}={value} is not allowed: it has to be of the kind of its default, {default!r}.")
    return float(value) if isinstance(default, float) else value


def name_of(detector: Detector) -> str:
    """The name by which :func:`create` makes this kind of detector."""
    return type(detector).__module__.rsplit(".", 1)[-1]
