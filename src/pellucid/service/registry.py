"""The models that a service can inspect with, their limits in force, and how either is changed while it runs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from pellucid._io.names import named_path, printable
from pellucid.errors import DataError, ModelFileError, ParameterError, PellucidError, unknown_name
from pellucid.models.file import Header
from pellucid.records.limits import Limit
from pellucid.regions.grading import Grading
from pellucid.runtimes import Name
from pellucid.service.access.accounts import Account
from pellucid.service.limit_check import check_limit
from pellucid.service.model_folder import (
    EXPORT_FILE,
    LEADERBOARD_FILE,
    check_kind,
    list_models,
    read_any_header,
    read_leaderboard,
)
from pellucid.service.served_model import KnownModel, LoadedModel, in_force, load_model
from pellucid.service.storage.record import Database
from pellucid.service.storage.tables import ModelChange

log = logging.getLogger("pellucid.service")
LISTING_MAX_AGE_S = 1.0  # that a look into the folder serves requests
FileState = tuple[int, int]  # size in bytes, time of the last change in ns
CHANGES_LOOKED_BACK = 50  # PostgreSQL may show a change later than one with a higher number
MAX_CHANGES = 10_000  # that are followed at a time


class ModelRegistry:
    """Holds models by name: ``NAME.pellucid``, exported models in folders, cells of comparisons as ``RUN.CELL``.

    Only so many stay loaded. The one that was not used for longest goes when another is asked for, but for the pinned
    one and those that are inspecting.

    Args:
        folder: where they are; looked into again whenever names are asked for.
        database: where limits and changes are kept.
        runtime: what computes; see :func:`pellucid.models.load.load`.
        device: where torch computes: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        max_loaded: models that stay loaded, at least 1.
        grading: rule of the models that have none of their own.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        runtime: str = "auto",
        device: str = "auto",
        max_loaded: int = 8,
        grading: Grading | None = None,
    ) -> None:
        self.folder = folder
        self._database = database
        self._runtime = cast(Name | Literal["auto"], runtime)
        self._device = device
        self.max_loaded, self._grading = max_loaded, grading
        self._loaded: dict[str, LoadedModel] = {}
        self._used_at: dict[str, float] = {}
        self._in_use: Counter[str] = Counter()  # images that are being inspected, by model
        self._in_use_lock = threading.Lock()
        self._unloaded: dict[str, str] = {}  # SHA-256 of those that went
        self._pinned: str | None = None
        self._paths: dict[str, Path] = {}
        self._listed_at = -LISTING_MAX_AGE_S
        self._headers: dict[Path, tuple[FileState, tuple[Header, str] | ModelFileError]] = {}
        self._lock = threading.Lock()  # of loading and changing, not of inspecting
        known = database.changes(count=CHANGES_LOOKED_BACK)
        self._last_change = max((change.id for change in known), default=0)
        self._done_changes = {change.id for change in known}  # followed, or made here

    def paths(self) -> dict[str, Path]:
        """List every model that there is, looking into the folder; one in memory stays though its file is gone."""
        in_memory = [(model.name, model.path) for model in list(self._loaded.values())]
        self._paths = dict(sorted([*in_memory, *list_models(self.folder)]))
        self._listed_at = time.monotonic()
        return self._paths

    def comparisons(self) -> list[str]:
        """List the folders with a leaderboard, the newest first."""
        changed: dict[str, float] = {}
        for path in self.folder.glob(f"*/{LEADERBOARD_FILE}"):
            with contextlib.suppress(OSError):  # it goes while this looks
                changed[printable(path.parent.name)] = path.parent.stat().st_mtime
        return sorted(changed, key=lambda name: -changed[name])

    def comparison(self, name: str) -> Path:
        """Find the folder of a comparison.

        Raises:
            ParameterError: there is none of that name.
        """
        if name not in self.comparisons():
            raise unknown_name("comparison", name, self.comparisons())
        return named_path(str(self.folder / name))

    def leaderboard(self, name: str) -> list[dict[str, Any]]:
        """Read the rows of a comparison, one for each model; none when its file cannot be used.

        Raises:
            ParameterError: there is none of that name.
        """
        try:
            return read_leaderboard(self.comparison(name) / LEADERBOARD_FILE)
        except DataError as error:
            log.warning("%s", error)
            return []

    def problems(self, but: Container[str] = ()) -> list[str]:
        """Tell what in the folder cannot be used, without reading models that are not in memory; a sentence each.

        Args:
            but: names of models that are known not to be usable.
        """
        found = []
        for name, path in self.paths().items():
            try:
                if name in self._loaded:
                    self.header(name)
                elif name not in but:
                    check_kind(path)
            except PellucidError as error:
                found.append(f"{error} The model '{name}' serves on as it was." if name in self._loaded else str(error))
        for name in self.comparisons():
            try:
                read_leaderboard(self.comparison(name) / LEADERBOARD_FILE)
            except PellucidError as error:
                found.append(str(error))
        return found

    def choose(self, name: str | None) -> str:
        """Choose the model that was named, or the only one that can be used.

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
            usable = list(islice(filter(self.is_usable, paths), 2))
            if len(usable) == 1:
                return usable[0]
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
        model = self._loaded.get(name)
        if model is None:
            with self._lock:
                if name not in self._loaded:
                    self._loaded[name] = self._load(self.choose(name))
                    self._tell_if_changed(name)
                    self._unload_others(name)
                model = self._loaded[name]
        self._used_at[name] = time.monotonic()
        return model

    @contextmanager
    def using(self, name: str) -> Iterator[LoadedModel]:
        """Return a model as :meth:`get` does; it stays loaded meanwhile."""
        with self._in_use_lock:
            self._in_use[name] += 1
        try:
            yield self.get(name)
        finally:
            with self._in_use_lock:
                self._in_use -= Counter([name])  # a name of none leaves nothing
            if len(self._loaded) > self.max_loaded and self._lock.acquire(blocking=False):  # all were in use before
                try:
                    self._unload_others(name)
                finally:
                    self._lock.release()

    def pin(self, name: str) -> str:
        """Let a model stay loaded, instead of the one that was pinned before; returns its name."""
        self._pinned = name
        return name

    def known(self, name: str) -> KnownModel:
        """Tell what is known of a model without loading it.

        Raises:
            ModelFileError: its file cannot be used.
            ParameterError: there is none of that name.
        """
        model = self._loaded.get(name)
        if model is not None:
            return model.known()
        header, digest = self.header(name)
        calibrated = Limit(**header.limit.model_dump())
        limit, zones = in_force(self._database, name, digest, calibrated, header.zones)
        return KnownModel(name, self._path(name), digest, header, calibrated, limit, zones, None)

    def loaded(self) -> list[str]:
        """List the models that are in memory."""
        return sorted(self._loaded)

    def in_memory(self, name: str) -> LoadedModel | None:
        """Return a model if it is in memory."""
        return self._loaded.get(name)

    def _path(self, name: str) -> Path:
        chosen = self.choose(name)  # lists the folder anew, if need be
        path = self._paths.get(chosen)
        if path is None:  # it went while this looked
            raise unknown_name("model", name, self._paths)
        return path

    def header(self, name: str) -> tuple[Header, str]:
        """Read what a model says of itself, without loading it, and its SHA-256.

        Raises:
            ModelFileError: its file cannot be used.
            ParameterError: there is none of that name.
        """
        path = self._path(name)
        try:
            status = (path if path.is_file() else path / EXPORT_FILE).stat()
        except OSError as error:
            raise ModelFileError(f"Cannot read model '{path}': {error.strerror or error}.") from None
        state = (status.st_size, status.st_mtime_ns)
        cached = self._headers.get(path)
        if cached is None or cached[0] != state:
            try:
                cached = (state, read_any_header(path))
            except ModelFileError as error:
                cached = (state, error)
            self._headers[path] = cached
        if isinstance(cached[1], ModelFileError):
            raise cached[1].with_traceback(None)
        return cached[1]

    def is_usable(self, name: str) -> bool:
        """Find out whether a model is in memory, or its file is whole."""
        if name in self._loaded:
            return True
        try:
            self.header(name)
        except PellucidError:
            return False
        return True

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
        with self._lock:
            before = self._loaded.get(name)
            after = self._load(self.choose(name))
            earlier = before.sha256 if before else ""
            self._record_change(ModelChange(_now(), account.name, name, after.sha256, "reload", earlier, after.sha256))
            self._loaded[name] = after
            self._unload_others(name)
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

        def move(before: LoadedModel) -> tuple[LoadedModel, ModelChange]:
            target = before.calibrated.value if value is None else value
            if not np.isfinite(target):
                raise ParameterError(f"A limit of {target} is not allowed: give a finite number.")
            check_limit(before.calibrated, float(target), reason, confirmed)
            old, new = repr(before.inspector.limit.value), repr(float(target))
            change = ModelChange(_now(), account.name, name, before.sha256, "limit", old, new, reason)
            return before.with_limit(float(target)), change

        return self.change(name, move)

    def change(self, name: str, make: Callable[[LoadedModel], tuple[LoadedModel, ModelChange]]) -> LoadedModel:
        """Put a changed model in the place of one, and the change into the record first; ``make`` makes both of it."""
        with self.using(name), self._lock:
            after, change = make(self._loaded[name])
            self._record_change(change)
            self._loaded[name] = after
            return after

    def follow(self) -> None:
        """Do what other processes on the same record have done since: move limits, set zones, read files again.

        A limit becomes what the record says last, whatever a single change says: what is in force here may be newer. A
        change that cannot be done now is tried again the next time, after all others.

        Raises:
            PellucidError: the first reason why a change cannot be done now.
        """
        window = self._database.changes(after=self._last_change - CHANGES_LOOKED_BACK, count=MAX_CHANGES)
        failure = None
        for change in reversed(window):
            if change.id in self._done_changes:
                continue
            try:
                self._follow(change)
            except PellucidError as error:
                failure = failure or error
            else:
                self._done_changes.add(change.id)
        if failure is not None:
            raise failure
        if window:
            self._last_change = max(self._last_change, window[0].id)
            self._done_changes -= {
                done for done in self._done_changes if done <= self._last_change - CHANGES_LOOKED_BACK
            }

    def _follow(self, change: ModelChange) -> None:
        with self._lock:
            model = self._loaded.get(change.model)
            if model is None or change.id in self._done_changes:
                return
            if change.kind == "reload" and model.sha256 != change.after:
                self._loaded[change.model] = self._load(change.model)
            elif change.kind != "reload":
                self._loaded[change.model] = model.as_recorded(self._database)

    def _record_change(self, change: ModelChange) -> None:
        """Keep a change of this process; it is not to be followed."""
        self._done_changes.add(self._database.add_change(change).id)

    def _unload_others(self, name: str) -> None:
        """Let go of those that were not used for longest, until no more are loaded than may be."""
        idle = [n for n in self._loaded if n not in (name, self._pinned) and not self._in_use[n]]
        idle.sort(key=lambda n: self._used_at.get(n, 0.0))
        for other in idle[: max(0, len(self._loaded) - self.max_loaded)]:
            self._unloaded[other] = self._loaded.pop(other).sha256
            log.info("model %s was unloaded: %d stay loaded (--max-models)", other, self.max_loaded)

    def _tell_if_changed(self, name: str) -> None:
        """Keep in the record that a model is another one than before it was unloaded."""
        before, after = self._unloaded.pop(name, None), self._loaded[name].sha256
        if before not in (None, after):
            log.warning("the file of model %s has changed since it was unloaded", name)
            self._record_change(ModelChange(_now(), "service", name, after, "reload", str(before), after))

    def _load(self, name: str) -> LoadedModel:
        model = load_model(name, self._path(name), self._runtime, self._device, self._grading)
        return model.as_recorded(self._database)


def _now() -> datetime:
    return datetime.now(UTC)
