"""Docstrings as the site wants them: Markdown in place of Sphinx's roles, and examples as code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:func|class|meth|attr|mod|data|exc):`~?\.?([^`]+)`")
DOUBLE_TICKS = re.compile(r"``([^`]+)``")


class PlainDocstrings(Extension):
    """Rewrites every docstring before it is parsed; the code keeps what editors show well."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def plain(text: str) -> str:
    """Return a docstring without roles, its ``Example:`` in the form that is shown as code.

    Example:
        >>> plain(":func:`pellucid.fit` makes one")
        '`pellucid.fit` makes one'
    """
    text = DOUBLE_TICKS.sub(r"`\1`", ROLE.sub(r"`\1`", text))
    return re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.M)
