"""MobileNetV2 (Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2).

Batch normalisation is folded into the convolutions and strided convolutions pad as TensorFlow does ("SAME"), so that
the converted TensorFlow checkpoints give the numbers that TensorFlow gave.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def _same_padding(x: Tensor, stride: int) -> Tensor:
    """Pad (B, C, H, W) for a 3x3 convolution so that the output is ceil(side / stride), the odd pixel going last."""
    pads: list[int] = []
    for side in (x.shape[-1], x.shape[-2]):
        total = max((-(-side // stride) - 1) * stride + 3 - side, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class _InvertedResidual(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        if expansion != 1:
            self.expand = nn.Conv2d(c_in, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, c_out, 1)
        self.stride, self.residual = stride, stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.expand(x)) if hasattr(self, "expand") else x
        y = F.relu6(self.depthwise(_same_padding(y, self.stride)))
        y = self.project(y)
        out: Tensor = x + y if self.residual else y
        return out


class MobileNetV2(nn.Module):
    """MobileNetV2 1.0. ``layer1`` to ``layer4``: the last blocks at strides 4, 8, 16, 32; or ``stage0``..``stage6``.

    Args:
        stages: of each stage the expansion t, the channels c, the number of blocks n and the stride of the first, s.
    """

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    aliases = {"layer1": "stage1", "layer2": "stage2", "layer3": "stage4", "layer4": "stage6"}

    def __init__(self, stages: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.layers = (*self.aliases, *(f"stage{k}" for k in range(len(stages))))
        self.stem = nn.Conv2d(3, 32, 3, 2)
        blocks, self.ends, c_in = [], [], 32
        for t, c, n, s in stages:
            for i in range(n):
                blocks.append(_InvertedResidual(c_in, c, s if i == 0 else 1, t))
                c_in = c
            self.ends.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, last: str = "stage6") -> dict[str, Tensor]:
        """Map normalised images (B, 3, H, W) to every stage up to ``last``, under both of its names."""
        last = self.aliases.get(last, last)
        names = {stage: alias for alias, stage in self.aliases.items()}
        maps: dict[str, Tensor] = {}
        x = F.relu6(self.stem(_same_padding(x, 2)))
        for k, block in enumerate(self.blocks):
            x = block(x)
            if k in self.ends:
                stage = f"stage{self.ends.index(k)}"
                maps[stage] = x
                if stage in names:
                    maps[names[stage]] = x
                if stage == last:
                    break
        return maps
