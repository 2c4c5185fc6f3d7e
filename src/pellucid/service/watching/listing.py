"""What lies below a watched folder: the images, and a count and a name for what is passed over."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pellucid._io.names import printable
from pellucid.acquisition.decoding import IMAGE_SUFFIXES
from pellucid.acquisition.files import is_hidden, sort_by_name

TEMPORARY_STEM_SUFFIXES = (".tmp", ".temp", ".part", ".partial")  # pane.tmp.png: its writer renames it when it is done
MAX_PROBLEMS = 100  # sentences that one look keeps


class FileState(NamedTuple):
    """What changes when a file does; every number is the file system's own, and is only ever compared for equality."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class ImageFile(NamedTuple):
    """An image in the folder."""

    path: str
    state: FileState


@dataclass
class Listing:
    """Lists the images below a folder, of any number, and counts what else is there.

    Hidden files and folders, links to folders, what a program has not renamed yet and what is no regular file are
    passed over. An entry that cannot be looked at never stops the others.

    Attributes:
        root: the folder.
        excluded: a folder below it that is not looked into; none by default.
        entering: called with each folder before it is listed.
        passed_over: how many entries were, by why.
        problems: a sentence for each of the first entries that a person should know of.
    """

    root: Path
    excluded: Path | None = None
    entering: Callable[[str], object] = lambda _: None
    passed_over: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def images(self, folder: str | None = None) -> Iterator[ImageFile]:
        """Go through the images, folder by folder.

        Args:
            folder: to begin in, the root by default.

        Raises:
            OSError: the root cannot be listed.
        """
        pending = [folder or os.fspath(self.root)]
        while pending:
            current = pending.pop()
            try:
                self.entering(current)
                with os.scandir(current) as entries:
                    for entry in entries:
                        if self._is_folder(entry):
                            pending.append(entry.path)
                        elif (state := self._image_state(entry)) is not None:
                            yield ImageFile(entry.path, state)
            except FileNotFoundError:
                if current == os.fspath(self.root):
                    raise
            except OSError as error:
                if current == os.fspath(self.root):
                    raise
                self._pass_over("unreadable", current, f"cannot be listed ({error.strerror or error})")

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        """Whether to look into an entry."""
        if is_hidden(entry.name) or not entry.is_dir(follow_symlinks=False):
            return False
        return self.excluded is None or Path(entry.path) != self.excluded

    def _image_state(self, entry: os.DirEntry[str]) -> FileState | None:
        """Tell how an image is now; None for what is none."""
        is_image = is_image_name(entry.name)
        try:
            if not is_image and not (entry.is_symlink() and entry.is_dir()):
                self._pass_over_kind(entry)
                return None
            status = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                self._pass_over("links", entry.path, "is a link to nothing")
            return None
        except OSError as error:  # a link that leads to itself, a file that may not be looked at
            self._pass_over("unreadable", entry.path, f"cannot be read ({error.strerror or error})")
            return None
        if stat.S_ISDIR(status.st_mode):
            self._pass_over("links", entry.path, "is a link to a folder, which is not looked into")
            return None
        if not stat.S_ISREG(status.st_mode):
            self._pass_over("irregular", entry.path, "is no regular file")
            return None
        return state_of(status)

    def _pass_over_kind(self, entry: os.DirEntry[str]) -> None:
        """Count an entry that is no image to be inspected; one that may be an image of another kind is named."""
        kind = sort_by_name(entry.name)
        if kind == "unknown" and not entry.is_dir():
            self._pass_over("unknown", entry.path, "is no image that can be read")
        else:
            self.passed_over["temporary" if kind == "image" else "other" if kind == "companion" else "hidden"] += 1

    def _pass_over(self, why: str, path: str, what: str) -> None:
        self.passed_over[why] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"'{printable(path)}' {what}.")


def is_image_name(name: str) -> bool:
    """Tell whether a file of this name would be inspected: an image's suffix, neither hidden nor temporary."""
    if name.startswith((".", "~")):
        return False
    stem, dot, suffix = name.lower().rpartition(".")
    return dot + suffix in IMAGE_SUFFIXES and not stem.endswith(TEMPORARY_STEM_SUFFIXES)


def state_of(status: os.stat_result) -> FileState:
    """Take what is compared from a file's status."""
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
