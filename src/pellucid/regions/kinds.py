"""Measures to a first kind, by rule: scratches are lines, seeds rings or points, the rest are areas."""

from __future__ import annotations

from pellucid.regions.measure import Shape

LINE_ELONGATION = 4.0  # length by mean width, that a line has at least
POINT_SHARE = 0.05  # of the image's shorter side, that a point's largest diameter has at most

FORMS = ("line", "point", "area", "ring")
KINDS = (*FORMS, *(f"{tone} {form}" for tone in ("bright", "dark") for form in FORMS))


def kind_of(shape: Shape, contrast: float | None, shorter_side: float) -> str:
    """Name the kind of a flaw.

    Args:
        shape: what was measured.
        contrast: below zero for what is darker than the light around it; None where that is not known.
        shorter_side: of the image, in the shape's own px.

    Returns:
        ``line``, ``ring``, ``point`` or ``area``, after ``bright`` or ``dark`` where that is known.
    """
    if shape.is_ring:
        form = "ring"
    elif shape.length_px >= LINE_ELONGATION * shape.width_mean_px:
        form = "line"
    else:
        form = "point" if shape.feret_max_px <= POINT_SHARE * shorter_side else "area"
    if contrast is None:
        return form
    return f"{'dark' if contrast < 0 else 'bright'} {form}"
