"""Features to map and score. A detector is a file of this package whose name has no underscore in front.

Other distributions add detectors by an entry point in the group ``pellucid.detectors``. They find here what a detector
is written with: :class:`Detector`, ``Images``, :func:`require`, :func:`concatenate`, :func:`locally_aware`,
:func:`resize_to`, :func:`smooth_map` and :func:`image_score`, imported, and torch with them, when first used.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from numbers import Integral, Real
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid import backbones
from pellucid._io.plugins import distribution_of, find_plugins, load_plugin
from pellucid.detectors._fused_names import fused_defaults, fused_layers, is_fusion, parts_of
from pellucid.detectors._renamed import current_parameters
from pellucid.errors import ParameterError, unknown_name

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector as Detector
    from pellucid.detectors._base import Images as Images
    from pellucid.detectors._base import require as require
    from pellucid.detectors._maps import concatenate as concatenate
    from pellucid.detectors._maps import image_score as image_score
    from pellucid.detectors._maps import locally_aware as locally_aware
    from pellucid.detectors._maps import resize_to as resize_to
    from pellucid.detectors._maps import smooth_map as smooth_map

try:
    from pellucid.detectors._table import TABLE
except (ImportError, SyntaxError):  # deleted, or half merged: everything is imported until it is written again
    TABLE = {}

GROUP = "pellucid.detectors"  # of entry points
REQUIRED_PARAMETERS = ("backbone", "layers", "weights", "seed")  # that every detector has
_HOMES = {
    **dict.fromkeys(("Detector", "Images", "require"), "pellucid.detectors._base"),
    **dict.fromkeys(
        ("concatenate", "image_score", "locally_aware", "resize_to", "smooth_map"), "pellucid.detectors._maps"
    ),
}
log = logging.getLogger("pellucid.plugins")


@dataclass(frozen=True)
class Description:
    """What is known of a detector: its paper, its first sentence, its hyper-parameters and who brings it."""

    name: str
    paper: str
    summary: str
    defaults: Mapping[str, Any]
    distribution: str = "pellucid"


def __getattr__(name: str) -> object:
    """Import what a detector is written with when it is first used: the catalogue needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pellucid.detectors' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def names() -> list[str]:
    """List every detector by name, pellucid's own and those of other distributions; imports none of them.

    Several of them with ``+`` between are a detector, too: ``patchcore+padim``.
    """
    return sorted({*own_names(), *_plugins()})


def is_known(name: str) -> bool:
    """Whether a name is one of :func:`names`, or of a fusion of them."""
    return all(part in names() for part in name.split("+"))


def describe(name: str) -> Description:
    """Look up paper, first sentence and hyper-parameters of a detector.

    Those that the generated table knows as they are now are not imported.

    Args:
        name: one of :func:`names`, or several with ``+`` between.

    Raises:
        ParameterError: there is no such detector, or that of another distribution cannot be imported.

    Example:
        >>> pellucid.detectors.describe("padim").defaults["n_features"]
        100
    """
    if is_fusion(name):
        return _describe_fusion([describe(part) for part in parts_of(name, names())])
    if name in own_names() and is_current(name):
        known = TABLE[name]
        return Description(name, known["paper"], known["summary"], known["defaults"])
    return describe_class(name, class_of(name))  # imported, and torch with it


def _describe_fusion(parts: Sequence[Description]) -> Description:
    described = [part.name for part in parts]
    return Description(
        "+".join(described),
        " ".join(part.paper for part in parts),
        f"Geometric mean of what {' and '.join(described)} say, as one detector.",
        fused_defaults({part.name: part.defaults for part in parts}),
        next((part.distribution for part in parts if part.distribution != "pellucid"), "pellucid"),
    )


def descriptions() -> list[Description]:
    """Describe every detector that can be used; one of another distribution that cannot is left out with a warning."""
    found = []
    for name in names():
        try:
            found.append(describe(name))
        except ParameterError as error:
            log.warning("%s", error)
    return found


def create(name: str, **parameters: Any) -> Detector:
    """Make a detector by name.

    Args:
        name: one of :func:`names`, or several with ``+`` between.
        parameters: hyper-parameters; those not given take their defaults. Those of a fusion's parts have the part's
            name in front, as in ``patchcore.num_neighbors``.

    Raises:
        ParameterError: unknown detector or hyper-parameter, or a value that is not allowed.
    """
    cls = class_of(name)
    parameters = current_parameters(cls, parameters)
    defaults = _defaults(cls)
    for parameter, value in parameters.items():
        if parameter not in defaults:
            raise unknown_name(f"parameter of {name}", parameter, defaults)
        if parameter != "weights":  # a path, where there is one
            _of_its_kind(parameter, value, defaults[parameter])
    made = cls(**parameters)
    made._check_parameters()
    return made


def complete(name: str, given: Mapping[str, Any], backbone: str | None, weights: Path | None) -> dict[str, Any]:
    """Return all hyper-parameters of a detector but its seed: the defaults, with what is given in their place.

    Args:
        name: one of :func:`names`, or several with ``+`` between.
        given: hyper-parameters that have no place of their own.
        backbone: one of ``pellucid.backbones.names()``; None is the detector's own.
        weights: checkpoint file of the backbone; None are those that belong to its name.

    Raises:
        ParameterError: an unknown detector, backbone or parameter, one that has a place of its own, or a value of
            another kind than the default.
    """
    defaults = describe(name).defaults
    backbone = backbone or defaults["backbone"]
    backbones.entry(backbone)
    if given.keys() - defaults.keys():  # old names perhaps: only then torch is imported
        given = current_parameters(class_of(name), given, FutureWarning)
    chosen = {**defaults, "backbone": backbone, "weights": str(weights) if weights else None}
    for key, value in given.items():
        if is_fusion(name) and key == "layers":
            raise ParameterError(f"layers is not allowed among the parameters of {name}: each part has its own.")
        if key in ("backbone", "weights", "seed"):
            raise ParameterError(f"{key} is not allowed among the parameters of {name}: it has a place of its own.")
        if key not in defaults:
            raise unknown_name(f"parameter of {name}", key, defaults)
        chosen[key] = _of_its_kind(key, value, defaults[key])
    del chosen["seed"]
    return chosen | ({"layers": fused_layers(name.split("+"), chosen)} if is_fusion(name) else {})


def _of_its_kind(key: str, value: Any, default: Any) -> Any:
    number = isinstance(value, Real) and not isinstance(value, bool)
    fits = {
        bool: isinstance(value, bool),
        int: number and isinstance(value, Integral),
        float: number,
        str: isinstance(value, str),
        tuple: isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value),
        type(None): number or value is None,
    }[type(default)]
    if not fits:
        raise ParameterError(f"{key}={value} is not allowed: it has to be of the kind of its default, {default!r}.")
    return float(value) if isinstance(default, float) else value


def name_of(detector: Detector) -> str:
    """Return the name by which :func:`create` makes this kind of detector.

    Raises:
        ParameterError: it has none, because it is neither a file of this package nor an entry point.
    """
    cls = type(detector)
    package, _, module = cls.__module__.rpartition(".")
    if parts := getattr(cls, "fused", ()):
        return "+".join(parts)
    if package == __name__:
        return module
    for name, point in _plugins().items():
        if point.module in sys.modules and _points_to(point, cls):
            return name
    raise ParameterError(
        f"{cls.__name__} of {cls.__module__} has no name that a model file could hold: its distribution has to declare"
        f" an entry point in the group '{GROUP}'."
    )


def describe_class(name: str, cls: type[Detector]) -> Description:
    """Describe a detector by its class and the module that this lies in."""
    paper = " ".join((inspect.getdoc(sys.modules[cls.__module__]) or "").split())
    summary = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
    distribution = "pellucid" if name in own_names() else distribution_of(_plugins()[name])
    return Description(name, paper, summary, _defaults(cls), distribution)


def table_is_current() -> bool:
    """Whether the table knows pellucid's detectors, no others, and each as its source is now."""
    return own_names() == TABLE.keys() and all(map(is_current, own_names()))


def is_current(name: str) -> bool:
    """Whether the table knows one of pellucid's detectors as its source is now, or there is no source to compare."""
    return name in TABLE and source_sha256(name) in (None, TABLE[name]["source_sha256"])


def source_sha256(name: str) -> str | None:
    """SHA-256 of the source of one of pellucid's detectors; None where only bytecode is installed."""
    spec = find_spec(f"{__name__}.{name}")
    get_source = getattr(spec and spec.loader, "get_source", None)  # files, archives and frozen programs have it
    source = get_source(f"{__name__}.{name}") if get_source else None
    return None if source is None else hashlib.sha256("\n".join(source.splitlines()).encode()).hexdigest()


def own_names() -> frozenset[str]:
    """The names of pellucid's own detectors: the files of this package; none is imported."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return frozenset(name for name in found if not name.startswith("_"))


def _plugins() -> dict[str, EntryPoint]:
    return find_plugins(GROUP, own_names())


def class_of(name: str) -> type[Detector]:
    """Import the class of a detector, or make that of a fusion."""
    if is_fusion(name):
        from pellucid.detectors._fusion import fusion_class

        return fusion_class(tuple((part, class_of(part)) for part in parts_of(name, names())))
    if name in own_names():
        return _defined_in(f"{__name__}.{name}")
    if name not in _plugins():
        raise unknown_name("detector", name, names())
    point = _plugins()[name]
    cls = load_plugin("detector", point)
    _check_class(cls, point)
    return cls  # type: ignore[no-any-return]


def _defined_in(module_name: str) -> type[Detector]:
    """Find the detector that a file of this package defines."""
    from pellucid.detectors._base import Detector

    module = import_module(module_name)
    for cls in vars(module).values():
        if isinstance(cls, type) and issubclass(cls, Detector) and cls.__module__ == module_name:
            return cls
    raise ParameterError(f"{module_name} defines no subclass of Detector: write one, or begin its name with '_'.")


def _check_class(cls: object, point: EntryPoint) -> None:
    from pellucid.detectors._base import Detector

    if not (isinstance(cls, type) and issubclass(cls, Detector)):
        lacks = "it is no subclass of pellucid.detectors.Detector"
    elif missing := [name for name in REQUIRED_PARAMETERS if name not in _defaults(cls)]:
        lacks = f"its constructor has no {', '.join(missing)} with a default"
    else:
        return
    raise ParameterError(
        f"'{point.value}', the detector '{point.name}' of {distribution_of(point)}, cannot be used: {lacks};"
        " pellucid.testing.check_detector says what is asked."
    )


def _defaults(cls: type[Detector]) -> dict[str, Any]:
    if getattr(cls, "fused", ()):
        return cls.defaults()  # type: ignore[attr-defined,no-any-return]
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _points_to(point: EntryPoint, cls: type[Detector]) -> bool:
    try:
        return attrgetter(point.attr)(sys.modules[point.module]) is cls
    except AttributeError:
        return False
