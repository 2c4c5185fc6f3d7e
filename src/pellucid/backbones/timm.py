"""Any network of the timm library (extra ``[timm]``) that can return its intermediate maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.errors import ParameterError, WeightsError, missing_extra


class Timm(nn.Module):
    """``layer1`` to ``layer4`` are the last maps at strides 4, 8, 16 and 32; a network of one stride has ``layer1``.

    Args:
        name: of timm's model, with or without a tag.
        indices: of the maps that timm calls intermediate, one a layer; by default as above.

    Raises:
        ParameterError: timm has no such network, or it does not return intermediate maps.
        WeightsError: timm is not installed, or does not import.
    """

    def __init__(self, name: str, indices: dict[str, int] | None = None) -> None:
        super().__init__()
        try:
            import timm
        except (ImportError, RuntimeError):  # RuntimeError: torchvision's operators do not fit the torch beside it
            package = "timm with a torchvision that fits the installed torch"
            raise WeightsError(missing_extra("timm", package, f"'timm/{name}'")) from None
        if not timm.is_model(name):
            raise ParameterError(f"timm has no network '{name}'.")
        self.pretrained = timm.create_model(name, pretrained=False, num_classes=0)
        if not hasattr(self.pretrained, "forward_intermediates"):
            raise ParameterError(f"timm's '{name}' does not return intermediate maps.")
        self.mean = tuple(self.pretrained.pretrained_cfg["mean"])
        self.std = tuple(self.pretrained.pretrained_cfg["std"])
        if indices is None:
            strides = [info["reduction"] for info in self.pretrained.feature_info]
            last = {stride: index for index, stride in enumerate(strides) if stride >= 4}
            indices = {f"layer{n}": index for n, index in enumerate(last.values(), start=1)}
        self._indices = indices
        self.config = {"indices": indices}  # what the installed timm chose
        self.layers = tuple(indices)

    def forward(self, x: Tensor, last: str = "layer4") -> dict[str, Tensor]:
        """Map normalised images (B, 3, H, W) to every layer up to ``last``, each (B, C, H/s, W/s)."""
        wanted = self.layers[: self.layers.index(last) + 1]
        indices = [self._indices[name] for name in wanted]
        maps: list[Tensor] = self.pretrained.forward_intermediates(
            x, indices=indices, intermediates_only=True, stop_early=True, output_fmt="NCHW"
        )
        return dict(zip(wanted, (torch.as_tensor(m) for m in maps), strict=True))
