"""What maps are resized by, against torch's own interpolation."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pellucid.detectors._maps import _interpolating, resize_to


@pytest.mark.parametrize(
    ("cells", "size"), [((8, 8), (16, 16)), ((5, 7), (13, 9)), ((16, 12), (8, 6)), ((1, 3), (4, 3))]
)
def test_matrices_interpolate_as_torch_does(cells, size):
    maps = torch.randn(2, 3, *cells, generator=torch.Generator().manual_seed(0))
    rows, columns = (_interpolating(*side).float() for side in zip(cells, size, strict=True))
    expected = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(rows @ maps @ columns.T, expected)
    torch.testing.assert_close(resize_to(maps, size), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gradients_on_a_gpu_are_the_same_twice():
    maps = torch.randn(4, 64, 16, 16, device="cuda", requires_grad=True)
    weights = torch.randn(4, 64, 32, 32, device="cuda")
    gradients = [torch.autograd.grad((resize_to(maps, (32, 32)) * weights).sum(), maps)[0] for _ in range(5)]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
