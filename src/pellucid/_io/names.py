"""Names of files as text that can be printed, logged and stored: a file system allows bytes that these do not."""

from __future__ import annotations

import os
import unicodedata

UNPRINTABLE_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogate, line and paragraph separators


def printable_name(path: str | os.PathLike[str]) -> str:
    r"""Spell a path with every character that cannot be printed or encoded as an escape.

    Args:
        path: as the system gave it; bytes that are no UTF-8 stand in it as surrogates.

    Example:
        >>> printable_name("pane_\udcfc.png")
        'pane_\\xfc.png'
    """
    return "".join(map(_printable, os.fspath(path)))


def _printable(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in UNPRINTABLE_CATEGORIES:
        return character.encode("unicode_escape", "surrogatepass").decode()
    return character
