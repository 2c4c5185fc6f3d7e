"""Defects as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from pellucid._io.files import csv_text
from pellucid.acquisition.splits import path_in_data
from pellucid.records import Defect, Inspection

DEFECT_COLUMNS = ("path", *(field.name for field in fields(Defect)))


def defects_csv(inspections: Iterable[Inspection], root: Path) -> str:
    """Return what ``defects.csv`` holds: a row for every defect, in the order of the images, the highest peak first.

    Columns have the names of :class:`pellucid.records.Defect`; lists are JSON, and what was not measured is empty.

    Args:
        inspections: with their defects.
        root: folder that paths are written relative to, where they lie in it.
    """
    return csv_text(DEFECT_COLUMNS, (row for found in inspections for row in _rows(found, root)))


def _rows(found: Inspection, root: Path) -> Iterator[list[str]]:
    for defect in found.defects:
        values = (getattr(defect, name) for name in DEFECT_COLUMNS[1:])
        yield [path_in_data(found.path, root), *map(_cell, values)]


def _cell(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)
