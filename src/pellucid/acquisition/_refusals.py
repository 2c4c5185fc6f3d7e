"""The errors that several decoders have in common."""

from __future__ import annotations

from pathlib import Path

from pellucid.errors import DataError


def truncated(path: Path) -> DataError:
    """Make the error for a file that ends too early."""
    return DataError(f"'{path}' is truncated: its end is missing.")


def damaged(path: Path, what: str) -> DataError:
    """Make the error for a file whose content is wrong.

    Args:
        path: of the file.
        what: is wrong with it, a clause.
    """
    return DataError(f"'{path}' is damaged: {what}. Take or copy it again.")


def several(path: Path, count: int) -> DataError:
    """Make the error for a file that holds more than one image."""
    return DataError(f"'{path}' holds {count} images: save each in a file of its own.")


def oversized(path: Path, width: int, height: int) -> DataError:
    """Make the error for a file whose header says more pixels than its data can hold."""
    return damaged(path, f"its header says {width} x {height} px, which its data cannot hold")


def unreadable_tiff(path: Path) -> DataError:
    """Make the error for a TIFF whose head makes no sense."""
    return DataError(f"'{path}' is not an image that can be read: its TIFF is damaged.")


def turned(path: Path, orientation: int) -> DataError:
    """Make the error for a file whose rows are not the image's, and so cannot be read one after the other."""
    return DataError(
        f"'{path}' is stored turned (EXIF orientation {orientation}), so that its rows cannot be read one after the"
        " other: save it upright."
    )
