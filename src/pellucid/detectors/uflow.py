"""U-Flow (Tailanian, Pardo & Muse, "U-Flow: A U-Shaped Normalizing Flow for Anomaly Detection with Unsupervised
Threshold", Journal of Mathematical Imaging and Vision 2024, arXiv 2211.12353)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._baseline import fit_baseline_if, standardise
from pellucid.detectors._device import full_float32
from pellucid.detectors._flow import (
    Combine,
    Flow,
    check_map_parameters,
    feature_norms,
    negative_log_likelihood,
    unlikely_maps,
)
from pellucid.detectors._maps import image_score, resize_to
from pellucid.detectors._tiles import Reach
from pellucid.detectors._training import Objective, check_training_parameters, train


class Uflow(Detector):
    """One normalising flow in the shape of a U maps all feature levels to standard normals; unlikely is anomalous.

    Half of what a level becomes is enlarged, channels into positions, and joins the next finer level, so that no level
    repeats what a coarser one has said. :mod:`pellucid.limits.a_contrario` has the paper's threshold on its latents.
    Of tiles, whose positions on the part mean nothing, features are normalised at each position by itself.

    Deviations from the paper: any convolutional backbone instead of two CaiTs. Levels whose sides are not whole
    multiples of the coarsest one's are brought there bilinearly. The global affine map of a step has an exponential
    scale. Gradients are clipped to a norm of 100. 10 epochs with batches of 8 instead of 200. Every tenth image is held
    out, training stops when their loss has not fallen for ten epochs, and the best epoch's flow is kept. The features
    pass through float16.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers, from fine to coarse. Default ``("layer1", "layer2", "layer3")``.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        flow_steps: coupling steps at each level, 1 or more, default 4 as in the paper; 3x3 and 1x1 convolutions
            alternate.
        hidden_ratio: width of a step's subnet over that of its input, above 0, default 1.0 as in the paper.
        combine: what of the levels is averaged: ``likelihood``, the default and the paper's, what is missing to the
            highest; or ``above_usual``, how far their negative log-likelihoods are above what is usual in that place,
            as FastFlow has it here.
        sigma: of the Gaussian that smooths their maps, px, 0 or more, default 0, none, as in the paper.
        epochs: passes over the images, at most; 1 or more, default 10.
        batch_size: images a step, 1 or more, default 8.
        lr: learning rate of Adam, above 0, default 1e-3 as in the paper.
        weight_decay: of the same, 0 or more, default 1e-5 as in the paper.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the permutations, the weights and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.uflow import Uflow
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Uflow(epochs=1, flow_steps=2).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    reach = Reach(context_px=128, cell_px=64)  # four cells of each level, by two steps of 3x3 convolutions

    norms_: nn.ModuleList
    flow_: nn.Module
    baseline_mean_: Tensor  # what the levels' maps are for good parts, (levels, H, W), or zeros (levels, 1, 1)
    baseline_scale_: Tensor  # and how much they differ, (levels, H, W), or ones (levels, 1, 1)

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer1", "layer2", "layer3"),
        weights: str | None = None,
        flow_steps: int = 4,
        hidden_ratio: float = 1.0,
        combine: Combine = "likelihood",
        sigma: float = 0.0,
        epochs: int = 10,
        batch_size: int = 8,
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.flow_steps, self.hidden_ratio = flow_steps, hidden_ratio
        self.combine, self.sigma = combine, sigma
        self.epochs, self.batch_size, self.lr, self.weight_decay = epochs, batch_size, lr, weight_decay
        self.precision, self.seed = precision, seed

    def _check_parameters(self) -> None:
        check_training_parameters(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            precision=self.precision,
            weight_decay=self.weight_decay,
        )
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers from fine to coarse")
        require(self.flow_steps >= 1, "flow_steps", self.flow_steps, "at least 1")
        require(0 < self.hidden_ratio < math.inf, "hidden_ratio", self.hidden_ratio, "above 0 and finite")
        check_map_parameters(self.combine, self.sigma)

    def _build(self, height: int, width: int) -> None:
        shapes = self.backbone_.shapes(height, width)
        finer = all(fine[1] >= coarse[1] for fine, coarse in pairwise(shapes))
        require(finer, "layers", self.layers, "one or more layers from fine to coarse")
        self.norms_ = feature_norms(shapes, tiled=self.margin_ is not None)
        factors = [round(fine[1] / coarse[1]) for fine, coarse in pairwise(shapes)]
        enough = all(c > factor**2 for (c, _, _), factor in zip(shapes[1:], factors, strict=True))
        require(
            enough, "layers", self.layers, "layers whose sides differ by less: there are too few channels to enlarge"
        )
        self.flow_ = UShapedFlow([c for c, _, _ in shapes], factors, self.flow_steps, self.hidden_ratio)

    def _latents(self, *maps: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Compute per level z (B, C, h, w) and the log-determinants (B, h, w) of features (B, C, h, w)."""
        latents: list[tuple[Tensor, Tensor]] = self.flow_([norm(m) for m, norm in zip(maps, self.norms_, strict=True)])
        return latents

    def latents(self, pixels: Tensor) -> list[Tensor]:
        """Compute what the flow makes of images (B, 3, H, W): per level z (B, C, h, w), standard normal where good.

        Args:
            pixels: of the size that was fitted on, in [0, 1].
        """
        with torch.inference_mode(), full_float32():
            return [z.float().cpu() for z, _ in self._latents(*self.backbone_(pixels.to(self.device)))]

    def _loss(self, *maps: Tensor) -> Tensor:
        """Add up the levels' negative log-likelihoods, constants dropped."""
        return negative_log_likelihood(self._latents(*maps))

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        objective = Objective(self._loss, self.norms_, self.flow_)
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
            description="uflow",
        )
        self.baseline_mean_, self.baseline_scale_ = fit_baseline_if(
            self.combine == "above_usual", len(self.layers), self._levels, images, self.device, self.tile
        )

    def _levels(self, pixels: Tensor) -> Tensor:
        """Compute the map of every level, (levels, B, H, W)."""
        surprises = [0.5 * z.square().mean(1) for z, _ in self._latents(*self.backbone_(pixels))]
        return unlikely_maps(surprises, (pixels.shape[2], pixels.shape[3]), self.combine, self.sigma)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = standardise(self._levels(pixels), self.baseline_mean_, self.baseline_scale_)
        return anomaly_map, image_score(anomaly_map)


class UShapedFlow(nn.Module):
    """Levels x (B, C, h, w), fine to coarse, to z and log-determinants (B, h, w) of each, invertibly.

    Args:
        channels: C of each level.
        factors: by how much each level but the coarsest has longer sides than the next.
        steps: coupling steps at each.
        hidden_ratio: width of their subnets over that of their input.
    """

    def __init__(self, channels: Sequence[int], factors: Sequence[int], steps: int, hidden_ratio: float) -> None:
        super().__init__()
        self.factors, self.raised = list(factors), [0] * len(factors)
        widths = list(channels)
        for level in reversed(range(len(factors))):  # what joins from below is there already
            cells = self.factors[level] ** 2
            parts = max(1, widths[level + 1] // (2 * cells))  # half of the channels, in whole squares
            self.raised[level] = parts * cells
            widths[level] += parts
        self.stages = nn.ModuleList(Flow(width, steps, hidden_ratio) for width in widths)

    def forward(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        latents: list[tuple[Tensor, Tensor]] = []
        below: Tensor | None = None
        for level in reversed(range(len(self.stages))):
            x = maps[level]
            if below is not None:
                below = F.pixel_shuffle(below, self.factors[level])
                x = torch.cat([resize_to(x, (below.shape[2], below.shape[3])), below], dim=1)
            z, log_det = self.stages[level](x)
            if level > 0:
                below, z = z[:, : self.raised[level - 1]], z[:, self.raised[level - 1] :]
            latents.insert(0, (z, log_det))
        return latents

    def inverse(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """Compute the levels, at the sizes that they were joined in, whose z these are."""
        maps: list[Tensor] = []
        below: Tensor | None = None
        for level, stage in enumerate(self.stages):
            z = latents[level] if below is None else torch.cat([below, latents[level]], dim=1)
            x = stage.inverse(z)  # type: ignore[operator]
            if level < len(self.factors):
                joined = self.raised[level] // self.factors[level] ** 2
                x, below = x[:, :-joined], F.pixel_unshuffle(x[:, -joined:], self.factors[level])
            maps.append(x)
        return maps
