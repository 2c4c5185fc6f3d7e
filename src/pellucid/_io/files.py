"""Writing: to a temporary name, fsync, rename, fsync of the folder. A killed run leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from pellucid._io.names import printable
from pellucid.errors import DiskFullError, OutputError

TEMPORARY_PREFIX = ".pellucid-"  # of what a kill may leave behind
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
NO_FOLDER_SYNC_ERRNOS = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # network drives; folders that may not be listed


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing, making its folder if need be.

    Threads and processes may write the same path at the same time: the last one to finish stays.

    Args:
        path: the file; one that exists is replaced.
        content: all of it.

    Raises:
        OutputError: the place cannot be written to; DiskFullError when it is full.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.part")  # short, whatever the name's length
    try:
        changed_folders = _make_folder(path.parent)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        for folder in changed_folders:
            _sync_folder(folder)
    except OSError as error:
        raise _output_error(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, if need be.

    Raises:
        OutputError: it cannot be made; DiskFullError when the disk is full.
    """
    try:
        _make_folder(folder)
    except OSError as error:
        raise _output_error(folder, error) from None


def _output_error(path: Path, error: OSError) -> OutputError:
    kind = DiskFullError if error.errno in DISK_FULL_ERRNOS else OutputError
    return kind(f"Cannot write '{path}': {error.strerror or error}.")


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; return every folder that has a new entry, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [folder, *(path.parent for path in missing)]


def _sync_folder(folder: Path) -> None:
    """Bring a folder's new names to the disk, so that a power cut does not take a rename back."""
    if os.name == "nt":  # it has no such call, and its journal keeps renames in order
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC_ERRNOS:
            raise


def write_text(path: Path, content: str) -> None:
    """Write a whole text file or nothing, as :func:`write_bytes` does, in UTF-8 with Unix line ends.

    Args:
        path: the file; one that exists is replaced.
        content: all of it, lines ended by ``\\n``.

    Raises:
        OutputError: the place cannot be written to; DiskFullError when it is full.
    """
    write_bytes(path, content.encode(errors="backslashreplace"))  # a name that is not UTF-8 does not stop it


def csv_text(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Format a table as CSV text with Unix line ends; names in it are made printable.

    Args:
        columns: what stands in the first line.
        rows: of as many values each.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([printable(value) if isinstance(value, str) else value for value in row] for row in rows)
    return out.getvalue()


def check_writable(path: Path) -> None:
    """Find out before hours of work whether a file can be written here later.

    Args:
        path: the file; it is not touched.

    Raises:
        OutputError: it is a folder, or its folder cannot be written to.
    """
    if path.is_dir():
        raise OutputError(f"Cannot write '{path}': it is a folder.")
    if file := next((parent for parent in path.parents if parent.is_file()), None):
        raise OutputError(f"Cannot write '{path}': '{file}' is a file, not a folder.")
    probe = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.probe")
    try:
        write_bytes(probe, b"")
    except OutputError as error:
        raise type(error)(str(error).replace(str(probe), str(path))) from None
    probe.unlink(missing_ok=True)
