"""The report: one HTML file with everything inside, readable and usable without a network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from pellucid.records import Role, Split
from pellucid.reports.tables import format_interval, format_value, format_with_spread

TEMPLATE_FOLDER = Path(__file__).parent
JPEG_QUALITY = 82  # of 100, of the pictures


class Column(NamedTuple):
    """A column of the table of models."""

    title: str
    key: str  # of the leaderboard's row
    form: str  # a format string
    less_is_better: bool | None  # None: neither
    meaning: str


REPORT_COLUMNS = (
    Column("model", "name", "{}", None, "detector, and what else was varied"),
    Column(
        "image AUROC", "image_auroc", "{:.4f}", False, "how well scores rank defective above good images; 1 is perfect"
    ),
    Column("behind", "behind", "{:.4f}", True, "AUROC behind the first, on the same images"),
    Column("F1", "image_f1", "{:.3f}", False, "F1 at the limit, which was chosen without the test"),
    Column("false rejects", "false_reject_rate", "{:.1%}", True, "good test images that were rejected"),
    Column("escapes", "escape_rate", "{:.1%}", True, "defective test images that were passed"),
    Column(
        "shows where",
        "localisation",
        "{:.2f}",
        False,
        "average precision of a map's pixels, mean over the flaws that the choice looked at: 1 is a map that is highest"
        " where the flaw is",
    ),
    Column("pixel AP", "pixel_ap", "{:.3f}", False, "average precision over all pixels of the test images"),
    Column("AUPRO 0.3", "aupro", "{:.3f}", False, "overlap with each region up to a false-positive rate of 0.3"),
    Column("AUPRO 0.05", "aupro_0.05", "{:.3f}", False, "the same up to 0.05"),
    Column("AUPIMO", "aupimo", "{:.3f}", False, "recall per image at 1e-5 to 1e-4 false pixels on good images"),
    Column(
        "known",
        "known_auroc_with",
        "{:.4f}",
        False,
        "AUROC on labelled defects of types that were learned from, none of which had been learned from",
    ),
    Column("known, untaught", "known_auroc_without", "{:.4f}", False, "the same without what labelled defects teach"),
    Column("other types", "unknown_auroc_with", "{:.4f}", False, "AUROC on labelled defects whose type was left out"),
    Column("other, untaught", "unknown_auroc_without", "{:.4f}", False, "the same without what labelled defects teach"),
    Column("taught", "taught_weight", "{:g}", None, "weight of what labelled defects teach; 0: nothing was gained"),
    Column("fit s", "fit_seconds", "{:.1f}", True, "training time, seconds"),
    Column("ms", "ms_per_image_median", "{:.1f}", True, "median time of one image, milliseconds, on this machine"),
    Column("MB", "model_mb", "{:.1f}", True, "size of the model file"),
    Column("RAM MB", "peak_ram_mb", "{:.0f}", True, "highest memory while training and testing"),
)
ROLES: tuple[Role, ...] = ("fit", "calibrate", "select", "test")
GALLERY_KINDS = {
    "false_reject": "false rejects",
    "escape": "escapes",
    "nearest": "nearest calls",
    "typical": "typical",
}


@dataclass(frozen=True)
class ReportedModel:
    """What the report shows of one model, as its folder has it."""

    name: str
    folder: Path
    scores: Sequence[Mapping[str, str]]  # rows of scores.csv
    tested: Mapping[str, Any]  # metrics.json
    gallery: Sequence[Mapping[str, Any]]  # gallery.json
    config: str  # config.toml


def render_report(
    rows: Sequence[Mapping[str, Any]],
    models: Sequence[ReportedModel],
    *,
    sentence: str,
    reason: str,
    notes: Sequence[str],
    split: Split,
    command: str,
    config: str,
    versions: Mapping[str, str],
) -> str:
    """Return the page as HTML text, with its style, scripts, pictures and numbers inside.

    Args:
        rows: of the leaderboard, best first.
        models: in the same order.
        sentence: the recommendation.
        reason: the rule that led to it.
        notes: warnings about the data and what failed.
        split: who did what, the first seed's.
        command: that made the comparison.
        config: of the comparison, TOML.
        versions: of the software, and the machine.
    """
    roles = Counter((role, sample.label) for sample, role in split.roles())
    gallery = [entry for model in models for entry in model.gallery]
    return template("report.html.j2").render(
        rows=rows,
        columns=[c for c in REPORT_COLUMNS if any(row[c.key] is not None for row in rows)],
        models=models,
        recommended=next((row["name"] for row in rows if row["recommended"]), rows[0]["name"]),
        kinds={kind: title for kind, title in GALLERY_KINDS.items() if any(g["kind"] == kind for g in gallery)},
        types=sorted({g["type"] for g in gallery if g["type"]}),
        lessons={m.name: m.tested["taught"]["sentence"] for m in models if m.tested["taught"]},
        moves={m.name: m.tested["limit_move"]["sentence"] for m in models if m.tested["limit_move"]},
        sentence=sentence,
        reason=reason,
        notes=notes,
        plan=[(role, roles[role, "normal"], roles[role, "abnormal"]) for role in ROLES],
        folds=split.folds,
        command=command,
        config=config,
        versions=versions,
        seeds=rows[0]["seeds"],
        data=embedded({"rows": rows, "models": {m.name: _charted(m) for m in models}}),
        style=embedded_file("report.css"),
        charts=embedded_file("charts.js"),
        script=embedded_file("report.js"),
    )


def template(name: str) -> Template:
    """Return a page of this folder; what is put into it is escaped, and what is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDER),
        autoescape=select_autoescape(("html", "j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "format_value": format_value,
        "format_with_spread": format_with_spread,
        "format_interval": format_interval,
        "picture_attributes": _picture_attributes,
    }
    return environment.get_template(name)


def _charted(model: ReportedModel) -> dict[str, Any]:
    """Return what the page's charts and counters compute from."""
    return {
        "limit": model.tested["metrics"]["limit"],
        "scores": [float(row["score"]) for row in model.scores],
        "defective": [row["label"] == "abnormal" for row in model.scores],
        "points": model.tested["operating_points"],
    }


def embedded_file(name: str) -> Markup:
    """Return a file of this folder, to stand in a page as it is."""
    return Markup((TEMPLATE_FOLDER / name).read_text("utf-8"))


def embedded(values: Any) -> Markup:
    """Return values as JSON for inside a script element: no text in it can end the element."""
    return Markup(json.dumps(values).replace("<", "\\u003c"))


def _picture_attributes(path: Path) -> Markup:
    """Return a result picture as attributes of an ``img``: a JPEG, and its size, which keeps the page from jumping."""
    image = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR))
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    height, width = image.shape[:2]
    return Markup(f'src="data:image/jpeg;base64,{b64encode(content).decode()}" width="{width}" height="{height}"')
