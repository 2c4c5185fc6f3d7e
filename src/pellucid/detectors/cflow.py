"""CFLOW-AD (Gudovskiy, Ishizaka & Kozuka, "CFLOW-AD: Real-Time Unsupervised Anomaly Detection with Localization via
Conditional Normalizing Flows", WACV 2022, arXiv 2107.12571)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid._io.progress import track
from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._baseline import fit_baseline_if, standardise
from pellucid.detectors._flow import Combine, Condition, Flow, check_map_parameters, unlikely_maps
from pellucid.detectors._maps import image_score
from pellucid.detectors._moments import level_statistics
from pellucid.detectors._training import Objective, check_training_parameters, train

LONGEST_WAVE = 10_000.0  # cells, over 2 pi, of the position code


class Cflow(Detector):
    """A normalising flow per level maps each feature vector, given its position, to a standard normal.

    The map adds up what is missing to the highest likelihood of each level. Of tiles, whose positions on the part mean
    nothing, the flows are told none.

    Deviations from the paper: features are standardised channel by channel, which changes the likelihood by a constant.
    The highest likelihood, which the paper takes over the test images, is that of the images of the fit; an image can
    exceed it. The global affine map of a step has an exponential scale, and its permutation is one of channels. Adam
    with 1e-3 and 20 epochs, in each of which a step draws one batch of vectors from 4 images, instead of 2e-4 and 200
    with all vectors of 32. Every tenth image is held out, training stops when the loss of vectors of theirs, the same
    every time, has not fallen for ten epochs, and the best epoch's flows are kept. The features pass through float16.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers, a flow for each. Default ``("layer1", "layer2", "layer3")``; the
            paper's are the last three of a ResNet.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        coupling_blocks: coupling steps of each flow, 1 or more, default 8 as in the paper.
        condition_vector: values that a position is told by, a multiple of 4 or 0, default 128 as in the paper: sines
            and cosines of its row and column; with 0 every position is told alike.
        clamp_alpha: bound of the logarithm of a step's scale, above 0, default 1.9 as in the authors' code.
        combine: what of the levels is averaged: ``likelihood``, the default and the paper's, what is missing to the
            highest; or ``above_usual``, how far their negative log-likelihoods are above what is usual in that place,
            as FastFlow has it here.
        sigma: of the Gaussian that smooths their maps, px, 0 or more, default 0, none, as in the paper.
        epochs: passes over the images, at most; 1 or more, default 20.
        batch_size: images a step, 1 or more, default 4.
        fiber_batch_size: vectors of them that a level learns from in that step, 1 or more, default 256 as in the paper.
        lr: learning rate of Adam, above 0, default 1e-3.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the permutations, the weights, the vectors and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.cflow import Cflow
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Cflow(epochs=1, coupling_blocks=2).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    flows_: nn.ModuleList
    mu_: Tensor  # mean of each channel of all levels over good images, (sum of C, 1, 1)
    scale_: Tensor  # and standard deviation, (sum of C, 1, 1)
    highest_: Tensor  # log-likelihood of each level over good images, a mean over channels, (levels,)
    baseline_mean_: Tensor  # what the levels' maps are for good parts, (levels, H, W), or zeros (levels, 1, 1)
    baseline_scale_: Tensor  # and how much they differ, (levels, H, W), or ones (levels, 1, 1)

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer1", "layer2", "layer3"),
        weights: str | None = None,
        coupling_blocks: int = 8,
        condition_vector: int = 128,
        clamp_alpha: float = 1.9,
        combine: Combine = "likelihood",
        sigma: float = 0.0,
        epochs: int = 20,
        batch_size: int = 4,
        fiber_batch_size: int = 256,
        lr: float = 1e-3,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.coupling_blocks, self.condition_vector, self.clamp_alpha = coupling_blocks, condition_vector, clamp_alpha
        self.combine, self.sigma = combine, sigma
        self.epochs, self.batch_size, self.fiber_batch_size = epochs, batch_size, fiber_batch_size
        self.lr, self.precision, self.seed = lr, precision, seed

    def _check_parameters(self) -> None:
        check_training_parameters(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, precision=self.precision)
        told, drawn = self.condition_vector, self.fiber_batch_size
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(self.coupling_blocks >= 1, "coupling_blocks", self.coupling_blocks, "at least 1")
        require(told >= 0 and told % 4 == 0, "condition_vector", told, "0 or a multiple of 4")
        require(0 < self.clamp_alpha < math.inf, "clamp_alpha", self.clamp_alpha, "above 0 and finite")
        check_map_parameters(self.combine, self.sigma)
        require(drawn >= 1, "fiber_batch_size", drawn, "at least 1")

    def _build(self, height: int, width: int) -> None:
        told = 0 if self.margin_ is not None else self.condition_vector
        self.flows_ = nn.ModuleList(
            Flow(channels, self.coupling_blocks, 2.0, kernels=(1,), clamp=self.clamp_alpha, condition_channels=told)
            for channels, _, _ in self.backbone_.shapes(height, width)
        )

    def _condition(self, x: Tensor) -> Condition | None:
        """Compute c, the code of each row and of each column of a map (B, C, h, w); None where none is told."""
        half = self.condition_vector // 2
        if self.margin_ is not None or not half:
            return None
        rows, columns = (position_code(int(side), half).to(x) for side in x.shape[2:])
        return rows[None, :, :, None], columns[None, :, None, :]

    def _standardised(self, maps: Sequence[Tensor]) -> list[Tensor]:
        sizes = [m.shape[1] for m in maps]
        mu, scale = torch.split(self.mu_, sizes), torch.split(self.scale_, sizes)
        return [(m - mean) / deviation for m, mean, deviation in zip(maps, mu, scale, strict=True)]

    def _loss(self, *maps: Tensor) -> Tensor:
        """Add up over levels -log p(x | c) of vectors, a mean over them and their channels."""
        generator = None if self.flows_.training else torch.Generator().manual_seed(self.seed)
        losses = []
        for x, flow in zip(self._standardised(maps), self.flows_, strict=True):
            x, condition = self._draw(self.tile.inner(x), generator)
            losses.append(-log_likelihood(*flow(x, condition)).mean())
        return torch.stack(losses).sum()

    def _draw(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Condition | None]:
        """Draw N vectors of a batch (B, C, h, w) as a map (1, C, 1, N), and the codes of where they come from."""
        B, C, h, w = x.shape
        at = torch.randperm(B * h * w, generator=generator)[: self.fiber_batch_size].to(x.device)
        vectors = x.movedim(1, 3).reshape(-1, C)[at].T[None, :, None]
        if (condition := self._condition(x)) is None:
            return vectors, None
        rows, columns = condition
        return vectors, (rows[:, :, at // w % h].movedim(2, 3), columns[..., at % w])  # (1, P / 2, 1, N) each

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        self.mu_, self.scale_ = level_statistics(self.backbone_, images, self.device)
        objective = Objective(self._loss, self.flows_)
        train(
            objective,
            torch.optim.Adam(objective.parameters(), lr=self.lr),
            images,
            self.backbone_,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            checkpoint=checkpoint,
            description="cflow",
        )
        self.highest_ = self._fit_highest(images)
        self.baseline_mean_, self.baseline_scale_ = fit_baseline_if(
            self.combine == "above_usual", len(self.layers), self._levels, images, self.device, self.tile
        )

    @torch.inference_mode()
    def _fit_highest(self, images: Images) -> Tensor:
        """Find the highest log-likelihood of each level over good images, (levels,)."""
        found = [
            torch.stack([self.tile.inner(level, 0).amax() for level in self._log_likelihoods(pixels.to(self.device))])
            for pixels in track(images, "scoring good images")
        ]
        return torch.stack(found).amax(0).clone()

    def _log_likelihoods(self, pixels: Tensor) -> list[Tensor]:
        """Compute log p(x | c) at each position of every level, a mean over channels, (B, h, w) each."""
        maps = self._standardised(self.backbone_(pixels))
        return [log_likelihood(*flow(x, self._condition(x))) for x, flow in zip(maps, self.flows_, strict=True)]

    def _levels(self, pixels: Tensor) -> Tensor:
        """Compute the map of every level, (levels, B, H, W)."""
        surprises = [h - found for h, found in zip(self.highest_, self._log_likelihoods(pixels), strict=True)]
        return unlikely_maps(surprises, (pixels.shape[2], pixels.shape[3]), self.combine, self.sigma)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = standardise(self._levels(pixels), self.baseline_mean_, self.baseline_scale_)
        return anomaly_map, image_score(anomaly_map)


def log_likelihood(z: Tensor, log_det: Tensor) -> Tensor:
    """Compute log p(x) over the number of channels, its constant dropped, of z (B, C, h, w) and log-determinants."""
    return (log_det - 0.5 * z.square().sum(1)) / z.shape[1]


@lru_cache(maxsize=64)
def position_code(side: int, channels: int) -> Tensor:
    """Compute sines and cosines of every cell's number along a side, (channels, side), of ever longer waves.

    As in "Attention is all you need" (Vaswani et al., NeurIPS 2017).

    Args:
        side: cells.
        channels: even.
    """
    frequency = LONGEST_WAVE ** (-torch.arange(0, channels, 2) / channels)
    angle = frequency[:, None] * torch.arange(side)  # (channels / 2, side)
    return torch.stack([angle.sin(), angle.cos()], 1).flatten(0, 1)
