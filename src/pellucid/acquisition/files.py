"""Which files below a folder are images: the one place that decides what is hidden and what is passed over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pellucid.acquisition.decoding import IMAGE_SUFFIXES, READABLE_KINDS, kind_of, unread_kind_of
from pellucid.errors import join_names

HEAD_BYTES = 64  # that tell the kind of a file
HIDDEN_NAMES = frozenset(  # that systems and programs make beside a user's files, besides names that begin with a dot
    (
        *("__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "@recycle", "#recycle"),
        *("#snapshot", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    )
)
COMPANION_SUFFIXES = frozenset(  # of files that lie beside images and are plainly none: no word is lost about them
    (
        *(".txt", ".md", ".rst", ".log", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".toml", ".yaml", ".yml", ".ini"),
        *(".cfg", ".conf", ".db", ".sqlite", ".html", ".htm", ".css", ".js", ".py", ".ipynb", ".sh", ".bat", ".ps1"),
        *(".xls", ".xlsx", ".ods", ".doc", ".docx", ".pdf", ".zip", ".gz", ".tar", ".7z", ".md5", ".sha256"),
        *(".pellucid", ".lnk", ".url"),
    )
)


@dataclass(frozen=True)
class Listing:
    """What lies below a folder; files that are hidden or plainly no pictures are in neither list.

    Attributes:
        images: sorted by path; whatever is named like an image, even if it turns out that it cannot be read.
        passed_over: what may be an image and is of no kind that is read, or a folder that cannot be looked into.
    """

    images: tuple[Path, ...]
    passed_over: tuple[Path, ...]


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is passed over by its name: of the system, not of the user.

    Args:
        name: its last part; what a data set itself lies in is not asked for.
    """
    return name.startswith(".") or name.lower() in HIDDEN_NAMES


def sort_by_name(name: str) -> Literal["hidden", "image", "companion", "unknown"]:
    """Tell by its name what a file is: an image that is read, a file that is plainly none, or perhaps another image.

    Args:
        name: its last part.
    """
    suffix = Path(name).suffix.lower()
    if is_hidden(name):
        return "hidden"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "companion" if suffix in COMPANION_SUFFIXES else "unknown"


class Entry(NamedTuple):
    """What lies in a folder and is not hidden."""

    path: Path
    is_folder: bool


Look = Callable[[Path], tuple[Entry, ...] | None]


def look_into(folder: Path) -> tuple[Entry, ...] | None:
    """List what lies in a folder, links followed, hidden names left out; None where that cannot be told.

    Args:
        folder: where to look. ``functools.cache`` of this looks into each folder once, for the time of one reading.
    """
    try:
        with os.scandir(folder) as entries:
            return tuple(Entry(Path(e.path), _is_folder(e)) for e in entries if not is_hidden(e.name))
    except OSError:
        return None


def list_images(folder: Path, look: Look = look_into) -> Listing:
    """List every image below a folder, and what is passed over; linked folders are followed, each once.

    Args:
        folder: where to look; one that does not exist has no images.
        look: tells what lies in a folder, as :func:`look_into` does.
    """
    images: list[Path] = []
    passed_over: list[Path] = []
    if folder.is_dir():
        _collect(folder, look, images, passed_over, set())
    return Listing(tuple(sorted(images)), tuple(sorted(passed_over)))


def image_files(folder: Path, look: Look = look_into) -> list[Path]:
    """List every image below a folder, sorted by path; hidden files and folders are passed over.

    Args:
        folder: where to look; one that does not exist has no images.
        look: tells what lies in a folder, as :func:`look_into` does.
    """
    return list(list_images(folder, look).images)


def note_passed_over(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return the sentence about files that are passed over; none where there are none."""
    names = [path.name for path in paths]
    if not names:
        return ()
    noun = (
        "1 file is no image that can be read and is"
        if len(names) == 1
        else (f"{len(names)} files are no images that can be read and are")
    )
    return (f"{noun} passed over: {join_names(names)} ({READABLE_KINDS}).",)


def _collect(folder: Path, look: Look, images: list[Path], passed_over: list[Path], seen: set[tuple[int, int]]) -> None:
    """Go through a folder and those below; ``seen`` holds their device and number, so that no circle is walked."""
    try:
        status = folder.stat()
    except OSError:
        passed_over.append(folder)
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    entries = look(folder)
    if entries is None:
        passed_over.append(folder)
        return
    for path, is_folder in entries:
        kind = sort_by_name(path.name)
        if is_folder:
            before = len(images)
            _collect(path, look, images, passed_over, seen)
            if len(images) == before and kind == "image":
                images.append(path)  # named like one: reading it says what it is
        elif kind == "image":
            images.append(path)
        elif kind == "unknown":
            _sort_by_content(path, images, passed_over)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # of a folder that may be listed and not entered
        return False


def _sort_by_content(path: Path, images: list[Path], passed_over: list[Path]) -> None:
    """Find out what a file is whose name does not say it; without a suffix, only a picture is passed over."""
    head = b""
    with suppress(OSError):
        if path.is_file():  # opening a FIFO would wait
            with path.open("rb") as stream:
                head = stream.read(HEAD_BYTES)
    if kind_of(head) and not path.suffix:
        images.append(path)
    elif path.suffix or unread_kind_of(head):
        passed_over.append(path)
