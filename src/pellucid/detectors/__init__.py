"""Features to map and score. A detector is a file of this package whose name has no underscore in front."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import unknown

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
        raise unknown("detector", name, names())
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
    for parameter in parameters:
        if parameter not in description.defaults:
            raise unknown(f"parameter of {name}", parameter, description.defaults)
    cls = getattr(import_module(f"pellucid.detectors.{name}"), description.class_name)
    made: Detector = cls(**parameters)
    return made


def name_of(detector: Detector) -> str:
    """The name by which :func:`create` makes this kind of detector."""
    return type(detector).__module__.rsplit(".", 1)[-1]
