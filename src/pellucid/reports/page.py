"""The report: one HTML file with everything inside, readable and usable without a network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from pellucid.records import Role, Split
from pellucid.reports.tables import between, cell, with_spread

HERE = Path(__file__).parent
QUALITY = 82  # of the pictures, JPEG
COLUMNS = (  # title, key, format, whether less is better, what it says
    ("model", "name", "{}", None, "detector, and what else was varied"),
    ("image AUROC", "image_auroc", "{:.4f}", False, "how well scores rank defective above good images; 1 is perfect"),
    ("behind", "behind", "{:.4f}", True, "AUROC behind the first, on the same images"),
    ("F1", "image_f1", "{:.3f}", False, "F1 at the limit, which was chosen without the test"),
    ("false rejects", "false_reject_rate", "{:.1%}", True, "good test images that were rejected"),
    ("escapes", "escape_rate", "{:.1%}", True, "defective test images that were passed"),
    ("pixel AP", "pixel_ap", "{:.3f}", False, "average precision over all pixels"),
    ("AUPRO 0.3", "aupro", "{:.3f}", False, "overlap with each region up to a false-positive rate of 0.3"),
    ("AUPRO 0.05", "aupro_0.05", "{:.3f}", False, "the same up to 0.05"),
    ("AUPIMO", "aupimo", "{:.3f}", False, "recall per image at 1e-5 to 1e-4 false pixels on good images"),
    ("fit s", "fit_seconds", "{:.1f}", True, "training time, seconds"),
    ("ms", "ms_per_image_median", "{:.1f}", True, "median time of one image, milliseconds, on this machine"),
    ("MB", "model_mb", "{:.1f}", True, "size of the model file"),
    ("RAM MB", "peak_ram_mb", "{:.0f}", True, "highest memory while training and testing"),
)
ROLES: tuple[Role, ...] = ("fit", "calibrate", "select", "test")
KINDS = {
    "false_reject": "false rejects",
    "escape": "escapes",
    "nearest": "nearest calls",
    "typical": "typical",
}


@dataclass(frozen=True)
class Model:
    """What the report shows of one model, as its folder has it."""

    name: str
    folder: Path
    scores: Sequence[Mapping[str, str]]  # rows of scores.csv
    tested: Mapping[str, Any]  # metrics.json
    gallery: Sequence[Mapping[str, Any]]  # gallery.json
    config: str  # config.toml


def report(
    rows: Sequence[Mapping[str, Any]],
    models: Sequence[Model],
    *,
    sentence: str,
    reason: str,
    notes: Sequence[str],
    split: Split,
    command: str,
    config: str,
    versions: Mapping[str, str],
) -> str:
    """The page as HTML text.

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
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=select_autoescape(("html", "j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"cell": cell, "with_spread": with_spread, "between": between}
    return environment.get_template("report.html.j2").render(
        rows=rows,
        columns=[c for c in COLUMNS if any(row[c[1]] is not None for row in rows)],
        models=models,
        recommended=next((row["name"] for row in rows if row["recommended"]), rows[0]["name"]),
        kinds={
            kind: title for kind, title in KINDS.items() if any(g["kind"] == kind for m in models for g in m.gallery)
        },
        types=sorted({g["type"] for m in models for g in m.gallery if g["type"]}),
        picture=_picture,
        sentence=sentence,
        reason=reason,
        notes=notes,
        plan=[(role, roles[role, "normal"], roles[role, "abnormal"]) for role in ROLES],
        folds=split.folds,
        command=command,
        config=config,
        versions=versions,
        seeds=rows[0]["seeds"],
        data=_embedded({"rows": rows, "models": {m.name: _charted(m) for m in models}}),
        css=Markup((HERE / "report.css").read_text("utf-8")),
        js=Markup((HERE / "report.js").read_text("utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def _charted(model: Model) -> dict[str, Any]:
    """What the page's charts and counters compute from."""
    return {
        "limit": model.tested["metrics"]["limit"],
        "scores": [float(row["score"]) for row in model.scores],
        "defective": [row["label"] == "abnormal" for row in model.scores],
        "points": model.tested["operating_points"],
    }


def _embedded(values: Any) -> Markup:
    """JSON inside a script element: no text in it can end the element."""
    return Markup(json.dumps(values).replace("<", "\\u003c"))


def _picture(path: Path) -> Markup:
    """A result picture as attributes of an ``img``, smaller than its PNG; its size keeps the page from jumping."""
    image = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR))
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    height, width = image.shape[:2]
    return Markup(f'src="data:image/jpeg;base64,{b64encode(content).decode()}" width="{width}" height="{height}"')
