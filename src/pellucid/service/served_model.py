"""One model of the service: what is known of it, and what inspects."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pellucid.acquisition.images import DecodedImage
from pellucid.errors import ModelFileError, PellucidError
from pellucid.inspector import Inspector
from pellucid.models.file import Header
from pellucid.models.load import load
from pellucid.records import Inspection, Limit
from pellucid.runtimes import Name
from pellucid.service.model_folder import read_any_header


@dataclass(frozen=True)
class KnownModel:
    """What is known of a model, whether it is loaded or not."""

    name: str
    path: Path
    sha256: str
    header: Header
    calibrated: Limit  # that the file holds
    limit: Limit  # in force
    runtime: str | None  # that it is loaded into


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

    def inspect(self, image: DecodedImage) -> Inspection:
        """Inspect an image as soon as a slot is free."""
        with self.slots:
            return self.inspector.inspect(image)

    def known(self) -> KnownModel:
        """Tell what is known of it."""
        inspector = self.inspector
        return KnownModel(
            self.name, self.path, self.sha256, self.header, self.calibrated, inspector.limit, inspector.runtime.name
        )

    def with_limit(self, value: float) -> LoadedModel:
        """Return the same model with another limit."""
        limit = replace(self.calibrated, value=value)
        return replace(self, inspector=replace(self.inspector, limit=limit))


def load_model(name: str, path: Path, runtime: Name | Literal["auto"], device: str) -> LoadedModel:
    """Read a model and find out whether it can inspect, so that the first part does not wait.

    Args:
        name: that it is asked for by.
        path: its file, or the folder of an exported model.
        runtime: what computes; an exported model has its own.
        device: where torch computes; an exported model does on the CPU.

    Raises:
        ModelFileError: it cannot be used.
    """
    header, digest = read_any_header(path)
    inspector = load(path, runtime, device=device) if path.is_file() else load(path)
    throughput = inspector.runtime.for_throughput()
    inspector = replace(inspector, runtime=throughput)
    slots = threading.Semaphore(throughput.parallel_requests)
    model = LoadedModel(name, path, digest, header, inspector, inspector.limit, slots)
    try:
        model.inspect(DecodedImage(np.full((64, 64, 3), 0.5, np.float32)))
    except (PellucidError, RuntimeError) as error:
        raise ModelFileError(f"The model in '{path}' loads but cannot inspect: {error}") from None
    return model
