"""Reverse distillation (Deng & Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022,
arXiv 2201.10703)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._baseline import fit_baseline_if, standardise
from pellucid.detectors._maps import image_score, locally_aware, resize_to, smooth_map, unit_distance
from pellucid.detectors._tiles import Reach
from pellucid.detectors._training import Objective, check_training_parameters, train


class ReverseDistillation(Detector):
    """A decoder rebuilds the teacher's features from a narrow one-class embedding; what it cannot rebuild is anomalous.

    After the paper rather than by it. Its decoder mirrors its ResNet block by block and enlarges by transposed
    convolutions; this one uses basic residual blocks for any backbone, bilinear enlargement, and a linear map to the
    features at each level, because those of prism and of linear bottlenecks have both signs. The cosine is that of each
    position (equation 2; the authors' code flattens the whole map). Where the paper sums the distances of all levels,
    this takes how far each is above what is usual in that place. Two levels instead of three, features that are means
    over 3x3, 20 epochs with batches of 8 instead of 200 with 16. Every tenth image is held out, training stops when
    their loss has not fallen for ten epochs, and the best epoch's weights are kept. The teacher's features pass through
    float16. The paper's map is that of ``baseline=False``, ``layers=("layer1", "layer2", "layer3")``, ``patchsize=1``.

    Args:
        backbone: name of the teacher, one of ``pellucid.backbones.names()``. Default ``prism_s``.
        layers: names of two or more of its layers, from fine to coarse. Default ``("layer2", "layer3")``, without the
            paper's finest one: what that sees of prism_s's lifted noise no embedding can carry.
        weights: checkpoint file of the teacher; None, the default, takes those that belong to its name.
        patchsize: the features to rebuild are means over this many positions in each direction, an odd number, default
            3, as PatchCore's are: that much less noise. 1 is the paper, and finds fainter flaws of a few pixels.
        baseline: whether a level counts by how far it is above what is usual in that place, the default; else the
            levels' distances are averaged as they are, which is the paper's sum over their number. Either is smoothed
            by a Gaussian of 4 px, as in the authors' code.
        epochs: passes over the images, at most; 1 or more, default 20.
        batch_size: images a step, 1 or more, default 8.
        lr: learning rate of Adam with betas (0.5, 0.999), above 0, default 0.005, all as in the paper.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the weights and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.reverse_distillation import ReverseDistillation
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = ReverseDistillation(epochs=1).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    reach = Reach(context_px=128, cell_px=64)  # that the decoder joins beyond what the encoder does

    embedding_: nn.Module
    decoder_: nn.Module
    baseline_mean_: Tensor  # what the levels' maps are for good parts, (levels, H, W), or zeros (levels, 1, 1)
    baseline_scale_: Tensor  # and how much they differ, (levels, H, W), or ones (levels, 1, 1)
    _earlier = {"baseline": True}  # models of before had no such choice

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        patchsize: int = 3,
        baseline: bool = True,
        epochs: int = 20,
        batch_size: int = 8,
        lr: float = 0.005,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.patchsize, self.baseline = patchsize, baseline
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.precision, self.seed = precision, seed

    def _check_parameters(self) -> None:
        check_training_parameters(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, precision=self.precision)
        require(len(self.layers) >= 2, "layers", self.layers, "two or more layers from fine to coarse")
        require(self.patchsize >= 1 and self.patchsize % 2 == 1, "patchsize", self.patchsize, "odd and at least 1")

    def _build(self, height: int, width: int) -> None:
        shapes = self.backbone_.shapes(height, width)
        channels = [c for c, _, _ in shapes]
        halvings = [_halvings(h, shapes[-1][1]) for _, h, _ in shapes]
        self.embedding_ = _Embedding(channels, halvings)
        self.decoder_ = _Decoder(channels, [(h, w) for _, h, w in shapes])

    def _encode(self, pixels: Tensor) -> list[Tensor]:
        """Compute the teacher's features, per layer (B, C, h, w)."""
        return locally_aware(self.backbone_(pixels), self.patchsize)

    def _distances(self, *encoded: Tensor) -> list[Tensor]:
        """Compute per layer one minus the cosine of the teacher's and the rebuilt features, (B, h, w): equation 1."""
        decoded = self.decoder_(self.embedding_(encoded))
        return [unit_distance(e, d) for e, d in zip(encoded, decoded, strict=True)]

    def _loss(self, *encoded: Tensor) -> Tensor:
        """Add up the mean distances of all levels: equation 2."""
        return torch.stack([d.mean() for d in self._distances(*encoded)]).sum()

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        objective = Objective(self._loss, self.embedding_, self.decoder_)
        optimizer = torch.optim.Adam(objective.parameters(), lr=self.lr, betas=(0.5, 0.999))
        train(
            objective,
            optimizer,
            images,
            self._encode,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            checkpoint=checkpoint,
            description="reverse_distillation",
        )
        self.baseline_mean_, self.baseline_scale_ = fit_baseline_if(
            self.baseline, len(self.layers), self._levels, images, self.device, self.tile
        )

    def _levels(self, pixels: Tensor) -> Tensor:
        """Compute the smoothed map of every level, (levels, B, H, W)."""
        size = (pixels.shape[2], pixels.shape[3])
        return torch.stack([smooth_map(level, size) for level in self._distances(*self._encode(pixels))])

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = standardise(self._levels(pixels), self.baseline_mean_, self.baseline_scale_)
        return anomaly_map, image_score(anomaly_map)


def _halvings(side: int, coarsest: int) -> int:
    """Count the strides of two that lead from one side to the coarsest."""
    count = 0
    while side > coarsest:
        side, count = (side + 1) // 2, count + 1
    return count


def _conv(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


class _Block(nn.Module):
    """Basic residual block (B, c_in, h, w) -> (B, c_out, h / stride, w / stride)."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(c_in, c_out, stride), nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        )
        self.identity = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.identity(x))


class _Embedding(nn.Module):
    """Multi-scale feature fusion and one-class embedding (section 3.3): every level to half the coarsest grid."""

    def __init__(self, channels: list[int], halvings: list[int]) -> None:
        super().__init__()
        coarse = channels[-1]
        self.fusion = nn.ModuleList(
            nn.Sequential(*(_conv(c if k == 0 else coarse, coarse, 2) for k in range(n)))
            if n
            else nn.Sequential(_conv(c, coarse))
            for c, n in zip(channels, halvings, strict=True)
        )
        self.one_class = nn.Sequential(_Block(coarse * len(channels), 2 * coarse, 2), _Block(2 * coarse, 2 * coarse))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        fused = [fuse(m) for fuse, m in zip(self.fusion, maps, strict=True)]
        embedded: Tensor = self.one_class(torch.cat(fused, dim=1))
        return embedded


class _Decoder(nn.Module):
    """From the embedding back to every level's shape, coarse to fine; returns them fine to coarse."""

    def __init__(self, channels: list[int], sizes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.sizes = sizes
        widths = [*channels, 2 * channels[-1]]
        self.levels = nn.ModuleList(
            nn.Sequential(_Block(widths[n + 1], widths[n]), _Block(widths[n], widths[n])) for n in range(len(channels))
        )
        self.features = nn.ModuleList(nn.Conv2d(c, c, 1) for c in channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        steps = zip(reversed(self.levels), reversed(self.features), reversed(self.sizes), strict=True)
        for level, features, size in steps:
            x = level(resize_to(x, size))
            maps.insert(0, features(x))
        return maps
