"""STFPM (Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021,
arXiv 2103.04257)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._baseline import fit_baseline, no_baseline, standardise
from pellucid.detectors._maps import image_score, locally_aware, resize_to, smooth_map, unit_distance
from pellucid.detectors._training import Objective, check_training_parameters, train

COMBINES = ("above_usual", "product", "mean")


class Stfpm(Detector):
    """A student learns to agree with its frozen teacher on normal images; where it cannot, something is new.

    Deviations from the paper: what it has in common with reverse distillation it does alike
    (``docs/decisions/0068-students.md``). Two levels instead of three, features that are means over 3x3, and where the
    paper multiplies the distances of all levels, this takes how far each is above what is usual in that place. Maps are
    smoothed by a Gaussian of 4 px before the image's score, their maximum, is taken, so that flaws of a few pixels
    count for less. The paper's map is that of ``layers=("layer1", "layer2", "layer3")``, ``patchsize=1``,
    ``combine="product"``, ``sigma=0``. Every tenth image is held out, training stops when their loss has not fallen for
    ten epochs, and the best epoch's student is kept. 30 epochs with batches of 8 instead of 100 with 32. With prism as
    the backbone the student lacks its contrast channel, which needs no learning. The teacher's features pass through
    float16.

    Args:
        backbone: name of the teacher, one of ``pellucid.backbones.names()``; the student has the same architecture.
            Default ``prism_s``.
        layers: names of one or more of its layers, from fine to coarse. Default ``("layer2", "layer3")``, without the
            paper's finest one.
        weights: checkpoint file of the teacher; None, the default, takes those that belong to its name.
        patchsize: features that are compared are means over this many positions in each direction, an odd number,
            default 3, as PatchCore's are: that much less noise. 1 is the paper, and finds fainter flaws of a few px.
        combine: ``above_usual``, the default, averages how far the levels' distances are above what is usual in that
            place; ``product`` multiplies them as in the paper; ``mean`` averages them as they are.
        sigma: of the Gaussian that smooths the map, px, 0 or more, default 4; 0, none, as in the paper.
        epochs: passes over the images, at most; 1 or more, default 30.
        batch_size: images a step, 1 or more, default 8.
        lr: learning rate of stochastic gradient descent, above 0, default 0.4 as in the paper.
        momentum: of the same, in [0, 1), default 0.9 as in the paper.
        weight_decay: of the same, 0 or more, default 1e-4 as in the paper.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the student's weights and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.stfpm import Stfpm
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Stfpm(epochs=1).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    student_: nn.Module
    baseline_mean_: Tensor  # what the levels' maps are for good parts, (levels, H, W), or zeros (levels, 1, 1)
    baseline_scale_: Tensor  # and how much they differ, (levels, H, W), or ones (levels, 1, 1)
    _renamed = {"distance": ("combine", {"l2": "product", "cosine": "mean"})}  # until 0.2
    _earlier = {"sigma": 4.0, "patchsize": 1}  # models of before had no such choice

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        patchsize: int = 3,
        combine: Literal["above_usual", "product", "mean"] = "above_usual",
        sigma: float = 4.0,
        epochs: int = 30,
        batch_size: int = 8,
        lr: float = 0.4,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.patchsize, self.combine, self.sigma = patchsize, combine, sigma
        self.epochs, self.batch_size = epochs, batch_size
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.precision, self.seed = precision, seed

    def _check_parameters(self) -> None:
        check_training_parameters(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            precision=self.precision,
            weight_decay=self.weight_decay,
        )
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        require(self.patchsize >= 1 and self.patchsize % 2 == 1, "patchsize", self.patchsize, "odd and at least 1")
        require(self.combine in COMBINES, "combine", self.combine, "above_usual, product or mean")
        require(0 <= self.sigma < math.inf, "sigma", self.sigma, "0 or more and finite")

    def _build(self, height: int, width: int) -> None:  # noqa: ARG002 - fully convolutional
        student = self.backbone_.student()
        self.student_ = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.combine != "above_usual":  # models of before have none
            self.baseline_mean_, self.baseline_scale_ = no_baseline(len(self.layers), self.device)

    def _extract(self, pixels: Tensor) -> list[Tensor]:
        """Keep the images (B, 3, H, W), and compute the teacher's features of them, per layer (B, C, h, w)."""
        return [pixels, *locally_aware(self.backbone_(pixels), self.patchsize)]

    def _distances(self, pixels: Tensor, *teacher: Tensor) -> list[Tensor]:
        """Compute per layer half the squared distance of unit vectors, (B, h, w) in [0, 2]: equation 1."""
        student = self.student_(self.backbone_.normalise(pixels), self.backbone_._last)
        seen = locally_aware([student[name] for name in self.layers], self.patchsize)
        return [unit_distance(t, s) for t, s in zip(teacher, seen, strict=True)]

    def _loss(self, pixels: Tensor, *teacher: Tensor) -> Tensor:
        """Average the distances over positions and add them up over layers: equations 2 and 3."""
        return torch.stack([d.mean() for d in self._distances(pixels, *teacher)]).sum()

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        objective = Objective(self._loss, self.student_)
        optimizer = torch.optim.SGD(
            objective.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        train(
            objective,
            optimizer,
            images,
            self._extract,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            checkpoint=checkpoint,
            description="stfpm",
        )
        if self.combine == "above_usual":
            self.baseline_mean_, self.baseline_scale_ = fit_baseline(self._levels, images, self.device, self.tile)

    def _levels(self, pixels: Tensor) -> Tensor:
        """Compute the smoothed map of every level, (levels, B, H, W)."""
        size = (pixels.shape[2], pixels.shape[3])
        return torch.stack([smooth_map(level, size, self.sigma) for level in self._distances(*self._extract(pixels))])

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if self.combine == "product":
            size = (pixels.shape[2], pixels.shape[3])
            levels = [resize_to(level[:, None], size)[:, 0] for level in self._distances(*self._extract(pixels))]
            anomaly_map = smooth_map(torch.stack(levels).prod(0), size, self.sigma)
        else:
            anomaly_map = standardise(self._levels(pixels), self.baseline_mean_, self.baseline_scale_)
        return anomaly_map, image_score(anomaly_map)
