"""Uploads checked by their first bytes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pellucid.service.uploads import RefusedError, check_upload
from service.odd_files import png_bytes


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a", b"", "empty"),
        ("b", b"II*\0" + bytes(8), "TIFF"),
        ("c", png_bytes(np.zeros((2, 40_000), np.uint8)), "40000 x 2"),
    ],
)
def test_uploads_are_checked_by_their_head(name, content, words):
    with pytest.raises(RefusedError, match=words):
        check_upload(content, name, 50)


def test_pillows_own_limit_is_left_as_it_was(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    wide = png_bytes(np.zeros((60, 60), np.uint8))  # above it twice: Pillow would refuse
    assert check_upload(wide, "a", 50).suffix == ".png"
    with pytest.raises(RefusedError):
        check_upload(b"no image", "b", 50)
    assert Image.MAX_IMAGE_PIXELS == 1000
