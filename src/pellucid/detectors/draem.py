"""DRAEM (Zavrtanik, Kristan & Skocaj, "DRAEM: A Discriminatively Trained Reconstruction Embedding for Surface Anomaly
Detection", ICCV 2021, arXiv 2108.07610), in the space of features, as its authors' own successor works (Zavrtanik et
al., "DSR: A Dual Subspace Re-Projection Network for Surface Anomaly Detection", ECCV 2022, arXiv 2208.01521)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._flaws import draw_textures, focal, mark, plant
from pellucid.detectors._maps import concatenate, image_score, locally_aware, resize_to, smooth_map
from pellucid.detectors._moments import channel_statistics
from pellucid.detectors._training import Objective, check_training_parameters, train

PATCHSIZE = 3  # positions in each direction that a feature is the mean of
FOCUS = 2.0  # gamma of the focal loss
MAX_DOUBLINGS = 3  # of the channels, from level to level
SSIM_WINDOW = 11  # px
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # of pixels in [0, 1]
SPACES = ("features", "pixels")


class Draem(Detector):
    """One network brings images with planted flaws back to what they were; another sees both, and tells where they are.

    What is planted are textures of our own formulas (:mod:`pellucid.synthesis.textures`), which show through where
    clouds are high: the paper takes photos of textures, which would have to be downloaded. Half of what the networks
    see has nothing planted.

    Deviations from the paper: ``space="features"`` brings back, and looks at, a frozen backbone's features instead of
    pixels. Networks on 32 x 32 features need no five levels of 128 channels nor 700 epochs on a GPU to tell what a
    texture is, the backbone knows that; so they are small, and learn in minutes on a CPU. Features are standardised
    channel by channel, and L_rec is their squared error without a structural similarity, which is one of pixels. Each
    image gets ``planted`` flaws once, instead of new ones at every step, and its features are computed once. Textures
    are turned and mirrored, not otherwise augmented, and images not at all. The map is the logit, smoothed by a
    Gaussian of 4 px, where the paper averages probabilities over 21 x 21 px. Every tenth image is held out, training
    stops when their loss, with their own planted flaws, has not fallen for ten epochs, and the best epoch's weights
    are kept; the rate stays what it is.
    The paper's way is ``space="pixels", width=128, discriminative_width=64, depth=4, lr=1e-4, epochs=700``, with the
    same textures, but for the discriminative network, which halves the grid once more in the authors' code.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``. Of pixels it is not used.
        layers: names of one or more of its layers, the first of which gives the grid. Default ``("layer2", "layer3")``.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        space: what is brought back: ``features``, the default, or ``pixels`` as in the paper.
        planted: flaws for each image, 1 or more, default 4.
        textures: how many are drawn, 1 or more, default 64.
        perlin_threshold: value of the clouds' noise, in [-1, 1], from which on a texture shows through, in [0, 1),
            default 0.5 as in the paper.
        width: channels of the networks' finest level, which double three times at most; 1 or more, default 32.
        discriminative_width: the same of the network that sees both images, 1 or more; None, the default: ``width``.
        depth: how often they halve the grid, 1 or more, default 2.
        epochs: passes over the images, at most; 1 or more, default 40.
        batch_size: images a step, 1 or more, default 8 as in the paper.
        lr: learning rate of Adam, above 0, default 1e-3: the paper's 1e-4 is for many more steps.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the weights, the textures, the flaws and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.draem import Draem
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Draem(epochs=1, textures=4, width=8).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    reconstructive_: nn.Module
    discriminative_: nn.Module
    mu_: Tensor  # mean of each channel over good images, (C, 1, 1)
    sigma_: Tensor  # and standard deviation, (C, 1, 1)
    _earlier = {"discriminative_width": None}

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        space: Literal["features", "pixels"] = "features",
        planted: int = 4,
        textures: int = 64,
        perlin_threshold: float = 0.5,
        width: int = 32,
        discriminative_width: int | None = None,
        depth: int = 2,
        epochs: int = 40,
        batch_size: int = 8,
        lr: float = 1e-3,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights, self.space = backbone, layers, weights, space
        self.planted, self.textures, self.perlin_threshold = planted, textures, perlin_threshold
        self.width, self.discriminative_width, self.depth = width, discriminative_width, depth
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.precision, self.seed = precision, seed

    def _check_parameters(self) -> None:
        check_training_parameters(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, precision=self.precision)
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(self.space in SPACES, "space", self.space, "features or pixels")
        require(0 <= self.perlin_threshold < 1, "perlin_threshold", self.perlin_threshold, "in [0, 1)")
        for name in ("planted", "textures", "width", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        width = self.discriminative_width
        require(width is None or width >= 1, "discriminative_width", width, "at least 1, or None")

    def _build(self, height: int, width: int) -> None:
        of_features = sum(c for c, _, _ in self.backbone_.shapes(height, width))
        channels = 3 if self.space == "pixels" else of_features
        self.reconstructive_ = _EncoderDecoder(channels, channels, self.width, self.depth, skips=False)
        sees_both = self.discriminative_width or self.width
        self.discriminative_ = _EncoderDecoder(2 * channels, 1, sees_both, self.depth, skips=True)

    def _describe(self, pixels: Tensor) -> Tensor:
        """Compute what is brought back, before its channels are standardised: (B, C, h, w)."""
        if self.space == "pixels":
            return pixels
        return locally_aware([concatenate(self.backbone_(pixels))], PATCHSIZE)[0]

    def _extract(self, pixels: Tensor) -> Tensor:
        if self.space == "pixels":
            return pixels
        return (self._describe(pixels) - self.mu_) / self.sigma_

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        self.mu_, self.sigma_ = channel_statistics(self._describe, images, self.device)
        textures = draw_textures(self.textures, int(self.size_.max()), self.seed)
        generator = torch.Generator().manual_seed(self.seed)

        def extract(pixels: Tensor) -> list[Tensor]:
            """Compute I (B, C, h, w), all I_a (B, planted * C, h, w) and their M_a (B, planted, h, w)."""
            drawn = [plant(pixels, textures, self.perlin_threshold, generator) for _ in range(self.planted)]
            I, I_a = self._extract(pixels), [self._extract(flawed) for flawed, _ in drawn]  # noqa: E741 - the paper's
            grid = (int(I.shape[2]), int(I.shape[3]))
            return [I, torch.cat(I_a, 1), torch.cat([mark(masks, grid) for _, masks in drawn], 1)]

        objective = Objective(self._loss, self.reconstructive_, self.discriminative_)
        train(
            objective,
            torch.optim.Adam(objective.parameters(), lr=self.lr),
            images,
            extract,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            checkpoint=checkpoint,
            description="draem",
        )

    def _loss(self, I: Tensor, I_a: Tensor, M_a: Tensor) -> Tensor:  # noqa: E741 - as the paper calls it
        """Compute L = L_rec + L_seg of images as they are and with one of their planted flaws, of held-out ones with
        all; what they are is given as ``extract`` computes it."""
        P = M_a.shape[1]
        I_a, M_a = I_a.reshape(len(I_a), P, *I.shape[1:]), M_a[:, :, None]  # (B, P, C, h, w), (B, P, 1, h, w)
        if self.reconstructive_.training:
            rows, drawn = torch.arange(len(I)), torch.randint(P, (len(I),))
            I_a, M_a = I_a[rows, drawn], M_a[rows, drawn]
        else:
            I, I_a, M_a = I.repeat_interleave(P, 0), I_a.flatten(0, 1), M_a.flatten(0, 1)  # noqa: E741 - likewise
        truth = torch.cat([I, I])
        I_r, M_o = self._networks(torch.cat([I, I_a]))
        loss = F.mse_loss(I_r.float(), truth.float())
        if self.space == "pixels":
            loss = loss + 1 - ssim(I_r.float(), truth.float()).mean()
        return loss + focal(M_o.float(), torch.cat([torch.zeros_like(M_a), M_a]).float(), FOCUS)

    def _networks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is brought back, (B, C, h, w), and the logit of what was not there before, (B, 1, h, w)."""
        I_r = self.reconstructive_(x)
        return I_r, self.discriminative_(torch.cat([x, I_r], 1))

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        M_o = self._networks(self._extract(pixels))[1]
        anomaly_map = smooth_map(M_o[:, 0], (pixels.shape[2], pixels.shape[3]))
        return anomaly_map, image_score(anomaly_map)


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Compute the structural similarity (Wang et al., IEEE TIP 13, 2004) at every position, over squares.

    Args:
        one: (B, C, H, W) in [0, 1].
        other: likewise.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, SSIM_WINDOW, 1, SSIM_WINDOW // 2, count_include_pad=False)

    mu, nu = mean(one), mean(other)
    var, war, cov = mean(one * one) - mu * mu, mean(other * other) - nu * nu, mean(one * other) - mu * nu
    return ((2 * mu * nu + SSIM_C1) * (2 * cov + SSIM_C2)) / ((mu * mu + nu * nu + SSIM_C1) * (var + war + SSIM_C2))


def _convolutions(c_in: int, c_out: int) -> nn.Sequential:
    steps = [(nn.Conv2d(c, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()) for c in (c_in, c_out)]
    return nn.Sequential(*(layer for step in steps for layer in step))


class _EncoderDecoder(nn.Module):
    """From (B, c_in, h, w) over a coarse grid to (B, c_out, h, w).

    Args:
        c_in: channels.
        c_out: channels.
        width: of the finest level; every level has twice that of the one before, the fourth's at most.
        depth: how often the grid is halved.
        skips: whether each level of the way back sees that of the way there (U-Net).
    """

    def __init__(self, c_in: int, c_out: int, width: int, depth: int, *, skips: bool) -> None:
        super().__init__()
        self.skips, widths = skips, [width << min(k, MAX_DOUBLINGS) for k in range(depth + 1)]
        self.encoder = nn.ModuleList(_convolutions(a, b) for a, b in zip([c_in, *widths], widths, strict=False))
        self.decoder = nn.ModuleList(
            _convolutions(widths[k + 1] + skips * widths[k], widths[k]) for k in reversed(range(depth))
        )
        self.last = nn.Conv2d(width, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.encoder[0](x)]
        for level in self.encoder[1:]:
            levels.append(level(F.max_pool2d(levels[-1], 2, ceil_mode=True)))
        x = levels.pop()
        for level in self.decoder:
            there = levels.pop()
            x = resize_to(x, (int(there.shape[2]), int(there.shape[3])))
            x = level(torch.cat([x, there], 1) if self.skips else x)
        out: Tensor = self.last(x)
        return out
