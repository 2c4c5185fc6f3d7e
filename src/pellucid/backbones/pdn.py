"""The patch description network of EfficientAD (Batzner et al., "EfficientAD: Accurate Visual Anomaly Detection at
Millisecond-Level Latencies", WACV 2024, arXiv 2303.14535, table 6): four convolutions that see 33 px.

Its weights travel inside the package. They were taught on drawings to describe a patch as ``prism_m`` does
(``pretraining/train_pdn.py``); ``docs/weights.md`` has the licences.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

PADDING_PX = 16  # half of what is seen around a position


class PDN(nn.Module):
    """PDN-S; ``layer1`` has stride 4, and describes at position i the 33x33 px around pixel 4i.

    The paper pads every layer by zeros, or none and is blind to 16 px at each border. This one mirrors the image there,
    once: a product's edge looks like the product, and every pixel is seen.

    Args:
        channels: of the description.
    """

    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)
    layers = ("layer1",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(
            nn.Conv2d(3, 128, 4),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(128, 256, 4),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(256, 256, 3),
            nn.ReLU(),
            nn.Conv2d(256, channels, 4),
        )

    def forward(self, x: Tensor, last: str = "layer1") -> dict[str, Tensor]:
        """Map normalised images (B, 3, H, W), sides above 16 px, to the description (B, channels, H/4, W/4)."""
        return {last: self.layer1(F.pad(x, [PADDING_PX] * 4, mode="reflect"))}
