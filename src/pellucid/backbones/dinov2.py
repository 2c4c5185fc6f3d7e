"""DINOv2 (Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", arXiv 2304.07193).

The network is the one that the transformers library maintains (extra ``[vit]``); this module gives it Pellucid's face.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import WeightsError, missing_extra


class DinoV2(nn.Module):
    """``block1``, ``block2``, ...: normalised patch tokens as maps; ``layer1``-``4`` are the last of each quarter.

    Args:
        width: channels, a multiple of ``heads``.
        heads: of the attention.
        blocks: how many there are, a multiple of 4.
        patch_px: side of a patch.
        trained_px: side of the images that the positions were learned on.
    """

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(self, width: int, heads: int, blocks: int, patch_px: int, trained_px: int) -> None:
        super().__init__()
        try:
            from transformers import Dinov2Backbone, Dinov2Config
        except ImportError:
            raise WeightsError(missing_extra("vit", "transformers", "DINOv2")) from None
        self.patch_px = patch_px
        self.aliases = {f"layer{k}": f"block{k * blocks // 4}" for k in (1, 2, 3, 4)}
        self.layers = (*self.aliases, *(f"block{k}" for k in range(1, blocks + 1)))
        config = Dinov2Config(
            hidden_size=width,
            num_attention_heads=heads,
            num_hidden_layers=blocks,
            image_size=trained_px,
            patch_size=patch_px,
            out_features=[f"stage{k}" for k in range(1, blocks + 1)],
        )
        self.pretrained = Dinov2Backbone(config)

    def rename(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's tensors by the names that this version of transformers gives to its modules."""
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

    def forward(self, x: Tensor, last: str = "layer4") -> dict[str, Tensor]:  # noqa: ARG002 - all blocks run
        """Map normalised images (B, 3, H, W) to every layer (B, width, H/p, W/p); H and W go to whole patches first."""
        height, width = (self.patch_px * max(1, round(int(side) / self.patch_px)) for side in x.shape[2:])
        if (height, width) != tuple(x.shape[2:]):
            x = F.interpolate(x, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
        maps = dict(zip(self.layers[len(self.aliases) :], self.pretrained(x).feature_maps, strict=True))
        return maps | {alias: maps[block] for alias, block in self.aliases.items()}
