"""Entry points: what other distributions add, found without importing it and imported only when it is asked for."""

from __future__ import annotations

import logging
import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pellucid.errors import ParameterError

ALLOWED_NAME = re.compile(r"[a-z][a-z0-9_]*")  # names become folders, and parts of lists with commas
log = logging.getLogger("pellucid.plugins")


@cache  # so that a process warns once
def find_plugins(group: str, own: frozenset[str]) -> dict[str, EntryPoint]:
    """Find the entry points of a group by name; none is imported.

    Args:
        group: for example ``pellucid.detectors``.
        own: names that pellucid has itself. They win, and so does the first of two distributions in alphabetical
            order; the other one is left out with a warning.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, distribution_of(point))):
        name, source = point.name, distribution_of(point)
        holder = "pellucid" if name in own else distribution_of(found[name]) if name in found else None
        if holder is not None:
            log.warning("'%s' of %s is left out: %s has one of this name.", name, source, holder)
        elif ALLOWED_NAME.fullmatch(name) is None:
            log.warning("'%s' of %s is left out: a name has small letters, digits and underscores.", name, source)
        else:
            found[name] = point
    return found


def load_plugin(kind: str, point: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        ParameterError: it cannot be imported, whatever the reason.
    """
    try:
        return point.load()
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".rstrip(": .")
        raise ParameterError(
            f"The {kind} '{point.name}' of {distribution_of(point)} cannot be imported ({cause}):"
            " mend or uninstall that distribution."
        ) from error


def distribution_of(point: EntryPoint) -> str:
    """Name the distribution that an entry point belongs to."""
    return point.dist.name if point.dist is not None else point.module
