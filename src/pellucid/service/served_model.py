"""One model of the service: what is known of it, and what inspects."""

from __future__ import annotations

import logging
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
from pellucid.records import Inspection
from pellucid.records.limits import Limit
from pellucid.regions.grading import Grading
from pellucid.regions.rules import read_rules
from pellucid.regions.zones import Zones
from pellucid.runtimes import Name
from pellucid.service.model_folder import read_any_header
from pellucid.service.storage.record import Database

log = logging.getLogger("pellucid.service")


@dataclass(frozen=True)
class KnownModel:
    """What is known of a model, whether it is loaded or not."""

    name: str
    path: Path
    sha256: str
    header: Header
    calibrated: Limit  # that the file holds
    limit: Limit  # in force
    zones: Zones  # in force
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
            self.name,
            self.path,
            self.sha256,
            self.header,
            self.calibrated,
            inspector.limit,
            inspector.zones,
            inspector.runtime.name,
        )

    def with_limit(self, value: float) -> LoadedModel:
        """Return the same model with another limit."""
        limit = replace(self.calibrated, value=value)
        return replace(self, inspector=replace(self.inspector, limit=limit))

    def with_zones(self, zones: Zones) -> LoadedModel:
        """Return the same model with other zones."""
        return replace(self, inspector=replace(self.inspector, zones=zones))

    def as_recorded(self, database: Database) -> LoadedModel:
        """Return the same model with the limit and the zones that the record says last."""
        limit, zones = in_force(database, self.name, self.sha256, self.calibrated, self.header.zones)
        return self.with_limit(limit.value).with_zones(zones)


def in_force(
    database: Database, name: str, sha256: str, calibrated: Limit, zones_of_file: Zones
) -> tuple[Limit, Zones]:
    """Read the limit and the zones of a model that are in force: as they were last set, or else those of its file.

    Args:
        database: where changes are kept.
        name: of the model.
        sha256: of its file; a change of another file's does not count.
        calibrated: the limit that the file holds.
        zones_of_file: the zones that it holds.
    """
    moved, drawn = (database.last_change(name, sha256, kind) for kind in ("limit", "zones"))
    limit = calibrated if moved is None else replace(calibrated, value=float(moved.after))
    return limit, zones_of_file if drawn is None else Zones.model_validate_json(drawn.after)


def load_model(
    name: str, path: Path, runtime: Name | Literal["auto"], device: str, grading: Grading | None = None
) -> LoadedModel:
    """Read a model and find out whether it can inspect, so that the first part does not wait.

    Args:
        name: that it is asked for by.
        path: its file, or the folder of an exported model.
        runtime: what computes; an exported model has its own.
        device: where torch computes; an exported model does on the CPU.
        grading: by which it grades, unless a rule of its own lies beside it.

    Raises:
        ModelFileError: it cannot be used, or its rule cannot.
    """
    header, digest = read_any_header(path)
    inspector = load(path, runtime, device=device) if path.is_file() else load(path)
    throughput = inspector.runtime.for_throughput()
    inspector = replace(inspector, runtime=throughput, grading=_grading_of(name, path, header, grading))
    slots = threading.Semaphore(throughput.parallel_requests)
    model = LoadedModel(name, path, digest, header, inspector, inspector.limit, slots)
    try:
        model.inspect(DecodedImage(np.full((64, 64, 3), 0.5, np.float32)))
    except (PellucidError, RuntimeError) as error:
        raise ModelFileError(f"The model in '{path}' loads but cannot inspect: {error}") from None
    return model


def rules_file(path: Path) -> Path:
    """Return where the rule of a model's own lies: ``NAME.rules.toml`` beside ``NAME.pellucid``."""
    return path.with_name(f"{path.name.removesuffix('.pellucid')}.rules.toml")


def _grading_of(name: str, path: Path, header: Header, grading: Grading | None) -> Grading | None:
    """What a model grades by; the rule of all models needs a scale, and passes those without one over."""
    own = rules_file(path)
    has_scale = header.measuring.mm_per_px is not None
    if not own.exists():
        if grading is not None and not has_scale:
            log.warning("model %s has no scale and does not grade: fit it with --mm-per-px", name)
        return grading if has_scale else None
    if not has_scale:
        raise ModelFileError(f"'{own}' is to grade by, and the model '{name}' has no scale: fit it with --mm-per-px.")
    try:
        return Grading(read_rules(own), plan=None if grading is None else grading.plan)
    except PellucidError as error:
        raise ModelFileError(f"The model '{name}' cannot grade: {error}") from None
