"""TOML and JSON files that people write."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pellucid.errors import DataError


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        DataError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read '{path}': {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or brackets without end
        raise DataError(f"'{path}' is not a TOML file: {error}.") from None


def read_toml_or_json(path: Path) -> Any:
    """Read a JSON file, if its name ends in .json, else a TOML file.

    Raises:
        DataError: it cannot be read, or is no such file.
    """
    if path.suffix.lower() != ".json":
        return read_toml(path)
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read '{path}': {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is not a JSON file: {error}.") from None
