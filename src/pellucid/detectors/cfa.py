"""CFA (Lee, Lee & Song, "CFA: Coupled-Hypersphere-Based Feature Adaptation for Target-Oriented Anomaly Localization",
IEEE Access 2022, arXiv 2206.04325)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pellucid._io.progress import track
from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._maps import concatenate, image_score, locally_aware, smooth_map, top_score
from pellucid.detectors._training import Objective, check_training_parameters, train
from pellucid.records import ScoreOf

PATCHSIZE = 3  # positions in each direction that a patch's feature is the mean of


class Cfa(Detector):
    """Features are adapted until those of good parts lie close to a few centres; far from all of them is anomalous.

    Deviations from the paper: features of two layers, not three, so that the grid, and with it the bank, has a quarter
    of the positions. The bank has a centre for every position, its mean over images; it is not compressed by k-means.
    The radius is fixed. Every tenth image is held out, training stops when their loss has not fallen for ten epochs,
    and the best epoch's weights are kept. Batches of 8 instead of 4. The features pass through float16.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers, the first of which gives the grid. Default ``("layer2", "layer3")``;
            the paper's are ``("layer1", "layer2", "layer3")``.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        gamma_d: by how much the adapted features have fewer channels, 1 or more, default 1 as in the paper.
        radius: of the hyperspheres around the centres, 0 or more, default 1e-5 as in the paper.
        alpha: how far inside the hypersphere of a centre that is not among its nearest a patch may lie, 0 or more,
            default 0.1 as in the paper.
        num_neighbors: K, the centres that attract a patch and that score it, 1 or more, default 3 as in the paper.
        num_hard_negatives: J, the next ones, which repel it, 0 or more, default 3 as in the paper.
        image_score: ``peak``, the default and the paper's: the map's maximum; or ``top``, the mean of its highest 1 %.
        epochs: passes over the images, at most; 1 or more, default 30 as in the paper.
        batch_size: images a step, 1 or more, default 8.
        lr: learning rate of AdamW, above 0, default 1e-3 as in the paper.
        weight_decay: of the same, 0 or more, default 5e-4 as in the paper.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the weights and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.cfa import Cfa
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Cfa(epochs=10).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    descriptor_: nn.Module
    centres_: Tensor  # C, (h * w, D)

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        gamma_d: int = 1,
        radius: float = 1e-5,
        alpha: float = 0.1,
        num_neighbors: int = 3,
        num_hard_negatives: int = 3,
        image_score: Literal["top", "peak"] = "peak",
        epochs: int = 30,
        batch_size: int = 8,
        lr: float = 1e-3,
        weight_decay: float = 5e-4,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.gamma_d, self.radius, self.alpha = gamma_d, radius, alpha
        self.num_neighbors, self.num_hard_negatives = num_neighbors, num_hard_negatives
        self.image_score, self.epochs, self.batch_size = image_score, epochs, batch_size
        self.lr, self.weight_decay, self.precision, self.seed = lr, weight_decay, precision, seed

    @property
    def score_of(self) -> ScoreOf:  # type: ignore[override]
        return self.image_score

    def _check_parameters(self) -> None:
        check_training_parameters(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            precision=self.precision,
            weight_decay=self.weight_decay,
        )
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(self.gamma_d >= 1, "gamma_d", self.gamma_d, "at least 1")
        require(0 <= self.radius < math.inf, "radius", self.radius, "0 or more and finite")
        require(0 <= self.alpha < math.inf, "alpha", self.alpha, "0 or more and finite")
        require(self.num_neighbors >= 1, "num_neighbors", self.num_neighbors, "at least 1")
        require(self.num_hard_negatives >= 0, "num_hard_negatives", self.num_hard_negatives, "0 or more")
        require(self.image_score in ("top", "peak"), "image_score", self.image_score, "top or peak")

    def _build(self, height: int, width: int) -> None:
        channels = sum(c for c, _, _ in self.backbone_.shapes(height, width))
        self.descriptor_ = _CoordConv(channels, max(1, channels // self.gamma_d))

    def _extract(self, pixels: Tensor) -> list[Tensor]:
        """Compute locally aware patch features, (B, C, h, w)."""
        return [concatenate(locally_aware(self.backbone_(pixels), PATCHSIZE))]

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        self.centres_ = self._mean_description(images)
        objective = Objective(self._loss, self.descriptor_)
        optimizer = torch.optim.AdamW(objective.parameters(), lr=self.lr, weight_decay=self.weight_decay, amsgrad=True)
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
            description="cfa",
        )

    @torch.inference_mode()
    def _mean_description(self, images: Images) -> Tensor:
        """Average over images what the descriptor, not trained yet, says of each position: C, (h * w, D)."""
        total, count = torch.zeros(()), 0
        for pixels in track(images, "placing centres"):
            described = self._describe(*self._extract(pixels.to(self.device)))  # (B, T, D)
            total, count = total + described.sum(0), count + len(described)
        return (total / count).clone()

    def _describe(self, features: Tensor) -> Tensor:
        """Adapt patch features (B, C, h, w) to phi(p), (B, T, D) for T positions."""
        described: Tensor = self.descriptor_(features)
        return described.float().flatten(2).transpose(1, 2)

    def _distances(self, described: Tensor, count: int) -> Tensor:
        """Compute squared distances of phi(p), (B, T, D), to the nearest centres, (B, T, count), ascending.

        Which ones they are is told by norms and products; how far they are by differences, which do not cancel.
        """
        norms, products = self.centres_.square().sum(1), described.detach() @ self.centres_.T
        near = (norms - 2 * products).topk(count, dim=2, largest=False).indices  # (B, T, count)
        return (described[:, :, None] - self.centres_[near]).square().sum(3)

    def _loss(self, features: Tensor) -> Tensor:
        """Add up L_att of the K nearest centres and L_rep of the next J: equations 1 and 2."""
        count, K, squared_radius = len(self.centres_), self.num_neighbors, self.radius**2
        distance = self._distances(self._describe(features), min(count, K + self.num_hard_negatives))
        attracted = (distance[:, :, :K] - squared_radius).clamp_min(0).mean()
        repelled = (squared_radius - distance[:, :, K:] - self.alpha).clamp_min(0)
        return attracted + (repelled.mean() if repelled.numel() else 0.0)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        (features,) = self._extract(pixels)
        described = self._describe(features)
        distance = self._distances(described, min(len(self.centres_), self.num_neighbors)).sqrt()  # (B, T, K)
        certain = torch.softmax(-distance, 2)[:, :, 0] * distance[:, :, 0]  # (B, T): equation 6
        anomaly_map = smooth_map(torch.unflatten(certain, 1, features.shape[2:]), (pixels.shape[2], pixels.shape[3]))
        return anomaly_map, (top_score if self.image_score == "top" else image_score)(anomaly_map)


class _CoordConv(nn.Module):
    """A 1x1 convolution that sees where it is: two more channels tell row and column, in [-1, 1]."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in + 2, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (torch.linspace(-1, 1, int(side), device=x.device, dtype=x.dtype) for side in x.shape[2:])
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(x.shape[0], -1, -1, -1)
        out: Tensor = self.conv(torch.cat([x, grid], 1))
        return out
