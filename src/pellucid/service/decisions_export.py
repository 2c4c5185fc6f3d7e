"""What people decided, as a data set for the next training: a CSV in the layout that every command reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pellucid._io.files import DISK_FULL_ERRNOS, csv_text, write_text
from pellucid.acquisition.folders import CSV_COLUMNS
from pellucid.errors import DataError, DiskFullError, OutputError
from pellucid.service.storage.pictures import Store
from pellucid.service.storage.record import NEAR, Entry, Filter, Record


def export_decisions(record: Record, store: Store, folder: Path, *, accepted: int = 0) -> int:
    """Write ``data.csv`` and ``images/``; returns how many images they are.

    Parts that were called ok or nuisance are normal, those called defective are abnormal with the type that was named.
    Images of one part are one group. Pictures that were removed when their time was over are left out.

    Args:
        record: with the decisions.
        store: with the pictures.
        folder: made; an earlier export in it is replaced.
        accepted: as many of the latest parts that were accepted without being near calls, and that nobody looked at,
            go in as normal.

    Raises:
        DataError: nothing has been decided, or no picture is left.
        OutputError: the folder cannot be written to.
    """
    rows = []
    images = folder / "images"
    try:
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        for entry in _chosen(record, accepted):
            try:
                picture = store.picture(entry)
            except DataError:
                continue
            name = f"images/{entry.id:08d}{picture.suffix}"
            shutil.copyfile(picture, folder / name)
            defective = entry.decision == "defect"
            label, kind = ("abnormal", entry.type or "") if defective else ("normal", "")
            rows.append((name, label, "", kind, "", entry.part_id))
    except OSError as error:
        kind_of = DiskFullError if error.errno in DISK_FULL_ERRNOS else OutputError
        raise kind_of(f"Cannot write '{folder}': {error.strerror or error}.") from None
    if not rows:
        raise DataError("Nothing has been decided yet: confirm or overrule some inspections first.")
    write_text(folder / "data.csv", csv_text(CSV_COLUMNS, rows))
    return len(rows)


def _chosen(record: Record, accepted: int) -> Iterator[Entry]:
    yield from record.each(Filter(decision="any"))
    calm = (e for e in record.each(Filter(decision="none", verdict="ok")) if e.p_value > NEAR)
    yield from islice(calm, accepted)
