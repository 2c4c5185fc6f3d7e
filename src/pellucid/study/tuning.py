"""Which value of a hyper-parameter to take: what a detector finds with each, of flaws planted into good images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.acquisition.images import read_image
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.splits import group_numbers
from pellucid.acquisition.views import ImageSize
from pellucid.calibration import choose_limit, score_files
from pellucid.errors import ParameterError
from pellucid.fitting import choose_framing
from pellucid.held_out import fit_on
from pellucid.inspector import Inspector
from pellucid.records import Split
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.runtimes.torch import Torch
from pellucid.study.planted import fewer_than_chance, find_flaws, spread

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector


@dataclass(frozen=True)
class ValueTrial:
    """What a detector finds with one value of a hyper-parameter.

    Attributes:
        name: of the hyper-parameter.
        value: of it.
        found: whether each planted flaw is found, in the same order for every value: whether its image is rejected, and
            the map shows it.
    """

    name: str
    value: Any
    found: tuple[bool, ...]

    def __str__(self) -> str:
        value = "none" if self.value is None else self.value
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else value  # as --set takes it
        return f"{self.name}={text}: {sum(self.found)} of {len(self.found)} planted flaws found"


def compare_values(
    detector: Detector,
    name: str,
    values: Sequence[Any],
    plan: Plan,
    image_size: ImageSize = 256,
    *,
    tile: int | None = None,
    reduce: int = 1,
    false_reject: float = 0.05,
    zones: Zones = EVERYTHING,
) -> list[ValueTrial]:
    """Fit a detector with every value on half of the good images, and look for flaws planted into the other half.

    The limit of each is that of the other half's scores, so that a value which rejects more good images finds less.

    Args:
        detector: not fitted; a copy of it is fitted for each value.
        name: of the hyper-parameter.
        values: of it, those that the detector allows.
        plan: whose good images to learn from take part; none to test on does.
        image_size: N, the shorter side of what the network sees, or (height, width), in px.
        tile: side of tiles, px; 0: none; None: only for large images.
        reduce: factor that images are reduced by before they are cut into tiles.
        false_reject: promised share of good images that are rejected, in (0, 1).
        zones: where and from what size on a defect counts.

    Returns:
        A trial for each value, in their order.

    Raises:
        DataError: an image cannot be read, or there are too few for the promise.
        ParameterError: there is one good image, or a value is not allowed.
    """
    samples = plan.split.normals
    halves = [number % 2 for number in group_numbers(samples)]
    if len(set(halves)) < 2:
        raise ParameterError(f"{name} is chosen on at least two good images: one to learn from and one to judge.")
    learned, judged = (tuple(s for s, own in zip(samples, halves, strict=True) if own == half) for half in (0, 1))
    images_seen, split, trials = plan.fitted_images(), Split(learned, judged, (), ()), []
    images = [read_image(sample.path, images_seen.bits) for sample in spread(judged)]
    for value in values:
        made = type(detector)(**(detector.parameters() | {name: value})).to(detector.device)
        size, known = choose_framing(made, split, image_size, tile, reduce, images_seen)  # by how far this one looks
        fit_on(made, learned, size, known)
        runtime = Torch(made)
        held_out = score_files(runtime, judged, size, known, zones)
        limit = choose_limit(runtime, split, size, known, false_reject, held_out, leaves_out=False, method="conformal")
        model = Inspector(runtime, limit, size, known, 0, false_reject, zones=zones)
        found = find_flaws(images, [model] * len(images), (limit,))
        trials.append(ValueTrial(name, value, tuple(one for (one,) in found)))
    return trials


def choose_value(trials: Sequence[ValueTrial]) -> ValueTrial:
    """Choose the first value, unless another one finds more flaws than chance explains (a sign test): that is better.

    Args:
        trials: of the same flaws.
    """
    best = max(trials, key=lambda trial: sum(trial.found))
    return best if fewer_than_chance(best.found, trials[0].found) else trials[0]
