"""What can go wrong, and whose turn it is.

PellucidError
├── DataError         the images, masks, folders or their split
├── ParameterError    a detector, backbone or parameter that does not exist or does not fit
├── WeightsError      weights that are missing, unreachable or of another network
├── ModelFileError    a model file that is truncated, foreign, newer or changed
├── ExportError       a graph that cannot be made or does not agree with its model
├── OutputError       a place that cannot be written to
│   └── DiskFullError because it is full
├── RecordError       a database that cannot be reached, read or written
├── ClusterError      workers that were lost one after the other
└── NotFittedError    a detector that has not been fitted yet

Every message is one sentence or two: what came, what is allowed, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pellucid._io.names import printable


class PellucidError(Exception):
    """Base of all errors that a user can cause; the command line prints its text and exits with 1."""

    def __str__(self) -> str:
        """Return the message; names of files in it are made printable."""
        return printable(super().__str__(), keep="\n")


class DataError(PellucidError):
    """The images, masks, folders or their split."""


class ParameterError(PellucidError):
    """A detector, backbone or parameter that does not exist or does not fit."""


class WeightsError(PellucidError):
    """Weights that are missing, unreachable or of another network."""


class ModelFileError(PellucidError):
    """A model file that is truncated, foreign, newer or changed."""


class ExportError(PellucidError):
    """A graph that cannot be made or does not agree with its model."""


class OutputError(PellucidError):
    """A place that cannot be written to."""


class DiskFullError(OutputError):
    """A place that is full."""


class RecordError(PellucidError):
    """A database that cannot be reached, read or written."""


class ClusterError(PellucidError):
    """Workers of a cluster that were lost one after the other."""


class TrainingError(PellucidError):
    """A training that diverged: what it learned gives no numbers."""


class NotFittedError(PellucidError):
    """A detector that has not been fitted yet."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ParameterError:
    """Make the error for a name that does not exist; it names the nearest one that does.

    Args:
        kind: of thing that was asked for, such as ``detector``.
        name: what was asked for.
        known: all names that there are.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
    return ParameterError(f"Unknown {kind} '{name}': {hint}")


def missing_extra(extra: str | None, package: str, what: str) -> str:
    """Return the sentence for a package that is not installed.

    Args:
        extra: of pellucid, that brings the package; None: the package is installed by itself.
        package: what is missing, by name.
        what: needs it, as the beginning of a sentence.

    Example:
        >>> missing_extra("vit", "transformers", "DINOv2")
        "DINOv2 needs transformers, which is not installed: pip install 'pellucid[vit]'."
    """
    requirement = package if extra is None else f"'pellucid[{extra}]'"
    return f"{what} needs {package}, which is not installed: pip install {requirement}."


def join_names(names: Iterable[object], limit: int = 5) -> str:
    """Join a few names in one line, as in 'a, b, c and 4 more'.

    Args:
        names: whatever can be shown as text.
        limit: how many are shown at most, at least 1.
    """
    shown = [printable(str(name)) for name in names]
    more = len(shown) - limit
    return ", ".join(shown[:limit]) + (f" and {more} more" if more > 0 else "")
