"""Metrics by anomalib's names: of labels and raw scores, of masks and maps; scikit-learn's where it has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch

from pellucid.anomalib._absent import find_absent
from pellucid.errors import ParameterError
from pellucid.study import metrics as study
from pellucid.study.pixels import PixelMetrics

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths
IMAGE_FIELDS = ("pred_score", "pred_label")
LIMIT = 0.5  # of scores in the unit of a PostProcessor that normalises


class AnomalibMetric:
    """A metric over everything that it was updated with.

    Args:
        fields: names of the predictions and of the truth in a batch, as in ``("pred_score", "gt_label")``; needed only
            where it is updated with batches.
        prefix: of its name in the results of a test: by default ``image_`` or ``pixel_``, by the fields.
        strict: False passes over batches that lack a field.
        options: the others, taken without effect.
    """

    key: ClassVar[Mapping[str, str]] = {}  # "image" and "pixel": what a test calls it

    def __init__(
        self,
        fields: Sequence[str] | None = None,
        prefix: str | None = None,
        strict: bool = True,
        **options: Any,
    ) -> None:
        self.fields, self.strict, self.options = tuple(fields or ()), strict, options
        self.level = "image" if not self.fields or self.fields[0] in IMAGE_FIELDS else "pixel"
        given_default = f"{self.level}_" if self.fields else ""
        self.prefix = given_default if prefix is None else prefix
        self.reset()

    @property
    def name(self) -> str:
        """What a test calls it."""
        return f"{self.prefix}{type(self).__name__}"

    def reset(self) -> None:
        """Forget everything."""
        self._predictions: list[torch.Tensor] = []
        self._truth: list[torch.Tensor] = []

    def update(self, predictions: Any, truth: Any = None) -> None:
        """Add predictions and truth of the same shape, images along the first axis, or a batch that has the fields.

        Raises:
            ParameterError: the batch lacks a field, or no fields were given.
        """
        if truth is None:
            if len(self.fields) != 2:
                raise ParameterError(
                    f"{type(self).__name__} is updated with a batch: say which fields, as in"
                    f" {type(self).__name__}(fields=['pred_score', 'gt_label'])."
                )
            values = [getattr(predictions, name, None) for name in self.fields]
            if any(value is None for value in values):
                if not self.strict:
                    return
                missing = self.fields[values.index(None)]
                raise ParameterError(f"The batch has no {missing}, which {type(self).__name__} needs.")
            predictions, truth = values
        self._predictions.append(torch.as_tensor(predictions).detach().cpu())
        self._truth.append(torch.as_tensor(truth).detach().cpu())

    def compute(self) -> torch.Tensor:
        """Return the value; nan where what was given does not allow it."""
        value = self._compute() if self._truth else None
        return torch.tensor(math.nan if value is None else value)

    def __call__(self, predictions: Any, truth: Any = None) -> torch.Tensor:
        """Add, and return the value of what was added alone."""
        one = type(self)(self.fields, self.prefix, self.strict, **self.options)
        one.update(predictions, truth)
        self._predictions += one._predictions
        self._truth += one._truth
        return one.compute()

    forward = __call__

    def to(self, *_: Any, **__: Any) -> Self:
        """Return itself: it is computed on the CPU."""
        return self

    cpu = to

    def _compute(self) -> float | None:
        raise NotImplementedError

    def _flat(self) -> tuple[list[bool], list[float]]:
        """Truth and predictions, all values in a row."""
        truth = torch.cat([one.reshape(-1) for one in self._truth]).bool()
        return truth.tolist(), torch.cat([one.reshape(-1).double() for one in self._predictions]).tolist()

    def _maps(self) -> PixelMetrics:
        """Masks and maps, image by image."""
        found = PixelMetrics()
        for maps, masks in zip(self._predictions, self._truth, strict=True):
            height, width = maps.shape[-2:]
            for one, mask in zip(maps.reshape(-1, height, width), masks.reshape(-1, height, width), strict=True):
                defective = mask.numpy().astype(bool)
                found.add(one.numpy().astype(np.float32), defective if defective.any() else None)
        return found


class AUROC(AnomalibMetric):
    """Area under the ROC curve."""

    key = {"image": "image_auroc", "pixel": "pixel_auroc"}

    def _compute(self) -> float | None:
        return study.auroc(*self._flat())


class AUPR(AnomalibMetric):
    """Area under the precision-recall curve, step-wise."""

    key = {"image": "image_ap", "pixel": "pixel_ap"}

    def _compute(self) -> float | None:
        return study.average_precision(*self._flat())


class AUPRO(AnomalibMetric):
    """Area under the per-region overlap curve up to ``fpr_limit``, 0.3 by default, divided by it; of maps and masks."""

    key = {"pixel": "aupro"}

    def _compute(self) -> float | None:
        return self._maps().aupro(float(self.options.get("fpr_limit", 0.3)))


class AUPIMO(AnomalibMetric):
    """Mean over defective images of the per-image overlap, at 1e-5 to 1e-4 false positives; of maps and masks."""

    key = {"pixel": "aupimo"}

    def _compute(self) -> float | None:
        each = self._maps().aupimo()
        return None if each is None else float(each.mean())


class F1Score(AnomalibMetric):
    """F1 of labels, or of scores above ``threshold``, 0.5 by default."""

    key = {"image": "image_f1", "pixel": "pixel_f1"}

    def _compute(self) -> float | None:
        truth, scores = self._flat()
        f1 = study.at_limit(truth, scores, float(self.options.get("threshold") or LIMIT))["image_f1"]
        return None if f1 is None else float(f1)


class F1Max(AnomalibMetric):
    """Highest F1 over all limits; optimistic, as the limit is chosen on what it is measured on."""

    key = {"image": "image_f1_max"}

    def _compute(self) -> float | None:
        return study.best_f1(*self._flat())


class F1AdaptiveThreshold(AnomalibMetric):
    """Limit of the highest F1 over all that it was updated with; an engine here does not use it."""

    def _compute(self) -> float | None:
        from sklearn.metrics import precision_recall_curve

        truth, scores = self._flat()
        precision, recall, limits = precision_recall_curve(truth, scores)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        return float(limits[int(f1[:-1].argmax())])


class ManualThreshold(AnomalibMetric):
    """A limit that a script chooses; an engine here does not use it.

    Args:
        default_value: the limit.
        options: as of the others.
    """

    def __init__(self, default_value: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.value = torch.tensor(default_value)

    def compute(self) -> torch.Tensor:
        """Return the limit."""
        return self.value


class MinMax(AnomalibMetric):
    """Lowest and highest prediction."""

    def update(self, predictions: Any, truth: Any = None) -> None:
        """Add predictions."""
        alone = truth is None and not self.fields
        super().update(predictions, torch.zeros(()) if alone else truth)

    def compute(self) -> torch.Tensor:
        """Return both."""
        values = torch.cat([one.reshape(-1) for one in self._predictions])
        return torch.stack([values.min(), values.max()])


class Evaluator:
    """The metrics that a test returns, under their names.

    Args:
        val_metrics: taken without effect: nothing is chosen by them.
        test_metrics: of :meth:`Engine.test`.
        compute_on_cpu: taken without effect.
    """

    def __init__(
        self,
        val_metrics: AnomalibMetric | Iterable[AnomalibMetric] | None = None,
        test_metrics: AnomalibMetric | Iterable[AnomalibMetric] | None = None,
        compute_on_cpu: bool | None = None,
    ) -> None:
        del compute_on_cpu
        self.val_metrics, self.test_metrics = _several(val_metrics), _several(test_metrics)

    def named(self, metrics: Mapping[str, float], labels: torch.Tensor, scores: torch.Tensor) -> dict[str, float]:
        """Return the values of the test metrics.

        Args:
            metrics: what a test has computed, by pellucid's names.
            labels: (N,), 1 is defective.
            scores: (N,), raw.
        """
        found = {}
        for metric in self.test_metrics:
            key = metric.key.get(metric.level)
            if key is not None:
                found[metric.name] = metrics.get(key, math.nan)
            elif metric.level == "image":
                metric.reset()
                metric.update(scores, labels)
                found[metric.name] = float(metric.compute())
        return found


def create_anomalib_metric(metric: type) -> type[AnomalibMetric]:
    """Make a metric of one of torchmetrics', whose ``update(predictions, truth)`` and ``compute()`` it calls.

    Args:
        metric: its class.
    """

    def compute(self: AnomalibMetric) -> float:
        own = metric(**self.options)
        for predictions, truth in zip(self._predictions, self._truth, strict=True):
            own.update(predictions, truth)
        return float(own.compute())

    return type(metric.__name__, (AnomalibMetric,), {"_compute": compute, "__doc__": metric.__doc__})


def _several(given: AnomalibMetric | Iterable[AnomalibMetric] | None) -> list[AnomalibMetric]:
    if given is None:
        return []
    return [given] if isinstance(given, AnomalibMetric) else list(given)


PRO, PIMO, BaseThreshold, Threshold = AUPRO, AUPIMO, F1AdaptiveThreshold, F1AdaptiveThreshold
_CURVES = (
    "The curve is not here: `pellucid evaluate MODEL DATA -o DIR` writes curves, scikit-learn computes them of scores."
)
ABSENT = {
    **dict.fromkeys(("BinaryPrecisionRecallCurve", "AnomalyScoreDistribution", "ROC", "OptimalF1"), _CURVES),
    **dict.fromkeys(("PGn", "PBn"), "pellucid evaluate gives the escape rate at any false-reject rate instead."),
    **dict.fromkeys(
        ("create_metric_collection", "AnomalibMetricCollection"), "Give metrics as Evaluator(test_metrics=[...])."
    ),
}

__all__ = [
    "AUPIMO",
    "AUPR",
    "AUPRO",
    "AUROC",
    "PIMO",
    "PRO",
    "AnomalibMetric",
    "BaseThreshold",
    "Evaluator",
    "F1AdaptiveThreshold",
    "F1Max",
    "F1Score",
    "ManualThreshold",
    "MinMax",
    "Threshold",
    "create_anomalib_metric",
]


def take_evaluator(given: object) -> Evaluator | None:
    """Return a script's own evaluator; None where it gives none.

    Raises:
        ParameterError: it is something else.
    """
    if given is None or isinstance(given, (bool, Evaluator)):
        return given if isinstance(given, Evaluator) else None
    raise ParameterError(f"evaluator={given!r} is not allowed: give an Evaluator, or leave it out.")


def __getattr__(name: str) -> Any:
    return find_absent(__name__, name, ABSENT)
