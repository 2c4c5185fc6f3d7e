"""Where inspected files go when they do not stay: below a folder of their own, by day; nothing is overwritten."""

from __future__ import annotations

import os
from datetime import datetime
from itertools import chain, count
from pathlib import Path

from pellucid._io.files import check_writable
from pellucid._io.names import printable
from pellucid.errors import OutputError, ParameterError
from pellucid.service.watching.listing import FileState, state_of


def check_done_folder(done: Path, watched: Path) -> None:
    """Find out whether files of a watched folder can be moved to another one in one step.

    Raises:
        OutputError: it cannot be written to.
        ParameterError: it is the watched folder, has it inside, or lies on another file system.
    """
    if watched.resolve().is_relative_to(done.resolve()):
        raise ParameterError(f"--watch-done '{done}' is or contains the watched folder: give another one.")
    check_writable(done / "file")
    if done.stat().st_dev != watched.stat().st_dev:
        raise ParameterError(
            f"--watch-done '{done}' lies on another file system than '{watched}': files cannot be moved there in one"
            " step; give a folder beside it."
        )


def move_done(path: str, state: FileState, name: str, done: Path) -> None:
    """Move an inspected file, unless another one has taken its place.

    Args:
        path: of the file.
        state: as it was inspected.
        name: its place below the watched folder.
        done: where to move it, into a folder of this day.

    Raises:
        OSError: it cannot be moved; it is where it was.
        OutputError: another file took its place at that very moment, and cannot be put back.
    """
    target = _free_name(done / f"{datetime.now():%Y-%m-%d}" / name)
    target.parent.mkdir(parents=True, exist_ok=True)
    source = Path(path)
    if state_of(source.stat()) != state:
        return
    source.rename(target)  # nobody else writes there
    moved = state_of(target.stat())
    if (moved.size, moved.mtime_ns, moved.inode) != (state.size, state.mtime_ns, state.inode):
        _put_back(target, source)


def _free_name(target: Path) -> Path:
    """Find a name that is not taken: as it is, or with a number before the suffix."""
    numbered = (target.with_name(f"{target.stem} ({number}){target.suffix}") for number in count(2))
    return next(path for path in chain([target], numbered) if not os.path.lexists(path))


def _put_back(target: Path, source: Path) -> None:
    """Undo a move: what was moved was not what had been inspected."""
    try:
        source.hardlink_to(target)  # fails where a rename would overwrite a third file
        target.unlink()
    except OSError:
        raise OutputError(
            f"'{printable(str(target))}' has not been inspected: it took the place of a file that had been, while that"
            " one was moved. Copy it to the watched folder."
        ) from None
