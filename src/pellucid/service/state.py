"""All parts of a running service in one value, for the routes and the pages that work with them."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.errors import PellucidError
from pellucid.service.access.logins import Logins
from pellucid.service.decisions_export import ExportLease
from pellucid.service.loading import ModelLoader
from pellucid.service.metrics import Metrics
from pellucid.service.queue import InspectionQueue
from pellucid.service.registry import ModelRegistry
from pellucid.service.settings import Settings
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database
from pellucid.service.supervise import Supervisor
from pellucid.service.training import TrainingRunner
from pellucid.service.watch import FolderWatcher


@dataclass(frozen=True)
class Service:
    """Holds all parts of a running service."""

    settings: Settings
    logins: Logins
    supervisor: Supervisor
    metrics: Metrics
    database: Database
    pictures: PictureStore
    registry: ModelRegistry
    queue: InspectionQueue
    trainings: TrainingRunner
    exports: ExportLease
    loader: ModelLoader
    watcher: FolderWatcher | None

    def unready_reasons(self) -> list[str]:
        """Tell why an image would not be inspected now; nothing if it would."""
        reasons = []
        if self.queue.closing:
            reasons.append("The service is stopping.")
        if (reason := self.loader.unready_reason()) is not None:
            reasons.append(reason)
        try:
            self.database.check()
        except PellucidError as error:
            reasons.append(str(error))
        if self.watcher is not None:
            reasons += self.watcher.status().unready_reasons()
        return reasons + self.supervisor.reasons()

    def warnings(self) -> list[str]:
        """Tell what a person should look at though images are inspected."""
        found = [*self.supervisor.warnings(), *self.loader.problems, *self.logins.accounts.warnings()]
        return found + ([] if self.watcher is None else self.watcher.status().warnings())
