"""The report: one HTML file with everything inside, readable without a network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pellucid.reports.tables import LEADERBOARD, cell

STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: #d1495b; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line) }
.advice { border-left: 5px solid var(--accent); padding: .6rem 1rem; background: #8881; font-size: 1.1rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left } tr.chosen { font-weight: 700 }
img { max-width: 100%; height: auto; background: white } .row { display: flex; flex-wrap: wrap; gap: 1rem }
.row img { flex: 1 1 300px; max-width: 370px } code { overflow-wrap: anywhere }
"""


def report(
    rows: Sequence[Mapping[str, Any]],
    reason: str,
    notes: Sequence[str],
    command: str,
    pareto: bytes,
    curves: Mapping[str, Sequence[Path]],
    pictures: Mapping[str, Sequence[Path]],
) -> str:
    """The page as HTML text; curves and pictures are embedded, by detector."""
    head = "".join(f"<th>{escape(title)}</th>" for title, _, _ in LEADERBOARD)
    body = "".join(
        f"<tr{' class=chosen' if row['recommended'] else ''}><td>{escape(row['detector'])}</td>"
        + "".join(f"<td>{cell(row[key], form)}</td>" for _, key, form in LEADERBOARD[1:])
        + "</tr>"
        for row in rows
    )
    sections = "".join(
        f"<h2>{escape(name)}</h2><div class=row>{''.join(map(_file, curves[name]))}</div>"
        + "".join(f"<p>{_file(path)}</p>" for path in pictures[name])
        for name in curves
    )
    remarks = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>pellucid: comparison</title><style>{STYLE}</style>
<h1>Which detector to run</h1>
<p class=advice>{escape(reason)}</p>
<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
<p>False rejects and escapes are counted at the limit that was chosen from normal training images. Milliseconds are
for one image at a time, decoded, on this machine.</p>
<p>{_image(pareto, "accuracy against time and size")}</p>
{f"<h2>Remarks</h2><ul>{remarks}</ul>" if remarks else ""}
{sections}
<h2>To reproduce</h2><p><code>{escape(command)}</code>; <code>config.toml</code> and <code>splits.csv</code> lie beside
this page.</p></html>
"""


def _file(path: Path) -> str:
    return _image(path.read_bytes(), path.stem)


def _image(content: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{b64encode(content).decode()}">'
