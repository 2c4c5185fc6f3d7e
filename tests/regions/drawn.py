"""Defects and panes in mm, without pictures."""

from __future__ import annotations

from pellucid.records import Defect
from pellucid.records.grades import Sheet


def pane(width_mm: float, height_mm: float, **more) -> Sheet:
    return Sheet(width_mm, height_mm, (1.0, 1.0), **more)


def defect(
    x: float,
    y: float,
    size: float = 1.0,
    kind: str = "dark point",
    *,
    length: float | None = None,
    oval: float | None = None,
    halo: float = 0.0,
    uncertain: float = 0.0,
    box: tuple[int, int, int, int] | None = None,
) -> Defect:
    """A defect whose centre is at whole mm x, y of a pane of 1 mm/px, and whose box has no size unless it is given.

    Args:
        x: mm.
        y: mm.
        size: diameter, Feret diameters and width, mm.
        kind: as pellucid tells it.
        length: along the curve; as the size by default.
        oval: largest Feret diameter; as the size by default.
        halo: diameter of defect and halo together.
        uncertain: of all sizes, mm.
        box: x, y, width, height.
    """
    area = 10_000
    return Defect(
        box or (int(x), int(y), 0, 0),
        area,
        1.0,
        (x - 0.5, y - 0.5),
        kind=kind,
        diameter_mm=size,
        feret_max_mm=size if oval is None else oval,
        feret_min_mm=size,
        length_mm=size if length is None else length,
        width_mm=size,
        halo_px=round(area * ((halo / size) ** 2 - 1)) if halo else 0,
        uncertainty_mm=uncertain,
    )


def scratch(x: float, y: float, length: float, **more) -> Defect:
    return defect(x, y, 0.2, "bright line", length=length, **more)
