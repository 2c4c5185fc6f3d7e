"""A page for a large image: it zooms from the whole to its own pixels, with its defects, zones, verdict and clauses.

The page opens from a disk without a network: Leaflet, style, numbers and an overview lie in it, its tiles beside it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from markupsafe import Markup

from pellucid._io.files import write_text
from pellucid._io.names import fitting_file_name, printable
from pellucid.records import Defect, Inspection
from pellucid.records.grades import Sheet
from pellucid.regions.cut_plan import Pane, whole_pane
from pellucid.regions.rules import Rules
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.reports.deep_zoom import TILE_PX, Picture, check_installed, levels_of, overview, write_tiles
from pellucid.reports.leaflet import Leaflet, read_leaflet
from pellucid.reports.page import embedded, embedded_file, template

OVERVIEW_PX = 1400  # longer side of the picture that is printed
MAX_PRINTED_DEFECTS = 30  # rows and numbers on paper: what one page holds
MAX_PRINTED_CLAUSES = 8
PAGES_FOLDER = "sheets"  # in the folder of ``inspect -o``


@dataclass(frozen=True)
class SheetPages:
    """Pages of large images, and an index of them, in a folder.

    Attributes:
        folder: that ``inspect -o`` was given.
        zones: what counts; drawn.
        rules: that images were graded by, whose zones are drawn; None: by none.

    Raises:
        ParameterError: pyvips or NiceGUI, whose Leaflet zooms, is not installed.
    """

    folder: Path
    zones: Zones = EVERYTHING
    rules: Rules | None = None
    leaflet: Leaflet = field(default_factory=read_leaflet, repr=False)
    _written: dict[int, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_installed()

    def write(self, number: int, found: Inspection) -> Path:
        """Write the page of an image and its tiles; threads may write different ones at the same time.

        Args:
            number: of the image, from 0; pages are listed in this order.
            found: with its pixels, or with a file that can be read again.

        Returns:
            The page.

        Raises:
            DataError: the image cannot be read.
            OutputError: the folder cannot be written to.
        """
        place = self.folder / PAGES_FOLDER
        page = place / fitting_file_name(f"{number:05d}_{found.path.stem}", ".html")
        tiles = f"{number:05d}_tiles"
        picture = Picture.of(found)
        write_tiles(picture, place / tiles)
        write_text(page, render_sheet(found, picture, tiles, self.leaflet, zones=self.zones, rules=self.rules))
        self._written[number] = {
            "page": quote(page.name, errors="surrogateescape"),
            "picture": f"{tiles}/0/0_0.jpg",
            "name": printable(found.path.name),
            "verdict": found.verdict,
            "grade": found.grade,
            "defects": len(found.defects),
            "size": size_text(*picture.size, found.sheet),
        }
        return page

    def write_index(self) -> Path | None:
        """Write the list of all pages that were written, and return it; without one, nothing.

        Raises:
            OutputError: the folder cannot be written to.
        """
        if not self._written:
            return None
        index = self.folder / PAGES_FOLDER / "index.html"
        rows = [row for _, row in sorted(self._written.items())]
        write_text(index, template("sheets.html.j2").render(rows=rows, style=_style()))
        return index


def render_sheet(
    found: Inspection,
    picture: Picture,
    tiles: str,
    leaflet: Leaflet,
    *,
    zones: Zones = EVERYTHING,
    rules: Rules | None = None,
    back: tuple[str, str] = ("All sheets", "index.html"),
) -> str:
    """Return a page as HTML text.

    Args:
        found: what was found.
        picture: of the image.
        tiles: where its tiles lie, relative to the page, as an address.
        leaflet: that zooms.
        zones: what counts; drawn.
        rules: whose zones are drawn.
        back: what its link says, and where it leads.

    Raises:
        DataError: the picture cannot be read.
    """
    width, height = picture.size
    listed = list(_listed(found))
    drawn = list(_drawn_zones((width, height), found, zones, rules))
    return template("sheet.html.j2").render(
        found=found,
        name=printable(found.path.name),
        back=back,
        size=size_text(width, height, found.sheet),
        unit="mm" if found.sheet else "px",
        width=width,
        height=height,
        defects=listed,
        kinds=sorted({one["kind"] for one in listed}),
        zones=drawn,
        picture=b64encode(overview(picture, OVERVIEW_PX)).decode(),
        printed=printed,
        max_printed=MAX_PRINTED_DEFECTS,
        max_clauses=MAX_PRINTED_CLAUSES,
        data=embedded(_data(found, (width, height), tiles, listed, drawn)),
        style=_style(),
        leaflet_style=Markup(leaflet.style),
        leaflet=Markup(leaflet.script),
        script=embedded_file("sheet.js"),
    )


def _data(
    found: Inspection, size: tuple[int, int], tiles: str, listed: list[dict[str, Any]], drawn: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the page's script draws from."""
    outlines = [one.outline for one in (*found.defects, *(ignored.defect for ignored in found.ignored))]
    shown = ("number", "kind", "title", "box", "size", "ignored", "broken")
    return {
        "size": size,
        "mm_per_px": found.sheet.mm_per_px if found.sheet else None,
        "tiles": tiles,
        "tile_px": TILE_PX,
        "levels": levels_of(*size),
        "defects": [
            {key: one[key] for key in shown} | {"outline": outline}
            for one, outline in zip(listed, outlines, strict=True)
        ],
        "zones": drawn,
    }


def size_text(width: int, height: int, sheet: Sheet | None) -> str:
    """Return how large an image is, in px and, where the scale is known, in mm."""
    pixels = f"{width} x {height} px"
    return pixels if sheet is None else f"{sheet.width_mm:.1f} x {sheet.height_mm:.1f} mm, {pixels}"


def _style() -> Markup:
    return embedded_file("report.css") + embedded_file("sheet.css")


def _listed(found: Inspection) -> Iterator[dict[str, Any]]:
    """Defects as rows, those that count first; numbers are those that clauses name."""
    clauses: dict[int, list[str]] = {}
    for broken in found.grade.broken if found.grade else ():
        for number in broken.defects:
            clauses.setdefault(number, []).append(broken.label)
    on_pane = {k: pane.pane for pane in (found.grade.by_pane if found.grade else ()) for k in pane.defects}
    away = set(found.grade.cut_away) if found.grade else set()
    reasons = {"region": "lies where nothing counts", "margin": "lies in the margin", "area": "is too small"}
    counted = [(defect, "") for defect in found.defects]
    counted += [(one.defect, reasons[one.reason]) for one in found.ignored]
    for number, (defect, ignored) in enumerate(counted):
        place = _place_text(defect, found.sheet)
        kind = defect.kind or "defect"
        yield {
            "number": number,
            "kind": kind,
            "size_text": defect.size_text,
            "size": _size(defect, found.sheet),
            "contrast": defect.contrast_text,
            "place": place,
            "title": f"{number}: {kind}, {defect.size_text}, at {place}",
            "box": defect.box,
            "centroid": defect.centroid,
            "ignored": ignored,
            "broken": clauses.get(number, []),
            "pane": "cut away" if number in away else on_pane.get(number, ""),
        }


def _size(defect: Defect, sheet: Sheet | None) -> float:
    """What defects are filtered by: the length, in mm where the scale is known."""
    if defect.length_mm is not None:
        return round(defect.length_mm, 3)
    _, _, width, height = defect.box
    if sheet is not None:
        return round(max(width * sheet.mm_per_px[0], height * sheet.mm_per_px[1]), 3)
    return round(max(width, height) if defect.length_px is None else defect.length_px, 1)


def _place_text(defect: Defect, sheet: Sheet | None) -> str:
    x, y = defect.centroid
    if defect.centre_mm is not None:
        return f"{defect.centre_mm[0]:.1f}, {defect.centre_mm[1]:.1f} mm"
    if sheet is None:
        return f"{x:.0f}, {y:.0f} px"
    return f"{(x + 0.5) * sheet.mm_per_px[0]:.1f}, {(y + 0.5) * sheet.mm_per_px[1]:.1f} mm"


def _drawn_zones(
    size: tuple[int, int], found: Inspection, zones: Zones, rules: Rules | None
) -> Iterator[dict[str, Any]]:
    """Zones as rings of corners in px: panes, those of a rule between two borders, and what does not count."""
    width, height = size
    if rules is not None and found.sheet is not None:
        across, down = found.sheet.mm_per_px
        graded = found.grade.by_pane if found.grade else ()
        panes = [Pane(one.pane, one.corners_mm) for one in graded] or [whole_pane(found.sheet)]
        for name, outer, inner in (zone for pane in panes if pane.is_rectangle for zone in pane.borders(rules)):
            boxes = [outer] if inner is None else [outer, inner]
            scaled = [(x / across, y / down, right / across, bottom / down) for x, y, right, bottom in boxes]
            if scaled[0] != scaled[-1] or inner is None:  # a zone of 0 mm is the rim itself
                yield {"name": name, "of": "rule", "rings": [_corners(*box) for box in scaled]}
        for one in graded:
            around = [[x / across, y / down] for x, y in one.corners_mm]
            yield {"name": f"{one.pane}: {one.verdict}", "of": f"pane {one.verdict}", "rings": [around]}
    if zones.margin:
        inner = (zones.margin, zones.margin, width - zones.margin, height - zones.margin)
        yield {"name": "margin", "of": "ignored", "rings": [_corners(0, 0, width, height), _corners(*inner)]}
    if zones.drawn_size is not None:
        drawn_height, drawn_width = zones.drawn_size
        counted = zones.model_copy(update={"margin": 0, "min_area": 0}).counted(zones.drawn_size)
        scale = np.array([width / drawn_width, height / drawn_height])
        grown = np.kron((~counted).astype(np.uint8), np.ones((2, 2), np.uint8))  # contours run through pixels' centres
        rings = cv2.findContours(np.asarray(grown, np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
        corners = [((ring[:, 0] + 0.5) / 2 * scale).round(1).tolist() for ring in rings]
        yield {"name": "nothing counts here", "of": "ignored", "rings": corners}


def _corners(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def printed(defects: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Return the rows that go on paper: those that broke a clause first, then by their number."""
    return sorted(defects, key=lambda one: (not one["broken"], bool(one["ignored"]), one["number"]))[
        :MAX_PRINTED_DEFECTS
    ]
