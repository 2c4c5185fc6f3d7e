"""Hyper-parameters that have another name by now, which goes on working for one version, with a note; and new ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pellucid.errors import ParameterError

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector


def current_parameters(
    cls: type[Detector], given: Mapping[str, Any], category: type[Warning] = DeprecationWarning
) -> dict[str, Any]:
    """Replace hyper-parameters' names and values of the version before by those of this one.

    Args:
        cls: the detector; its table ``_renamed`` says what was renamed.
        given: hyper-parameters by name; other names pass unchanged.
        category: of the warning; Python shows a ``FutureWarning`` to whoever runs the program, a ``DeprecationWarning``
            to whoever wrote it.

    Raises:
        ParameterError: the old and the new name are both given.

    Example:
        >>> current_parameters(Stfpm, {"distance": "cosine", "epochs": 3})
        {'combine': 'mean', 'epochs': 3}
    """
    current: dict[str, Any] = {}
    for name, value in given.items():
        if name not in cls._renamed:
            current[name] = value
            continue
        new, values = cls._renamed[name]
        if new in given:
            raise ParameterError(f"{name} is called {new} now: leave {name} out.")
        current[new] = values.get(value, value)
        warnings.warn(
            f"{name}={value} of {cls.__name__} is called {new}={current[new]} now; the old name goes with the next"
            " version.",
            category,
            stacklevel=3,
        )
    return current


def earlier_parameters(cls: type[Detector]) -> dict[str, Any]:
    """Return the hyper-parameters that a detector did not have in earlier versions, with what its models did then.

    They are its table ``_earlier``; models that were written before have no value of their own.
    """
    return dict(getattr(cls, "_earlier", {}))
