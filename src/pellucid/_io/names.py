"""Names of files as text that can be printed, kept and read by machines, and as names of files that are made of them.

A name comes from somebody else's camera: it may hold bytes that are no UTF-8 (Python keeps them as lone surrogates),
line ends, control characters, marks that turn the text around, and be as long as the file system allows.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

MAX_FILE_NAME_BYTES = 255  # of Linux's, macOS's and Windows' own file systems
_DIGEST_CHARS = 8
# controls (C0, DEL, C1), marks of direction, line and paragraph separators, lone surrogates
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|[nrt])")
_FORBIDDEN = re.compile(f'{_UNPRINTABLE.pattern}|[<>:"/\\\\|?*]')  # the rest by Windows


def printable(text: str, *, keep: str = "") -> str:
    """Return text as one line that any console, file and database takes; what it cannot is shown as Python's escape.

    Args:
        text: a name, or a message that holds names.
        keep: characters to leave as they are; a line end in a message of several lines.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def named_path(text: str) -> Path:
    """Return the path that was written down by :func:`printable`."""
    path = Path(text)
    if "\\" not in text or path.exists():
        return path
    return Path(_ESCAPED.sub(lambda found: found[0].encode().decode("unicode_escape"), text))


def fitting_file_name(stem: str, suffix: str) -> str:
    """Return a name for a file that every system takes; different stems stay different.

    Args:
        stem: wanted, beginning with something of one's own, so that it is no reserved name. What is not allowed in it
            becomes ``_`` and what is too long is cut; a digest of the whole is then put behind.
        suffix: with its dot; kept.
    """
    room = MAX_FILE_NAME_BYTES - len(suffix.encode())
    allowed = _FORBIDDEN.sub("_", stem)
    if allowed == stem and len(stem.encode()) <= room:
        return stem + suffix
    digest = hashlib.sha256(stem.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    cut = allowed.encode()[: room - _DIGEST_CHARS - 1].decode(errors="ignore")
    return f"{cut}-{digest}{suffix}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
