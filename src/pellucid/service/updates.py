"""Models that learn more good images, as an engineer asks for it: chosen, learned by ``pellucid update``, recorded."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from pellucid._io.files import csv_text, plain_cell, write_text
from pellucid.acquisition.csv_files import CSV_COLUMNS
from pellucid.errors import DataError, OutputError, ParameterError
from pellucid.models.file import read_header
from pellucid.service.access.accounts import Account
from pellucid.service.registry import ModelRegistry
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database, Filter
from pellucid.service.storage.tables import InspectionRow, ModelChange
from pellucid.service.training import TrainingRunner, safe_folder_name

log = logging.getLogger("pellucid.service")
Source = Literal["latest", "passed", "data set"]
MAX_LEARNED = 200  # images of the record that are learned at a time
UPDATED_FILE = "updated.pellucid"  # in the folder of results, until it is a model of its own


@dataclass(frozen=True)
class ImagesToLearn:
    """Which good images a model learns.

    Attributes:
        source: the ``latest`` images that the model inspected, whatever it said of them, but for those that people
            called defective: of a new lot; what it rejected and people ``passed``: false alarms, which leave the limit
            where it is; or the normal images of a ``data set``: of a new lot.
        count: of images of the record, the newest first, 1 to ``MAX_LEARNED``.
        data: the data set, one of those that can be trained on.
    """

    source: Source
    count: int = 8
    data: str = ""


def rows_to_learn(database: Database, model: str, images: ImagesToLearn) -> list[InspectionRow]:
    """List the inspections whose images would be learned, the newest first; those without a picture are left out.

    Args:
        database: with the inspections.
        model: by its name.
        images: of the record.
    """
    return list(islice(_rows(database, model, images.source), min(images.count, MAX_LEARNED)))


def _rows(database: Database, model: str, source: Source) -> Iterator[InspectionRow]:
    passed = source == "passed"
    where = Filter(model=model, verdict="reject", decision="any") if passed else Filter(model=model)
    return (row for row in database.iterate(where) if row.picture is not None and row.decision != "defect")


def start_update(
    trainings: TrainingRunner,
    registry: ModelRegistry,
    database: Database,
    pictures: PictureStore,
    name: str,
    images: ImagesToLearn,
    account: Account,
    reason: str,
) -> str:
    """Begin to learn good images on top of a model; returns the name of the model that will come of it.

    The model itself stays as it is and inspects on. The new one lies beside it once it was accepted, and the record
    says who made it of which one, and why.

    Args:
        trainings: runs it.
        registry: of models.
        database: with what the model inspected; keeps the change.
        pictures: with the images of these inspections.
        name: of the model.
        images: to be learned.
        account: of whoever asks, an engineer.
        reason: in their words.

    Raises:
        DataError: there is no such data set, or no such image.
        ModelFileError: the model's file cannot be used.
        OutputError: the images cannot be copied.
        ParameterError: there is no such model, it was exported, no reason is given, or something else is running.
        RoleError: the account is an operator's.
    """
    account.require_engineer()
    if not reason.strip():
        raise ParameterError("What a model learns decides what it rejects: give a reason.")
    model = registry.known(name)
    if not model.path.is_file():
        raise ParameterError(f"'{name}' is an exported model, which only inspects: update the file that it came from.")

    def prepare(folder: Path) -> list[str]:
        if images.source == "data set":
            learned = str(trainings.data_path(images.data))
        else:
            learned = str(_copy_images(rows_to_learn(database, name, images), pictures, folder))
        arguments = ["update", str(model.path), learned, "-o", str(folder / UPDATED_FILE)]
        return [*arguments, "--false-alarms"] if images.source == "passed" else arguments

    def finish(folder: Path, succeeded: bool) -> None:
        shutil.rmtree(folder / "images", ignore_errors=True)
        (folder / "data.csv").unlink(missing_ok=True)
        if succeeded:
            _keep(folder, name, database, account, reason)

    made = f"{safe_folder_name(name)[:40]}-{datetime.now():%m%d-%H%M%S}"
    return trainings.begin("update", made, prepare, account, finish=finish)


def _keep(folder: Path, name: str, database: Database, account: Account, reason: str) -> None:
    """Make what was accepted a model of its own, and keep who made it of which one."""
    target = folder.with_name(f"{folder.name}.pellucid")
    (folder / UPDATED_FILE).rename(target)
    header, digest = read_header(target)
    step = header.ancestry[-1]
    now, before = datetime.now(UTC), step.model_sha256
    database.add_change(ModelChange(now, account.name, folder.name, digest, "update", before, digest, reason))
    log.info("model %s is %s after %d images (%s)", folder.name, name, step.images, step.learned)


def _copy_images(rows: list[InspectionRow], pictures: PictureStore, folder: Path) -> Path:
    """Copy the images of inspections into a folder, so that none goes meanwhile; returns their list, a data set."""
    lines = []
    try:
        (folder / "images").mkdir()
        for row in rows:
            try:
                file = pictures.path(row)
            except DataError:  # its time had come
                continue
            copied = f"images/{row.id:08d}{file.suffix}"
            shutil.copyfile(file, folder / copied)
            lines.append((copied, "normal", "", "", "", plain_cell(row.part_id)))
    except OSError as error:
        raise OutputError(f"Cannot copy the images to be learned: {error.strerror or error}.") from None
    if not lines:
        raise DataError("There are no such images in the record: let the model inspect some, or decide on some.")
    write_text(folder / "data.csv", csv_text(CSV_COLUMNS, lines))
    return folder / "data.csv"
