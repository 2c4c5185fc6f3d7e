"""From labelled defects to networks that know them, for detectors that can learn from them by themselves.

Whether that helps is judged as for all others (``docs/decisions/0034-labelled-defects-as-teachers.md``): by detectors
that have learned from no defect of the fold, or of the type, that they are asked about. How far to go is a weight, too:
networks are mixed, tensor by tensor, with what they were before they saw a defect (Wortsman et al., "Robust fine-tuning
of zero-shot models", CVPR 2022). At 0 they are what they were, and on the way to 1 they keep more of what they knew of
types that nobody has labelled than any of them knows alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import Size
from pellucid.acquisition.splits import group_numbers
from pellucid.calibration import HeldOutScore, score_files, see_images
from pellucid.detectors._base import Detector
from pellucid.detectors._learns_defects import LearnsDefects
from pellucid.detectors._taught import CrossValidation, Values
from pellucid.labelled_defects import Choices, Lesson, marked_views
from pellucid.records import Sample
from pellucid.regions.zones import Zones
from pellucid.runtimes.torch import Torch

UNKNOWN = -1.0  # of a pixel of a defect whose place nobody knows
MIXED_WEIGHTS = (0.25, 0.5, 1.0)  # of the network that has learned from defects
State = dict[str, Tensor]


class Part(NamedTuple):
    """A detector that was fitted on good images.

    Attributes:
        detector: it can learn from defects.
        learned: good images that it has learned from.
        judged: good images that it has not seen, and that place the limit; none where other parts do.
    """

    detector: Detector
    learned: Sequence[Sample]
    judged: Sequence[Sample]


class View(NamedTuple):
    """How images are seen.

    Attributes:
        size: height and width that the network takes.
        fitted_images: what the model remembers.
    """

    size: Size
    fitted_images: FittedImages


def teach_networks(
    detector: Detector,
    parts: Iterable[Part],
    judged: Sequence[Sample],
    defects: Sequence[Sample],
    view: View,
    zones: Zones,
    seed: int,
) -> Lesson:
    """Let labelled defects teach a detector, as far as that helps.

    Args:
        detector: that of the last part, which is the one that is taught in the end.
        parts: detectors on good images; each learns from the defects, and is judged, by itself.
        judged: good images of all parts, in the order in which the limit wants them.
        defects: labelled training defects.
        view: how images are seen.
        zones: what counts on the good images that place the limit.
        seed: of the folds of defects.

    Raises:
        DataError: an image cannot be read.
        ParameterError: a training diverged.
    """
    choices = Choices.of(defects, seed)
    students, columns = [], 1 + len(MIXED_WEIGHTS)
    of_normals = np.empty((len(judged), len(choices.left_out), columns))
    for part in parts:
        student = _Student(part, view)
        students.append(student)
        rows = [k for k, sample in enumerate(judged) if sample in student.judged]
        asked = range(len(defects)) if part.detector is detector else ()
        of_normals[rows], of_defects = _cross_validate(student, [judged[k] for k in rows], defects, asked, choices)
    cross_validation = CrossValidation(
        of_normals,
        np.array(group_numbers(judged)),
        of_defects,
        np.array(group_numbers(defects)),
        choices.known,
        choices.unknown,
    )
    outlined = sum(_is_outlined(defect, view) for defect in defects)
    taught = cross_validation.choose(MIXED_WEIGHTS, Counter(choices.types), outlined)
    held_out: dict[Sample, HeldOutScore] = {}
    for student in students:
        held_out |= student.score_judged(taught.weight, zones)
    if taught.weight:
        detector.load_state(students[-1].mixed(taught.weight), backbone=detector.backbone_)
    column = (0.0, *MIXED_WEIGHTS).index(taught.weight)
    scores = of_defects[np.arange(len(defects)), choices.known, column]
    return Lesson(taught, tuple(scores.tolist()), [held_out[sample] for sample in judged])


def _cross_validate(
    student: _Student, normals: Sequence[Sample], defects: Sequence[Sample], asked: Sequence[int], choices: Choices
) -> tuple[Values, Values]:
    """Score good images and defects by weight, 0 first, after every choice of defects: (N, C, 1 + W), (M, C, 1 + W).

    Of the defects those that are asked about, after the choices that leave them out; the others are not a number.
    """
    weights = (0.0, *MIXED_WEIGHTS)
    of_normals, of_defects = (
        np.full((len(samples), len(choices.left_out), len(weights)), np.nan) for samples in (normals, defects)
    )
    for choice in track(range(len(choices.left_out))[::-1], "learning from defects"):  # all of them at last: to keep
        student.learn([defects[k] for k in choices.kept(choice)])
        own = [k for k in asked if choices.asks(choice, k)]
        for column, weight in enumerate(weights):
            of_normals[:, choice, column] = student.scores(weight, normals)
            of_defects[own, choice, column] = student.scores(weight, [defects[k] for k in own])
    return of_normals, of_defects


class _Student:
    """A detector before and after it has learned from defects, and all that lies between.

    Attributes:
        judged: good images that it has not seen, and that place the limit.
    """

    def __init__(self, part: Part, view: View) -> None:
        self.judged = dict.fromkeys(part.judged)  # in order, and quick to look into
        self._part, self._view, self._before = part, view, part.detector.state()
        self._after = self._before
        self._alone: dict[Sample, float] = {}

    def learn(self, defects: Sequence[Sample]) -> None:
        """Forget the defects that it knows, and learn from these."""
        copy = self._copy(self._before)
        assert isinstance(copy, LearnsDefects)  # that is why it is here
        with copy.extracting(len(self._part.learned)):
            copy.learn_defects(see_images(self._part.learned, *self._view).batches, marked_images(defects, self._view))
        self._after = copy.state()

    def mixed(self, weight: float) -> State:
        """Return what it has learned, so much of it from defects."""
        return {
            name: tensor.lerp(self._after[name], weight) if tensor.is_floating_point() else tensor
            for name, tensor in self._before.items()
        }

    def scores(self, weight: float, samples: Sequence[Sample]) -> list[float]:
        """Score images by such a mixture; at 0 by what was before, once."""
        if weight:
            mixture = self._copy(self.mixed(weight))
            return [one.score for one in score_files(Torch(mixture), samples, *self._view)]
        new = [sample for sample in samples if sample not in self._alone]
        found = score_files(Torch(self._part.detector), new, *self._view)
        self._alone |= zip(new, [one.score for one in found], strict=True)
        return [self._alone[sample] for sample in samples]

    def score_judged(self, weight: float, zones: Zones) -> dict[Sample, HeldOutScore]:
        """Say what is known of the good images that it has not seen."""
        mixture = self._copy(self.mixed(weight)) if weight else self._part.detector
        found = score_files(Torch(mixture), list(self.judged), *self._view, zones)
        return dict(zip(self.judged, found, strict=True))

    def _copy(self, state: State) -> Detector:
        own = self._part.detector
        return type(own)(**own.parameters()).to(own.device).load_state(state, backbone=own.backbone_)


def marked_images(defects: Iterable[Sample], view: View) -> Iterator[Tensor]:
    """Yield each labelled defect as :meth:`LearnsDefects.learn_defects` takes it, all its views in a batch."""
    for defect in defects:
        shown = see_images([defect], *view)
        pixels = torch.cat(list(shown.batches))  # (V, 3, H, W)
        marked = marked_views(defect, shown, view.fitted_images)
        if marked is None:
            marked = torch.full_like(pixels[:, 0], UNKNOWN)
        yield torch.cat([pixels, marked[:, None]], 1)


def _is_outlined(defect: Sample, view: View) -> bool:
    return bool((next(marked_images([defect], view))[:, 3] >= 0).all())
