"""What an inspector found, as a batch of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.acquisition.images import Size, as_planes, read_image, resize
from pellucid.acquisition.masks import read_mask
from pellucid.anomalib.data.batches import ImageBatch
from pellucid.anomalib.post_processing import PostProcessor
from pellucid.inspector import Inspector
from pellucid.records import Inspection, Sample


def batch_of(
    found: Sequence[Inspection],
    inspector: Inspector,
    post_processor: PostProcessor,
    samples: Sequence[Sample] = (),
    *,
    size: Size | None = None,
    labelled: bool = False,
) -> ImageBatch:
    """Return a batch of predictions.

    Args:
        found: on each image.
        inspector: that found it.
        post_processor: says in which unit scores and maps are.
        samples: what is known of each image; nothing where it is empty.
        size: height and width that images, maps and masks are brought to, px; the model's by default.
        labelled: whether it is known which are defective.
    """
    size = size or inspector.image_size
    maps = torch.stack([_plane(one.map, size) for one in found])[:, None]  # (B, 1, H, W)
    pixels = [read_image(one.path, one.bits) if one.pixels is None else one.pixels for one in found]
    batch = ImageBatch(
        image_path=[str(one.path) for one in found],
        image=torch.from_numpy(np.stack([as_planes(image, size) for image in pixels])),
        pred_scores=post_processor.scores(torch.tensor([one.score for one in found])),
        pred_labels=torch.tensor([one.verdict == "reject" for one in found]),
        anomaly_maps=post_processor.maps(maps),
        pred_masks=maps > inspector.limit.pixel,
    )
    if labelled:
        batch["label"] = torch.tensor([int(sample.label == "abnormal") for sample in samples])
    if any(sample.mask for sample in samples):
        pairs = zip(samples, found, strict=True)
        batch["mask"] = torch.stack([_mask(sample, one, size) for sample, one in pairs])
    return batch


def _mask(sample: Sample, found: Inspection, size: Size) -> Tensor:
    own = found.map.shape
    mask = read_mask(sample.mask, sample.path, own) if sample.mask else np.zeros(own, bool)
    return _plane(mask.astype(np.float32), size) > 0.5


def _plane(plane: np.ndarray[tuple[int, ...], np.dtype[np.float32]], size: Size) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(resize(plane, size)))
