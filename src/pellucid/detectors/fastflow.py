"""FastFlow (Yu et al., "FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows",
arXiv 2111.07677, 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._baseline import fit_baseline, standardise
from pellucid.detectors._flow import Flow
from pellucid.detectors._maps import image_score, smooth_map
from pellucid.detectors._training import Objective, train


class Fastflow(Detector):
    """A normalising flow per feature level maps normal features to a standard normal; unlikely is anomalous.

    Where the paper adds the likelihoods of all levels, this takes how far the negative logarithm of each is above what
    is usual in that place: a likelihood rounds to the same value wherever a part is very anomalous.

    Args:
        backbone, layers, weights: where the features come from.
        flow_steps: coupling steps a level; 8 in the paper for ResNets.
        conv3x3_only: else 3x3 and 1x1 subnets alternate.
        hidden_ratio: width of the subnets.
        epochs, batch_size, lr, weight_decay: Adam, the paper's values but for epochs and batch.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, bfloat16 where it is native.
        seed: of the permutations, the weights and the order of images.
    """

    norms_: nn.ModuleList
    flows_: nn.ModuleList
    baseline_mean_: Tensor  # what the levels' maps are for good parts, (levels, H, W)
    baseline_scale_: Tensor  # and how much they differ, (levels, H, W)

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer1", "layer2", "layer3"),
        weights: str | None = None,
        flow_steps: int = 8,
        conv3x3_only: bool = False,
        hidden_ratio: float = 1.0,
        epochs: int = 10,
        batch_size: int = 8,
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.flow_steps, self.conv3x3_only, self.hidden_ratio = flow_steps, conv3x3_only, hidden_ratio
        self.epochs, self.batch_size, self.lr, self.weight_decay = epochs, batch_size, lr, weight_decay
        self.precision, self.seed = precision, seed

    def _build(self, height: int, width: int) -> None:
        shapes = self.backbone_.shapes(height, width)
        self.norms_ = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes)
        self.flows_ = nn.ModuleList(
            Flow(channels, self.flow_steps, self.hidden_ratio, self.conv3x3_only) for channels, _, _ in shapes
        )

    def _latents(self, *maps: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per level, z (B, C, h, w) and the log-determinant (B,) of features (B, C, h, w)."""
        return [flow(norm(m)) for m, norm, flow in zip(maps, self.norms_, self.flows_, strict=True)]

    def _loss(self, *maps: Tensor) -> Tensor:
        """Negative log-likelihood per level (equation 4, constants dropped), summed over levels."""
        losses = [(0.5 * z.square().sum((1, 2, 3)) - log_det).mean() for z, log_det in self._latents(*maps)]
        return torch.stack(losses).sum()

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        require(self.flow_steps >= 1, "flow_steps", self.flow_steps, "at least 1")
        objective = Objective(self._loss, self.norms_, self.flows_)
        optimizer = torch.optim.Adam(objective.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        train(
            objective,
            optimizer,
            images,
            self.backbone_,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            clip=100.0,
            precision=self.precision,
            checkpoint=checkpoint,
            description="fastflow",
        )
        self.baseline_mean_, self.baseline_scale_ = fit_baseline(self._levels, images, self.device)

    def _levels(self, pixels: Tensor) -> Tensor:
        """The smoothed map of every level, (levels, B, H, W): negative log-likelihood, constants dropped, a mean over
        channels."""
        size = (pixels.shape[2], pixels.shape[3])
        latents = self._latents(*self.backbone_(pixels))
        return torch.stack([smooth_map(0.5 * z.square().mean(1), size) for z, _ in latents])

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = standardise(self._levels(pixels), self.baseline_mean_, self.baseline_scale_)
        return anomaly_map, image_score(anomaly_map)
