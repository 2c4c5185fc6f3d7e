"""STFPM (Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021,
arXiv 2103.04257)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._maps import image_score, resize_to, smooth_map, unit_distance
from pellucid.detectors._training import Objective, train


class Stfpm(Detector):
    """A student learns to agree with its frozen teacher on normal images; where it cannot, something is new.

    Args:
        backbone, layers, weights: the teacher; the student has the same architecture.
        distance: ``l2`` between unit vectors as in the paper, or ``cosine``; they differ by rank only when levels mix.
        epochs, batch_size, lr, momentum, weight_decay: stochastic gradient descent, the paper's values but for epochs.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, bfloat16 where it is native.
        seed: of the student's weights and the order of images.
    """

    student_: nn.Module

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer1", "layer2", "layer3"),
        weights: str | None = None,
        distance: Literal["l2", "cosine"] = "l2",
        epochs: int = 30,
        batch_size: int = 8,
        lr: float = 0.4,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.distance, self.epochs, self.batch_size = distance, epochs, batch_size
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.precision, self.seed = precision, seed

    def _build(self, height: int, width: int) -> None:  # noqa: ARG002 - fully convolutional
        student = self.backbone_.student()
        self.student_ = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _see(self, pixels: Tensor) -> list[Tensor]:
        """The images (B, 3, H, W) and what the teacher makes of them."""
        return [pixels, *self.backbone_(pixels)]

    def _distances(self, pixels: Tensor, *teacher: Tensor) -> list[Tensor]:
        """Per layer, half the squared distance of unit vectors, (B, h, w) in [0, 2]: equation 1."""
        student = self.student_(self.backbone_.normalise(pixels), self.backbone_._last)
        return [unit_distance(t, student[name]) for name, t in zip(self.layers, teacher, strict=True)]

    def _loss(self, pixels: Tensor, *teacher: Tensor) -> Tensor:
        """Equations 2 and 3: the mean over positions, summed over layers."""
        return torch.stack([d.mean() for d in self._distances(pixels, *teacher)]).sum()

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        require(self.distance in ("l2", "cosine"), "distance", self.distance, "l2 or cosine")
        objective = Objective(self._loss, self.student_)
        optimizer = torch.optim.SGD(
            objective.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        train(
            objective,
            optimizer,
            images,
            self._see,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            checkpoint=checkpoint,
            description="stfpm",
        )

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        size = (pixels.shape[2], pixels.shape[3])
        # half the squared L2 of unit vectors is 1 - cosine
        levels = torch.stack([resize_to(level[:, None], size)[:, 0] for level in self._distances(*self._see(pixels))])
        # The paper multiplies the levels; the mean of their cosines is the gentler alternative.
        combined = levels.prod(0) if self.distance == "l2" else levels.mean(0)
        anomaly_map = smooth_map(combined, size)
        return anomaly_map, image_score(anomaly_map)
