"""Results of inspections as lines of JSON: what ``inspect --json`` prints, and what they are graded by once more."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from pellucid._io.files import write_text
from pellucid._io.names import named_path
from pellucid.errors import DataError
from pellucid.records import Defect, Ignored, Inspection, Sample, Verdict
from pellucid.records.grades import Sheet
from pellucid.reports.defects import defects_csv
from pellucid.study.results import ScoredSample
from pellucid.study.scores import SCORES_COLUMNS, scores_csv, scores_row

PASSING_START = '{"passing": '  # of a line about a defect, printed before the image of it has ended
RESULTS_FILE = "results.jsonl"  # in the folder of ``inspect -o``


def result_text(scored: ScoredSample) -> str:
    """Return all that was found on one image as JSON: what scores.csv has of it, its defects, what it shows, its grade.

    Its path is relative to the working folder, where it lies in it.
    """
    row = dict(zip(SCORES_COLUMNS, scores_row(scored, Path.cwd(), labelled=False), strict=True))
    row.pop("clauses")  # they are in the grade
    found = scored.inspection
    more = {
        "score": found.score if math.isfinite(found.score) else None,  # JSON knows no infinity
        "promise": found.promise,
        "warnings": found.warnings,
        "defects": [asdict(defect) for defect in found.defects],
        "ignored": [one.to_dict() for one in found.ignored],
        "sheet": None if found.sheet is None else asdict(found.sheet),
        "grade": None if found.grade is None else asdict(found.grade),
    }
    return json.dumps(row | more)


def write_results(scored: Sequence[ScoredSample], folder: Path) -> None:
    """Write scores.csv, results.jsonl and defects.csv; paths in them are relative to the working folder.

    Raises:
        OutputError: the folder cannot be written to.
    """
    write_text(folder / "scores.csv", scores_csv(scored, Path.cwd(), labelled=False))
    write_text(folder / RESULTS_FILE, "".join(f"{result_text(one)}\n" for one in scored))
    write_text(folder / "defects.csv", defects_csv((one.inspection for one in scored), Path.cwd()))


def read_results(results: Path) -> list[ScoredSample]:
    """Read inspections without their maps.

    Args:
        results: what ``pellucid inspect --json`` printed, or the folder of ``inspect -o``.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    path = results / RESULTS_FILE if results.is_dir() else results
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DataError(
            f"Cannot read '{path}': {why}. Give the folder of inspect -o, or what --json printed."
        ) from None
    if not lines:
        raise DataError(f"There are no results in '{path}'.")
    return [
        _read_line(line, f"'{path}', line {number}")
        for number, line in enumerate(lines, 1)
        if not line.startswith(PASSING_START)
    ]


def _nested(value: Any) -> Any:
    """An ignored defect as :class:`pellucid.records.Ignored` has it; a line has the reason among its measures."""
    if not isinstance(value, dict):
        return value
    return {"defect": {k: v for k, v in value.items() if k != "reason"}, "reason": value.get("reason")}


class _Line(BaseModel):
    """What is read of a line. Its grade is not: it is made anew."""

    model_config = ConfigDict(allow_inf_nan=False)

    path: str
    type: str
    score: float | None
    limit: float
    p_value: float
    verdict: Verdict
    reason: str
    warnings: tuple[str, ...]
    defects: tuple[Defect, ...]
    ignored: tuple[Annotated[Ignored, BeforeValidator(_nested)], ...]
    sheet: Sheet | None
    promise: str = ""


def _read_line(line: str, where: str) -> ScoredSample:
    try:
        read = _Line.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
        raise DataError(
            f"{where} is no result of this pellucid's inspect ({what}{first['msg']}): inspect the images again."
        ) from None
    path = named_path(read.path)
    found = Inspection(
        path,
        math.inf if read.score is None else read.score,
        read.limit,
        read.p_value,
        read.verdict,
        np.empty((0, 0), np.float32),
        read.defects,
        reason=read.reason,
        warnings=read.warnings,
        ignored=read.ignored,
        sheet=read.sheet,
        promise=read.promise,
    )
    return ScoredSample(Sample(path, "normal", type=read.type or None), found)
