"""EfficientAD (Batzner et al., "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies", WACV
2024, arXiv 2303.14535)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._io.progress import track
from pellucid.backbones.pdn import PDN
from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._maps import concatenate, image_score, resize_to
from pellucid.detectors._moments import channel_statistics
from pellucid.detectors._training import Objective, check_training_parameters, held_out_images, train
from pellucid.errors import DataError
from pellucid.synthesis.textures import scene

MIN_SIDE_PX = 32  # of an image: the autoencoder halves it five times
PENALTY_PX = 128  # side of the drawings that the student has to stay ignorant of
Q_A, Q_B = 0.9, 0.995  # quantiles of good maps that become 0 and 0.1
MIN_SCALE = 1e-6  # not zero where all images are one colour
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue
DECODER_SIDES = (3, 8, 15, 32, 63, 127)  # of what the decoder enlarges to, for an image of 256 px


class EfficientAd(Detector):
    """A student that cannot follow its teacher shows local flaws, one that cannot follow an autoencoder logical ones.

    Deviations from the paper: the teacher, ``pdn_s``, was distilled from prism_m on drawings, not from a WideResNet on
    ImageNet, and describes a patch by 192 numbers instead of 384. Drawings of 128x128 px take the place of ImageNet's
    pictures in the student's penalty, too. Networks see the image mirrored at its borders instead of zeros, so that no
    border is blind. Every tenth image is held out: their loss ends the training when it has not fallen for ten epochs,
    the best epoch's weights are kept, and quantiles are taken of their maps before these are enlarged; of fewer than
    ten images none is held out. Forty epochs in batches of 2 instead of 70,000 single images, at one learning rate; the
    hard features are chosen in each image of a batch. The autoencoder's sizes are those of table 8 for 256x256 px and
    in proportion for others; its bottleneck is one position always. The teacher's features pass through float16.

    Args:
        backbone: name of the teacher, one of ``pellucid.backbones.names()``. Default ``pdn_s``; the maps of another
            are joined, and brought to the student's grid of a quarter of the image's sides.
        layers: names of one or more of its layers. Default ``("layer1",)``, the only one of pdn_s.
        weights: checkpoint file of the teacher; None, the default, takes those that belong to its name.
        p_hard: quantile of the squared errors from which on the student learns from them, in [0, 1), default 0.999 as
            in the paper; 0 learns from all.
        penalty_images: how many drawings the student must not describe as the teacher does, 0 or more, default 256;
            each is drawn once, and 0 is the paper's ablation without the penalty.
        epochs: passes over the images, at most; 1 or more, default 40.
        batch_size: images a step, 1 or more, default 2; 1 in the paper.
        lr: learning rate of Adam, above 0, default 0.0001 as in the paper.
        weight_decay: of the same, 0 or more, default 1e-5 as in the paper.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the weights, drawings and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.efficientad import EfficientAd
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = EfficientAd(epochs=1, penalty_images=8).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    student_: nn.Module
    autoencoder_: nn.Module
    mu_: Tensor  # mean of each of the teacher's channels over good images, (C, 1, 1)
    sigma_: Tensor  # and standard deviation, (C, 1, 1)
    quantiles_: Tensor  # of good maps: q_a and q_b of the student's, then of the autoencoder's, (2, 2)

    def __init__(
        self,
        *,
        backbone: str = "pdn_s",
        layers: Sequence[str] = ("layer1",),
        weights: str | None = None,
        p_hard: float = 0.999,
        penalty_images: int = 256,
        epochs: int = 40,
        batch_size: int = 2,
        lr: float = 0.0001,
        weight_decay: float = 1e-5,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.p_hard, self.penalty_images = p_hard, penalty_images
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
        require(0 <= self.p_hard < 1, "p_hard", self.p_hard, "in [0, 1)")
        require(self.penalty_images >= 0, "penalty_images", self.penalty_images, "0 or more")

    def _build(self, height: int, width: int) -> None:
        if min(height, width) < MIN_SIDE_PX:
            raise DataError(
                f"Images of {height}x{width} px are too small for efficientad: its autoencoder needs sides of"
                f" {MIN_SIDE_PX} px or more. Set a larger --image-size."
            )
        channels = sum(c for c, _, _ in self.backbone_.shapes(height, width))
        self.student_ = PDN(2 * channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.autoencoder_ = _Autoencoder(channels, height, width)

    def _teacher(self, pixels: Tensor) -> Tensor:
        """Describe images (B, 3, H, W) as the teacher does, (B, C, H/4, W/4), before its channels are normalised."""
        height, width = (-(-int(side) // 4) for side in pixels.shape[2:])
        return resize_to(concatenate(self.backbone_(pixels)), (height, width))

    def _student(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the teacher's features and the autoencoder's, (B, C, H/4, W/4) each."""
        predicted: Tensor = self.student_(_centred(pixels))["layer1"].float()
        of_teacher, of_autoencoder = predicted.chunk(2, dim=1)
        return of_teacher, of_autoencoder

    def _normalise(self, features: Tensor) -> Tensor:
        """Bring the teacher's features to zero mean and unit variance over the images that were learned from."""
        return (features.float() - self.mu_) / self.sigma_

    def _loss(self, drawings: Tensor, pixels: Tensor, features: Tensor) -> Tensor:
        """Compute L_hard + L_AE + L_STAE of algorithm 1, and in training the penalty, with the autoencoder's images lit
        otherwise.

        Args:
            drawings: (N, 3, PENALTY_PX, PENALTY_PX) in [0, 1].
            pixels: images (B, 3, H, W).
            features: the teacher's of them, (B, C, H/4, W/4).
        """
        T, (S, S_prime) = self._normalise(features), self._student(pixels)
        loss = hard_mean((T - S).square(), self.p_hard)
        if self.student_.training:
            if len(drawings):
                P = drawings[torch.randint(len(drawings), (len(pixels),))]
                loss = loss + self._student(P)[0].square().mean()
            pixels = relit(
                pixels.float(), torch.randint(3, (len(pixels),)), torch.empty(len(pixels)).uniform_(0.8, 1.2)
            )
            with torch.no_grad():
                T = self._normalise(self._teacher(pixels))
            S_prime = self._student(pixels)[1]
        A = self.autoencoder_(_centred(pixels)).float()
        return loss + F.mse_loss(A, T) + F.mse_loss(S_prime, A)

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        self.mu_, self.sigma_ = channel_statistics(self._teacher, images, self.device)
        rng = np.random.default_rng(self.seed)
        drawn = [scene(rng, PENALTY_PX) for _ in track(range(self.penalty_images), "drawing what is no product")]
        drawings = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2) if drawn else torch.empty(0)
        objective = Objective(partial(self._loss, drawings.to(self.device)), self.student_, self.autoencoder_)
        optimizer = torch.optim.Adam(objective.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        train(
            objective,
            optimizer,
            images,
            lambda pixels: [pixels, self._teacher(pixels)],
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            checkpoint=checkpoint,
            description="efficientad",
        )
        with torch.inference_mode():
            maps = torch.cat([self._maps(pixels.to(self.device)).cpu() for pixels in held_out_images(images)], dim=1)
        quantiles = np.quantile(maps.flatten(1).numpy(), (Q_A, Q_B), axis=1).T  # (maps, 2)
        self.quantiles_ = torch.from_numpy(quantiles).float().to(self.device)

    def _maps(self, pixels: Tensor) -> Tensor:
        """Compute the student's map and the autoencoder's, mean squares over channels: (2, B, H/4, W/4)."""
        T, (S, S_prime) = self._normalise(self._teacher(pixels)), self._student(pixels)
        A = self.autoencoder_(_centred(pixels))
        return torch.stack([(T - S).square().mean(1), (A - S_prime).square().mean(1)])

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        size = (pixels.shape[2], pixels.shape[3])
        q_a, q_b = self.quantiles_.view(2, 2, 1, 1, 1).unbind(1)
        M = 0.1 * (self._maps(pixels) - q_a) / (q_b - q_a).clamp_min(MIN_SCALE)
        anomaly_map = resize_to(M.mean(0)[:, None], size)[:, 0]
        return anomaly_map, image_score(anomaly_map)


def hard_mean(D: Tensor, p_hard: float) -> Tensor:
    """Average, in each image, the squared errors D (B, C, h, w) that are not below their quantile ``p_hard``."""
    D = D.flatten(1)
    n = D.shape[1]
    return D.topk(n - math.ceil(p_hard * (n - 1)), dim=1, sorted=False).values.mean()


def relit(pixels: Tensor, which: Tensor, factor: Tensor) -> Tensor:
    """Change the light of images (B, 3, H, W) in [0, 1], as a camera would.

    Args:
        pixels: the images.
        which: of each image (B,): 0 changes its brightness, 1 its contrast, 2 its saturation.
        factor: by which, (B,); 1 changes nothing.
    """
    grey = (pixels * torch.tensor(LUMA, device=pixels.device).view(3, 1, 1)).sum(1, keepdim=True)
    anchors = torch.stack([torch.zeros_like(grey), grey.mean((2, 3), keepdim=True).expand_as(grey), grey])
    anchor = anchors[which, torch.arange(len(pixels))]
    return (anchor + factor.view(-1, 1, 1, 1).to(pixels) * (pixels - anchor)).clamp(0, 1)


def _centred(pixels: Tensor) -> Tensor:
    """Bring pixels in [0, 1] to what the student and the autoencoder take, as the teacher's family does."""
    return (pixels - PDN.mean[0]) / PDN.std[0]


class _Autoencoder(nn.Module):
    """Table 8: normalised images (B, 3, H, W) through 64 numbers to (B, C, H/4, W/4).

    Args:
        channels: C.
        height: H, px.
        width: W, px.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        widths = (3, 32, 32, 64, 64, 64)
        halvings = [m for c in pairwise(widths) for m in (nn.Conv2d(*c, 4, stride=2, padding=1), nn.ReLU())]
        self.encoder = nn.Sequential(*halvings, nn.Conv2d(64, 64, (height // 32, width // 32)))
        self.sizes = [(max(1, round(height * n / 256)), max(1, round(width * n / 256))) for n in DECODER_SIDES]
        self.sizes.append((-(-height // 4), -(-width // 4)))
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(64, 64, 4, padding=2), nn.ReLU(), nn.Dropout(0.2)) for _ in DECODER_SIDES
        )
        self.features = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(x)
        for size, layer in zip(self.sizes, self.decoder, strict=False):
            x = layer(resize_to(x, size))
        out: Tensor = self.features(resize_to(x, self.sizes[-1]))
        return out
