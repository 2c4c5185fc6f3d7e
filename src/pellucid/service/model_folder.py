"""What lies in the folder of models, read so that one odd entry does not stop the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pellucid._io.names import printable
from pellucid.errors import DataError, ModelFileError
from pellucid.models.file import Header, first_validation_error, read_header

LEADERBOARD_FILE, EXPORT_FILE = "leaderboard.json", "model.json"


class LeaderboardRow(BaseModel):
    """What the service reads of a comparison's row; the rest is passed on as it is."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    name: str
    recommended: bool
    image_auroc: float | None = None
    false_reject_rate: float | None = None
    escape_rate: float | None = None
    ms_per_image_median: float | None = None
    model_mb: float | None = None


LEADERBOARD = TypeAdapter(list[LeaderboardRow])


def list_models(folder: Path) -> Iterator[tuple[str, Path]]:
    """List what has a model's name: ``NAME.pellucid``, exported models in folders, cells of comparisons."""
    for path in folder.glob("*.pellucid"):
        yield printable(path.stem), path
    for path in folder.glob(f"*/{EXPORT_FILE}"):
        yield printable(path.parent.name), path.parent
    for board in folder.glob(f"*/{LEADERBOARD_FILE}"):
        for path in board.parent.glob("*/model.pellucid"):
            yield printable(f"{board.parent.name}.{path.parent.name}"), path


def read_leaderboard(file: Path) -> list[dict[str, Any]]:
    """Read the rows of a leaderboard.

    Raises:
        DataError: it cannot be read, or its rows are not those of a comparison.
    """
    try:
        if not file.is_file():  # a FIFO would never end
            raise DataError(f"'{file}' is not a file.")
        rows = LEADERBOARD.validate_json(file.read_bytes())
    except OSError as error:
        raise DataError(f"Cannot read '{file}': {error.strerror or error}.") from None
    except ValidationError as error:
        raise DataError(f"'{file}' is not a leaderboard: {first_validation_error(error)}.") from None
    return [row.model_dump(exclude_unset=True) for row in rows]


def read_any_header(path: Path) -> tuple[Header, str]:
    """Read the header of a model file or an exported model, and the SHA-256 of what computes.

    Raises:
        ModelFileError: it cannot be used.
    """
    if path.is_file():
        return read_header(path)
    check_kind(path)
    from pellucid.models.export import read_export_header

    header = read_export_header(path)
    return header.model, header.sha256


def check_kind(path: Path) -> None:
    """Refuse folders, links, FIFOs and the like that have a model's name.

    Raises:
        ModelFileError: it is neither a model file nor an exported model.
    """
    if not path.is_file() and not (path / EXPORT_FILE).is_file():
        raise ModelFileError(f"'{path}' is neither a model file nor a folder of an exported model.")
