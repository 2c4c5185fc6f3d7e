"""What is compared: detectors, backbones, image sizes and parameters, from the command line or a TOML file.

data = "GlassDefect"                       # relative to this file
detectors = ["patchcore", "padim"]         # or a group: fast, closed-form, trained, all
backbone = ["prism_s", "resnet18"]         # one, or a list to compare; each detector's own by default
image_size = [128, 256, "192x320"]
seeds = 3

[parameters.padim]                         # for every model of the detector
n_features = 50

[grid.patchcore]                           # a model for every combination
coreset_sampling_ratio = [0.01, 0.1]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pellucid import backbones
from pellucid import detectors as catalogue
from pellucid._io.names import named_path, printable
from pellucid._io.toml import read_toml
from pellucid.acquisition.images import parse_size
from pellucid.acquisition.splits import check_confidence, check_rate
from pellucid.acquisition.tiles import check_tile
from pellucid.errors import ParameterError, unknown_name
from pellucid.limits.area import FEWEST_ASIDE, check_false_alarms, false_alarms_of
from pellucid.limits.costs import Costs
from pellucid.records.limits import FalseAlarms, LimitMethod
from pellucid.regions.scale import Scale, check_scale
from pellucid.study.choice import Prefer
from pellucid.study.groups import expand

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """One model of a sweep: a detector with its parameters at one image size.

    Attributes:
        name: of the model.
        detector: its detector's name.
        image_size: N, the shorter side of what the network sees, or "HxW", in px.
        parameters: all hyper-parameters; the seed is the trial's.
    """

    name: str
    detector: str
    image_size: int | str
    parameters: Parameters


class Sweep(BaseModel):
    """A comparison. Lists are compared; names of models carry what is a list, so that a longer list keeps them.

    Attributes:
        data: folder or CSV file of the data set.
        detectors: names, also of fusions (``a+b``) and groups; by default all that there are but those of
            :data:`pellucid.study.groups.ON_REQUEST`.
        backbone: name of the network that features come from, or a list to compare; None: each detector's own.
        weights: checkpoint files by backbone.
        image_size: N, the shorter side of what the network sees, or "HxW", in px, or a list to compare.
        tile: side of tiles, px; 0: images are seen whole; None: tiles where images are large.
        reduce: factor that images are reduced by before they are cut into tiles.
        parameters: hyper-parameters by detector.
        grid: lists of values by detector and hyper-parameter; every combination is compared.
        false_reject: promised share of good images that are rejected, in (0, 1).
        confidence: share of models that keep it, in (0, 1); None: they keep it on average.
        folds: how many calibrate detectors that cannot leave images out, at least 2; None: a fifth is held out where
            that is enough.
        false_alarms_per_m2: of tiled models, promised false alarms per square metre of good glass, in place of
            ``false_reject``; None: no such promise.
        false_alarms_per_mpx: the same per million pixels, where the scale is not known.
        mm_per_px: scale of the images, one number or along x and along y; None: it is not known.
        limit: how limits are placed: ``conformal``, ``gap`` or ``f1``.
        learn_defects: whether labelled training defects teach the detectors.
        seed: first seed of splits and detectors, at least 0.
        seeds: how many seeds to average over, at least 1.
        prefer: how equals are told apart: ``balanced``, ``accuracy``, ``speed`` or ``size``.
        max_ms: milliseconds that an image may take; None: as many as it wants.
        max_mb: megabytes that a model file may have; None: as many as it wants.
        cost_escape: what a missed defect costs, above 0.
        cost_reject: what a rejected good part costs, above 0.
        defect_rate: share of defective parts on the line, in (0, 1).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: Annotated[Path, Field(description="the path of a folder or a CSV file")]
    detectors: Annotated[list[str], Field(description="a list of names")] = []
    backbone: Annotated[str | list[str] | None, Field(description="a name or a list of names")] = None
    weights: Annotated[dict[str, Path], Field(description="a table of files by backbone")] = {}
    image_size: Annotated[int | str | list[int | str], Field(description="N or HxW, or a list of such sizes")] = 256
    tile: Annotated[int | None, Field(description="a multiple of 64 from 256 to 4096, or 0")] = None
    reduce: Annotated[int, Field(description="a whole number from 1 to 16")] = 1
    parameters: Annotated[dict[str, Parameters], Field(description="a table of values by detector")] = {}
    grid: Annotated[
        dict[str, dict[str, list[Any]]], Field(description="a table of lists by detector and parameter")
    ] = {}
    false_reject: Annotated[float, Field(description="a number between 0 and 1")] = 0.05
    confidence: Annotated[float | None, Field(description="a number between 0 and 1")] = None
    false_alarms_per_m2: Annotated[float | None, Field(description="a number above 0")] = None
    false_alarms_per_mpx: Annotated[float | None, Field(description="a number above 0")] = None
    mm_per_px: Annotated[Scale | None, Field(description="a number above 0, or two")] = None
    folds: Annotated[int | None, Field(ge=2, description="a whole number of at least 2")] = None
    limit: Annotated[LimitMethod, Field(description="conformal, gap or f1")] = "conformal"
    learn_defects: Annotated[bool, Field(description="true or false")] = False
    seed: Annotated[int, Field(ge=0, description="a whole number of at least 0")] = 0
    seeds: Annotated[int, Field(ge=1, description="a whole number of at least 1")] = 1
    prefer: Annotated[Prefer, Field(description="balanced, accuracy, speed or size")] = "balanced"
    max_ms: Annotated[float | None, Field(ge=0, description="a number of at least 0")] = None
    max_mb: Annotated[float | None, Field(ge=0, description="a number of at least 0")] = None
    cost_escape: Annotated[float, Field(description="a number above 0")] = 100.0
    cost_reject: Annotated[float, Field(description="a number above 0")] = 1.0
    defect_rate: Annotated[float, Field(description="a number between 0 and 1")] = 0.01

    @classmethod
    def from_file(cls, data: Path, given: Mapping[str, Any]) -> Self:
        """Read a sweep from a TOML file, or make one of a data set.

        Args:
            data: a data set, or a TOML file that names one.
            given: keys of a sweep, which win over what the file says; None is not given.

        Raises:
            DataError: the file is no TOML.
            ParameterError: an unknown key, detector, backbone or parameter, or a value that is not allowed.
        """
        values: dict[str, Any] = {"data": data}
        where = ""
        if data.suffix.lower() == ".toml":
            values, where = _read(data), f"'{data}': "
        values |= {k: v for k, v in given.items() if v is not None}
        try:
            made = cls.model_validate(values)
        except ValidationError as error:
            raise ParameterError(where + _first_error(error, values)) from None
        for candidate in made.candidates().values():
            catalogue.create(candidate.detector, **candidate.parameters)  # refuses values that are not allowed
        made.costs()
        check_tile(made.tile, made.reduce)
        check_rate(made.false_reject)
        check_confidence(made.confidence)
        check_scale(made.mm_per_px)
        check_false_alarms(made.false_alarms(), made.mm_per_px is not None, made.limit)
        return made

    def to_toml(self) -> str:
        """Return the text of a file that :meth:`from_file` reads again."""
        known = self.model_dump(mode="json", exclude_none=True)
        known["data"] = printable(str(self.data.resolve()))
        known["weights"] = {name: str(path.resolve()) for name, path in self.weights.items()}
        return tomli_w.dumps(known)

    def false_alarms(self) -> FalseAlarms | None:
        """Return the rate by area that is promised; None: the promise is by images.

        Raises:
            ParameterError: it is given by m2 and by megapixel.
        """
        return false_alarms_of(self.false_alarms_per_m2, self.false_alarms_per_mpx)

    @property
    def split_rate(self) -> float:
        """Rate by images that says how many good images are held out; where area counts, one is enough."""
        return self.false_reject if self.false_alarms() is None else FEWEST_ASIDE

    def costs(self) -> Costs:
        """Return what wrong decisions cost."""
        return Costs(self.cost_escape, self.cost_reject, self.defect_rate)

    def candidates(self) -> dict[str, Candidate]:
        """Return every model by name.

        Raises:
            ParameterError: an unknown detector, backbone or parameter, or a value of another kind than its default.
        """
        for table in (self.parameters, self.grid):
            for detector in table:
                catalogue.describe(detector)
        for backbone in self.weights:
            backbones.entry(backbone)
        chosen = {one.name: one for name in expand(self.detectors) for one in self._candidates_of(name)}
        if not chosen:
            raise ParameterError("There is nothing to compare: one of the lists is empty.")
        return chosen

    def _candidates_of(self, detector: str) -> Iterator[Candidate]:
        grid = self.grid.get(detector, {})
        axes = _axis(self.backbone), _axis(self.image_size), product(*grid.values())
        for backbone, size, values in product(*axes):
            varied = dict(zip(grid, values, strict=True))
            parts = [detector]
            parts += [backbone.replace("/", "_")] if isinstance(self.backbone, list) else []
            parts += [str(size)] if isinstance(self.image_size, list) else []
            parts += [f"{key}={_plain(value)}" for key, value in varied.items()]
            weights = self.weights.get(backbone or catalogue.describe(detector).defaults["backbone"])
            own = self.parameters.get(detector, {}) | varied
            parameters = catalogue.complete(detector, own, backbone, weights)
            parse_size(size)  # refuses what is not allowed
            yield Candidate("-".join(parts), detector, size, parameters)


def _axis(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _plain(value: Any) -> str:
    """Return a value as it stands in the name of a folder."""
    text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(c if c.isalnum() or c in "._+" else "_" for c in text)


def _read(path: Path) -> dict[str, Any]:
    """Read a sweep file; its relative paths count from where it lies."""
    values = read_toml(path)
    if isinstance(values.get("data"), str):
        values["data"] = named_path(str(path.parent / values["data"]))
    if isinstance(values.get("weights"), dict):
        values["weights"] = {name: path.parent / str(file) for name, file in values["weights"].items()}
    return values


def _first_error(error: ValidationError, values: Mapping[str, Any]) -> str:
    """Say the first thing that is wrong: the key, what came, and what is allowed."""
    first = error.errors()[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return str(unknown_name("key", key, Sweep.model_fields))
    if first["type"] == "missing":
        return f"'{key}' is missing."
    return f"{key} = {values[key]!r} is not allowed: it has to be {Sweep.model_fields[key].description}."
