"""Dinomaly (Guo et al., "Dinomaly: The Less Is More Philosophy in Multi-Class Unsupervised Anomaly Detection", CVPR
2025, arXiv 2405.14325)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._maps import concatenate, smooth_map, top_score, unit_distance
from pellucid.detectors._stable_adamw import StableAdamW
from pellucid.detectors._training import Objective, check_training_parameters, train

HEAD_CHANNELS = 64  # of each attention head, at least
MLP_RATIO = 4  # hidden channels to channels, of every perceptron
MAX_GRADIENT = 0.1  # norm that gradients are clipped to
WARMUP_STEPS = 100
INITIAL_STD = 0.01  # of weights, none of which is drawn farther than three of it
EASY_GRADIENT = 0.1  # of a point that is rebuilt well, to that of others
EPSILON = 1e-8


class Dinomaly(Detector):
    """A transformer rebuilds the encoder's tokens from a noisy bottleneck; what it cannot rebuild is anomalous.

    Deviations from the paper: the encoder is, by default, a convolutional backbone, whose layers differ in width: they
    are joined into one token a place, and rebuilt as one group. Those of a transformer have one width: give
    ``backbone`` and the middle eight of its layers (``dinov2_base`` and ``block3`` to ``block10``, the paper's but for
    registers), which are averaged in ``groups``. The tokens are those of patches: the class token and registers do not
    go through the decoder. The decoder has 4 blocks instead of 8. Every tenth image is held out, training stops when
    their loss has not fallen for ten epochs, and the best epoch's weights are kept; 20 epochs with batches of 8 instead
    of 5,000 steps of 16 and more, so that easy points are passed over from 100 steps on instead of 1,000. After its
    warm-up the rate stays what it is, as in Dinomaly2 (Guo et al., 2025, arXiv 2510.17611). The tokens pass through
    float16; the map is smoothed by a whole Gaussian of 4 px, not by its middle 5 px.

    Every token is rebuilt from all: maps of tiles are not exactly those of one large image.

    Args:
        backbone: name of the encoder, one of ``pellucid.backbones.names()``. Default ``prism_s``.
        layers: names of one or more of its layers, the first of which gives the grid. Default ``("layer2", "layer3")``.
        weights: checkpoint file of the encoder; None, the default, takes those that belong to its name.
        groups: how many the layers are divided into, each rebuilt as its mean, 1 or more, default 2 as in the paper;
            layers of different widths are one.
        recentring: whether what is rebuilt are tokens less those of their context, normalised, as in Dinomaly2; default
            False: where an image shows little but glass, what is left of it is noise. The context is the image's mean
            token here, a transformer's class token there.
        dropout: share of the bottleneck's activations that are dropped, in [0, 1), default 0.2 as in the paper.
        decoder_depth: blocks of the decoder, at least one a group, default 4; 8 is the paper.
        easy_share: of the points of a batch, those rebuilt best, whose gradients are shrunk ten times, in [0, 1),
            default 0.9 as in the paper; 0 learns from all alike.
        mining_steps: over which that share rises from 0, 0 or more, default 100; 1,000 is the paper.
        epochs: passes over the images, at most; 1 or more, default 20.
        batch_size: images a step, 1 or more, default 8.
        lr: learning rate of StableAdamW, above 0, default 0.002 as in the paper.
        weight_decay: of the same, 0 or more, default 1e-4 as in the paper.
        precision: of the training: ``32-true``, ``bf16-mixed``, or ``auto``, the default: bfloat16 where it is native.
        seed: of the weights, what is dropped and the order of images, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.dinomaly import Dinomaly
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Dinomaly(epochs=1).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    score_of = "top"

    bottleneck_: nn.Module
    decoder_: nn.Module
    _layers_of: list[list[int]]  # numbers of the layers of every group
    _joined: bool  # layers differ in width

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        groups: int = 2,
        recentring: bool = False,
        dropout: float = 0.2,
        decoder_depth: int = 4,
        easy_share: float = 0.9,
        mining_steps: int = 100,
        epochs: int = 20,
        batch_size: int = 8,
        lr: float = 0.002,
        weight_decay: float = 1e-4,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.groups, self.recentring = groups, recentring
        self.dropout, self.decoder_depth = dropout, decoder_depth
        self.easy_share, self.mining_steps = easy_share, mining_steps
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
        require(self.groups >= 1, "groups", self.groups, "at least 1")
        allowed = f"at least groups={self.groups}"
        require(self.decoder_depth >= self.groups, "decoder_depth", self.decoder_depth, allowed)
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        require(0 <= self.easy_share < 1, "easy_share", self.easy_share, "in [0, 1)")
        require(self.mining_steps >= 0, "mining_steps", self.mining_steps, "0 or more")

    def _build(self, height: int, width: int) -> None:
        widths = [c for c, _, _ in self.backbone_.shapes(height, width)]
        alike = len(set(widths)) == 1
        self._layers_of = divided(len(widths), self.groups) if alike else [[*range(len(widths))]]
        d = widths[0] if alike else sum(widths)
        self._joined = not alike
        self.bottleneck_ = nn.Sequential(
            nn.Dropout(self.dropout),
            nn.Linear(d, MLP_RATIO * d),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(MLP_RATIO * d, d),
            nn.Dropout(self.dropout),
        )
        self.decoder_ = _Decoder(d, self.decoder_depth, len(self._layers_of))
        for network in (self.bottleneck_, self.decoder_):
            network.apply(_initialise)

    def _encode(self, pixels: Tensor) -> list[Tensor]:
        """Compute the tokens of every group, f_E, (B, d, h, w) each."""
        maps = self.backbone_(pixels)
        if self._joined:
            return [concatenate(maps)]
        return [torch.stack([maps[k] for k in layers]).mean(0) for layers in self._layers_of]

    def _rebuild(self, *f_E: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return of every group the tokens to rebuild and those that are rebuilt, f_D, (B, d, h, w) each.

        The bottleneck sees the mean of all layers as it is.
        """
        shares = [len(layers) / sum(map(len, self._layers_of)) for layers in self._layers_of]
        mean = torch.stack([share * f for share, f in zip(shares, f_E, strict=True)]).sum(0)
        h, w = mean.shape[2:]
        f_D = self.decoder_(self.bottleneck_(mean.flatten(2).transpose(1, 2)))  # (B, h * w, d) each
        return [recentred(f) if self.recentring else f for f in f_E], [
            f.transpose(1, 2).unflatten(2, (h, w)) for f in f_D
        ]

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        learners = nn.ModuleList([self.bottleneck_, self.decoder_])
        optimizer = StableAdamW(
            learners.parameters(), lr=self.lr, weight_decay=self.weight_decay, warmup_steps=WARMUP_STEPS
        )

        def loss(*f_E: Tensor) -> Tensor:
            share = self.easy_share * min(1.0, optimizer.steps / max(1, self.mining_steps))
            groups = zip(*self._rebuild(*f_E), strict=True)
            return torch.stack([loose_loss(e.float(), d.float(), share) for e, d in groups]).mean()

        train(
            Objective(loss, *learners),
            optimizer,
            images,
            self._encode,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            clip=MAX_GRADIENT,
            precision=self.precision,
            checkpoint=checkpoint,
            description="dinomaly",
        )

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        groups = zip(*self._rebuild(*self._encode(pixels)), strict=True)
        distance = torch.stack([unit_distance(e, d) for e, d in groups]).mean(0)  # (B, h, w)
        anomaly_map = smooth_map(distance, (pixels.shape[2], pixels.shape[3]))
        return anomaly_map, top_score(anomaly_map)


class _LinearAttention(nn.Module):
    """Attention by the kernel elu(x) + 1 instead of softmax (Katharopoulos et al., ICML 2020): it cannot focus, so that
    a token is not simply handed on. (B, N, d) -> (B, N, d)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.heads = max(heads for heads in range(1, max(1, d // HEAD_CHANNELS) + 1) if d % heads == 0)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, c) each
        q, k = F.elu(q) + 1, F.elu(k) + 1
        weights = q @ k.sum(2)[..., None]  # (B, heads, N, 1)
        attended: Tensor = self.out((q @ (k.transpose(2, 3) @ v) / (weights + EPSILON)).transpose(1, 2).flatten(2))
        return attended


class _Block(nn.Module):
    """Transformer block, normalised before each part: (B, N, d) -> (B, N, d)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(d, eps=EPSILON), _LinearAttention(d))
        self.perceptron = nn.Sequential(
            nn.LayerNorm(d, eps=EPSILON), nn.Linear(d, MLP_RATIO * d), nn.GELU(), nn.Linear(MLP_RATIO * d, d)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        rebuilt: Tensor = x + self.perceptron(x)
        return rebuilt


class _Decoder(nn.Module):
    """Blocks whose outputs are averaged in groups, the last ones for the encoder's first layers: (B, N, d) each."""

    def __init__(self, d: int, depth: int, groups: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(d) for _ in range(depth))
        self.blocks_of = divided(depth, groups)

    def forward(self, x: Tensor) -> list[Tensor]:
        rebuilt: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            rebuilt.insert(0, x)
        return [torch.stack([rebuilt[k] for k in blocks]).mean(0) for blocks in self.blocks_of]


def divided(count: int, groups: int) -> list[list[int]]:
    """Divide numbers from 0 to ``count`` into groups of successive ones, as equal as can be; none is empty."""
    groups = min(groups, count)
    return [[*range(k * count // groups, (k + 1) * count // groups)] for k in range(groups)]


def recentred(tokens: Tensor) -> Tensor:
    """Subtract from tokens (B, d, h, w) their mean over the image, and normalise each to mean 0 and variance 1."""
    centred = (tokens - tokens.mean((2, 3), keepdim=True)).permute(0, 2, 3, 1)
    return F.layer_norm(centred, centred.shape[3:], eps=EPSILON).permute(0, 3, 1, 2)


def loose_loss(f_E: Tensor, f_D: Tensor, easy_share: float) -> Tensor:
    """Average one minus the cosine of whole images' tokens, with smaller gradients of the points rebuilt best.

    Args:
        f_E: tokens to rebuild, (B, d, h, w).
        f_D: rebuilt ones, (B, d, h, w).
        easy_share: of the batch's points, that are nearer to what they should be than all others.
    """
    with torch.no_grad():
        distance = unit_distance(f_E, f_D)  # (B, h, w)
        hard = max(1, int((1 - easy_share) * distance.numel()))
        easy = (distance < distance.flatten().topk(hard).values[-1])[:, None]
    f_D = torch.where(easy, EASY_GRADIENT * f_D + (1 - EASY_GRADIENT) * f_D.detach(), f_D)
    return (1 - F.cosine_similarity(f_E.flatten(1), f_D.flatten(1))).mean()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INITIAL_STD, a=-3 * INITIAL_STD, b=3 * INITIAL_STD)
        nn.init.zeros_(module.bias)
