"""Pages of large images for ``inspect -o``: which images have one, and what is said where one cannot be made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli._console import err, print_line
from pellucid.errors import DataError, ParameterError
from pellucid.records import LARGE_PIXELS

if TYPE_CHECKING:
    from pellucid.inspector import Inspector
    from pellucid.records import Inspection
    from pellucid.reports.sheet import SheetPages

WantsPages = Annotated[
    bool | None,
    typer.Option(
        "--sheet-pages/--no-sheet-pages",
        help="Write a page that zooms for every image, or for none, into DIR/sheets with -o DIR; by default for images"
        " of more than 4 million pixels.",
    ),
]


@dataclass
class PageWriter:
    """Writes the pages of large images beside the other results.

    Attributes:
        output: folder of ``inspect -o``.
        wanted: whether every image has a page; None: large ones.
        inspector: whose zones and rule are drawn.
    """

    output: Path | None
    wanted: bool | None
    inspector: Inspector
    _pages: SheetPages | None = field(default=None, init=False)
    _missing: str = field(default="", init=False)  # why there are no pages
    _lock: Lock = field(default_factory=Lock, init=False)

    def __post_init__(self) -> None:
        if self.wanted and self.output is None:
            raise ParameterError("--sheet-pages needs -o DIR, the folder that pages are written to.")
        if self.wanted:
            self._pages = self._make()

    def write(self, number: int, found: Inspection) -> None:
        """Write the page of an image, if it has one; called from several threads.

        Raises:
            OutputError: the folder cannot be written to.
        """
        passed = not found.map.size  # in bands, as very large files do
        large = self.wanted or (self.wanted is None and (passed or found.map.size > LARGE_PIXELS))
        if self.output is None or not large:
            return
        with self._lock:
            if self._pages is None and not self._missing:
                try:
                    self._pages = self._make()
                except ParameterError as error:
                    self._missing = str(error)
        if self._pages is not None:
            try:
                self._pages.write(number, found)
            except DataError as error:  # the image was inspected all the same
                print_line(err, ("note:", "yellow"), f" there is no page of '{found.path}': {error}")

    def finish(self) -> list[str]:
        """Write the list of pages, or say why there are none; return a sentence that says where it is, if it is."""
        if self._missing:
            print_line(err, ("note:", "yellow"), f" no pages of large images were written: {self._missing}")
        index = None if self._pages is None else self._pages.write_index()
        return [] if index is None else [f"sheets to look at: {index}"]

    def _make(self) -> SheetPages:
        try:
            from pellucid.reports.sheet import SheetPages
        except ModuleNotFoundError as error:  # the slim runtime lacks what pages are made of
            raise ParameterError(f"A page of a large image needs {error.name}: pip install pellucid.") from None
        grading = self.inspector.grading
        rules = grading.rules if grading else None
        return SheetPages(self.output or Path(), self.inspector.zones, rules)
