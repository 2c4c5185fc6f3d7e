"""SuperSimpleNet (Rolih, Fucka & Skocaj, "SuperSimpleNet: Unifying Unsupervised and Supervised Learning for Fast and
Reliable Surface Defect Detection", ICPR 2024, arXiv 2408.03143; where only some defects are outlined, "No Label Left
Behind: A Unified Surface Defect Detection Model for all Supervision Regimes", 2025, arXiv 2508.19060)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._flaws import focal, mark, perlin_noise
from pellucid.detectors._maps import concatenate, image_score, locally_aware, resize_to, smooth_map, top_score
from pellucid.detectors._moments import channel_statistics
from pellucid.detectors._training import Objective, check_training_parameters, train, train_on
from pellucid.records import ScoreOf

PATCHSIZE = 3  # positions in each direction that a feature is the mean of
FOCUS = 4.0  # gamma of the focal loss
TRUNCATION = 0.5  # th of the truncated L1 loss
HIDDEN_CHANNELS = 1024  # of the segmentation head
CLASSIFIED_CHANNELS = 128  # of the classification head
SCORES = ("head", "top", "peak")


class SuperSimpleNet(Detector):
    """Two heads tell adapted features from the same with noise in cloud-shaped places; what looks noised is anomalous.

    It learns from good images alone, and goes on from there with labelled defects where there are any
    (:meth:`learn_defects`): an epoch has every one of them and as many good images, and noise where nothing is
    defective. Of a defect whose place is not known the image is learned, and no position.

    Deviations from the paper: labelled defects come after the good images instead of with them, for ``defect_epochs``,
    so that what they change can be weighed and taken back (``docs/decisions/0056-planted-and-taught.md``). Features are
    standardised channel by channel before they are adapted, and the noise is measured in that unit: the paper's 0.015
    is for those of a WideResNet as they are. They are not enlarged twice first, which costs four times as much, unless
    ``enlarge`` says so. Every tenth image is held out, training stops when their loss, with the same noise every time,
    has not fallen for ten epochs, and the best epoch's weights are kept; the rates stay what they are. 40 epochs with
    batches of 8 instead of 300 with 32. The features pass through float16.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers, the first of which gives the grid. Default ``("layer2", "layer3")``,
            as in the paper.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        enlarge: whether features are enlarged twice in each direction first, as in the paper; default False.
        noise_std: standard deviation of the noise, in that of a channel, above 0, default 0.5.
        perlin_threshold: value of the clouds' noise, in [-1, 1], from which on a place is noised, in [0, 1), default
            0.2 as in the paper.
        image_score: ``head``, the default and the paper's: what the classification head says; or of the segmentation
            head's map the mean of the highest 1 %, ``top``, or the maximum, ``peak``.
        epochs: passes over the images, at most; 1 or more, default 40.
        batch_size: images a step, 1 or more, default 8.
        lr: learning rate of AdamW, above 0, default 2e-4 as in the paper; that of the adaptor is half of it.
        weight_decay: of the same, 0 or more, default 1e-5 as in the paper.
        defect_epochs: passes over labelled defects, where there are any; 1 or more, default 20.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the weights, the noise and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.supersimplenet import SuperSimpleNet
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = SuperSimpleNet(epochs=1).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    adaptor_: nn.Module
    segmentation_: nn.Module
    classification_: nn.Module
    mu_: Tensor  # mean of each channel over good images, (C, 1, 1)
    sigma_: Tensor  # and standard deviation, (C, 1, 1)

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        enlarge: bool = False,
        noise_std: float = 0.5,
        perlin_threshold: float = 0.2,
        image_score: Literal["head", "top", "peak"] = "head",
        epochs: int = 40,
        batch_size: int = 8,
        lr: float = 2e-4,
        weight_decay: float = 1e-5,
        defect_epochs: int = 20,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.enlarge, self.noise_std, self.perlin_threshold = enlarge, noise_std, perlin_threshold
        self.image_score = image_score
        self.epochs, self.batch_size, self.lr, self.weight_decay = epochs, batch_size, lr, weight_decay
        self.defect_epochs, self.precision, self.seed = defect_epochs, precision, seed

    @property
    def score_of(self) -> ScoreOf:  # type: ignore[override]
        return "top" if self.image_score == "top" else "peak"

    def _check_parameters(self) -> None:
        check_training_parameters(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            precision=self.precision,
            weight_decay=self.weight_decay,
        )
        require(self.defect_epochs >= 1, "defect_epochs", self.defect_epochs, "at least 1")
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(0 < self.noise_std < math.inf, "noise_std", self.noise_std, "above 0 and finite")
        require(0 <= self.perlin_threshold < 1, "perlin_threshold", self.perlin_threshold, "in [0, 1)")
        require(self.image_score in SCORES, "image_score", self.image_score, "head, top or peak")

    def _build(self, height: int, width: int) -> None:
        channels = sum(c for c, _, _ in self.backbone_.shapes(height, width))
        self.adaptor_ = nn.Conv2d(channels, channels, 1)
        self.segmentation_ = nn.Sequential(
            nn.Conv2d(channels, HIDDEN_CHANNELS, 1),
            nn.BatchNorm2d(HIDDEN_CHANNELS),
            nn.ReLU(),
            nn.Conv2d(HIDDEN_CHANNELS, 1, 1, bias=False),
        )
        self.classification_ = _Classification(channels)

    def _extract(self, pixels: Tensor) -> Tensor:
        """Compute locally aware features, (B, C, h, w)."""
        maps = self.backbone_(pixels)
        if self.enlarge:
            maps = [resize_to(maps[0], (2 * int(maps[0].shape[2]), 2 * int(maps[0].shape[3]))), *maps[1:]]
        return locally_aware([concatenate(maps)], PATCHSIZE)[0]

    def _adapt(self, features: Tensor) -> Tensor:
        adapted: Tensor = self.adaptor_((features - self.mu_) / self.sigma_)
        return adapted

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        self.mu_, self.sigma_ = channel_statistics(self._extract, images, self.device)
        objective, optimizer = self._objective()
        train(
            objective,
            optimizer,
            images,
            lambda pixels: [self._extract(pixels)],
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            checkpoint=checkpoint,
            description="supersimplenet",
        )

    def learn_defects(self, images: Images, defects: Iterable[Tensor]) -> None:
        """Go on learning, from good images and labelled defects: see :class:`LearnsDefects`."""
        good = (torch.cat([pixels, torch.zeros_like(pixels[:, :1])], 1) for pixels in images)
        defective: list[Tensor] = []  # whether there is something on each image

        def extract(pixels: Tensor) -> list[Tensor]:
            features, marked = self._extract(pixels[:, :3]), pixels[:, 3:]
            defective.append(marked.flatten(1).any(1).cpu())
            return [features, mark(marked, (int(features.shape[2]), int(features.shape[3])))]

        objective, optimizer = self._objective()
        train_on(
            objective,
            optimizer,
            chain(good, defects),
            extract,
            lambda generator: draw_halves(torch.cat(defective), generator),
            epochs=self.defect_epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            description="supersimplenet",
        )

    def _objective(self) -> tuple[Objective, torch.optim.Optimizer]:
        objective = Objective(self._loss, self.adaptor_, self.segmentation_, self.classification_)
        heads = nn.ModuleList([self.segmentation_, self.classification_])
        rates: list[dict[str, Any]] = [
            {"params": heads.parameters()},
            {"params": self.adaptor_.parameters(), "lr": self.lr / 2},
        ]
        return objective, torch.optim.AdamW(rates, lr=self.lr, weight_decay=self.weight_decay)

    def _loss(self, features: Tensor, marked: Tensor | None = None) -> Tensor:
        """Compute L_seg + L_cls of features (B, C, h, w) and of the same with noise in places.

        Where labelled defects are ``marked``, (B, 1, h, w), 1 at them and -1 where nobody knows, there is no noise, and
        what the classification head is taught goes on to the other one, which is told nothing of those whose place is
        not known.
        """
        generator = None if self.adaptor_.training else torch.Generator().manual_seed(self.seed)
        adapted = self._adapt(features)
        B, _, h, w = adapted.shape
        clouds = torch.stack([perlin_noise(h, w, generator) for _ in range(B)])
        masks = (clouds > self.perlin_threshold).float()[:, None].to(adapted.device)  # (B, 1, h, w)
        real = torch.zeros_like(masks) if marked is None else marked.float()
        masks = masks * (real == 0)
        noise = self.noise_std * torch.randn(adapted.shape, generator=generator).to(adapted)
        both, truth = torch.cat([adapted, adapted + masks * noise]), torch.cat([real, real + masks])
        maps = self.segmentation_(both)
        seen = (both.detach(), maps.detach()) if marked is None else (both, maps)
        scores = self.classification_(*seen)
        loss = focal(scores.float(), truth.flatten(1).abs().amax(1), FOCUS)
        known = truth >= 0
        if known.any():
            loss = (
                loss + truncated_l1(maps[known].float(), truth[known]) + focal(maps[known].float(), truth[known], FOCUS)
            )
        return loss

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        adapted = self._adapt(self._extract(pixels))
        maps = self.segmentation_(adapted)
        anomaly_map = smooth_map(maps[:, 0], (pixels.shape[2], pixels.shape[3]))
        if self.image_score == "head":
            return anomaly_map, self.classification_(adapted, maps)
        return anomaly_map, (top_score if self.image_score == "top" else image_score)(anomaly_map)


class _Classification(nn.Module):
    """What both heads' features say of the whole image: (B, C, h, w) and a map (B, 1, h, w) to (B,)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels + 1, CLASSIFIED_CHANNELS, 5, padding=2),
            nn.BatchNorm2d(CLASSIFIED_CHANNELS),
            nn.ReLU(),
        )
        self.linear = nn.Linear(2 * CLASSIFIED_CHANNELS + 2, 1)

    def forward(self, adapted: Tensor, maps: Tensor) -> Tensor:
        x = self.conv(torch.cat([adapted, maps], 1))
        pooled = [f(m.flatten(2), 2) for m in (x, maps) for f in (torch.amax, torch.mean)]
        out: Tensor = self.linear(torch.cat(pooled, 1))[:, 0]
        return out


def draw_halves(defective: Tensor, generator: torch.Generator) -> Tensor:
    """Draw every defective image once and as many good ones, or all where there are fewer: indices in any order.

    Args:
        defective: of each image, (N,).
        generator: that draws.
    """
    good, rest = (~defective).nonzero()[:, 0], defective.nonzero()[:, 0]
    drawn = torch.cat([rest, good[torch.randperm(len(good), generator=generator)[: len(rest)]]])
    return drawn[torch.randperm(len(drawn), generator=generator)]


def truncated_l1(maps: Tensor, truth: Tensor) -> Tensor:
    """Average how far values of any shape are from being below -TRUNCATION where the truth is 0, and above it where it
    is 1; both kinds count the same."""
    apart = (TRUNCATION + torch.where(truth > 0, -maps, maps)).clamp_min(0)
    kinds = [apart[truth == 0], apart[truth > 0]]
    return torch.stack([kind.mean() for kind in kinds if kind.numel()]).sum()
