"""What people decided, as a data set for the next training: a CSV in the layout that every command reads."""

from __future__ import annotations

import os
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, cast

from pellucid._io.files import DISK_FULL_ERRNOS, TEMPORARY_PREFIX, csv_text, plain_cell, write_text
from pellucid.acquisition.csv_files import CSV_COLUMNS
from pellucid.errors import DataError, DiskFullError, OutputError
from pellucid.service.admission import BusyError
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database, Filter
from pellucid.service.storage.tables import InspectionRow

MAX_ACCEPTED = 100_000  # parts that nobody looked at, in one export
COPY_BYTES = 1 << 20  # of a picture in memory at a time
EXPORT_STALL_S = 60.0  # that an export may wait for its reader, until another may begin
EXPORT_RETRY_S = 10  # that a client is told when there is one


@dataclass(frozen=True)
class DecidedPicture:
    """One picture of the data set: its file, and its line of ``data.csv``."""

    file: Path
    line: tuple[str, ...]

    @property
    def name(self) -> str:
        """Where it lies in the data set."""
        return self.line[0]


def decided_pictures(database: Database, pictures: PictureStore, *, accepted: int = 0) -> Iterator[DecidedPicture]:
    """Go through the pictures of a data set, a few hundred rows in memory at a time.

    Parts that were called ok or nuisance are normal, those called defective are abnormal with the type that was named.
    Images of one part are one group. Types and parts that a spreadsheet would compute get an apostrophe. Pictures that
    were removed when their time was over are left out.

    Args:
        database: with the decisions.
        pictures: with the image files.
        accepted: as many of the latest parts that were accepted without being near calls, and that nobody looked at,
            go in as normal; at most ``MAX_ACCEPTED``.

    Raises:
        DataError: nothing has been decided, or no picture is left.
    """
    found = _decided_pictures(database, pictures, min(accepted, MAX_ACCEPTED))
    first = next(found, None)
    if first is None:
        raise DataError("Nothing has been decided yet: confirm or overrule some inspections first.")
    return chain([first], found)


def export_decisions(database: Database, pictures: PictureStore, folder: Path, *, accepted: int = 0) -> int:
    """Write ``data.csv`` and ``images/``, whole or not at all; returns how many images they are.

    Args:
        database: see :func:`decided_pictures`, as for ``pictures`` and ``accepted``.
        pictures: with the image files.
        folder: made; it may not be there yet.
        accepted: parts that nobody looked at.

    Raises:
        DataError: nothing has been decided, or no picture is left.
        OutputError: the folder is there already, or cannot be written to.
    """
    decided = decided_pictures(database, pictures, accepted=accepted)
    if os.path.lexists(folder):
        raise OutputError(f"Cannot write '{folder}': it is there already.")
    lines = []
    partial = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        (partial / "images").mkdir(parents=True)
        for picture in decided:
            try:
                shutil.copyfile(picture.file, partial / picture.name)
            except FileNotFoundError:
                continue  # removed in this moment
            lines.append(picture.line)
        write_text(partial / "data.csv", csv_text(CSV_COLUMNS, lines))
        partial.rename(folder)
    except OSError as error:
        kind_of = DiskFullError if error.errno in DISK_FULL_ERRNOS else OutputError
        raise kind_of(f"Cannot write '{folder}': {error.strerror or error}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(lines)


def zip_decisions(decided: Iterator[DecidedPicture]) -> Iterator[bytes]:
    """Pack a data set piece by piece; nothing is copied to disk, and little is in memory.

    Args:
        decided: from :func:`decided_pictures`.
    """
    sink = _Sink()
    lines = []
    with zipfile.ZipFile(cast(BinaryIO, sink), "w", zipfile.ZIP_STORED) as zipped:
        for picture in decided:
            try:
                source = picture.file.open("rb")
            except FileNotFoundError:
                continue  # removed in this moment
            with source, zipped.open(picture.name, "w") as target:
                while piece := source.read(COPY_BYTES):
                    target.write(piece)
                    yield sink.take()
            lines.append(picture.line)
        zipped.writestr("data.csv", csv_text(CSV_COLUMNS, lines))
    yield sink.take()


class ExportLease:
    """Lets one export be sent at a time; one that nobody has read from for a while counts no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: object | None = None
        self._until = 0.0

    def hold(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Return the pieces of an export, which counts until the last one.

        Raises:
            BusyError: there is another one.
        """
        holder = object()
        with self._lock:
            if self._holder is not None and time.monotonic() < self._until:
                raise BusyError(EXPORT_RETRY_S)
            self._holder, self._until = holder, time.monotonic() + EXPORT_STALL_S
        return self._sent(pieces, holder)

    def _sent(self, pieces: Iterator[bytes], holder: object) -> Iterator[bytes]:
        try:
            for piece in pieces:
                if self._holder is holder:
                    self._until = time.monotonic() + EXPORT_STALL_S
                yield piece
        finally:
            if self._holder is holder:
                self._holder = None


class _Sink:
    """A file that can only be written to, and taken from."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Do nothing: there is nothing behind it."""

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _decided_pictures(database: Database, pictures: PictureStore, accepted: int) -> Iterator[DecidedPicture]:
    far_from_limit = Filter(decision="none", verdict="ok", near=False)
    rows = chain(database.iterate(Filter(decision="any")), islice(database.iterate(far_from_limit), accepted))
    for row in rows:
        try:
            file = pictures.path(row)
        except DataError:
            continue
        yield DecidedPicture(file, _line(row, f"images/{row.id:08d}{file.suffix}"))


def _line(row: InspectionRow, name: str) -> tuple[str, ...]:
    defective = row.decision == "defect"
    label, kind = ("abnormal", row.type or "") if defective else ("normal", "")
    return name, label, "", plain_cell(kind), "", plain_cell(row.part_id)
