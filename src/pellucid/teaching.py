"""From labelled defects to a detector that knows them: learn, cross-validate, and add what is gained.

``docs/decisions/0034-labelled-defects-as-teachers.md`` says why it is done in this way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid._io.progress import track
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.splits import group_numbers
from pellucid.calibration import SeenImages, held_out_scores, score_views, see_images
from pellucid.detectors._base import Detector
from pellucid.detectors._feature_cache import FeatureCache
from pellucid.detectors._known_defects import Head, Moments, embed, fisher_direction, project
from pellucid.detectors._spill import DiskTensor
from pellucid.detectors._taught import WEIGHTS, CrossValidation
from pellucid.errors import ParameterError
from pellucid.labelled_defects import Choices, Lesson, marked_views
from pellucid.records import Sample
from pellucid.regions.zones import Zones
from pellucid.runtimes.scoring import Map
from pellucid.runtimes.torch import Torch

QUIET_SHARE = 0.5  # of good images that what is learned adds nothing to
COVERED_SHARE = 0.5  # of a cell that is defective, from which on it is learned from as defective
TOP_SHARE = 0.005  # of a view's cells, the highest of the map, that stand for a defect whose place is not known
MARGIN = 5  # cells, from a defective one to either side: in their features, its neighbours see it, too
MAX_CELLS = 1024  # of a view of a good image that are learned from: neighbours are nearly the same again
Found = tuple[float, Map]  # score and map of a view


class Normals(NamedTuple):
    """Good images as the network sees them, and a fold for each: heads without that fold have not learned from it.

    Attributes:
        samples: the images.
        seen: their views.
        folds: of each sample; -1: it is learned from by all heads, or by none.
    """

    samples: Sequence[Sample]
    seen: SeenImages
    folds: Sequence[int]


def teach(
    detector: Detector,
    found: Iterator[Found],
    judged: Normals,
    learned: Normals,
    defects: Sequence[Sample],
    fitted_images: FittedImages,
    zones: Zones,
    seed: int,
) -> Lesson:
    """Let labelled defects teach a detector, as far as that helps.

    Args:
        detector: fitted when ``found`` is read to its end.
        found: score and map of every view of ``judged``, by detectors that have not seen it.
        judged: good images that place the limit.
        learned: good images that heads learn from; may be the same.
        defects: labelled training defects.
        fitted_images: what the model remembers.
        zones: what counts.
        seed: of the folds of defects.

    Raises:
        DataError: an image cannot be read.
        ParameterError: the detector's scoring does not send a batch through its backbone once.
    """
    with ExitStack() as stack:
        alone = stack.enter_context(_SpilledScores(found, judged.seen))
        _check_can_be_taught(detector)
        stack.enter_context(torch.no_grad())
        size = judged.seen.batches.size
        shown = see_images(defects, size, fitted_images, range(len(defects)), Torch(detector).batch_size)
        own = stack.enter_context(_SpilledScores(score_views(detector, shown), shown))
        stack.enter_context(detector.extracting(len(judged.seen.images) + len(learned.seen.images)))
        parts = [judged.seen, shown] + [learned.seen] * (learned.seen is not judged.seen)
        caches = [stack.enter_context(FeatureCache(s.batches, detector.backbone_, detector.device)) for s in parts]
        choices = Choices.of(defects, seed)
        good = _good_moments(learned, caches[-1] if learned.seen is not judged.seen else caches[0])
        lessons = _lessons(defects, shown, caches[1], own, fitted_images)
        directions = _directions(good, lessons, choices)
        folds = [judged.folds[k] for k in judged.seen.images]
        normals = _Views(judged.seen, alone, caches[0], [directions[fold] for fold in folds])
        labelled = _Views(shown, own, caches[1], [directions[-1]] * len(shown.images))
        scale = _Scale.of(normals)
        cross_validation = CrossValidation(
            _scores(normals, scale),
            np.array(group_numbers(judged.samples)),
            _scores(labelled, scale, lessons),
            np.array(group_numbers(defects)),
            choices.known,
            choices.unknown,
        )
        taught = cross_validation.choose(WEIGHTS, Counter(choices.types), sum(one.outlined for one in lessons))
        fused = _fuse(normals, scale, taught.weight, [0] * len(folds))
        held_out = held_out_scores(normals.seen, fused, fitted_images, detector.score_of, zones)
        fused = _fuse(labelled, scale, taught.weight, [int(choices.known[k]) for k in shown.images])
        of_defects = held_out_scores(shown, fused, fitted_images, detector.score_of)
        if taught.weight:
            detector.teach(scale.head(directions[-1], taught.weight))
    return Lesson(taught, tuple(one.score for one in of_defects), held_out)


def _check_can_be_taught(detector: Detector) -> None:
    if not detector.can_be_taught:
        raise ParameterError(
            f"{type(detector).__name__} cannot learn from defects: its scoring does not send an image through its"
            " backbone once. Leave --learn-defects out."
        )


class _SpilledScores(AbstractContextManager["_SpilledScores"]):
    """Score and map of every view, in a temporary file: index it by the view's number, as often as need be."""

    def __init__(self, found: Iterator[Found], seen: SeenImages) -> None:
        self._size, self._rows = seen.batches.size, DiskTensor(torch.device("cpu"))
        with ExitStack() as file:
            file.enter_context(self._rows)
            for score, anomaly_map in found:
                self._rows.append(torch.cat([torch.tensor([score]), torch.from_numpy(anomaly_map).flatten()])[None])
            self._file = file.pop_all()

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getitem__(self, view: int) -> tuple[Tensor, Tensor]:
        """Return the score () and the map (H, W)."""
        row = self._rows[view : view + 1][0]
        return row[0], row[1:].view(self._size)


class _Lesson(NamedTuple):
    """What one labelled defect shows.

    Attributes:
        defective: features of the defect.
        good: of what is good beside it; None where nobody knows.
        places: (V, H, W) of its views, true at the defect and near it; everywhere where nobody knows where it is.
        outlined: whether somebody does.
    """

    defective: Moments
    good: Moments | None
    places: Tensor
    outlined: bool


def _good_moments(learned: Normals, features: FeatureCache) -> dict[int, Moments]:
    """Sum up the features of good images by fold."""
    good: dict[int, Moments] = {}
    for view, image in enumerate(track(learned.seen.images, "learning from good images")):
        cells = embed(features[torch.tensor([view])])[0]  # (D, h, w)
        step = max(1, round((cells[0].numel() / MAX_CELLS) ** 0.5))
        moments = Moments.of(cells[:, ::step, ::step].flatten(1).T)
        fold = learned.folds[image]
        good[fold] = good[fold] + moments if fold in good else moments
    return good


def _lessons(
    defects: Sequence[Sample],
    shown: SeenImages,
    features: FeatureCache,
    own: _SpilledScores,
    fitted_images: FittedImages,
) -> list[_Lesson]:
    """Sum up the features of each labelled defect; each defect counts one, however large it is."""
    lessons = []
    for image, views in groupby(range(len(shown.images)), shown.images.__getitem__):
        numbers = list(views)
        cells = torch.stack([embed(features[torch.tensor([view])])[0] for view in numbers])  # (V, D, h, w)
        grid = (cells.shape[2], cells.shape[3])
        marked = marked_views(defects[image], shown, fitted_images)
        places = torch.ones(len(numbers), *shown.batches.size, dtype=torch.bool)
        if marked is None:
            highest = F.adaptive_avg_pool2d(torch.stack([own[view][1] for view in numbers])[:, None], grid)[:, 0]
            least = highest.flatten().sort(descending=True).values[round(TOP_SHARE * highest.numel())]
            defective, good = highest >= least, None
        else:
            covered = F.adaptive_avg_pool2d(marked[:, None], grid)[:, 0]
            defective = (covered > 0) & (covered >= min(COVERED_SHARE, float(covered.max())))
            near = (F.max_pool2d(covered[:, None], MARGIN, 1, MARGIN // 2) > 0).float()
            good, places = near[:, 0] == 0, F.interpolate(near, size=shown.batches.size)[:, 0] > 0
        rows = cells.permute(0, 2, 3, 1).cpu()
        count = int(defective.sum())
        beside = None if good is None or not good.any() else Moments.of(rows[good])
        lessons.append(_Lesson(Moments.of(rows[defective], 1 / count), beside, places, marked is not None))
    return lessons


def _directions(good: Mapping[int, Moments], lessons: Sequence[_Lesson], choices: Choices) -> dict[int, Tensor]:
    """Find the directions (D, C) of all choices, without each fold of good images; under -1 with all of them.

    What is good beside the defects counts as much as all good images: else what tells the day on which the defects were
    photographed from that of the good images would be taken for a defect.
    """
    everything = _sum(list(good.values()))
    found = {}
    without = {fold: everything - own for fold, own in good.items() if fold >= 0}
    for fold, rest in {-1: everything, **without}.items():
        columns = []
        for choice in range(len(choices.left_out)):
            kept = [lessons[k] for k in choices.kept(choice)]
            beside = [lesson.good for lesson in kept if lesson.good is not None]
            alike = [rest.normalised(), *([_sum(beside).normalised()] if beside else [])]
            columns.append(fisher_direction(_sum(alike), _sum([lesson.defective for lesson in kept])))
        found[fold] = torch.stack(columns, 1).float()
    return found


def _sum(moments: Sequence[Moments]) -> Moments:
    total = moments[0]
    for one in moments[1:]:
        total = total + one
    return total


@dataclass(frozen=True, eq=False)
class _Views:
    """Views with what a detector alone says of each, and the directions (D, C) of heads that have not seen it."""

    seen: SeenImages
    alone: _SpilledScores
    features: FeatureCache
    directions: Sequence[Tensor]

    def maps(self, view: int) -> list[Tensor]:
        """Return the backbone's maps (1, C, h, w)."""
        return self.features[torch.tensor([view])]

    def along(self, view: int) -> Tensor:
        """Return how far a view lies along its directions, (C, H, W)."""
        return project(self.maps(view), self.directions[view], self.seen.batches.size)[0].cpu()

    def by_image(self, values: Tensor) -> Tensor:
        """Take the highest value of every image's views: (V, ...) to (N, ...)."""
        images = torch.tensor(self.seen.images)
        highest = values.new_full((int(images.max()) + 1, *values.shape[1:]), -torch.inf)
        index = images.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
        return highest.scatter_reduce(0, index, values, "amax")


@dataclass(frozen=True, eq=False)
class _Scale:
    """How heads and a detector are brought together.

    Attributes:
        threshold: along every direction, (C,), that :data:`QUIET_SHARE` of good images stay below.
        unit: (C,) of the map's unit for one of each direction: what spreads good images' peaks on one over the other.
        gain: of the score, for one unit of the map.
    """

    threshold: Tensor
    unit: Tensor
    gain: Tensor

    @classmethod
    def of(cls, normals: _Views) -> _Scale:
        """Measure it on good images that neither have seen."""
        views = range(len(normals.seen.images))
        along = [normals.along(view).flatten(1).amax(1) for view in track(views, "scoring good images")]
        alone = [
            torch.stack([score, anomaly_map.max()]) for score, anomaly_map in map(normals.alone.__getitem__, views)
        ]
        peaks, own = normals.by_image(torch.stack(along)), normals.by_image(torch.stack(alone))  # (N, C), (N, 2)
        score_spread, map_spread = own.std(0)
        spread = peaks.std(0).clamp_min(torch.finfo(torch.float32).tiny)
        gain = score_spread / map_spread if map_spread > 0 else torch.ones(())
        return cls(peaks.quantile(QUIET_SHARE, 0), map_spread / spread, gain)

    def head(self, directions: Tensor, weight: float, choice: int = 0) -> Head:
        """Return what one of the directions (D, C) adds to a detector."""
        unit = weight * self.unit[choice]
        return Head(directions[:, choice] * unit, self.threshold[choice] * unit, self.gain)


def _scores(views: _Views, scale: _Scale, lessons: Sequence[_Lesson] = ()) -> NDArray[np.float64]:
    """Score images with every choice of defects and every weight, 0 first: (N, C, 1 + W).

    What is added to a labelled defect counts at its place alone: elsewhere it is no merit.
    """
    places = [place for lesson in lessons for place in lesson.places]
    scores = []
    for view in track(range(len(views.seen.images)), "cross-validating"):
        score, anomaly_map = views.alone[view]
        more = (views.along(view) - scale.threshold[:, None, None]).clamp_min(0) * scale.unit[:, None, None]
        more = more * places[view] if places else more
        peaks = torch.stack([(anomaly_map + weight * more).flatten(1).amax(1) for weight in WEIGHTS], 1)  # (C, W)
        raised = score + scale.gain * (peaks - anomaly_map.max())
        scores.append(torch.cat([score.expand(len(raised), 1), raised], 1))
    return views.by_image(torch.stack(scores)).double().numpy()


def _fuse(views: _Views, scale: _Scale, weight: float, choices: Sequence[int]) -> Iterator[Found]:
    """Yield score and map of every view as the taught detector would give them, had it not learned from that view."""
    for view in range(len(views.seen.images)):
        score, anomaly_map = views.alone[view]
        if weight:
            head = scale.head(views.directions[view], weight, choices[view])
            maps, scores = head.fuse(anomaly_map[None], score[None], [m.cpu() for m in views.maps(view)])
            score, anomaly_map = scores[0], maps[0]
        yield float(score), anomaly_map.numpy()
