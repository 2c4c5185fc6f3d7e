"""What Prism has to compute: the features of another network, seen through Prism's gain control."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import backbones
from pellucid.backbones._catalogue import FEATURE_CHANNELS, GAIN_CONTROL
from pellucid.backbones.prism import GainControl, Prism
from pellucid.errors import ParameterError
from pretraining.pictures import CROP_PX

# layers of a teacher that make each of Prism's; another network's are taken as they are
TEACHER_LAYERS = {"mobilenet_v2": {"layer1": ("stage1",), "layer2": ("stage2",), "layer3": ("stage3", "stage4")}}
HALF_TURN_TEACHERS = ("mobilenet_v2",)  # networks with TensorFlow's padding

gain_control = GainControl(**GAIN_CONTROL)  # type: ignore[arg-type]


class Teacher(nn.Module):
    """Maps images (B, 3, H, W) in [0, 1] to what Prism's layers have to be, each (B, C, h, w).

    These are the teacher's features of the lifted contrast, every channel of zero mean and unit variance over drawn
    images. Where the teacher has more channels than Prism, their first principal components are taught.

    Args:
        name: of a backbone.
        weights: its file; None for those of the hub.

    Raises:
        ParameterError: there is no such backbone, or it has fewer channels than Prism.
        WeightsError: its weights cannot be had.
    """

    def __init__(self, name: str, weights: Path | None) -> None:
        super().__init__()
        levels = TEACHER_LAYERS.get(name, {layer: (layer,) for layer in Prism.layers})
        self.owners = [layer for layer, mine in levels.items() for _ in mine]  # Prism's layer for each of the maps
        self.half_turn = name in HALF_TURN_TEACHERS
        self.backbone = backbones.create(name, layers=list(chain(*levels.values())), weights=weights)
        shapes = self.backbone.shapes(CROP_PX, CROP_PX)
        for layer, outputs in zip(Prism.layers, FEATURE_CHANNELS, strict=True):
            channels = sum(shape[0] for shape, owner in zip(shapes, self.owners, strict=True) if owner == layer)
            if channels < outputs:
                raise ParameterError(f"Teacher '{name}' has {channels} channels for {layer}; Prism needs {outputs}.")
            self.register_buffer(f"mean_{layer}", torch.zeros(channels, 1, 1))
            self.register_buffer(f"axes_{layer}", torch.eye(channels)[:outputs, :, None, None])

    @torch.no_grad()
    def features(self, pixels: Tensor) -> dict[str, Tensor]:
        """Compute the teacher's own features on the grids of Prism's layers.

        TensorFlow's padding centres position i of stride s on pixel s*i + s - 1, Prism's on s*i. Turning the image by
        half a turn before such a teacher, and its features after, makes the two grids coincide.
        """
        axes = (2, 3) if self.half_turn else ()
        seen = self.backbone((gain_control(pixels)[0] + 0.5).clamp(0, 1).flip(axes))
        joined = {}
        for n, layer in enumerate(Prism.layers):
            grid = [-(-side // (4 << n)) for side in pixels.shape[2:]]
            mine = [m.flip(axes).float() for m, owner in zip(seen, self.owners, strict=True) if owner == layer]
            resized = [m if list(m.shape[2:]) == grid else F.interpolate(m, size=grid, mode="bilinear") for m in mine]
            joined[layer] = torch.cat(resized, 1)
        return joined

    def standardise(self, batches: list[Tensor]) -> None:
        """Find the mean, the scale and the principal axes of the features of drawn images."""
        seen = [self.features(pixels) for pixels in batches]
        for layer, outputs in zip(Prism.layers, FEATURE_CHANNELS, strict=True):
            values = torch.cat([s[layer] for s in seen]).transpose(0, 1).flatten(1)  # (C, N)
            mean, scale = values.mean(1), values.std(1).clamp(min=1e-6)  # a channel may be dead
            axes = torch.eye(len(values), device=values.device)
            if len(values) > outputs:
                z = (values - mean[:, None]) / scale[:, None]
                axes = torch.linalg.eigh(z @ z.T)[1].T.flip(0)
            self.get_buffer(f"mean_{layer}").copy_(mean[:, None, None])
            self.get_buffer(f"axes_{layer}").copy_((axes[:outputs] / scale)[:, :, None, None])

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return {
            layer: F.conv2d(m - self.get_buffer(f"mean_{layer}"), self.get_buffer(f"axes_{layer}"))
            for layer, m in self.features(pixels).items()
        }
