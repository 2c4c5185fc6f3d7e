"""Fit a detector so that the good images which calibrate it are scored by one that has not seen them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import ImageBatches, Size, batch_size
from pellucid.acquisition.splits import assign_folds, group_numbers
from pellucid.calibration import (
    HeldOutScore,
    SeenImages,
    fit_leaving_out,
    leave_out,
    score_files,
    score_views,
    see_images,
)
from pellucid.detectors._base import Detector
from pellucid.detectors._learns_defects import LearnsDefects
from pellucid.labelled_defects import FOLDS, Lesson
from pellucid.records import Sample, Split
from pellucid.regions.zones import Zones
from pellucid.runtimes.torch import Torch
from pellucid.teaching import Found, Normals, teach
from pellucid.teaching_networks import Part, View, teach_networks


@dataclass(frozen=True, eq=False)
class HeldOutFit:
    """A detector on its way to be fitted and calibrated; :func:`pellucid.fit_split` says what its parts are."""

    detector: Detector
    split: Split
    size: Size
    fitted_images: FittedImages
    zones: Zones
    seed: int
    checkpoint: Path | None
    by_area: bool = False

    def score(self) -> list[HeldOutScore]:
        """Fit, and score the good images that calibrate by detectors that have not seen them."""
        seen = self.size, self.fitted_images, self.zones
        if self.detector.leaves_out:
            return fit_leaving_out(self.detector, self.split.normals, *seen, by_area=self.by_area)
        if self.split.folds is None:
            self._fit(self.detector, self.split.fit)
            return score_files(Torch(self.detector), self.split.calibrate, *seen, by_area=self.by_area)
        by_sample: dict[Sample, HeldOutScore] = {}
        for part, left in self._parts():
            found = score_files(Torch(part), left, *seen, by_area=self.by_area)
            by_sample |= zip(left, found, strict=True)
        return [by_sample[s] for s in self.split.fit]

    def teach(self) -> Lesson:
        """Do the same, and let the labelled defects teach it."""
        split = self.split
        if isinstance(self.detector, LearnsDefects):
            view, judged_by_parts = View(self.size, self.fitted_images), split.calibrating(leaves_out=False)
            return teach_networks(
                self.detector, self._taught_parts(), judged_by_parts, split.select, view, self.zones, self.seed
            )
        if self.detector.leaves_out:
            folds = assign_folds(split.normals, min(FOLDS, len(set(group_numbers(split.normals)))), self.seed)
            learned = Normals(split.normals, self._see(split.normals), folds)
            return self._teach(leave_out(self.detector, learned.seen), learned, learned)
        if split.folds is None:
            self._fit(self.detector, split.fit)
            seen = self._see(split.calibrate, views=Torch(self.detector).batch_size)
            judged = Normals(split.calibrate, seen, [-1] * len(split.calibrate))
            learned = Normals(split.fit, self._see(split.fit), [-1] * len(split.fit))
            return self._teach(score_views(self.detector, judged.seen), judged, learned)
        folds = assign_folds(split.fit, split.folds, self.seed)
        learned = Normals(split.fit, self._see(split.fit, folds), folds)
        found = (
            one
            for part, left in self._parts()
            for one in score_views(part, self._see(left, [0] * len(left), Torch(part).batch_size))
        )
        return self._teach(found, learned, learned)

    def _taught_parts(self) -> Iterator[Part]:
        """Fit and yield what learns from defects by itself, the detector last, as good images are parted."""
        split = self.split
        if split.folds is not None:
            for part, left in self._parts():
                seen = set(left)
                yield Part(part, [s for s in split.fit if s not in seen], left)
            yield Part(self.detector, split.fit, ())
            return
        self._fit(self.detector, split.fit)
        yield Part(self.detector, split.fit, split.calibrate)

    def _teach(self, found: Iterator[Found], judged: Normals, learned: Normals) -> Lesson:
        defects, known, zones = self.split.select, self.fitted_images, self.zones
        return teach(self.detector, found, judged, learned, defects, known, zones, self.seed)

    def _see(
        self,
        samples: Sequence[Sample],
        numbers: Sequence[int] | None = None,
        views: int | None = None,
    ) -> SeenImages:
        return see_images(samples, self.size, self.fitted_images, numbers, views)

    def _parts(self) -> Iterator[tuple[Detector, list[Sample]]]:
        """Yield for each fold a detector that has not seen it, and its images; at last fit the detector on all."""
        split, detector = self.split, self.detector
        assert split.folds is not None  # they are why this is called
        numbers = assign_folds(split.fit, split.folds, self.seed)
        for fold in range(split.folds):
            part = type(detector)(**detector.parameters()).to(detector.device)
            self._fit(part, [s for s, n in zip(split.fit, numbers, strict=True) if n != fold], fold)
            yield part, [s for s, n in zip(split.fit, numbers, strict=True) if n == fold]
        self._fit(detector, split.fit)

    def _fit(self, detector: Detector, samples: Sequence[Sample], *fold: int) -> None:
        """Fit on samples; the progress is kept under the name of all that shapes it."""
        split, known = self.split, self.fitted_images
        seen_as = (self.size, known.framing, known.data_sha256)
        shaping = (type(detector), detector.parameters(), *seen_as, self.seed, [str(s.path) for s in split.fit])
        path = _checkpoint_path(self.checkpoint, *shaping, split.folds, *fold)
        fit_on(detector, samples, self.size, known, path)


def fit_on(
    detector: Detector, samples: Sequence[Sample], size: Size, known: FittedImages, checkpoint: Path | None = None
) -> None:
    """Fit a detector on samples as a model of these images sees them.

    Args:
        detector: to be fitted.
        samples: good images.
        size: height and width that the network takes, px.
        known: what is known of the images, and how they are framed.
        checkpoint: file for the progress of a gradient-trained detector.
    """
    paths = tuple(sample.path for sample in samples)
    batches = ImageBatches(paths, size, batch_size(size), known.bits, known.seen_by(size))
    detector.fit(batches, checkpoint=checkpoint, margin=known.margin)


def _checkpoint_path(folder: Path | None, *shaping: object) -> Path | None:
    """The file for one training: named by all that shapes it, so that the progress of another is never taken up."""
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps(shaping, default=str).encode()).hexdigest()
    return folder / f"{digest[:16]}.pt"
