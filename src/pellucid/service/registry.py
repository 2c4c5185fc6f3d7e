"""The models that a service can inspect with, their limits in force, and how either is changed while it runs."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from pellucid.errors import ModelFileError, ParameterError, PellucidError, unknown_name
from pellucid.inspector import Inspector
from pellucid.models.file import Header, read_header
from pellucid.models.load import load
from pellucid.records import Inspection, Limit
from pellucid.runtimes import Name
from pellucid.service.access.accounts import Account
from pellucid.service.limit_check import check_limit
from pellucid.service.storage.record import Database
from pellucid.service.storage.tables import ModelChange

log = logging.getLogger("pellucid.service")
LISTING_MAX_AGE_S = 1.0  # that a look into the folder serves requests


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to inspect."""

    name: str
    path: Path
    sha256: str  # of the model file, or of an exported model's graph
    header: Header  # of the file
    inspector: Inspector  # with the limit in force
    calibrated: Limit  # with the limit that the file holds
    slots: threading.Semaphore  # as many images at a time as the runtime computes

    def inspect(self, pixels: np.ndarray[Any, np.dtype[np.float32]]) -> Inspection:
        """Inspect pixels (H, W, 3) as soon as a slot is free."""
        with self.slots:
            return self.inspector.inspect(pixels)

    def with_limit(self, value: float) -> LoadedModel:
        """Return the same model with another limit."""
        limit = replace(self.calibrated, value=value)
        return replace(self, inspector=replace(self.inspector, limit=limit))


class ModelRegistry:
    """Holds models by name: ``NAME.pellucid``, exported models in folders, cells of comparisons as ``RUN.CELL``.

    Args:
        folder: where they are; looked into again whenever names are asked for.
        database: where limits and changes are kept.
        runtime: what computes; see :func:`pellucid.models.load.load`.
        device: where torch computes: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """

    def __init__(self, folder: Path, database: Database, runtime: str = "auto", device: str = "auto") -> None:
        self.folder = folder
        self._database = database
        self._runtime = cast(Name | Literal["auto"], runtime)
        self._device = device
        self._loaded: dict[str, LoadedModel] = {}
        self._paths: dict[str, Path] = {}
        self._listed_at = -LISTING_MAX_AGE_S
        self._headers: dict[Path, tuple[tuple[int, int], tuple[Header, str]]] = {}  # with the file's size and time
        self._lock = threading.Lock()  # of loading and changing, not of inspecting
        self._last_change = max((change.id for change in database.changes(count=1)), default=0)

    def paths(self) -> dict[str, Path]:
        """List every model that there is, looking into the folder."""
        self._paths = dict(sorted(_models(self.folder)))
        self._listed_at = time.monotonic()
        return self._paths

    def comparisons(self) -> list[str]:
        """List the folders with a leaderboard, the newest first."""
        folders = [path.parent for path in self.folder.glob("*/leaderboard.json")]
        return [folder.name for folder in sorted(folders, key=lambda f: -f.stat().st_mtime)]

    def comparison(self, name: str) -> Path:
        """Find the folder of a comparison.

        Raises:
            ParameterError: there is none of that name.
        """
        if name not in self.comparisons():
            raise unknown_name("comparison", name, self.comparisons())
        return self.folder / name

    def leaderboard(self, name: str) -> list[dict[str, Any]]:
        """Read the rows of a comparison, one for each model; none when its file cannot be read.

        Raises:
            ParameterError: there is none of that name.
        """
        file = self.comparison(name) / "leaderboard.json"
        try:
            rows: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read: %s", file, error)
            return []
        return rows

    def choose(self, name: str | None) -> str:
        """Choose the model that was named, or the only one.

        Raises:
            ParameterError: there is no such model, or none was named and there are several.
        """
        is_fresh = time.monotonic() - self._listed_at < LISTING_MAX_AGE_S
        paths = self._paths if is_fresh and (name is None or name in self._paths) else self.paths()
        if name is None and len(paths) == 1:
            return next(iter(paths))
        if not paths:
            raise ParameterError(f"There are no models in '{self.folder}': fit one, or put a .pellucid file there.")
        if name is None:
            raise ParameterError(f"Say which model: ?model=NAME with one of {', '.join(paths)}.")
        if name not in paths:
            raise unknown_name("model", name, paths)
        return name

    def get(self, name: str) -> LoadedModel:
        """Return a model, loaded when it is first asked for.

        Raises:
            ModelFileError: its file cannot be used.
            ParameterError: there is none of that name.
        """
        if name in self._loaded:
            return self._loaded[name]
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(self.choose(name))
            return self._loaded[name]

    def loaded(self) -> list[str]:
        """List the models that are in memory."""
        return sorted(self._loaded)

    def header(self, name: str) -> tuple[Header, str]:
        """Read what a model says of itself, without loading it, and its SHA-256.

        Raises:
            ModelFileError: its file cannot be used.
            ParameterError: there is none of that name.
        """
        path = self.paths()[self.choose(name)]
        file = path if path.is_file() else path / "model.json"
        state = (file.stat().st_size, file.stat().st_mtime_ns)
        cached = self._headers.get(path)
        if cached is None or cached[0] != state:
            cached = self._headers[path] = (state, _header(path))
        return cached[1]

    def reload(self, name: str, account: Account) -> LoadedModel:
        """Read a model's file again; inspections go on with the old one until the new one has proved to work.

        Args:
            name: of the model.
            account: of whoever asks for it, an engineer.

        Raises:
            ModelFileError: the file cannot be used; the old model stays.
            ParameterError: there is none of that name.
            RoleError: the account is an operator's.
        """
        account.require_engineer()
        return self._reload(name, account.name, recorded=True)

    def _reload(self, name: str, account: str, *, recorded: bool) -> LoadedModel:
        with self._lock:
            before = self._loaded.get(name)
            after = self._load(self.choose(name))
            if recorded:
                earlier = before.sha256 if before else ""
                self._database.add_change(
                    ModelChange(_now(), account, name, after.sha256, "reload", earlier, after.sha256)
                )
            self._loaded[name] = after
            return after

    def set_limit(
        self, name: str, value: float | None, account: Account, reason: str = "", *, confirmed: bool = False
    ) -> LoadedModel:
        """Move a model's limit, or back to the one that its file holds.

        Args:
            name: of the model.
            value: in the score's own unit; None for the calibrated one.
            account: of whoever moves it, an engineer.
            reason: in their words.
            confirmed: whether they know that it rejects all or nothing, if it does.

        Raises:
            ModelFileError: the model's file cannot be used.
            ParameterError: there is no such model, the value is not finite, or it is extreme and without a reason.
            RoleError: the account is an operator's.
            UnconfirmedLimitError: the value rejects all good parts or none; see :func:`check_limit`.
        """
        account.require_engineer()
        self.get(name)
        with self._lock:
            before = self._loaded[name]
            target = before.calibrated.value if value is None else value
            if not np.isfinite(target):
                raise ParameterError(f"A limit of {target} is not allowed: give a finite number.")
            check_limit(before.calibrated, float(target), reason, confirmed)
            old, new = repr(before.inspector.limit.value), repr(float(target))
            self._database.add_change(ModelChange(_now(), account.name, name, before.sha256, "limit", old, new, reason))
            self._loaded[name] = before.with_limit(float(target))
            return self._loaded[name]

    def follow(self) -> None:
        """Do what other processes on the same record have done since: move limits, read files again."""
        for change in reversed(self._database.changes(after=self._last_change)):
            self._last_change = max(self._last_change, change.id)
            model = self._loaded.get(change.model)
            if model is None:
                continue
            if change.kind == "reload" and model.sha256 != change.after:
                self._reload(change.model, change.who, recorded=False)
            elif change.kind == "limit" and model.sha256 == change.model_sha256:
                with self._lock:
                    self._loaded[change.model] = model.with_limit(float(change.after))

    def _load(self, name: str) -> LoadedModel:
        path = self.paths()[name]
        header, digest = _header(path)
        # an exported model has a runtime of its own, on the CPU
        inspector = load(path, self._runtime, device=self._device) if path.is_file() else load(path)
        runtime = inspector.runtime.for_throughput()
        inspector = replace(inspector, runtime=runtime)
        slots = threading.Semaphore(runtime.parallel_requests)
        model = LoadedModel(name, path, digest, header, inspector, inspector.limit, slots)
        grey = np.full((64, 64, 3), 0.5, np.float32)
        try:
            model.inspect(grey)  # a model that cannot is found out now, and the first part does not wait
        except (PellucidError, RuntimeError) as error:
            raise ModelFileError(f"The model in '{path}' loads but cannot inspect: {error}") from None
        moved = self._database.last_limit_change(name, digest)
        return model if moved is None else model.with_limit(float(moved.after))


def _models(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.glob("*.pellucid"):
        yield path.stem, path
    for path in folder.glob("*/model.json"):
        yield path.parent.name, path.parent
    for board in folder.glob("*/leaderboard.json"):
        for path in board.parent.glob("*/model.pellucid"):
            yield f"{board.parent.name}.{path.parent.name}", path


def _header(path: Path) -> tuple[Header, str]:
    """Read the header of a model file or an exported model, and the SHA-256 of what computes."""
    if path.is_file():
        return read_header(path)
    from pellucid.models.export import read_export_header

    header = read_export_header(path)
    return header.model, header.sha256


def newest_model(registry: ModelRegistry) -> str | None:
    """Name the model to offer first: what the newest comparison recommends, or else the first there is."""
    for name in registry.comparisons():
        for row in registry.leaderboard(name):
            if row["recommended"] and f"{name}.{row['name']}" in registry.paths():
                return f"{name}.{row['name']}"
    return next(iter(registry.paths()), None)


def safe_folder_name(name: str) -> str:
    """Make a name for a folder of results from what a person typed.

    Raises:
        ParameterError: nothing is left of it.
    """
    cleaned = re.sub(r"[^\w-]+", "-", name.strip()).strip("-")[:60]
    if not cleaned:
        raise ParameterError("Give the training a name of letters and digits.")
    return cleaned


def _now() -> datetime:
    return datetime.now(UTC)
