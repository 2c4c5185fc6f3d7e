"""Writing: to a temporary name, fsync, rename, fsync of the folder. A killed run leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from pellucid._io.names import printable
from pellucid.errors import DiskFullError, OutputError

TEMPORARY_PREFIX = ".pellucid-"  # of what a kill may leave behind
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_FORMULA_START = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=[\s\x00]*[=+\-@＝＋－＠])|^(?=[\t\r\n])")
NO_FOLDER_SYNC_ERRNOS = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # network drives; folders that may not be listed


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a whole file or nothing, making its folder if need be.

    Threads and processes may write the same path at the same time: the last one to finish stays.

    Args:
        path: the file; one that exists is replaced.
        content: all of it.
        private: whether nobody but this user may read it, not for a moment; elsewise as the system's mask says.

    Raises:
        OutputError: the place cannot be written to; DiskFullError when it is full.
    """
    with _in_place_of(path) as temporary, _create(temporary, private) as file:
        file.write(content)
        _sync(file)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Let a large file be written piece by piece: whole under its name in the end, or not at all.

    Args:
        path: the file; one that exists is replaced when the block ends without an error.

    Yields:
        The temporary name, in the same folder, that is to be written to.

    Raises:
        OutputError: the place cannot be written to; DiskFullError when it is full.
    """
    with _in_place_of(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            _sync(file)


@contextlib.contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """Yield a temporary name, and bring what was written and synced to it to its place, or remove it."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.part")  # short, whatever the name's length
    try:
        changed_folders = _make_folder(path.parent)
        yield temporary
        temporary.replace(path)
        for folder in changed_folders:
            _sync_folder(folder)
    except OSError as error:
        raise _output_error(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _create(path: Path, private: bool) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600 if private else 0o666), "wb")


def make_private(path: Path, *, folder: bool) -> None:
    """Make a file or a folder that only this user may read; one that exists becomes so, where this user may do that.

    Args:
        path: of it.
        folder: whether it is one; folders above are made as usual.

    Raises:
        OutputError: the place cannot be written to; DiskFullError when it is full.
    """
    _check_folders(path, [path, *path.parents] if folder else path.parents)
    try:
        _make_folder(path.parent)
        if folder:
            path.mkdir(mode=0o700, exist_ok=True)
        elif not path.exists():
            path.touch(mode=0o600)
    except OSError as error:
        raise _output_error(path, error) from None
    if os.name != "nt" and path.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # another user's: who owns it decides
            path.chmod(0o700 if folder else 0o600)


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


def write_text(path: Path, content: str, *, private: bool = False) -> None:
    """Write a whole text file or nothing, as :func:`write_bytes` does, in UTF-8 with Unix line ends.

    Args:
        path: the file; one that exists is replaced.
        content: all of it, lines ended by ``\\n``.
        private: whether nobody but this user may read it.

    Raises:
        OutputError: the place cannot be written to; DiskFullError when it is full.
    """
    content_bytes = content.encode(errors="backslashreplace")  # a name that is not UTF-8 does not stop it
    write_bytes(path, content_bytes, private=private)


def csv_text(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Format a table as CSV text with Unix line ends; names in it are made printable.

    Args:
        columns: what stands in the first line.
        rows: of as many values each.
    """
    return csv_rows(chain([columns], rows))


def csv_rows(rows: Iterable[Iterable[object]]) -> str:
    """Format rows of a table as CSV text, as :func:`csv_text` does, without a first line.

    Args:
        rows: of as many values each.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([printable(value) if isinstance(value, str) else value for value in row] for row in rows)
    return out.getvalue()


def plain_cell(text: str) -> str:
    """Return a text of strangers as a cell that no spreadsheet takes for a formula: with an apostrophe before it.

    Spreadsheets compute what begins with ``=``, ``+``, ``-`` or ``@``, after blanks too, and some take ``;`` or a tab
    within a cell for the beginning of the next one.

    Args:
        text: that somebody typed, or a file's name.

    Example:
        >>> plain_cell("=1+1"), plain_cell("bubble-2")
        ("'=1+1", 'bubble-2')
    """
    return _FORMULA_START.sub("'", text)


def check_writable(path: Path) -> None:
    """Find out before hours of work whether a file can be written here later.

    Args:
        path: the file; it is not touched.

    Raises:
        OutputError: it is a folder, or its folder cannot be written to.
    """
    if path.is_dir():
        raise OutputError(f"Cannot write '{path}': it is a folder.")
    _check_folders(path, path.parents)
    probe = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.probe")
    try:
        write_bytes(probe, b"")
    except OutputError as error:
        raise type(error)(str(error).replace(str(probe), str(path))) from None
    probe.unlink(missing_ok=True)


def _check_folders(path: Path, folders: Iterable[Path]) -> None:
    """Refuse to write where a file lies in the way of a folder."""
    if file := next((folder for folder in folders if folder.is_file()), None):
        raise OutputError(f"Cannot write '{path}': '{file}' is a file, not a folder.")
