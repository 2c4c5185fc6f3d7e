"""A 2-D normalising flow: affine coupling (Dinh et al., "Density estimation using Real NVP", ICLR 2017) over feature
maps, with an activation normalisation and a fixed permutation of channels at every step (Kingma & Dhariwal, "Glow")."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CouplingStep(nn.Module):
    """One invertible step (B, C, h, w) -> (B, C, h, w), with the log-determinant of its Jacobian (B,).

    Args:
        channels: C.
        hidden_ratio: width of the subnet over C / 2.
        kernel: side of its convolutions, 3 or 1.
        clamp: bound of the logarithm of the scale, which tends to it softly.
    """

    permutation: Tensor

    def __init__(self, channels: int, hidden_ratio: float, kernel: int, clamp: float = 2.0) -> None:
        super().__init__()
        self.kept, self.clamp = channels - channels // 2, clamp
        moved = channels - self.kept
        hidden = max(1, int(self.kept * hidden_ratio))
        self.subnet = nn.Sequential(
            nn.Conv2d(self.kept, hidden, kernel, padding="same"),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * moved, kernel, padding="same"),
        )
        last = self.subnet[2]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]  # the flow starts as the identity
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.offset = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("permutation", torch.randperm(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x1, x2 = x[:, : self.kept], x[:, self.kept :]
        s, t = (0.1 * self.subnet(x1)).chunk(2, dim=1)
        s = self.clamp * torch.tanh(s)
        y = torch.cat([x1, torch.addcmul(t, x2, s.exp())], dim=1) * self.log_scale.exp() + self.offset
        # summed in the weights' precision: bfloat16 would round thousands of terms to two or three digits
        log_det = s.sum((1, 2, 3), dtype=self.log_scale.dtype) + self.log_scale.sum() * x.shape[2] * x.shape[3]
        return y.index_select(1, self.permutation), log_det

    def inverse(self, z: Tensor) -> Tensor:
        """Compute the x that gives z."""
        y = (z[:, self.permutation.argsort()] - self.offset) * (-self.log_scale).exp()
        y1, y2 = y[:, : self.kept], y[:, self.kept :]
        s, t = (0.1 * self.subnet(y1)).chunk(2, dim=1)
        return torch.cat([y1, (y2 - t) * (-self.clamp * torch.tanh(s)).exp()], dim=1)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position, (B, C, h, w)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, 3)).movedim(3, 1)


class Flow(nn.Module):
    """Coupling steps in a row: z (B, C, h, w) of x, and the log-determinant of the Jacobian (B,).

    Args:
        channels: C.
        steps: how many.
        hidden_ratio: width of their subnets over C / 2.
        conv3x3_only: else every other subnet has 1x1 convolutions.
    """

    def __init__(self, channels: int, steps: int, hidden_ratio: float, conv3x3_only: bool) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            CouplingStep(channels, hidden_ratio, 3 if conv3x3_only or k % 2 == 0 else 1) for k in range(steps)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros(x.shape[0], device=x.device)
        for step in self.steps:
            x, change = step(x)
            log_det = log_det + change
        return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """Compute the x that gives z."""
        for step in reversed(self.steps):
            z = step.inverse(z)  # type: ignore[operator]
        return z
