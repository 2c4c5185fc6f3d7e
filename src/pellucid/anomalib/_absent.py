"""Names of anomalib's that cannot be had here: using one, not importing it, is refused in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pellucid.errors import ParameterError


class _Absent(type):
    """A class that says why it is not there, whatever is asked of it."""

    sentence: str

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise ParameterError(cls.sentence)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):  # asked by whoever imports, prints or documents it
            raise AttributeError(name)
        raise ParameterError(cls.sentence)


@cache
def absent(name: str, sentence: str) -> Any:
    """Return what stands in the place of a name: it can be imported, subclassed and handed on, and not used.

    Args:
        name: of anomalib's.
        sentence: what to do instead.
    """
    return _Absent(name, (), {"sentence": sentence, "__doc__": sentence})


def find_absent(module: str, name: str, known: Mapping[str, str]) -> Any:
    """Return what stands in the place of a module's attribute.

    Args:
        module: that it is asked of.
        name: of the attribute.
        known: the sentence of every name that cannot be had.

    Raises:
        AttributeError: anomalib has no such name, as far as is known here.
    """
    if name not in known:
        raise AttributeError(f"module '{module}' has no attribute '{name}'")
    return absent(name, known[name])
