"""What is said once: that something a script asks for is taken without effect, or means something else here."""

from __future__ import annotations

import warnings
from collections.abc import Iterable


class AnomalibWarning(UserWarning):
    """Something that a script written for anomalib asks for, which has no effect here or another one.

    Each sentence is said once in a process. ``warnings.simplefilter("ignore", AnomalibWarning)`` says none.
    """


_said: set[str] = set()


def say_once(sentence: str) -> None:
    """Warn with a sentence, the first time that it is to be said.

    Args:
        sentence: what is done instead, or why nothing is.
    """
    if sentence not in _said:
        _said.add(sentence)
        warnings.warn(sentence, AnomalibWarning, stacklevel=3)


def without_effect(owner: str, names: Iterable[str], why: str) -> None:
    """Say of arguments that they are taken without effect, each the first time that it is given.

    Args:
        owner: what takes them, as a script calls it.
        names: of the arguments.
        why: the end of the sentence, as in "pellucid needs no such setting".
    """
    new = [name for name in names if f"{owner}.{name}" not in _said]
    _said.update(f"{owner}.{name}" for name in new)
    if new:
        warnings.warn(f"{owner} takes {', '.join(new)} without effect: {why}.", AnomalibWarning, stacklevel=4)
