"""The first Prism, ``prism_s.v1``: without gain control, and its blocks' outputs are the features.

Its weights are not in the package any more. Models that were fitted with it hold them and are loaded with this.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pellucid.backbones.prism import Block


class PrismV1(nn.Module):
    """The first Prism; ``layer1`` to ``layer3`` have strides 4, 8, 16.

    Args:
        channels: of the blocks at strides 2, 4, 8, 16.
        blocks: residual blocks at strides 4, 8, 16.
    """

    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)
    layers = ("layer1", "layer2", "layer3")

    def __init__(self, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels[0], 3, 2, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()
        )
        for name, c_in, c_out, count in zip(self.layers, channels[:-1], channels[1:], blocks, strict=True):
            setattr(
                self, name, nn.Sequential(Block(c_in, c_out, 2), *(Block(c_out, c_out, 1) for _ in range(count - 1)))
            )

    def forward(self, x: Tensor, last: str = "layer3") -> dict[str, Tensor]:
        """Map normalised images (B, 3, H, W) to every layer up to ``last``, each (B, C, H/s, W/s)."""
        maps: dict[str, Tensor] = {}
        x = self.stem(x)
        for name in self.layers:
            x = maps[name] = getattr(self, name)(x)
            if name == last:
                break
        return maps
