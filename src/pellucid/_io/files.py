"""Writing: to a temporary name, fsync, rename. A killed run leaves the old file or the new one, never half of one."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterable
from pathlib import Path

from pellucid.errors import DiskFullError, OutputError

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing, making its folder if need be.

    Raises:
        OutputError: the place cannot be written to; DiskFullError when it is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)
        kind = DiskFullError if error.errno in DISK_FULL_ERRNOS else OutputError
        raise kind(f"Cannot write '{path}': {error.strerror or error}.") from None


def write_text(path: Path, content: str) -> None:
    """The same for text, UTF-8 with Unix line ends."""
    write_bytes(path, content.encode())


def csv_text(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV text with Unix line ends."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def check_writable(path: Path) -> None:
    """Find out before hours of work whether a file can be written here later.

    Raises:
        OutputError: it cannot.
    """
    if path.is_dir():
        raise OutputError(f"Cannot write '{path}': it is a folder.")
    if file := next((parent for parent in path.parents if parent.is_file()), None):
        raise OutputError(f"Cannot write '{path}': '{file}' is a file, not a folder.")
    probe = path.with_name(f".{path.name}.probe")
    try:
        write_bytes(probe, b"")
    except OutputError as error:
        raise type(error)(str(error).replace(str(probe), str(path))) from None
    probe.unlink()
