"""FastFlow (Yu et al., "FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows",
arXiv 2111.07677, 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._baseline import fit_baseline_if, standardise
from pellucid.detectors._flow import (
    Combine,
    Flow,
    check_map_parameters,
    feature_norms,
    negative_log_likelihood,
    unlikely_maps,
)
from pellucid.detectors._maps import image_score
from pellucid.detectors._training import Objective, check_training_parameters, train
from pellucid.detectors._whitening import Whitening, fit_whitenings


class Fastflow(Detector):
    """A normalising flow per feature level maps normal features to a standard normal; unlikely is anomalous.

    Deviations from the paper: features are whitened over all good images, not normalised by layer, unless ``whiten`` is
    False. Flows start as the identity, and so as the Gaussian that the features have: ten epochs go on from there,
    where 500 have to learn it (``docs/decisions/0056-planted-and-taught.md``). Layers of tiles, whose positions on the
    part mean nothing, are normalised at each position by itself. Where the paper adds the likelihoods of all levels,
    this takes how far the negative logarithm of each is above what is usual in that place: a likelihood rounds to the
    same value wherever a part is very anomalous. The levels' maps are smoothed by a Gaussian of 4 px before the image's
    score, the maximum, is taken. The paper's ways are ``combine="likelihood"`` and ``sigma=0``. The global affine map
    of a step has an exponential scale. Gradients are clipped to a norm of 100. 10 epochs with batches of 8 instead of
    500 with 32: a backbone other than prism may need more. Every tenth image is held out, training stops when their
    loss has not fallen for ten epochs, and the best epoch's flows are kept. The features pass through float16.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers, a flow for each. Default ``("layer1", "layer2", "layer3")``.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        whiten: whether features are whitened, default True; False normalises them by layer as the paper does.
        flow_steps: coupling steps of each flow, 1 or more, default 8 as in the paper for ResNets.
        conv3x3_only: True gives every step 3x3 convolutions; by default 3x3 and 1x1 alternate.
        hidden_ratio: width of a step's subnet over that of its input, above 0, default 1.0.
        combine: what of the levels is averaged: ``above_usual``, the default, how far their negative log-likelihoods
            are above what is usual in that place; or ``likelihood``, what is missing to the highest, as in the paper.
        sigma: of the Gaussian that smooths their maps, px, 0 or more, default 4; 0 as in the paper.
        epochs: passes over the images, at most; 1 or more, default 10.
        batch_size: images a step, 1 or more, default 8.
        lr: learning rate of Adam, above 0, default 1e-3 as in the paper.
        weight_decay: of the same, 0 or more, default 1e-5 as in the paper.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the permutations, the weights and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.fastflow import Fastflow
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Fastflow(epochs=1, flow_steps=2).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    whitenings_: nn.ModuleList
    norms_: nn.ModuleList
    flows_: nn.ModuleList
    baseline_mean_: Tensor  # what the levels' maps are for good parts, (levels, H, W), or zeros (levels, 1, 1)
    baseline_scale_: Tensor  # and how much they differ, (levels, H, W), or ones (levels, 1, 1)
    _earlier = {"whiten": False, "combine": "above_usual", "sigma": 4.0}  # models of before had no such choice

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer1", "layer2", "layer3"),
        weights: str | None = None,
        whiten: bool = True,
        flow_steps: int = 8,
        conv3x3_only: bool = False,
        hidden_ratio: float = 1.0,
        combine: Combine = "above_usual",
        sigma: float = 4.0,
        epochs: int = 10,
        batch_size: int = 8,
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights, self.whiten = backbone, layers, weights, whiten
        self.flow_steps, self.conv3x3_only, self.hidden_ratio = flow_steps, conv3x3_only, hidden_ratio
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
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(self.flow_steps >= 1, "flow_steps", self.flow_steps, "at least 1")
        require(0 < self.hidden_ratio < math.inf, "hidden_ratio", self.hidden_ratio, "above 0 and finite")
        check_map_parameters(self.combine, self.sigma)

    def _build(self, height: int, width: int) -> None:
        shapes = self.backbone_.shapes(height, width)
        self.whitenings_ = nn.ModuleList(Whitening(c) if self.whiten else nn.Identity() for c, _, _ in shapes)
        if self.whiten:
            self.norms_ = nn.ModuleList(nn.Identity() for _ in shapes)
        else:
            self.norms_ = feature_norms(shapes, tiled=self.margin_ is not None)
        kernels = (3,) if self.conv3x3_only else (3, 1)
        self.flows_ = nn.ModuleList(
            Flow(channels, self.flow_steps, self.hidden_ratio, kernels) for channels, _, _ in shapes
        )

    def _extract(self, pixels: Tensor) -> list[Tensor]:
        """Compute the features of images (B, 3, H, W), whitened if they are to be, per level (B, C, h, w)."""
        return [whitening(m) for whitening, m in zip(self.whitenings_, self.backbone_(pixels), strict=True)]

    def _latents(self, *maps: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Compute per level z (B, C, h, w) and the log-determinants (B, h, w) of features (B, C, h, w)."""
        return [flow(norm(m)) for m, norm, flow in zip(maps, self.norms_, self.flows_, strict=True)]

    def _loss(self, *maps: Tensor) -> Tensor:
        """Add up the levels' negative log-likelihoods: equation 4, constants dropped."""
        return negative_log_likelihood(self._latents(*maps))

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        if self.whiten:
            fit_whitenings(self.whitenings_, self.backbone_, images, self.tile)
        objective = Objective(self._loss, self.norms_, self.flows_)
        optimizer = torch.optim.Adam(objective.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        train(
            objective,
            optimizer,
            images,
            self._extract,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            clip=100.0,
            precision=self.precision,
            from_model=self.whiten,
            checkpoint=checkpoint,
            description="fastflow",
        )
        self.baseline_mean_, self.baseline_scale_ = fit_baseline_if(
            self.combine == "above_usual", len(self.layers), self._levels, images, self.device, self.tile
        )

    def _levels(self, pixels: Tensor) -> Tensor:
        """Compute the map of every level, (levels, B, H, W)."""
        surprises = [0.5 * z.square().mean(1) for z, _ in self._latents(*self._extract(pixels))]
        return unlikely_maps(surprises, (pixels.shape[2], pixels.shape[3]), self.combine, self.sigma)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = standardise(self._levels(pixels), self.baseline_mean_, self.baseline_scale_)
        return anomaly_map, image_score(anomaly_map)
