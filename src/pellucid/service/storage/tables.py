"""The rows that a service keeps, and the tables that they are kept in.

A row's dataclass is the only place where its columns are spelled: the SQL table, the answer of the HTTP interface
(:class:`pellucid.service.api.schemas.InspectionOut`) and the queries derive from it. The migrations keep columns of
their own, because history must not change; a test compares both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

from pydantic import Field
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    and_,
    literal_column,
    or_,
)
from sqlalchemy.types import TypeEngine
from typing_extensions import TypedDict, is_typeddict

from pellucid.records import IgnoreReason, Verdict
from pellucid.records.grades import GradeVerdict

NEAR_CALL_P_VALUE = 0.1  # up to which an accepted part is a near call
ChangeKind = Literal["limit", "reload", "zones", "update"]
Decision = Literal["ok", "defect", "nuisance"]


class Utc(TypeDecorator[datetime]):
    """A moment; databases that keep no zone are given UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Give the database a moment in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Take a moment without a zone for UTC."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


@dataclass(frozen=True)
class ColumnOptions:
    """What a column has beside its type."""

    index: bool | None = None
    unique: bool | None = None
    length: int | None = None  # of a text


Indexed = ColumnOptions(index=True)
Sha256 = ColumnOptions(length=64)


Millimetres = Annotated[float | None, Field(description="null where the scale is not known")]


class StoredDefect(TypedDict):
    """One flaw, in pixels of the image; what was not measured is null, and absent in records of an earlier pellucid."""

    box: Annotated[tuple[int, int, int, int], Field(description="x, y, width, height")]
    area_px: int
    peak: Annotated[float, Field(description="highest value of the map inside")]
    centroid: Annotated[tuple[float, float], Field(description="x, y")]
    kind: NotRequired[Annotated[str, Field(description="line, point, area or ring, after bright or dark")]]
    outline: NotRequired[
        Annotated[list[list[tuple[int, int]]], Field(description="closed polygons of x, y; holes have their own")]
    ]
    length_px: NotRequired[Annotated[float | None, Field(description="along its skeleton")]]
    width_px: NotRequired[Annotated[float | None, Field(description="where it is widest")]]
    width_mean_px: NotRequired[float | None]
    diameter_px: NotRequired[Annotated[float | None, Field(description="of the disc of equal area")]]
    feret_max_px: NotRequired[float | None]
    feret_min_px: NotRequired[float | None]
    rectangle: NotRequired[
        Annotated[
            tuple[float, float, float, float, float] | None,
            Field(description="smallest enclosing: x and y of its centre, longer side, shorter side, degrees"),
        ]
    ]
    border_px: NotRequired[Annotated[int | None, Field(description="from its box to the border of the image")]]
    contrast: NotRequired[Annotated[float | None, Field(description="share of the light around it; below 0: darker")]]
    sharpness: NotRequired[
        Annotated[float | None, Field(description="share of the contrast that an edge rises by a px")]
    ]
    core_px: NotRequired[Annotated[int | None, Field(description="area of at least half of its contrast")]]
    halo_px: NotRequired[Annotated[int | None, Field(description="area around it that still deviates")]]
    area_mm2: NotRequired[Millimetres]
    length_mm: NotRequired[Millimetres]
    width_mm: NotRequired[Millimetres]
    width_mean_mm: NotRequired[Millimetres]
    diameter_mm: NotRequired[Millimetres]
    feret_max_mm: NotRequired[Millimetres]
    feret_min_mm: NotRequired[Millimetres]
    border_mm: NotRequired[Millimetres]
    uncertainty_mm: NotRequired[Annotated[float | None, Field(description="of lengths and widths, in 19 of 20 cases")]]
    area_uncertainty_mm2: NotRequired[float | None]
    centre_mm: NotRequired[Annotated[tuple[float, float] | None, Field(description="through a scale file; else null")]]
    box_mm: NotRequired[tuple[float, float, float, float] | None]


class StoredIgnored(StoredDefect):
    """One that does not count."""

    reason: Annotated[IgnoreReason, Field(description="lies in a region that is ignored, near the border, or is small")]


class StoredSheet(TypedDict):
    """The pane that an image shows, from border to border."""

    width_mm: float
    height_mm: float
    mm_per_px: Annotated[tuple[float, float], Field(description="along x and along y")]
    outline: Annotated[
        Literal["image", "map"], Field(description="what outlined its defects; the map's are at most so large")
    ]


class StoredClause(TypedDict):
    """A clause of a rule that is broken, or may be."""

    clause: str
    text: str
    source: str
    verdict: Literal["look", "reject"]
    found: float | None
    limit: float | None
    unit: Literal["defects", "mm"]
    defects: Annotated[list[int], Field(description="numbers of defects, from 0")]
    pane: Annotated[str, Field(description="of a cut plan; empty where the image is one pane")]


class StoredPane(TypedDict):
    """What a rule says of one pane of a cut plan."""

    pane: str
    verdict: GradeVerdict
    defects: list[int]
    corners_mm: list[tuple[float, float]]
    area_m2: float


class StoredGrade(TypedDict):
    """What a grading rule says; the detector's verdict stands beside it."""

    rules: str
    verdict: Annotated[GradeVerdict, Field(description="look: a person has to")]
    broken: list[StoredClause]
    panes: Annotated[int | None, Field(description="of glass that the unit has, where the rule counts them")]
    by_pane: list[StoredPane]
    cut_away: Annotated[list[int], Field(description="numbers of defects that lie on no pane")]


@dataclass(frozen=True, kw_only=True)
class InspectionColumns:
    """One inspection: the columns that are shown to everybody."""

    id: int = 0  # the database gives one
    time: datetime
    file: str  # name as it was sent
    part_id: str
    model: str
    model_sha256: Annotated[str, Sha256]
    runtime: str
    milliseconds: float  # from a free slot to the verdict
    score: float
    limit: float
    p_value: float
    verdict: Verdict
    width: int
    height: int
    defects: list[StoredDefect]
    ignored: list[StoredIgnored] = field(default_factory=list)
    reason: str = ""  # why it was rejected without being judged; its score is infinite then
    warnings: list[str] = field(default_factory=list)  # what is odd about the image
    sheet: StoredSheet | None = None  # in mm; none where the scale is not known
    grade: StoredGrade | None = None  # none where no rule graded it
    source: str  # "http", "page" or "watch"
    account: str
    decision: Decision | None = None  # of a person
    type: str | None = None  # of the defect, as that person named it
    decided_by: str | None = None
    decided_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class InspectionRow(InspectionColumns):
    """One inspection as it is kept."""

    pixel_limit: float
    good_level: float = 0.0  # map value that pixels of good parts usually have: the scale of colours begins there
    key: Annotated[str | None, ColumnOptions(unique=True)] = None  # a sender repeats it to get the same answer again
    request_sha256: Annotated[str | None, Sha256] = None  # what was sent under the key: contents, model and parts
    picture: str | None = None  # path below the folder of pictures; none once it has expired
    map: str | None = None
    map_low: float = 0.0  # map value of the file's 0
    map_high: float = 0.0  # map value of the file's 65535


@dataclass(frozen=True)
class ModelChange:
    """Something that was done to a model."""

    time: datetime
    who: str
    model: Annotated[str, Indexed]
    model_sha256: Annotated[str, Sha256]
    kind: Annotated[ChangeKind, ColumnOptions(length=0)]
    before: str
    after: str
    reason: str = ""
    id: int = 0


def _sql_type(annotation: Any, length: int | None) -> TypeEngine[Any]:
    """Choose the column type of an annotation; a literal is as long as its longest word, unless a length is given."""
    if get_origin(annotation) is Literal:
        longest = max(len(word) for word in get_args(annotation))
        return String(longest if length is None else length or None)
    if get_origin(annotation) is list or is_typeddict(annotation):
        return JSON(none_as_null=True)
    kinds: dict[Any, TypeEngine[Any]] = {str: String(length), int: Integer(), float: Double(), datetime: Utc()}
    return kinds[annotation]


def _columns(row_type: type) -> list[Column[Any]]:
    """Derive the columns of a row's dataclass."""
    columns = []
    for name, hint in get_type_hints(row_type, include_extras=True).items():
        annotation, options = hint, ColumnOptions()
        if get_origin(hint) is Annotated:
            annotation, options = get_args(hint)[0], get_args(hint)[1]
        parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        nullable = NoneType in parts
        kind = _sql_type(next(part for part in parts if part is not NoneType), options.length)
        if name == "id":
            columns.append(Column(name, kind, primary_key=True))
        else:
            columns.append(Column(name, kind, nullable=nullable, index=options.index, unique=options.unique))
    return columns


metadata = MetaData()
inspections = Table("inspections", metadata, *_columns(InspectionRow))
changes = Table("changes", metadata, *_columns(ModelChange))  # append-only
decisions = Table(  # append-only: what each decision was changed to
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("inspection_id", Integer, ForeignKey("inspections.id"), nullable=False, index=True),
    Column("time", Utc, nullable=False),
    Column("who", String, nullable=False),
    Column("decision", String(8)),
    Column("type", String),
)
hours = (
    Table(  # how many were inspected in each hour: counted with every row, because a million takes a second to count
        "hours",
        metadata,
        Column("model", String, primary_key=True),
        Column("hour", String(13), primary_key=True),  # in UTC, as 2026-11-25T14
        Column("inspected", Integer, nullable=False),
        Column("rejected", Integer, nullable=False),
    )
)

# What a query asks of a partial index has to be spelled as in the index, with its values.
IS_DECIDED = inspections.c.decision.is_not(None)
NEAR_OR_REJECT = or_(
    inspections.c.verdict == literal_column("'reject'"),
    inspections.c.p_value <= literal_column(str(NEAR_CALL_P_VALUE)),
)


def _index(name: str, *columns: str, where: ColumnElement[bool] | None = None) -> None:
    """Make an index for a query of the record; most list the newest ids first."""
    on = [inspections.c[column] for column in columns]
    Index(f"ix_inspections_{name}", *on, sqlite_where=where, postgresql_where=where)


_index("part", "part_id", "id")
_index("verdict", "verdict", "id")
_index("model", "model", "id")
_index("model_verdict", "model", "verdict", "id")
_index("sha256", "model_sha256", "id")
_index("time", "time", "id")
_index("verdict_time", "verdict", "time", "id")
_index("model_time", "model", "time", "verdict", "id")
_index("decided", "id", where=IS_DECIDED)
_index("decision", "decision", "id", where=IS_DECIDED)
_index("verdict_decision", "verdict", "decision", "id", where=IS_DECIDED)
_index("model_decided", "model", "id", where=IS_DECIDED)
_index("sha256_decided", "model_sha256", "id", where=IS_DECIDED)
_index("undecided", "id", where=and_(inspections.c.decision.is_(None), NEAR_OR_REJECT))
_index("type", "type", where=inspections.c.type.is_not(None))
_index("pictures", "verdict", "time", where=inspections.c.picture.is_not(None))

watched_files = Table(  # states of a watched folder's files that were dealt with
    "watched_files", metadata, Column("digest", BigInteger, primary_key=True, autoincrement=False)
)
INSPECTION_COLUMNS = [inspections.c[column.name] for column in fields(InspectionRow)]
CHANGE_COLUMNS = [changes.c[column.name] for column in fields(ModelChange)]
