"""What the HTTP interface takes and answers."""

from __future__ import annotations

import math
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from pellucid.regions.zones import Zones
from pellucid.service.storage.tables import Decision, InspectionColumns, InspectionRow
from pellucid.service.training import Training
from pellucid.service.trends import Drift
from pellucid.service.updates import MAX_LEARNED, Source

ShortText = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
InspectionId = Annotated[int, Path(ge=1, le=2**31 - 1, description="of the inspection")]
AwareMoment = Annotated[AwareDatetime, BeforeValidator(lambda text: datetime.fromisoformat(text))]  # no bare numbers
ModelName = Annotated[str, Path(max_length=200, pattern=r"^[^\x00-\x1f/]+$", description="of the model")]


class Problem(BaseModel):
    """What went wrong, in one sentence; of an unforeseen error (500), with the number that it has in the log."""

    detail: str


@dataclass(frozen=True, kw_only=True)
class InspectionOut(InspectionColumns):
    """One inspection as it is kept, with the addresses of its pictures."""

    score: Annotated[  # type: ignore[assignment]
        float | None, Field(description="in the detector's own unit; null where it was not judged")
    ]
    picture: Annotated[str | None, Field(description="address of the picture; none once it has expired")]
    map: Annotated[str | None, Field(description="address of the anomaly map in colours, transparent where it is low")]
    overlay: Annotated[str | None, Field(description="address of the picture under its map, with boxes")]

    @classmethod
    def from_row(cls, row: InspectionRow) -> Self:
        """Show a row as it is answered."""
        columns: dict[str, Any] = {field.name: getattr(row, field.name) for field in fields(InspectionColumns)}
        address = f"/inspections/{row.id}/" if row.picture else None
        columns["score"] = row.score if math.isfinite(row.score) else None
        columns |= {part: address and address + part for part in ("picture", "map", "overlay")}
        return cls(**columns)


class RejectedFile(BaseModel):
    """A file of a request that could not be inspected."""

    file: str
    status: int
    error: str


class InspectionResults(BaseModel):
    """Results in the order of the files."""

    items: list[InspectionOut | RejectedFile]


class InspectionPage(BaseModel):
    """A page of inspections, the newest first."""

    items: list[InspectionOut]
    next: int | None = Field(description="give it as 'before' for the next page; none on the last one")


class DecisionIn(BaseModel):
    """What a person says; null takes an earlier decision back."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision | None
    type: ShortText | None = Field(None, description="of the defect")


class DecisionOut(BaseModel):
    """One line of an inspection's history."""

    time: datetime
    who: str
    decision: Decision | None
    type: str | None


class ModelOut(BaseModel):
    """One model of the service."""

    name: str
    detector: str | None = None
    backbone: str | None = None
    image_size: tuple[int, int] | None = None
    sha256: Annotated[str | None, Field(description="of what computes; of the file while the model is not loaded")] = (
        None
    )
    file_sha256: Annotated[
        str | None, Field(description="of what lies in the folder now; none if it cannot be used")
    ] = None
    changed: Annotated[bool, Field(description="what lies there is not what computes: read it again")] = False
    loaded: bool
    error: Annotated[str | None, Field(description="why what lies in the folder cannot be used")] = None


class ModelList(BaseModel):
    """All models of the service."""

    items: list[ModelOut]


class LimitOut(BaseModel):
    """A model's limit in force."""

    model: str
    value: float
    calibrated: float = Field(description="the limit that the model file holds")
    normals_rejected: float | None = Field(description="share of the held-out normal images above the limit in force")
    promise: str = Field(description="what the calibrated limit promises, and whether the one in force keeps it")
    changed_by: str | None
    changed_at: datetime | None


class LimitIn(BaseModel):
    """A new limit, in the score's own unit; null for the calibrated one."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    value: float | None
    reason: ShortText = ""
    confirm: bool = Field(False, description="whether it may reject all good parts, or none")


class ZonesOut(BaseModel):
    """What counts for a model: other defects reject nothing."""

    model: str
    zones: Zones = Field(description="in force")
    zones_of_file: Zones = Field(description="for which the limit was placed")
    changed_by: str | None
    changed_at: datetime | None


class ZonesIn(BaseModel):
    """What is to count; null for what the model file says."""

    model_config = ConfigDict(extra="forbid")

    zones: Zones | None
    reason: ShortText


class ReloadedModel(BaseModel):
    """A model that was read again."""

    model: str
    sha256: str
    value: float = Field(description="of its limit")


class ChangeOut(BaseModel):
    """Something that was done to a model."""

    id: int
    time: datetime
    who: str
    model: str
    model_sha256: str
    kind: str
    before: str
    after: str
    reason: str


class ChangeList(BaseModel):
    """The newest changes first."""

    items: list[ChangeOut]


class HourOut(BaseModel):
    """What was inspected within an hour."""

    hour: str = Field(description="in UTC, as 2026-11-25T14")
    inspected: int
    rejected: int


class TypeOut(BaseModel):
    """How often people named a type of defect."""

    type: str
    count: int


class TrendsOut(BaseModel):
    """How the line is doing."""

    hours: list[HourOut] = Field(description="in which there was something, the oldest first")
    drift: Drift | None = Field(description="control chart of the scores; none while too few were inspected")
    types: list[TypeOut] = Field(description="the commonest first")
    positions: list[list[int]] = Field(description="defects by where their centre lies, rows from the top")


class TrainingIn(BaseModel):
    """A training to start."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    data: ShortText = Field(description="one of data_sets of GET /trainings")
    name: ShortText = Field(description="of the folder of results; what is no letter, digit or '_' becomes '-'")
    detectors: list[ShortText] = Field(min_length=1, max_length=20)
    image_size: int = Field(256, ge=32, le=4096, description="shorter side of what the network sees, in pixels")
    false_reject: float = Field(0.05, gt=0, lt=1, description="share of good images that may be rejected")
    learn_defects: bool = Field(
        False, description="labelled training defects teach the detectors, as far as cross-validation shows a gain"
    )
    false_alarms_per_m2: float | None = Field(
        None, gt=0, description="of tiled models, promised per square metre of good glass in place of false_reject"
    )
    false_alarms_per_mpx: float | None = Field(
        None, gt=0, description="the same per million pixels, where the scale is not known"
    )
    mm_per_px: float | None = Field(None, gt=0, description="scale of the images, which false alarms per m2 need")


class UpdateIn(BaseModel):
    """Good images that a model is to learn on top."""

    model_config = ConfigDict(extra="forbid")

    source: Source = Field(
        description="latest: the images that the model inspected last, but for those that people called defective;"
        " passed: rejected and called ok or nuisance, which leave the limit as it is; data set: one of GET /trainings"
    )
    count: int = Field(8, ge=1, le=MAX_LEARNED, description="of images of the record, the newest first")
    data: ShortText = Field("", description="the data set")
    reason: ShortText = Field(description="kept with who and when")


class TrainingsOut(BaseModel):
    """The training that is running, or the last one, and what can be trained on."""

    items: list[Training]
    data_sets: list[str]


class ComparisonOut(BaseModel):
    """The results of a training: a row for each model, as in leaderboard.json."""

    name: str
    rows: list[dict[str, Any]]


class ComparisonList(BaseModel):
    """All comparisons, the newest first."""

    items: list[ComparisonOut]


class Health(BaseModel):
    """Whether the service is alive."""

    status: Literal["ok"]


class ThreadOut(BaseModel):
    """How the work of one of the service's threads goes."""

    name: str
    works: bool = Field(description="whether its work gets done now")
    last: datetime | None = Field(description="when a step was last done: a look into the watched folder, a write")
    failures: int = Field(description="since the service began")


class Ready(BaseModel):
    """Whether the service can inspect now."""

    status: Literal["ready", "not ready"]
    models: list[str] = Field(default=[], description="that are in memory; as all that follows, for accounts only")
    reasons: list[str] = Field(default=[], description="why it cannot")
    warnings: list[str] = Field(
        default=[],
        description="threads that failed lately and go on, models that cannot be used, accounts that cannot be read",
    )
    threads: list[ThreadOut] = Field(default=[])


class KeyIn(BaseModel):
    """An account's key."""

    key: str = Field(max_length=200)
