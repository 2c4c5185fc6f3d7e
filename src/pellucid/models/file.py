"""One safe file per model: safetensors with a JSON header, no pickle, every byte under one SHA-256.

The format's version is ``VERSION``. To change the format, or what a detector's tensors and parameters are called: raise
it, keep reading the old one (:func:`upgrade_header`, :func:`upgrade_tensors`), and add a file of the old version to the
tests.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, ValidationInfo, field_validator

from pellucid._io.files import check_writable, write_bytes
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.gate import Gate
from pellucid.detectors._taught import Taught
from pellucid.errors import ModelFileError, OutputError
from pellucid.models.format1 import Tensors, recognise_backbone
from pellucid.records import ScoreOf
from pellucid.records.gates import GateReport
from pellucid.records.limits import AreaUnit, Limit, PlacedBy
from pellucid.regions.defects import Measuring
from pellucid.regions.zones import EVERYTHING, Zones

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.acquisition.images import Size
    from pellucid.detectors._base import Detector

VERSION = 6
GATE_PREFIX = "gate."  # of tensors that are no detector's
_DIGEST = re.compile(rb'sha256\\": \\"([0-9a-f]{64})\\"')
_NO_DIGEST = "0" * 64
_START_BYTES = 1_000_000  # of a file, that tell whether it is a model
_RENAMED_TENSORS = {"usual_": "baseline_mean_", "spread_": "baseline_scale_"}  # since version 1


class LimitHeader(BaseModel):
    """The limit as stored; see :class:`pellucid.records.Limit`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: FiniteFloat
    pixel: FiniteFloat
    false_reject_rate: FiniteFloat
    scores: tuple[FiniteFloat, ...]
    method: PlacedBy | Literal["gap"]
    weights: tuple[FiniteFloat, ...] = ()
    pixel_median: FiniteFloat | None = None
    left_out: bool = False
    folds: int | None = None
    confidence: float | None = None
    moved_from: FiniteFloat | None = None
    moved_method: PlacedBy | None = None
    cost_ratio: FiniteFloat | None = None
    lot_images: int | None = None
    taught: bool = False
    alarm_rate: FiniteFloat | None = None
    alarm_unit: AreaUnit | None = None
    normal_area: FiniteFloat | None = None


class Ancestor(BaseModel):
    """A model that this one was updated from, and what the update did to it.

    Attributes:
        date: of the update, as in 2026-11-27.
        model_sha256: of its file.
        learned: what was learned on top: images of a new ``lot``, or ``false alarms`` that people passed.
        images: how many of them.
        data_sha256: over their contents.
        limit: before the update.
        updated_limit: after it.
        planted: how many flaws were planted into these images, to find out whether it still finds them.
        found: how many of them it found before, at the limit that it would have had without learning.
        updated_found: how many after.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: str
    model_sha256: str
    learned: Literal["lot", "false alarms"]
    images: int
    data_sha256: str
    limit: FiniteFloat
    updated_limit: FiniteFloat
    planted: int
    found: int
    updated_found: int


class Preprocessing(BaseModel):
    """What becomes of an image before the network, apart from the size that it is brought to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resize: str = "area-linear"  # areas are averaged where a side shrinks, values interpolated where none does
    colour: str = "rgb"
    value_range: tuple[float, float] = (0.0, 1.0)

    @field_validator("resize", "colour", "value_range")
    @classmethod
    def _known(cls, value: Any, info: ValidationInfo) -> Any:
        known = cls.model_fields[str(info.field_name)].default
        if value != known:
            raise ValueError(f"this pellucid knows only {known!r}, not {value!r}; install a newer one")
        return value


class Header(BaseModel):
    """Everything about a model that is not a tensor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[6] = 6
    detector: str
    parameters: dict[str, Any]
    backbone: str  # its weights with their version; without one they were a file's
    backbone_config: dict[str, Any]  # rebuilds its network; empty in what was exported under format version 1
    preprocessing: Preprocessing
    image_size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]
    limit: LimitHeader
    fitted_images: FittedImages
    seed: int
    false_reject: float
    measuring: Measuring = Measuring()
    versions: dict[str, str]
    zones: Zones = EVERYTHING
    score_of: ScoreOf = "peak"
    ancestry: tuple[Ancestor, ...] = ()  # the oldest first
    taught: Taught | None = None
    gate: GateReport | None = None  # what it loses and saves; the gate itself is among the tensors


def header_of(
    detector: Detector,
    limit: Limit,
    *,
    image_size: Size,
    fitted_images: FittedImages,
    seed: int,
    false_reject: float,
    measuring: Measuring,
    zones: Zones = EVERYTHING,
    ancestry: tuple[Ancestor, ...] = (),
    taught: Taught | None = None,
    gate: GateReport | None = None,
) -> Header:
    """Describe a fitted detector, its limit, how its defects are measured, what labelled ones taught it, and its gate.

    Raises:
        ParameterError: the detector has no name, see :func:`pellucid.detectors.name_of`.
    """
    from pellucid import detectors

    name = detectors.name_of(detector)
    brought_by = detectors.describe(name).distribution
    return Header(
        detector=name,
        parameters=detector.parameters() | {"weights": None},
        backbone=detector.backbone_.name,
        backbone_config=detector.backbone_.config,
        preprocessing=Preprocessing(),
        image_size=image_size,
        limit=LimitHeader(**asdict(limit)),
        fitted_images=fitted_images,
        seed=seed,
        false_reject=false_reject,
        measuring=measuring,
        versions={
            "pellucid": distribution_version("pellucid"),
            "torch": distribution_version("torch"),
            "python": platform.python_version(),
            brought_by: distribution_version(brought_by),
        },
        zones=zones,
        score_of=detector.score_of,
        ancestry=ancestry,
        taught=taught,
        gate=gate,
    )


def distribution_version(distribution: str) -> str:
    """Return the version of an installed distribution, or ``unknown``."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def check_model_writable(path: Path) -> None:
    """Find out before hours of work whether a model can be written here later; nothing but a model is ever replaced.

    Raises:
        OutputError: something else is there, or the place cannot be written to.
    """
    check_writable(path)
    if path.exists() and not (path.is_file() and _begins_like_a_model(path)):
        raise OutputError(f"'{path}' is there and is not a pellucid model: give another file, or move that away.")


def _begins_like_a_model(path: Path) -> bool:
    """Whether it may be a model, of any version, also a damaged one; an empty file is nobody's."""
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except OSError as error:
        raise OutputError(f"Cannot read '{path}': {error.strerror or error}.") from None
    return not start or (start[8:9] == b"{" and b'"pellucid"' in start)


def write_model(path: Path, header: Header, tensors: dict[str, Tensor]) -> None:
    """Write a model; the same model gives the same bytes.

    Raises:
        OutputError: the place cannot be written to.
    """
    from safetensors.torch import save

    text = json.dumps({"sha256": _NO_DIGEST, **header.model_dump(mode="json")}, sort_keys=False)
    content = save({k: v.contiguous() for k, v in tensors.items()}, {"pellucid": text})
    digest = hashlib.sha256(content).hexdigest()
    write_bytes(path, content.replace(_NO_DIGEST.encode(), digest.encode(), 1))


def read_model(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Read a model file.

    Raises:
        ModelFileError: missing, truncated, foreign, written by a newer pellucid, or changed since it was written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    header, _, content = _read(path)
    try:
        return header, upgrade_tensors(load(content))
    except SafetensorError:
        raise ModelFileError(f"'{path}' is not a pellucid model.") from None


def gate_tensors(gate: Gate) -> dict[str, Tensor]:
    """Return a gate as tensors beside those of the detector."""
    import torch

    return {f"{GATE_PREFIX}{name}": torch.from_numpy(np.array(values)) for name, values in gate.state().items()}


def gate_of(tensors: Mapping[str, Tensor]) -> Gate | None:
    """Return the gate that is among a model's tensors; None where there is none."""
    state = {name.removeprefix(GATE_PREFIX): t.numpy() for name, t in tensors.items() if name.startswith(GATE_PREFIX)}
    return Gate.from_state(state) if state else None


def read_header(path: Path) -> tuple[Header, str]:
    """Read the header of a model file and the SHA-256 of the whole, without torch.

    Raises:
        ModelFileError: as for :func:`read_model`.
    """
    header, digest, _ = _read(path)
    return header, digest


def _read(path: Path) -> tuple[Header, str, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"Cannot read model '{path}': {error.strerror or error}.") from None
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not content[8:9] == b"{" or length > 100_000_000:
        raise ModelFileError(f"'{path}' is not a pellucid model.")
    head = content[8 : 8 + length]
    match = _DIGEST.search(head)
    if b'"pellucid"' not in head or match is None:
        kind = "truncated" if len(content) < 8 + length else "not a pellucid model"
        raise ModelFileError(f"'{path}' is {kind}.")
    digest = hashlib.sha256(content[: (start := 8 + match.start(1))])
    digest.update(_NO_DIGEST.encode())
    digest.update(memoryview(content)[start + 64 :])
    if digest.hexdigest().encode() != match.group(1):
        raise ModelFileError(f"'{path}' is truncated or was changed since it was written: its checksum does not agree.")
    try:
        tensors = json.loads(head)
        metadata = json.loads(tensors.pop("__metadata__")["pellucid"])
        metadata.pop("sha256")
        version = metadata.get("format_version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelFileError(f"'{path}' is not a pellucid model.") from None
    if isinstance(version, int) and version > VERSION:
        raise ModelFileError(
            f"'{path}' has format version {version}; this pellucid reads up to {VERSION}: install a newer one."
        )
    try:
        header = Header.model_validate(upgrade_header(metadata, tensors, memoryview(content)[8 + length :]))
        return header, digest.hexdigest(), content
    except ValidationError as error:
        raise ModelFileError(
            f"'{path}' has a header that cannot be understood: {first_validation_error(error)}."
        ) from None


def upgrade_header(values: Any, tensors: Tensors | None = None, data: memoryview | None = None) -> Any:
    """Bring a header, as an earlier version wrote it, to this one's form.

    Args:
        values: the header, as JSON has it.
        tensors: what the file says of its tensors, by name; None for an exported model, which has none.
        data: the tensors' bytes.
    """
    if isinstance(values, dict) and values.get("format_version") == 1:
        values = _upgrade_from_1(values, tensors, data)
    if isinstance(values, dict) and values.get("format_version") == 2:
        kept = {name: value for name, value in values.items() if name != "data_sha256"}
        fitted_images = {"data_sha256": values.get("data_sha256")}
        values = kept | {"format_version": 3, "fitted_images": fitted_images}
    if isinstance(values, dict) and values.get("format_version") in (3, 4, 5):  # what they lack has a default
        values = values | {"format_version": 6}
    return values


def _upgrade_from_1(values: dict[str, Any], tensors: Tensors | None, data: memoryview | None) -> dict[str, Any]:
    parameters = dict(values.get("parameters", {}))
    if values.get("detector") == "stfpm" and "distance" in parameters:
        parameters["combine"] = {"l2": "product", "cosine": "mean"}.get(parameters.pop("distance"))
    backbone = str(values.get("backbone"))
    config: dict[str, Any] = {}
    if tensors is not None and data is not None:
        backbone, config = recognise_backbone(backbone, tensors, data)
    kept = {name: value for name, value in values.items() if name != "backbone_sha256"}
    return kept | {
        "format_version": 2,
        "parameters": parameters,
        "backbone": backbone,
        "backbone_config": config,
        "preprocessing": {},
    }


def upgrade_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring a detector's tensors, as an earlier version named them, to this one's names."""
    return {_RENAMED_TENSORS.get(name, name): tensor for name, tensor in tensors.items()}


def first_validation_error(error: ValidationError) -> str:
    """Say the first thing that is wrong with a header: where, and what; the whole has no place."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
