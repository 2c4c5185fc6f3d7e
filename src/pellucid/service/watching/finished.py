"""Whether whoever writes a file has finished: what can be told, from the file system and from the content.

A file is finished when it has not changed for the settling time, no program on this machine has it open for writing,
no part of it looks as if it had not been written yet, and it can be decoded to its end, which the inspection finds out.
A file system fills what is not written with zeros, so a BMP or TIFF whose size was set first ends in zeros, and one
whose blocks arrive in any order has zeros in it. So does a real picture that is black there: after a while without
change it is taken as it is. What cannot be told apart is a file that is overwritten in place, in pauses longer than the
settling time, by a program that runs on another machine or closes it between the pieces.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from pellucid.service.watching.listing import FileState, state_of

MIN_GAP_BYTES = 4096  # a block of the file system; no format has as many zeros in a row beside black pixels
MIN_END_GAP_BYTES = 64  # at the end of a format that has no mark there
FORMATS_WITH_END_MARK = (b"\x89PNG", b"\xff\xd8")
OPEN_PATIENCE_FACTOR = 6  # times as long is waited for a program that has the file open, which is no guess
OPEN_RETRY_S = 1.0
LOCAL_FILE_SYSTEMS = frozenset(
    ("bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "ntfs3", "overlay", "tmpfs", "vfat", "xfs", "zfs")
)
MOUNTS = Path("/proc/self/mountinfo")


class ChangedError(Exception):
    """A file that is no longer as it was; ``state`` is how it is now."""

    def __init__(self, state: FileState) -> None:
        super().__init__("It is being changed.")
        self.state = state


class UnfinishedError(Exception):
    """A file that does not look finished; ``again_s`` is after how many seconds to look again."""

    def __init__(self, reason: str, again_s: float) -> None:
        super().__init__(reason)
        self.again_s = again_s


def read_finished(path: str, state: FileState, unchanged_s: float, patience_s: float, *, local: bool) -> bytes:
    """Read a file that looks finished.

    Args:
        path: of a regular file; opening another kind never blocks.
        state: as it was seen.
        unchanged_s: for how many seconds it has been so.
        patience_s: seconds without change after which a file that looks unfinished is taken as it is.
        local: whether the kernel here knows of everybody who has it open.

    Raises:
        ChangedError: it is not as it was seen, or changed while it was read.
        OSError: it cannot be read, or is no regular file.
        UnfinishedError: it looks as if it were still being written.
    """
    with _open_regular(path) as file:
        _check_unchanged(file, state)
        if local and unchanged_s < OPEN_PATIENCE_FACTOR * patience_s and _is_open_for_writing(file.fileno()):
            raise UnfinishedError("a program has it open for writing", OPEN_RETRY_S)
        content = file.read()
        _check_unchanged(file, state)
    if unchanged_s < patience_s and has_gap(content):
        raise UnfinishedError("parts of it are zeros, as if they had not been written yet", patience_s - unchanged_s)
    return content


def has_gap(content: bytes) -> bool:
    """Tell whether a part of a file looks as if it had not been written yet."""
    if content.find(bytes(MIN_GAP_BYTES)) >= 0:
        return True
    return content.endswith(bytes(MIN_END_GAP_BYTES)) and not content.startswith(FORMATS_WITH_END_MARK)


def is_local(folder: Path) -> bool:
    """Tell whether only this machine's kernel changes a folder, so that its events and its leases tell everything."""
    if sys.platform != "linux":
        return False
    found = ("", "")
    place = f"{folder.resolve()}/"
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False  # no /proc in this container
    for line in mounts:
        fields, _, more = line.partition(" - ")
        point = fields.split()[4].replace("\\040", " ").rstrip("/") + "/"
        if place.startswith(point) and len(point) >= len(found[0]):
            found = (point, more.split()[0])
    return found[1] in LOCAL_FILE_SYSTEMS


def _open_regular(path: str) -> BinaryIO:
    """Open a file to read; a FIFO that took its place since it was listed does not block."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(None, "it is no regular file")
    return file


def _check_unchanged(file: BinaryIO, state: FileState) -> None:
    now = state_of(os.fstat(file.fileno()))  # of an open file: network drives answer from no cache here
    if now != state:
        raise ChangedError(now)


def _is_open_for_writing(descriptor: int) -> bool:
    """Ask Linux for a read lease, which it grants only while nobody can write; one that is granted is given back."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # of whoever opens it meanwhile; the default one kills
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # another user's file, or a file system without leases: it cannot be told
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
