"""The language of grading rules: what a TOML file may say, and the rules that lie beside this file.

A rule sorts defects into clauses by zone, kind and size, and each clause says how many, how long or how near to one
another they may be. ``docs/grading.md`` shows one; ``pellucid.regions.grading`` judges by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pellucid._io.toml import read_toml
from pellucid.errors import ParameterError, join_names, unknown_name
from pellucid.regions.kinds import KINDS

Size = Literal["diameter", "mean", "feret", "length", "width", "halo"]
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(strict=True, gt=0, lt=50, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
LIMITS = ("unlimited", "max_count", "max_sum_mm", "min_separation_mm")


class Table(BaseModel):
    """A table of a rule; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Zone(Table):
    """A part of the pane; zones are named from the rim inwards, and the last is all that is left.

    Attributes:
        name: by which clauses call it.
        width_mm: from the zone before it, or the rim, inwards; a zone of 0 mm is the rim itself.
        width_percent: the same of the pane's width at the left and right, and of its height above and below.
        source: where that was published, by its name in ``sources``.
    """

    name: Text
    width_mm: Number | None = None
    width_percent: Percent | None = None
    source: Text


class AreaClass(Table):
    """What is allowed on panes up to some area.

    Attributes:
        up_to_m2: largest area of the class; of the last class none.
        allowed: on any pane of the class, in the limit's unit.
        per_m2: as much more for every m2 above ``above_m2``.
        above_m2: area from which these count.
        per_metre: as much more for every metre of the pane's perimeter.
        count: ``whole`` m2 or metres, ``started`` ones, or their ``exact`` number; where the source does not say it,
            what whole ones allow is allowed, and only what started ones forbid is rejected.
    """

    up_to_m2: Number | None = None
    allowed: Number = 0
    per_m2: Number = 0
    above_m2: Number = 0
    per_metre: Number = 0
    count: Literal["whole", "started", "exact"] | None = None

    def on(self, area_m2: float, perimeter_m: float) -> tuple[float, float]:
        """Return what is surely allowed on a pane, and what may be."""
        units = ((self.per_m2, max(0.0, area_m2 - self.above_m2)), (self.per_metre, perimeter_m))
        ways: dict[str, Callable[[float], float]] = {"whole": math.floor, "started": math.ceil, "exact": float}
        chosen = (self.count, self.count) if self.count else ("whole", "started")
        sure, most = (self.allowed + sum(each * ways[way](round(n, 9)) for each, n in units) for way in chosen)
        return sure, most


def _as_classes(value: Any) -> Any:
    """A plain number is one class for all panes."""
    return [{"allowed": value}] if isinstance(value, (int, float)) else value


ByArea = Annotated[tuple[AreaClass, ...], BeforeValidator(_as_classes), Field(min_length=1)]


class Clause(Table):
    """One sentence of a rule: which defects it takes, and what is allowed of them. It has exactly one limit.

    Attributes:
        name: of the clause, as a verdict prints it.
        text: the same in words, as a verdict prints it.
        source: where it was published, by its name in ``sources``.
        zones: it takes defects in these; in all by default.
        kinds: it takes defects of these kinds; of all by default.
        size: what a defect is measured by; the rule's by default.
        above_mm: it takes defects that are larger than this.
        up_to_mm: it takes defects that are at most as large as this.
        unlimited: any number is allowed.
        max_count: so many are allowed.
        within_circle_mm: so many in any circle of this diameter, which is slid over the pane.
        max_sum_mm: their sizes may add up to so much.
        min_separation_mm: each has to be at least so far from any other.
        verdict: of a broken clause; ``look``: a person has to decide.
    """

    name: Text
    text: Text
    source: Text
    zones: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    size: Size | None = None
    above_mm: Number | None = None
    up_to_mm: Number | None = None
    unlimited: Literal[True] | None = None
    max_count: ByArea | None = None
    within_circle_mm: Annotated[Number, Field(gt=0)] | None = None
    max_sum_mm: ByArea | None = None
    min_separation_mm: Annotated[Number, Field(gt=0)] | None = None
    verdict: Literal["reject", "look"] = "reject"

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in LIMITS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"clause '{self.name}' has {len(given)} limits: give one of {', '.join(LIMITS)}")
        if self.within_circle_mm is not None and self.max_count is None:
            raise ValueError(f"clause '{self.name}': within_circle_mm goes with max_count alone")
        if self.above_mm is not None and self.up_to_mm is not None and self.above_mm >= self.up_to_mm:
            raise ValueError(f"clause '{self.name}' takes nothing: above_mm is not below up_to_mm")
        for classes in filter(None, (self.max_count, self.max_sum_mm)):
            ends = [one.up_to_m2 if one.up_to_m2 is not None else math.inf for one in classes]
            if ends != sorted(set(ends)) or ends[-1] < math.inf:
                raise ValueError(f"clause '{self.name}': up_to_m2 has to rise, and the last class has none")
        return self


class Panes(Table):
    """How the allowed counts change with the panes of glass of a unit, laminated ones included.

    Attributes:
        base: panes that the clauses are written for.
        count_percent: that every count rises by for each pane more, and falls by for each less.
        round: what a count that is not whole then becomes.
        source: where that was published, by its name in ``sources``.
    """

    base: Annotated[int, Field(strict=True, ge=1)]
    count_percent: Number
    round: Literal["up", "down"]
    source: Text

    def scaled(self, count: float, panes: int) -> float:
        """Return a count that is allowed with so many panes."""
        if panes == self.base:
            return count
        exact = round(count * max(0.0, 1 + (panes - self.base) * self.count_percent / 100), 9)
        return math.ceil(exact) if self.round == "up" else math.floor(exact)


class Rules(Table):
    """A grading rule.

    Attributes:
        name: short, as verdicts print it.
        title: what it is, in full.
        notes: what it cannot judge, a sentence each.
        sources: where its numbers were published, by names that clauses, zones and panes refer to.
        size: what defects are measured by, unless a clause says otherwise: ``diameter`` of the disc of equal area,
            without halo; ``mean`` of the largest and smallest Feret diameter, that is of length and width; ``feret``,
            the largest; ``length`` along the curve; ``width``; ``halo``, the diameter of the disc as large as defect
            and halo, and 0 without a halo.
        kinds: what the rule calls the kinds that pellucid tells, as in ``line = ["scratch"]``. Where there are several,
            only a person can say which it is.
        zones: from the rim inwards; one by default, the whole pane.
        panes: how counts depend on the panes of a unit; None: the rule does not say.
        clauses: what is allowed.
    """

    name: Text
    title: Text
    notes: tuple[str, ...] = ()
    sources: dict[str, Text] = Field(min_length=1)
    size: Size
    kinds: dict[str, tuple[str, ...]] = Field(min_length=1)
    zones: tuple[Zone, ...] = ()
    panes: Panes | None = None
    clauses: tuple[Clause, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        zones = [zone.name for zone in self.zones]
        for kind in self.kinds.keys() - set(KINDS):
            yield str(unknown_name("kind", kind, KINDS))
        for names, what in ((zones, "zone"), ([clause.name for clause in self.clauses], "clause")):
            for name in {name for name in names if names.count(name) > 1}:
                yield f"there are two {what}s '{name}'"
        for number, zone in enumerate(self.zones, 1):
            widths = sum(width is not None for width in (zone.width_mm, zone.width_percent))
            if widths != (number < len(zones)):
                yield f"zone '{zone.name}': every zone but the last has width_mm or width_percent, and the last neither"
        for clause in self.clauses:
            for given, known, what in ((clause.zones, zones, "zone"), (clause.kinds, self.families, "kind")):
                for name in set(given) - set(known):
                    yield f"clause '{clause.name}': {what} '{name}' is none of {join_names(known) or 'none'}"
        named = {zone.source for zone in self.zones} | {clause.source for clause in self.clauses}
        for source in (named | ({self.panes.source} if self.panes else set())) - self.sources.keys():
            yield f"source '{source}' is none of {join_names(self.sources)}"

    @property
    def families(self) -> tuple[str, ...]:
        """The kinds of defects that the rule knows."""
        return tuple(dict.fromkeys(name for names in self.kinds.values() for name in names))

    def kinds_of(self, kind: str) -> frozenset[str]:
        """Return what the rule may call a defect, by its kind; a kind of the rule itself stays what it is."""
        if kind in self.families:
            return frozenset((kind,))
        return frozenset(self.kinds.get(kind) or self.kinds.get(kind.rpartition(" ")[2]) or ())


def shipped_names() -> list[str]:
    """Return the names of the rules that pellucid brings."""
    return sorted(file.name.removesuffix(".toml") for file in _shipped().iterdir() if file.name.endswith(".toml"))


def shipped_text(name: str) -> str:
    """Return the TOML text of a rule that pellucid brings.

    Raises:
        ParameterError: there is none of that name.
    """
    if name not in shipped_names():
        raise unknown_name("grading rule", name, shipped_names())
    return (_shipped() / f"{name}.toml").read_text("utf-8")


def read_rules(rules: str | Path) -> Rules:
    """Read a grading rule.

    Args:
        rules: the name of one that pellucid brings, or the path of a TOML file.

    Raises:
        DataError: the file cannot be read.
        ParameterError: there is no such rule, or it cannot be understood.
    """
    path = Path(rules)
    if str(rules) in shipped_names():
        path = Path(str(_shipped() / f"{rules}.toml"))
    elif path.suffix.lower() != ".toml":
        known = unknown_name("grading rule", str(rules), shipped_names())
        raise ParameterError(f"{known} A rule of your own is a file that ends in .toml.")
    values = read_toml(path)
    try:
        return Rules.model_validate(values)
    except ValidationError as error:
        raise ParameterError(f"'{path}': {first_error(error, Rules, MODELS)}") from None


def _shipped() -> Traversable:
    return resources.files(__name__)


MODELS: dict[str, type[Table]] = {
    "zones": Zone,
    "panes": Panes,
    "clauses": Clause,
    "max_count": AreaClass,
    "max_sum_mm": AreaClass,
}


def first_error(error: ValidationError, whole: type[Table], tables: Mapping[str, type[Table]]) -> str:
    """Say the first thing that is wrong with a file that people write: where, what came, and what is allowed.

    Args:
        error: what pydantic says.
        whole: model of the file.
        tables: models of the tables in it, by their keys.
    """
    first = error.errors()[0]
    *inside, last = first["loc"] or ("",)
    where = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in inside).lstrip(".")
    place = f"{where}: " if where else ""
    if first["type"] == "extra_forbidden":
        model = next((tables[part] for part in reversed(inside) if isinstance(part, str) and part in tables), whole)
        return f"{place}{unknown_name('key', str(last), model.model_fields)}"
    if first["type"] == "missing":
        return f"{place}'{last}' is missing."
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{message}."
    return f"{place}{last} = {first['input']!r} is not allowed: {message[:1].lower()}{message[1:]}."
