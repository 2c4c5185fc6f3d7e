"""A 2-D normalising flow: affine coupling (Dinh et al., "Density estimation using Real NVP", ICLR 2017) over feature
maps, with an activation normalisation and a fixed permutation of channels at every step (Kingma & Dhariwal, "Glow").

What it makes of features is standard normal where they are usual; how unlikely they are elsewhere is the anomaly map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pellucid.detectors._base import require
from pellucid.detectors._maps import smooth_map

Condition = tuple[Tensor, Tensor]  # of rows (1, P / 2, h, 1) and of columns (1, P / 2, 1, w), or of any that broadcast
Combine = Literal["likelihood", "above_usual"]


class CouplingStep(nn.Module):
    """One invertible step (B, C, h, w) -> (B, C, h, w), with the log-determinant of its Jacobian at each position.

    Args:
        channels: C.
        hidden_ratio: width of the subnet over that of its input.
        kernel: side of its convolutions, 3 or 1.
        clamp: bound of the logarithm of the scale, which tends to it softly.
        condition_channels: P, even, of what the subnet is told beside the channels that stay; 0 tells it nothing.
    """

    permutation: Tensor

    def __init__(
        self, channels: int, hidden_ratio: float, kernel: int, clamp: float = 2.0, condition_channels: int = 0
    ) -> None:
        super().__init__()
        self.kept, self.clamp = channels - channels // 2, clamp
        moved = channels - self.kept
        hidden = max(1, int((self.kept + condition_channels) * hidden_ratio))
        self.subnet = nn.Sequential(
            nn.Conv2d(self.kept, hidden, kernel, padding="same"),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * moved, kernel, padding="same"),
        )
        last = self.subnet[2]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]  # the flow starts as the identity
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        # a convolution of channels beside others is the sum of one of each: of rows and of columns it costs next to
        # nothing
        self.told = nn.ModuleList(
            nn.Conv2d(condition_channels // 2, hidden, 1, bias=False) for _ in range(2 if condition_channels else 0)
        )
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("permutation", torch.randperm(channels))

    def _scale_and_shift(self, kept: Tensor, condition: Condition | None) -> tuple[Tensor, Tensor]:
        """Compute s, the logarithm, and t from the channels that stay, (B, moved, h, w) each."""
        first, relu, last = self.subnet
        hidden = first(kept)
        for tell, code in zip(self.told, condition or (), strict=True):
            hidden = hidden + tell(code)
        s, t = (0.1 * last(relu(hidden))).chunk(2, dim=1)
        return self.clamp * torch.tanh(s), t

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        x1, x2 = x[:, : self.kept], x[:, self.kept :]
        s, t = self._scale_and_shift(x1, condition)
        y = torch.cat([x1, torch.addcmul(t, x2, s.exp())], dim=1) * self.log_scale.exp() + self.offset
        # summed in the weights' precision: bfloat16 would round thousands of terms to two or three digits
        log_det = s.sum(1, dtype=self.log_scale.dtype) + self.log_scale.sum()  # (B, h, w)
        return y.index_select(1, self.permutation), log_det

    def inverse(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        """Compute the x that gives z."""
        y = (z[:, self.permutation.argsort()] - self.offset) * (-self.log_scale).exp()
        y1, y2 = y[:, : self.kept], y[:, self.kept :]
        s, t = self._scale_and_shift(y1, condition)
        return torch.cat([y1, (y2 - t) * (-s).exp()], dim=1)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position, (B, C, h, w)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, 3)).movedim(3, 1)


def feature_norms(shapes: Sequence[tuple[int, int, int]], *, tiled: bool) -> nn.ModuleList:
    """Make a layer normalisation for each level: of whole maps, of tiles at each position by itself.

    Args:
        shapes: (C, h, w) of each.
        tiled: whether the images are tiles, whose positions on the part mean nothing.
    """
    return nn.ModuleList(ChannelNorm(shape[0]) if tiled else nn.LayerNorm(shape) for shape in shapes)


class Flow(nn.Module):
    """Coupling steps in a row: z (B, C, h, w) of x, and the log-determinants (B, h, w) that add up to the Jacobian's.

    Args:
        channels: C.
        steps: how many.
        hidden_ratio: width of their subnets over that of their input.
        kernels: sides of their convolutions, in turns.
        clamp: bound of the logarithm of their scales.
        condition_channels: P of what every subnet is told beside its channels.
    """

    def __init__(
        self,
        channels: int,
        steps: int,
        hidden_ratio: float,
        kernels: Sequence[int] = (3, 1),
        clamp: float = 2.0,
        condition_channels: int = 0,
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            CouplingStep(channels, hidden_ratio, kernels[k % len(kernels)], clamp, condition_channels)
            for k in range(steps)
        )

    def forward(self, x: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros(1, device=x.device)
        for step in self.steps:
            x, change = step(x, condition)
            log_det = log_det + change
        return x, log_det

    def inverse(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        """Compute the x that gives z."""
        for step in reversed(self.steps):
            z = step.inverse(z, condition)  # type: ignore[operator]
        return z


def negative_log_likelihood(latents: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Add up over levels and positions, and average over images, -log p(x), constants dropped.

    Args:
        latents: z (B, C, h, w) and the log-determinants (B, h, w) of each level.
    """
    losses = [0.5 * z.square().sum((1, 2, 3)) - log_det.sum((1, 2)) for z, log_det in latents]  # (B,) each
    return torch.stack(losses).sum(0).mean()


def check_map_parameters(combine: Combine, sigma: float) -> None:
    """Refuse what :func:`unlikely_maps` cannot make maps by.

    Raises:
        ParameterError: a value is not allowed.
    """
    require(combine in get_args(Combine), "combine", combine, "likelihood or above_usual")
    require(0 <= sigma < math.inf, "sigma", sigma, "0 or more and finite")


def unlikely_maps(
    surprises: Sequence[Tensor], size: tuple[int, int], combine: Combine, sigma: float
) -> Tensor:  # (levels, B, *size)
    """Turn how unlikely each position is into a map for each level, which are then averaged.

    Args:
        surprises: of each level the negative log-likelihood (B, h, w), a mean over channels, 0 where nothing is
            likelier.
        size: of the maps, px.
        combine: ``likelihood``: the maps are what is missing to the highest likelihood, 1 - p, below 1; else they are
            the surprises, for which nothing is the highest.
        sigma: of the Gaussian that smooths them, px.
    """
    levels = [1 - torch.exp(-s) for s in surprises] if combine == "likelihood" else surprises
    return torch.stack([smooth_map(level, size, sigma) for level in levels])
