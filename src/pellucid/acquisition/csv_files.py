"""A CSV file to samples, as spreadsheets of every country and system write it."""

from __future__ import annotations

import codecs
import csv
import io
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pellucid.acquisition.images import read_content
from pellucid.errors import DataError, join_names
from pellucid.records import Label, Sample, Samples

CSV_COLUMNS = ("path", "label", "split", "type", "mask", "group")
REQUIRED_COLUMNS = CSV_COLUMNS[:2]
DELIMITERS = (",", ";", "\t")
LABEL_WORDS: dict[str, Label] = {
    **dict.fromkeys(("normal", "good", "ok"), "normal"),
    **dict.fromkeys(("abnormal", "bad", "defect", "defective", "anomaly", "anomalous", "ng", "nok"), "abnormal"),
}
SPLITS: dict[str, Literal["train", "test"] | None] = {"train": "train", "test": "test", "": None}


@dataclass(frozen=True)
class _Row:
    """A line of the file that holds something: its number, and its cells by column."""

    line: int
    cells: dict[str, str]


def read_csv(file: Path) -> Samples:
    """Read a data set from a CSV file, one image a row; relative paths count from the file's folder.

    Args:
        file: with the columns ``path`` and ``label``, and if wanted ``split``, ``type``, ``mask`` and ``group``, in any
            order; separated by commas, semicolons or tabs; in UTF-8, UTF-16 or Windows-1252.

    Returns:
        The samples in the order of the rows, with notes about what was read otherwise than it is written.

    Raises:
        DataError: it is no CSV, lacks a column, has a value that is not allowed, names files that do not exist, or
            says two things about one image.
    """
    text, notes = _decode_text(file)
    columns, rows = _read_rows(file, text)
    for column in REQUIRED_COLUMNS:
        if column not in columns:
            raise DataError(
                f"'{file}' lacks the column {column}; it has: {join_names(filter(None, columns), 10) or 'none'}."
            )
    if ignored := [name for name in columns if name and name not in CSV_COLUMNS]:
        notes.append(f"Columns that are not known are ignored: {join_names(ignored, 10)}.")
    samples, repeated = _merge(file, [(row.line, _sample(file, row)) for row in rows])
    if absent := [p.name for s in samples for p in (s.path, s.mask) if p is not None and not p.is_file()]:
        raise DataError(f"'{file}' names {len(absent)} files that do not exist: {join_names(absent)}.")
    return Samples(file, "CSV", tuple(samples), (*notes, *_note_labels(rows), *repeated))


def _decode_text(file: Path) -> tuple[str, list[str]]:
    """The text of the file, and a note where its encoding had to be guessed."""
    content = read_content(file)
    if content.startswith(b"PK\x03\x04"):
        raise DataError(f"'{file}' is a spreadsheet, not a CSV file: save it as CSV.")
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16"), []
        if b"\0" in content:
            raise DataError(f"'{file}' is not a CSV file: it holds null bytes. Save it as CSV in UTF-8.")
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError as error:
            raise DataError(f"'{file}' is not a CSV file in UTF-8: {error}.") from None
    return text, [f"'{file.name}' is not UTF-8 and was read as Windows-1252: look at names with accents."]


def _read_rows(file: Path, text: str) -> tuple[list[str], list[_Row]]:
    """The columns, in lower case, and all rows that are not empty."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        filled = [(lines.line_num, [c.strip() for c in cells]) for cells in lines if any(c.strip() for c in cells)]
    except csv.Error as error:
        raise DataError(f"'{file}' is not a CSV file: {error}.") from None
    if filled and filled[0][1][0].lower().startswith("sep="):  # what Excel writes to tell itself the delimiter
        del filled[0]
    columns = [name.lower() for name in filled[0][1]] if filled else []
    if twice := [name for name in CSV_COLUMNS if columns.count(name) > 1]:
        raise DataError(f"'{file}' has the column {twice[0]} more than once.")
    rows = []
    for line, cells in filled[1:]:
        if any(cells[len(columns) :]):
            raise DataError(
                f"'{file}', line {line}: there are {len(cells)} cells under {len(columns)} columns; a path that holds"
                " the delimiter has to be quoted."
            )
        rows.append(_Row(line, dict.fromkeys(CSV_COLUMNS, "") | dict(zip(columns, cells, strict=False))))
    return columns, rows


def _delimiter(text: str) -> str:
    """The one that the header is separated by: the first line that has something in it, but for Excel's own."""
    lines = (line for line in text.splitlines() if line.strip(" ;,\t") and not line.lower().startswith('"sep='))
    header = next((line for line in lines if not line.lower().startswith("sep=")), "")
    return max(DELIMITERS, key=header.count)


def _sample(file: Path, row: _Row) -> Sample:
    cells = row.cells
    if not cells["path"]:
        raise DataError(f"'{file}', line {row.line}: there is no path.")
    if cells["label"].lower() not in LABEL_WORDS:
        raise DataError(f"'{file}', line {row.line}: label is '{cells['label']}'; allowed are {_allowed_labels()}.")
    if cells["split"].lower() not in SPLITS:
        raise DataError(f"'{file}', line {row.line}: split is '{cells['split']}'; allowed are train, test and nothing.")
    return Sample(
        path=_find(file.parent, cells["path"]),
        label=LABEL_WORDS[cells["label"].lower()],
        split=SPLITS[cells["split"].lower()],
        type=cells["type"] or None,
        mask=_find(file.parent, cells["mask"]) if cells["mask"] else None,
        group=cells["group"] or None,
    )


def _allowed_labels() -> str:
    words = {
        label: ", ".join(w for w, meant in LABEL_WORDS.items() if meant == label) for label in LABEL_WORDS.values()
    }
    return f"{words['normal']} for normal, and {words['abnormal']} for abnormal"


def _find(folder: Path, written: str) -> Path:
    """The file that a cell names: Windows separates folders by backslashes, macOS writes accents in two characters."""
    for name in _spellings(written):
        if (path := folder / name).is_file():
            return path
    return folder / written


def _spellings(written: str) -> Iterator[str]:
    for name in (written, written.replace("\\", "/")):
        yield name
        yield unicodedata.normalize("NFC", name)
        yield unicodedata.normalize("NFD", name)


def _merge(file: Path, samples: list[tuple[int, Sample]]) -> tuple[list[Sample], list[str]]:
    """Every image once, and a note about rows that name one again."""
    first: dict[str, tuple[int, Sample]] = {}
    exact: list[str] = []
    differing: list[str] = []
    for line, sample in samples:
        earlier, known = first.setdefault(os.path.normcase(os.path.realpath(sample.path)), (line, sample))
        if earlier == line:
            continue
        for what, ours, theirs in (("label", sample.label, known.label), ("split", sample.split, known.split)):
            if ours != theirs:
                raise DataError(
                    f"'{file}', lines {earlier} and {line}: '{sample.path.name}' has the {what}"
                    f" {theirs or 'nothing'} and the {what} {ours or 'nothing'}; leave one row."
                )
        same = (sample.type, sample.mask, sample.group) == (known.type, known.mask, known.group)
        (exact if same else differing).append(f"line {line} = line {earlier}")
    notes = []
    if exact:
        notes.append(f"{len(exact)} rows repeat an earlier one and are left out: {join_names(exact)}.")
    if differing:
        notes.append(
            f"{len(differing)} rows repeat the path of an earlier one with another type, mask or group and are left"
            f" out: {join_names(differing)}."
        )
    return [sample for _, sample in first.values()], notes


def _note_labels(rows: list[_Row]) -> list[str]:
    """Say which words were taken for which label, where they are others than the labels' names."""
    taken = {row.cells["label"]: LABEL_WORDS[row.cells["label"].lower()] for row in rows}
    others = [f"{word} as {label}" for word, label in sorted(taken.items()) if word != label]
    return [f"Labels were read as follows: {', '.join(others)}."] if others else []
