"""The models that are loaded before anybody asks for one, and what in their folder cannot be used."""

from __future__ import annotations

import logging
import threading
from functools import partial

from pellucid.errors import PellucidError
from pellucid.service.newest import newest_model
from pellucid.service.registry import ModelRegistry
from pellucid.service.supervise import Supervisor, Worker

log = logging.getLogger("pellucid.service")
LOOK_PERIOD_S = 10.0  # between looks into the folder


class ModelLoader:
    """Loads the models that lie in the folder itself and the newest comparison's choice; others wait for a need.

    While none can be loaded it tries again, so that the service becomes ready once there is one.

    Args:
        registry: that loads.
        supervisor: that the thread runs under.

    Attributes:
        loaded: set once the models that were there at the start have been tried.
        problems: what cannot be used, as of the last look; a sentence each.
    """

    def __init__(self, registry: ModelRegistry, supervisor: Supervisor) -> None:
        self._registry, self._supervisor = registry, supervisor
        self._worker = Worker(supervisor, "load", self._look)
        self._failed: dict[str, str] = {}  # why a model could not be loaded, by name
        self.loaded = threading.Event()
        self.problems: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def close(self) -> None:
        """Look no more."""
        self._worker.close()

    def unready_reason(self) -> str | None:
        """Tell why no model is there to inspect with; None if one is."""
        if not self.loaded.is_set():
            return "Models are being loaded."
        if not self._registry.paths():
            return f"There are no models in '{self._registry.folder}'."
        if not self._registry.loaded() and self._failed:
            return f"No model can be loaded: {next(iter(self._failed.values()))}"
        return None

    def _look(self) -> float:
        try:
            names = self._names()
            self._failed = {name: reason for name, reason in self._failed.items() if name in names}
            for name in names:
                self._supervisor.attempt("load", partial(self._load, name))
        finally:
            self.loaded.set()
        self.problems = [*self._failed.values(), *self._registry.problems(but=self._failed)]
        return LOOK_PERIOD_S

    def _names(self) -> list[str]:
        """List what to load now: everything at the start, later one, unless there is one."""
        first = newest_model(self._registry)
        if self.loaded.is_set():
            return [] if first is None or self._registry.loaded() else [first]
        paths = self._registry.paths()
        in_folder = [name for name, path in paths.items() if path.parent == self._registry.folder]
        return list(dict.fromkeys([*([first] if first else []), *in_folder]))[: self._registry.max_loaded]

    def _load(self, name: str) -> None:
        try:
            self._registry.get(name)
        except PellucidError as error:  # this model's trouble, not the thread's
            if self._failed.get(name) != str(error):
                log.warning("model %s is not loaded: %s", name, error)
            self._failed[name] = str(error)
        else:
            self._failed.pop(name, None)
            log.info("model %s is ready", name)
