"""What people decided, as a data set for the next training: a CSV in the layout that every command reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pellucid._io.files import DISK_FULL_ERRNOS, csv_text, plain_cell, write_text
from pellucid.acquisition.folders import CSV_COLUMNS
from pellucid.errors import DataError, DiskFullError, OutputError
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import NEAR_CALL_P_VALUE, Database, Filter
from pellucid.service.storage.tables import InspectionRow


def export_decisions(database: Database, pictures: PictureStore, folder: Path, *, accepted: int = 0) -> int:
    """Write ``data.csv`` and ``images/``; returns how many images they are.

    Parts that were called ok or nuisance are normal, those called defective are abnormal with the type that was named.
    Images of one part are one group. Types and parts that a spreadsheet would compute get an apostrophe. Pictures that
    were removed when their time was over are left out.

    Args:
        database: with the decisions.
        pictures: with the image files.
        folder: made; an earlier export in it is replaced.
        accepted: as many of the latest parts that were accepted without being near calls, and that nobody looked at,
            go in as normal.

    Raises:
        DataError: nothing has been decided, or no picture is left.
        OutputError: the folder cannot be written to.
    """
    lines = []
    images = folder / "images"
    try:
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        for row in _chosen_rows(database, accepted):
            try:
                picture = pictures.path(row)
            except DataError:
                continue
            name = f"images/{row.id:08d}{picture.suffix}"
            shutil.copyfile(picture, folder / name)
            defective = row.decision == "defect"
            label, kind = ("abnormal", row.type or "") if defective else ("normal", "")
            lines.append((name, label, "", plain_cell(kind), "", plain_cell(row.part_id)))
    except OSError as error:
        kind_of = DiskFullError if error.errno in DISK_FULL_ERRNOS else OutputError
        raise kind_of(f"Cannot write '{folder}': {error.strerror or error}.") from None
    if not lines:
        raise DataError("Nothing has been decided yet: confirm or overrule some inspections first.")
    write_text(folder / "data.csv", csv_text(CSV_COLUMNS, lines))
    return len(lines)


def _chosen_rows(database: Database, accepted: int) -> Iterator[InspectionRow]:
    yield from database.iterate(Filter(decision="any"))
    far_from_limit = (
        row for row in database.iterate(Filter(decision="none", verdict="ok")) if row.p_value > NEAR_CALL_P_VALUE
    )
    yield from islice(far_from_limit, accepted)
