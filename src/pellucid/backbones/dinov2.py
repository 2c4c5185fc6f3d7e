"""DINOv2 (Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", arXiv 2304.07193).

The network is the one that the transformers library maintains (extra ``[vit]``); this module gives it Pellucid's face.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import WeightsError, missing_extra

PATCH = 14  # px


class DinoV2(nn.Module):
    """``block1`` to ``block12``, normalised patch tokens as maps of stride 14; ``layer1``-``4`` are every third."""

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    aliases = {f"layer{k}": f"block{3 * k}" for k in (1, 2, 3, 4)}
    layers = (*aliases, *(f"block{k}" for k in range(1, 13)))

    def __init__(self, width: int) -> None:
        super().__init__()
        try:
            from transformers import Dinov2Backbone, Dinov2Config
        except ImportError:
            raise WeightsError(missing_extra("vit", "transformers", "DINOv2")) from None
        stages = [f"stage{k}" for k in range(1, 13)]
        config = Dinov2Config(
            hidden_size=width, num_attention_heads=width // 64, image_size=518, patch_size=PATCH, out_features=stages
        )
        self.pretrained = Dinov2Backbone(config)

    def rename(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a checkpoint file, by the names that this version of transformers gives to its modules."""
        from transformers.utils import logging

        verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()  # what is missing is our caller's to say
        logging.disable_progress_bar()
        try:
            loaded, report = type(self.pretrained).from_pretrained(
                None, config=self.pretrained.config, state_dict=dict(tensors), output_loading_info=True
            )
        finally:
            logging.set_verbosity(verbosity)
            if bar:
                logging.enable_progress_bar()
        absent = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
        return {name: tensor for name, tensor in loaded.state_dict().items() if name not in absent}

    def forward(self, x: Tensor, last: str = "block12") -> dict[str, Tensor]:  # noqa: ARG002 - all blocks run
        """Normalised images (B, 3, H, W) -> every layer (B, width, H/14, W/14); H and W go to whole patches first."""
        height, width = (max(PATCH, PATCH * round(side / PATCH)) for side in x.shape[2:])
        if (height, width) != tuple(x.shape[2:]):
            x = F.interpolate(x, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
        maps = dict(zip(self.layers[4:], self.pretrained(x).feature_maps, strict=True))
        return maps | {alias: maps[block] for alias, block in self.aliases.items()}


def dinov2_small() -> DinoV2:
    """ViT-S/14, 22 M parameters, 384 channels."""
    return DinoV2(384)


def dinov2_base() -> DinoV2:
    """ViT-B/14, 86 M parameters, 768 channels."""
    return DinoV2(768)
