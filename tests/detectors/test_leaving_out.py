"""Scores of images as if they had not been fitted on, against fits without them."""

from __future__ import annotations

import pytest
import torch
from small import EXACT_CASES
from torch.nn import functional as F

from pellucid import detectors
from pellucid.errors import DataError

GROUPS = {"images": [*range(12)], "pairs": [k // 2 for k in range(12)], "one large": [0] * 7 + [*range(1, 6)]}


def leave_out(name, images, groups, **parameters):
    """Maps and scores of a few groups that are left out, and those of the slow way: a fit without each of them."""
    found = list(detectors.create(name, **parameters).fit_leaving_out(list(images.split(5)), groups))
    maps, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    fast, slow = [], []
    for group in {groups[0], groups[-1]}:
        own = torch.tensor(groups) == group
        fast.append((maps[own], scores[own]))
        slow.append(detectors.create(name, **parameters).fit([images[~own]]).score(images[own]))
    return ([torch.cat(parts) for parts in zip(*pairs, strict=True)] for pairs in (fast, slow))


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize(("name", "parameters"), EXACT_CASES)
def test_leaving_out_is_a_fit_without(name, parameters, groups, batches):
    """PatchCore with all patches in its bank, so that the bank without an image is that of a fit without it."""
    (maps, scores), (slow_maps, slow_scores) = leave_out(name, torch.cat(batches), groups, **parameters)
    torch.testing.assert_close(scores, slow_scores, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, slow_maps, rtol=1e-3, atol=1e-4 * float(slow_maps.max()))


def test_more_features_than_images_and_more_images_than_features(batches):
    """DFM decomposes whichever of two matrices is smaller; a small grid has one feature per channel."""
    images = torch.cat([F.interpolate(batch, size=(32, 32)) for batch in batches] * 6)
    images = images + 0.02 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    parameters = {"layers": ("layer1",), "pooling_kernel_size": 8}
    (maps, scores), (slow_maps, slow_scores) = leave_out("dfm", images, [k // 24 for k in range(72)], **parameters)
    torch.testing.assert_close(scores, slow_scores, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, slow_maps, rtol=1e-3, atol=1e-4 * float(slow_maps.max()))


def test_every_memory_knows_its_image(batches):
    detector = detectors.create("patchcore", coreset_size=50).fit(batches)
    patches = torch.cat([detector._embed(batch) for batch in batches]).flatten(1, 2)  # (12, h * w, D)
    own = torch.stack([patches[number] for number in detector.images_.tolist()])  # (M, h * w, D)
    assert (own - detector.bank_[:, None]).norm(dim=2).amin(1).max() < 1e-5
    assert detector.images_.dtype == torch.int32
    assert len(set(detector.images_.tolist())) > 1


@pytest.mark.parametrize(
    ("name", "parameters", "groups", "message"),
    [
        ("patchcore", {"coreset_size": 1}, [*range(12)], "bank of 1 patches holds those of one image or group only"),
        ("anomaly_dino", {}, [0] * 12, "bank of 192 patches holds those of one image or group only"),
        ("padim", {"n_features": 5}, [0] * 11 + [1], "PaDiM needs at least two images .* without one image or group"),
        ("subspace", {}, [0] * 12, "SubspaceAD needs at least two patches .* without one image or group"),
        ("dfkde", {}, [0] * 11 + [1], "DFKDE needs at least two images .* without one image or group"),
        ("dfm", {}, [0] * 11 + [1], "DFM needs at least two images to estimate a subspace without one image or group"),
    ],
)
def test_nothing_is_left_without_a_group(name, parameters, groups, message, batches):
    with pytest.raises(DataError, match=message):
        list(detectors.create(name, **parameters).fit_leaving_out(batches, groups))
