"""One page about a drawn sheet: what was drawn, what was found, and what a rule says of it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from numpy.typing import NDArray

from pellucid.records import Defect, Inspection
from pellucid.reports.page import TEMPLATE_FOLDER

MAX_PICTURE_PX = 1200  # longer side of the sheet on the page
CROP_PX = 48  # side of what is shown of a defect at its own size
JPEG_QUALITY = 85
Grey = NDArray[np.uint8]  # (H, W)


def render_drawn_sheet(
    sheet: Grey, inspection: Inspection, rows: Iterable[Mapping[str, Any]], *, sentence: str, learned: str
) -> str:
    """Render the page; it opens without a network.

    Args:
        sheet: its pixels, (H, W).
        inspection: of it, graded, with a scale.
        rows: a line each: ``number`` of what was found, from 0 as the clauses have it, or None, ``kind``, ``called``,
            ``place`` (across and down in mm), ``size`` and ``found_size`` in mm or None, ``contrast`` as a share or
            None.
        sentence: what was found of the truth.
        learned: what the model was made from.

    Returns:
        HTML.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=select_autoescape(("html", "j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pane, grade = inspection.sheet, inspection.grade
    assert pane is not None  # the caller graded it
    assert grade is not None
    height, width = sheet.shape
    zoom = min(1.0, MAX_PICTURE_PX / max(sheet.shape))
    reduced = cv2.resize(sheet, (round(width * zoom), round(height * zoom)), interpolation=cv2.INTER_AREA)
    return environment.get_template("drawn_sheet.html.j2").render(
        style=Markup((TEMPLATE_FOLDER / "report.css").read_text("utf-8")),
        width=f"{pane.width_mm:g}",
        height=f"{pane.height_mm:g}",
        scale=" x ".join(f"{one:g}" for one in dict.fromkeys(pane.mm_per_px)),
        verdict=inspection.verdict,
        rule=grade.rules,
        grade=grade.verdict,
        clauses=[f"{broken.verdict}: {broken}" for broken in grade.broken],
        sentence=sentence,
        learned=learned,
        picture=_embedded(np.asarray(reduced, np.uint8)),
        boxes=[_box(number, one, width, height) for number, one in enumerate(inspection.defects)],
        rows=[_row(sheet, row, pane.mm_per_px) for row in rows],
    )


def _box(number: int, one: Defect, width: int, height: int) -> dict[str, str]:
    x, y, across, down = one.box
    shares = {"left": x / width, "top": y / height, "width": across / width, "height": down / height}
    return {"number": str(number)} | {name: f"{100 * share:.3f}" for name, share in shares.items()}


def _row(sheet: Grey, row: Mapping[str, Any], mm_per_px: tuple[float, float]) -> dict[str, Any]:
    across, down = row["place"]
    number = row["number"]
    return {
        "number": "missed" if number is None else number,
        "anchor": f"drawn-{round(across)}-{round(down)}" if number is None else f"defect-{number}",
        "crop": _embedded(_crop(sheet, across / mm_per_px[0], down / mm_per_px[1])),
        "kind": row["kind"],
        "called": row["called"],
        "place": f"{across:.1f}, {down:.1f}",
        "size": "" if row["size"] is None else f"{row['size']:.2f}",
        "found_size": "" if row["found_size"] is None else f"{row['found_size']:.2f}",
        "contrast": "" if row["contrast"] is None else f"{row['contrast']:+.0%}",
    }


def _crop(sheet: Grey, x: float, y: float) -> Grey:
    """What is around a place, at its own size; the contrast is stretched to what is there."""
    height, width = sheet.shape
    top = min(max(round(y) - CROP_PX // 2, 0), max(height - CROP_PX, 0))
    left = min(max(round(x) - CROP_PX // 2, 0), max(width - CROP_PX, 0))
    crop = sheet[top : top + CROP_PX, left : left + CROP_PX]
    return np.asarray(cv2.normalize(crop, None, 0, 255, cv2.NORM_MINMAX), np.uint8)  # type: ignore[call-overload]


def _embedded(picture: Grey) -> Markup:
    """A picture as attributes of an ``img``."""
    content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    height, width = picture.shape[:2]
    return Markup(f'src="data:image/jpeg;base64,{b64encode(content).decode()}" width="{width}" height="{height}"')
