"""Names that cameras and people give to files, and that stop programs which expect plain ones."""

from __future__ import annotations

import os
import sys
import unicodedata

import pytest

ODD_STEMS: dict[str, bytes] = {  # as the file system has them
    "Latin-1": b"pane_\xfc",
    "Shift-JIS": "ガラス".encode("shift_jis"),
    "a surrogate in WTF-8": b"pane_\xed\xa0\x80",
    "line end": b"a\n2026-11-26 12:00:00,000 INFO pellucid.service: FORGED",
    "control characters": b"a\x1b[31mred\x07\x7f\r",
    "C1 control": "a\x85b\x9bc".encode(),
    "separators": "a\u2028b\u2029c".encode(),
    "turned around": "a\u202egnp".encode(),
    "per cent and brackets": b"%s%n{0}[red]x&<b>",
    "leading dash": b"--help",
    "reserved by Windows": b"CON",
    "forbidden by Windows": b'a:b*c?"d"|e\\x41',
    "emoji": "🙂👩‍🔬".encode(),
    "Chinese": "玻璃_0412".encode(),
    "composed": unicodedata.normalize("NFC", "é").encode(),
    "decomposed": unicodedata.normalize("NFD", "é").encode(),
    "upper case": b"PANE",
    "lower case": b"pane",
    "spaces": b" a  b ",
    "251 bytes": b"x" * 251,
    "too long for one more": "ü".encode() * 125,
    "apostrophes": b"""a'b"c`d$(e)""",
}
needs_raw_names = pytest.mark.skipif(sys.platform != "linux", reason="this system's names are Unicode")


def odd_name(kind: str, suffix: bytes = b".png") -> str:
    """A name as Python has it."""
    return os.fsdecode(ODD_STEMS[kind] + suffix)
