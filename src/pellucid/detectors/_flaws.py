"""Flaws that discriminative detectors are trained on: where they are, what shows through there, how they are learned.

Those that :mod:`pellucid.synthesis.flaws` plants are not among them: models are judged by these.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid._io.progress import track
from pellucid.synthesis.textures import texture

MAX_OCTAVE = 6  # clouds have up to 2 to this many cells a side
COVERED_SHARE = 0.5  # of a position that a defect covers, from which on it is of it
MIN_OPACITY = 0.2  # of what is planted


def perlin_noise(height: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw Perlin's noise (SIGGRAPH 1985), (height, width), about in [-1, 1], of a random number of cells each way.

    Args:
        height: rows.
        width: columns.
        generator: that draws; None: torch's own.
    """
    cells = [2 ** int(torch.randint(0, MAX_OCTAVE + 1, (), generator=generator)) for _ in range(2)]
    rows, columns = (min(n, side) for n, side in zip(cells, (height, width), strict=True))
    angle = 2 * math.pi * torch.rand(rows + 1, columns + 1, generator=generator)
    gradient = torch.stack([angle.sin(), angle.cos()])  # (2, rows + 1, columns + 1)
    y, x = ((torch.arange(side) + 0.5) * n / side for n, side in ((rows, height), (columns, width)))
    i, j, u, v = y.long(), x.long(), y.frac()[:, None], x.frac()[None]

    def corner(down: int, right: int) -> Tensor:
        """The slope of one of the cell's corners at each position."""
        g = gradient[:, i + down][:, :, j + right]
        slope: Tensor = g[0] * (u - down) + g[1] * (v - right)
        return slope

    def fade(t: Tensor) -> Tensor:
        return t**3 * (t * (6 * t - 15) + 10)

    above = torch.lerp(corner(0, 0), corner(0, 1), fade(v).expand(height, width))
    below = torch.lerp(corner(1, 0), corner(1, 1), fade(v).expand(height, width))
    noise = torch.lerp(above, below, fade(u).expand(height, width))
    return noise * math.sqrt(2)


def draw_textures(count: int, side: int, seed: int) -> Tensor:
    """Draw textures of our own formulas, (count, 3, side, side) in [0, 1]."""
    rng = np.random.default_rng(seed)
    drawn = [texture(rng, side) for _ in track(range(count), "drawing textures")]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).clamp(0, 1)


def plant(pixels: Tensor, textures: Tensor, threshold: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Let a texture show through every image where clouds are high (DRAEM, section 3.3).

    Args:
        pixels: images (B, 3, H, W) in [0, 1].
        textures: (N, 3, S, S) in [0, 1], S no less than H and W; each is turned and mirrored at random.
        threshold: of the clouds' noise.
        generator: draws the clouds, the textures and how opaque they are.

    Returns:
        Images (B, 3, H, W), and where something is planted, (B, 1, H, W) of 0 and 1; there is nothing on some of them.
    """
    B, _, H, W = pixels.shape
    masks = torch.stack([perlin_noise(H, W, generator) > threshold for _ in range(B)]).to(pixels)[:, None]
    chosen = torch.randint(len(textures), (B,), generator=generator).tolist()
    turns = torch.randint(8, (B,), generator=generator).tolist()
    shown = [textures[k].rot90(turn % 4, (1, 2)) for k, turn in zip(chosen, turns, strict=True)]
    A = torch.stack([(a.flip(2) if turn >= 4 else a)[:, :H, :W] for a, turn in zip(shown, turns, strict=True)])
    beta = MIN_OPACITY + (1 - MIN_OPACITY) * torch.rand(B, 1, 1, 1, generator=generator)
    return torch.lerp(pixels, A.to(pixels), beta.to(pixels) * masks), masks


def mark(marked: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tell where a position of a grid is of a labelled defect: 1, and 0 where it is not, -1 where nobody knows.

    Half of it is, or of a defect that covers half of none the most.

    Args:
        marked: how much of each pixel is defective, (B, 1, H, W) in [0, 1], or -1 where nobody knows.
        grid: (h, w).
    """
    covered = F.adaptive_avg_pool2d(marked, grid)
    most = covered.flatten(1).amax(1).clamp(max=COVERED_SHARE)[:, None, None, None]
    return torch.where(covered < 0, -1.0, ((covered >= most) & (covered > 0)).float())


def focal(logits: Tensor, truth: Tensor, gamma: float) -> Tensor:
    """Average the focal loss (Lin et al., ICCV 2017): cross entropy times (1 - p)^gamma, p the probability of the
    truth."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    loss: Tensor = (entropy * (1 - torch.exp(-entropy)).pow(gamma)).mean()
    return loss
