"""Several detectors as one: the geometric mean of what they say, each by how much it differs between good parts.

The logarithm of a score, or of a value of a map, is standardised by its mean and deviation over good images that were
not fitted on, and these are added up: what several detectors find a little unusual is more so than what one does. The
sum is brought back to the unit of a ratio, which changes no order: 1 is what good parts typically have. See
``docs/decisions/0051-fusion.md``.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from pellucid.backbones import create, rebuild
from pellucid.backbones._extractor import Backbone
from pellucid.detectors._base import Detector, Images
from pellucid.detectors._fused_names import fused_defaults, fused_layers, parameters_of
from pellucid.detectors._renamed import earlier_parameters
from pellucid.detectors._spill import DiskTensor
from pellucid.detectors._tiles import Reach
from pellucid.detectors._training import held_out_images
from pellucid.errors import ParameterError, WeightsError
from pellucid.records import ScoreOf

MIN_SHARE = 1e-3  # of the mean, which values count as at least: a logarithm has no lower end
MIN_DEVIATION = 0.01  # of logarithms: not zero where there is but one image
OF_ALL_PARTS = ("size_", "margin_")  # of a state
Found = Iterable[tuple[Tensor, Tensor]]  # maps (B, H, W) and scores (B,)

_described: ContextVar[tuple[Tensor, list[Tensor]] | None] = ContextVar("_described", default=None)  # of this thread


class Fusion(Detector):
    """Several detectors as one; :func:`fusion_class` makes the class of some of them.

    The parts share one backbone, one run of which serves all that is scored. Each is fitted as it would be alone, those
    that are trained from another random start. Good images that a part has not learned from standardise it: each one
    left out where it can do so, otherwise those that its training holds out.
    """

    classes: ClassVar[Mapping[str, type[Detector]]]  # of the parts, by their names
    fused: ClassVar[tuple[str, ...]]  # those names
    standards_: Tensor  # of every part's scores and maps, (2, parts, 4): see :class:`Standard`
    _parts: dict[str, Detector]

    def __init__(self, **parameters: Any) -> None:
        chosen = {**self.defaults(), **parameters}
        vars(self).update(chosen)
        if "layers" not in parameters:
            self.layers = fused_layers(self.fused, chosen)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the hyper-parameters by name."""
        signatures = {name: inspect.signature(part).parameters for name, part in cls.classes.items()}
        return fused_defaults({name: {k: v.default for k, v in own.items()} for name, own in signatures.items()})

    def __repr__(self) -> str:
        default = fused_layers(self.fused, self.parameters())
        given = {name: tuple(v) if isinstance(v, list) else v for name, v in self.parameters().items()}
        known = self.defaults() | {"layers": default}
        changed = (f"{name}={value!r}" for name, value in given.items() if value != known[name])
        return f"{type(self).__name__}({', '.join(changed)})"

    def parameters(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in self.defaults()}

    @property
    def score_of(self) -> ScoreOf:  # type: ignore[override]
        """That of the parts, where it is the same for all."""
        followed = {part.score_of for part in self._made().values()}
        return followed.pop() if len(followed) == 1 else "top"

    @property
    def reach(self) -> Reach:  # type: ignore[override]
        """That of the part that looks farthest, in the coarsest cells of any."""
        return Reach(*(max(px) for px in zip(*(part.reach for part in self._made().values()), strict=True)))

    @property
    def leaves_out(self) -> bool:
        return all(part.leaves_out for part in self._made().values())

    def check_updates(self) -> None:
        for part in self._made().values():
            part.check_updates()
        super().check_updates()

    def _made(self) -> dict[str, Detector]:
        """Return the parts, not fitted where this is not."""
        return vars(self).get("_parts") or {
            name: part(**parameters_of(name, self.parameters())) for name, part in self.classes.items()
        }

    def _check_parameters(self) -> None:
        for part in self._made().values():
            part._check_parameters()
        if set(self.layers) != set(fused_layers(self.fused, self.parameters())):
            raise ParameterError(
                f"layers={self.layers} is not allowed: a fusion has those of its parts, as in {self.fused[0]}.layers."
            )

    def _build(self, height: int, width: int) -> None:
        vars(self).pop("_parts", None)
        parts = self._made()
        for part in parts.values():
            part.size_, part.margin_, part.tile, part._device = self.size_, self.margin_, self.tile, self._device
            part.backbone_ = cast(Backbone, PartBackbone(self.backbone_, tuple(part.layers)))
            torch.manual_seed(self.seed)
            part._build(height, width)
        self._parts = parts

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        count = sum(len(pixels) for pixels in images)
        standards = []
        for name, part in self._parts.items():
            torch.manual_seed(self.seed)
            own = checkpoint and checkpoint.with_name(f"{checkpoint.stem}-{name}{checkpoint.suffix}")
            with SpilledFound(_fit_and_score(part, images, own, count)) as found:
                standards.append(found.standards())
            part._prepare_scoring()
        self._keep(standards)

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Fit and leave out part by part; standards are those of every image left out alone, as in a fit."""
        with ExitStack() as stack:
            standards, found = [], []
            for part in self._parts.values():
                alone = SpilledFound(_finished(part, part._fit_leaving_out(images, [*range(len(groups))])))
                if len(set(groups)) == len(groups):
                    found.append(stack.enter_context(alone))
                    standards.append(alone.standards())
                else:
                    with alone:
                        standards.append(alone.standards())
                    left_out = _finished(part, part._fit_leaving_out(images, groups))
                    found.append(stack.enter_context(SpilledFound(left_out)))
                part._prepare_scoring()
            self._keep(standards)
            yield from self._fuse_spilled(found)

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Update part by part; the standards stay."""
        self._parts = {name: copy.copy(part) for name, part in self._parts.items()}
        with ExitStack() as stack:
            found = []
            for part in self._parts.values():
                left_out = _finished(part, part._update_leaving_out(images, groups))
                found.append(stack.enter_context(SpilledFound(left_out)))
                part._prepare_scoring()
            yield from self._fuse_spilled(found)

    def _keep(self, standards: Sequence[tuple[Standard, Standard]]) -> None:
        self.standards_ = torch.tensor(standards, dtype=torch.float32).transpose(0, 1).contiguous().to(self.device)

    def _fuse_spilled(self, found: Sequence[SpilledFound]) -> Iterator[tuple[Tensor, Tensor]]:
        for k in range(len(found[0].scores)):
            maps = [one.maps[k : k + 1].view(1, *self.tile.inner_size(0)) for one in found]
            scores = [one.scores[k : k + 1] for one in found]
            yield self._fuse(maps, scores)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with describing(pixels, self.backbone_(pixels)):
            found = [part.tile.finish(*part._score(pixels)) for part in self._parts.values()]
        return self._fuse([maps for maps, _ in found], [scores for _, scores in found])

    def _fuse(self, maps: Sequence[Tensor], scores: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Fuse what the parts say, maps (B, H, W) and scores (B,) of each."""
        of_scores, of_maps = self.standards_
        return geometric_mean(maps, of_maps.to(maps[0])), geometric_mean(scores, of_scores.to(scores[0]))

    # --- what is learned lies in the parts ----------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        out = super().state()
        for name, part in self._parts.items():
            out |= {f"{name}.{key}": tensor for key, tensor in part.state().items() if key not in OF_ALL_PARTS}
        return out

    def load_state(self, state: dict[str, Tensor], *, backbone: Backbone | None = None) -> Self:
        try:
            self._see_as(state)
            self.standards_ = state["standards_"]
            self.backbone_ = backbone or create(self.backbone, layers=self.layers, pretrained=False)
            self.backbone_.load_state_dict(_below("backbone_", state))
            self._build(*(int(side) for side in self.size_))
            for name, tensor in state.items():
                if name.startswith("head_"):
                    setattr(self, name, tensor)
            self._move_networks()
            for name, part in self._parts.items():
                shared = {key: state[key] for key in OF_ALL_PARTS if key in state}
                part.load_state(_below(name, state) | shared, backbone=part.backbone_)
        except (KeyError, RuntimeError, WeightsError):
            raise WeightsError(f"This state is not that of a {type(self).__name__} with these parameters.") from None
        self._move()
        return self

    def _move(self) -> None:
        super()._move()
        for part in self._parts.values():
            part._device = self._device
            part._move()

    def _move_networks(self) -> None:
        super()._move_networks()
        for part in self._parts.values():
            part._device = self._device
            part._move_networks()


class PartBackbone:
    """What a part of a fusion takes for its backbone: its layers of the one that all share.

    Args:
        whole: the shared one.
        layers: of the part, in its order.
    """

    def __init__(self, whole: Backbone, layers: tuple[str, ...]) -> None:
        self.whole, self.layers = whole, layers

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        known = _described.get()
        return self._pick(known[1] if known is not None and known[0] is pixels else self.whole(pixels))

    def shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        return self._pick(self.whole.shapes(height, width))

    def student(self) -> nn.Module:
        return self._alone().student()

    @cached_property
    def _last(self) -> str:
        return self._alone()._last

    def fold(self) -> None:
        """Do nothing: the shared one is folded."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def _alone(self) -> Backbone:
        """Return one of the part's layers only, without weights."""
        return rebuild(self.whole.config, layers=self.layers, name=self.whole.name)

    def _pick(self, of_whole: Sequence[Any]) -> list[Any]:
        by_layer = dict(zip(self.whole.layers, of_whole, strict=True))
        return [by_layer[layer] for layer in self.layers]


@contextmanager
def describing(pixels: Tensor, maps: list[Tensor]) -> Iterator[None]:
    """Let every :class:`PartBackbone` answer with these maps when it is asked for these pixels."""
    token = _described.set((pixels, maps))
    try:
        yield
    finally:
        _described.reset(token)


class Standard(NamedTuple):
    """How the logarithms of a part's values, over good images, are standardised.

    Attributes:
        offset: taken off the values first; 0 but where there are values below zero.
        floor: that the values count as at least.
        mean: of the logarithms.
        deviation: of the same.
    """

    offset: float
    floor: float
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[Tensor] | _Maps) -> Standard:
        """Estimate it from tensors of values, which are read twice, one after the other."""
        count = sum(v.numel() for v in values)
        lowest = min(float(v.min()) for v in values)
        offset = min(0.0, 2 * lowest)
        floor = max(MIN_SHARE * (sum(float(v.double().sum()) for v in values) / count - offset), 1e-12)
        total = squares = 0.0
        for v in values:
            y = (v.double() - offset).clamp_min(floor).log()
            total, squares = total + float(y.sum()), squares + float(y.square().sum())
        mean = total / count
        return cls(offset, floor, mean, max(max(squares / count - mean**2, 0.0) ** 0.5, MIN_DEVIATION))


def geometric_mean(values: Sequence[Tensor], standards: Tensor) -> Tensor:
    """Average logarithms of the parts' values, each divided by its deviation, and return to the unit of a ratio.

    Args:
        values: of each part, all of one shape.
        standards: (parts, 4), see :class:`Standard`.

    Returns:
        1 for what is typical of good images, of the values' shape; the order is that of the sum of standardised
        logarithms.
    """
    offset, floor, mean, deviation = standards.unbind(1)
    weight = deviation.reciprocal() / deviation.reciprocal().sum()
    parts = [weight[k] * (torch.maximum(v - offset[k], floor[k]).log() - mean[k]) for k, v in enumerate(values)]
    return torch.stack(parts).sum(0).exp()


class SpilledFound(AbstractContextManager["SpilledFound"]):
    """Maps and scores of many images: the maps lie in a temporary file.

    Args:
        found: maps and scores by batch; read to its end.
    """

    def __init__(self, found: Found) -> None:
        scores = []
        with ExitStack() as file:
            self.maps = file.enter_context(DiskTensor(torch.device("cpu")))
            for maps, some in found:
                self.maps.append(maps.flatten(1))
                scores.append(some.float().cpu())
            self._file = file.pop_all()
        self.scores = torch.cat(scores)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def standards(self) -> tuple[Standard, Standard]:
        """Return how scores and maps are standardised."""
        return Standard.of([self.scores]), Standard.of(_Maps(self.maps))


class _Maps:
    """Spilled maps, one after the other, as often as they are asked for."""

    def __init__(self, rows: DiskTensor) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Tensor]:
        return (self._rows[k : k + 1] for k in range(len(self._rows)))


def _finished(part: Detector, found: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Maps and scores of a part as it gives them out: of tiles their interior."""
    return (part.tile.finish(maps, scores) for maps, scores in found)


def _fit_and_score(
    part: Detector, images: Images, checkpoint: Path | None, count: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Fit a part, and score good images that it has not learned from."""
    if part.leaves_out:
        yield from _finished(part, part._fit_leaving_out(images, [*range(count)]))
        return
    part._fit(images, checkpoint)
    part._prepare_scoring()
    for pixels in held_out_images(images):
        with torch.inference_mode():
            found = part.tile.finish(*part._score(pixels.to(part.device)))
        yield found


def _below(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in state.items() if key.startswith(f"{name}.")}


@cache
def fusion_class(parts: tuple[tuple[str, type[Detector]], ...]) -> type[Fusion]:
    """Make the class of a fusion of parts, name and class of each."""
    classes = dict(parts)
    renamed = {
        f"{name}.{old}": (f"{name}.{new}", values)
        for name, cls in classes.items()
        for old, (new, values) in cls._renamed.items()
    }
    earlier = {
        f"{name}.{key}": value for name, cls in classes.items() for key, value in earlier_parameters(cls).items()
    }
    summary = f"Geometric mean of what {' and '.join(classes)} say, as one detector."
    return type(
        "".join(cls.__name__ for cls in classes.values()),
        (Fusion,),
        {
            "classes": classes,
            "fused": tuple(classes),
            "_renamed": renamed,
            "_earlier": earlier,
            "__doc__": summary,
            "__module__": __name__,
        },
    )
