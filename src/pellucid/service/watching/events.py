"""Linux's events of folders, so that a folder with a million files need not be listed to find a new one."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from typing import NamedTuple

IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE = 0x8, 0x80, 0x100
IN_Q_OVERFLOW, IN_IGNORED, IN_ONLYDIR, IN_ISDIR = 0x4000, 0x8000, 0x1000000, 0x40000000
HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
READ_BYTES = 1 << 16
MAX_FOLDERS = 10_000  # that are listened to


class FolderEvent(NamedTuple):
    """Something that happened in a folder."""

    path: str
    is_folder: bool
    moved_in: bool  # renamed into place, so it is whole


class FolderEvents:
    """Listens to folders; one that cannot be listened to raises OSError when it is added."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError("only Linux has these events")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._folders: dict[int, str] = {}

    def add(self, folder: str) -> None:
        """Listen to a folder, not to those below it.

        Raises:
            OSError: it is gone, or there are more than the system or this class listens to.
        """
        if len(self._folders) >= MAX_FOLDERS:
            raise OSError(f"there are more than {MAX_FOLDERS} folders")
        mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR
        watch = self._checked(self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask))
        self._folders[watch] = folder

    def read(self) -> list[FolderEvent] | None:
        """Return what has happened since the last call; None when there was so much that some of it was lost."""
        events: dict[FolderEvent, None] = {}  # each once, in order
        lost = False
        while content := self._read_some():
            position = 0
            while position < len(content):
                watch, mask, _, length = HEADER.unpack_from(content, position)
                name = content[position + HEADER.size : position + HEADER.size + length].rstrip(b"\0")
                position += HEADER.size + length
                lost = lost or bool(mask & IN_Q_OVERFLOW)
                if mask & IN_IGNORED:  # the folder is gone
                    self._folders.pop(watch, None)
                elif name and watch in self._folders:
                    path = f"{self._folders[watch]}/{os.fsdecode(name)}"
                    events[FolderEvent(path, bool(mask & IN_ISDIR), bool(mask & IN_MOVED_TO))] = None
        return None if lost else list(events)

    def close(self) -> None:
        """Listen no more."""
        os.close(self._descriptor)

    def _read_some(self) -> bytes:
        try:
            return os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return b""

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
