"""A test by anomalib's names: which images, which metrics, which pictures."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid._io.files import write_bytes
from pellucid._io.names import fitting_file_name
from pellucid.acquisition.masks import read_mask
from pellucid.anomalib._said import say_once
from pellucid.anomalib.metrics import Evaluator
from pellucid.errors import DataError
from pellucid.inspector import Inspector
from pellucid.records import Inspection, Sample
from pellucid.study import metrics
from pellucid.study.results import Evaluation, ScoredSample
from pellucid.study.scores import LeftOut, finite_scores, score_samples, score_unseen

NAMES = {  # of anomalib's, and pellucid's
    "image_AUROC": "image_auroc",
    "image_F1Score": "image_f1",
    "image_AUPR": "image_ap",
    "image_F1Max": "image_f1_max",
    "pixel_AUROC": "pixel_auroc",
    "pixel_F1Score": "pixel_f1",
    "pixel_AUPR": "pixel_ap",
    "pixel_AUPRO": "aupro",
}


class Watch:
    """Looks at every tested image while its map is there: counts pixels for their F1, and writes its picture.

    Args:
        samples: what is tested, in order.
        pixel_limit: above which a pixel is marked.
        folder: of the pictures; None: none are written.
    """

    def __init__(self, samples: Sequence[Sample], pixel_limit: float, folder: Path | None) -> None:
        self._samples, self._limit, self._folder = samples, pixel_limit, folder
        self._found = self._marked = self._defective = 0  # pixels
        self._lock = threading.Lock()

    def __call__(self, number: int, found: Inspection) -> None:
        """Look at the image of a number; called in several threads."""
        sample = self._samples[number]
        if sample.label == "normal" or sample.mask is not None:
            self._count(sample, found)
        if self._folder is not None:
            try:
                picture = found.png(sample.mask)
            except DataError:
                picture = found.png()
            write_bytes(self._folder / fitting_file_name(f"{number:05d}_{found.path.stem}", ".png"), picture)

    def _count(self, sample: Sample, found: Inspection) -> None:
        try:
            mask = (
                read_mask(sample.mask, sample.path, found.map.shape) if sample.mask else np.zeros(found.map.shape, bool)
            )
        except DataError:  # of no use, which the test's notes say
            return
        marked = found.map > self._limit
        with self._lock:
            self._found += int((marked & mask).sum())
            self._marked += int(marked.sum())
            self._defective += int(mask.sum())

    @property
    def pixel_f1(self) -> float | None:
        """F1 of pixels at the model's limit of pixels; None without masks."""
        return 2 * self._found / (self._marked + self._defective) if self._defective else None


def name_metrics(result: Evaluation, pixel_f1: float | None, evaluator: Evaluator | None) -> dict[str, Any]:
    """Return metrics by anomalib's names; nan is what the images do not allow, and of pixels left out.

    Args:
        result: of the test.
        pixel_f1: of pixels, at the limit.
        evaluator: a script's own, which says which metrics and their names.
    """
    labels = [one.sample.label == "abnormal" for one in result.scored]
    scores = finite_scores(one.inspection.score for one in result.scored)
    more = {"image_f1_max": metrics.best_f1(labels, scores), "pixel_f1": pixel_f1}
    known = {key: value for key, value in {**result.metrics, **more}.items() if value is not None}
    if evaluator is not None and evaluator.test_metrics:
        found: Mapping[str, Any] = evaluator.named(known, torch.tensor(labels).long(), torch.tensor(scores))
        return dict(found)
    return {name: known.get(key, math.nan) for name, key in NAMES.items() if name.startswith("image_") or key in known}


def score_for(
    inspector: Inspector, samples: Sequence[Sample], labelled: bool
) -> tuple[list[ScoredSample], tuple[str, ...]]:
    """Inspect images to predict on, and say which were left out.

    Args:
        inspector: that is fitted.
        samples: with labels or without.
        labelled: whether they have some: then what the model has seen is left out, unless it has seen all of them.
    """
    left_out = LeftOut()
    test = [one for one in samples if one.split != "train"] if labelled else []
    unseen = list(score_unseen(inspector, test, left_out, "predicting"))
    if labelled and not unseen:
        say_once("The model was made from all of these images: their predictions are better than those of others.")
        return list(score_samples(inspector, samples, "predicting")), ()
    return unseen or list(score_samples(inspector, samples, "predicting")), left_out.notes()
