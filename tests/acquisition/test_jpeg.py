"""Damaged JPEGs are found; odd ones that are whole are read."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from small import SHARED

import pellucid
from pellucid.acquisition.images import decode_image, open_image
from pellucid.acquisition.verify import verify
from pellucid.errors import DataError

ANYWHERE = Path("a.jpg")
NOISE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
PHOTO = cv2.normalize(cv2.GaussianBlur(NOISE, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def jpeg(mode: str = "RGB", array: np.ndarray = PHOTO, **more: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).convert(mode).save(out, "JPEG", **({"quality": 90} | more))
    return out.getvalue()


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def _after_start(content: bytes, added: bytes) -> bytes:
    return content[:2] + added + content[2:]


def _first_scan(content: bytes) -> int:
    return content.index(b"\xff\xda")


ENCODED = {
    "plain": jpeg(),
    "grey": jpeg("L"),
    "best quality": jpeg(quality=100, subsampling=0),
    "progressive": jpeg(progressive=True),
    "restart markers": jpeg(restart_marker_blocks=5),
    "optimised": jpeg(optimize=True),
}
WHOLE = {
    **ENCODED,
    "CMYK": jpeg("CMYK"),
    "RGB inside": jpeg(keep_rgb=True),
    "4:2:2": jpeg(subsampling=1),
    "bytes behind the end": jpeg() + b"firmware 7.1\0" * 40,
    "zeros behind the end": jpeg() + bytes(5000),
    "padded with zeros": jpeg()[:-2] + bytes(300) + b"\xff\xd9",
    "padded with FF": jpeg()[:-2] + b"\xff" * 9 + b"\xff\xd9",
    "a thumbnail": _after_start(jpeg(), _segment(0xE1, b"Exif\0\0" + jpeg(array=PHOTO[:40, :40]))),
    "half a thumbnail": _after_start(jpeg(), _segment(0xE1, b"Exif\0\0" + jpeg(array=PHOTO[:40, :40])[:300])),
    "two pictures": jpeg() + jpeg(array=PHOTO[:40, :40]),
    "fill bytes": _after_start(jpeg(), b"\xff\xff\xff"),
    "a comment of zeros": _after_start(jpeg(), _segment(0xFE, bytes(500))),
    "an unknown Adobe transform": _after_start(jpeg(), _segment(0xEE, b"Adobe\0\x64\0\0\0\0\7")),
    "flat and optimised": jpeg("L", np.full((800, 800), 90, np.uint8), optimize=True),
    "flat": jpeg("RGB", np.full((800, 800, 3), 90, np.uint8)),
    "black": jpeg("RGB", np.zeros((800, 800, 3), np.uint8)),
    "flat and progressive": jpeg("RGB", np.full((800, 800, 3), 255, np.uint8), progressive=True, optimize=True),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_whole_is_read_as_opencv_does(kind):
    content = WHOLE[kind]
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    image = decode_image(content, ANYWHERE)
    np.testing.assert_array_equal(image.pixels, expected / np.float32(255))
    assert image.warnings == ()


def _cut(content: bytes, at: int) -> bytes:
    return content[:at] + b"\xff\xd9"


def _zeroed_to_the_end(content: bytes, at: int) -> bytes:
    return content[:at] + bytes(len(content) - at - 2) + b"\xff\xd9"


def _lost_sector(content: bytes, at: int) -> bytes:
    return content[:at] + bytes(512) + content[at + 512 :]


def _lost_bytes(content: bytes, at: int) -> bytes:
    return content[:at] + content[at + 700 :]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.85, 0.97])
@pytest.mark.parametrize("damage", [_cut, _zeroed_to_the_end])
@pytest.mark.parametrize("kind", ENCODED)
def test_a_scan_that_ends_too_early_is_refused(kind, damage, share):
    content = ENCODED[kind]
    start = _first_scan(content)
    with pytest.raises(DataError, match=r"'a\.jpg' is damaged: a part of .*Take or copy it again"):
        decode_image(damage(content, start + int((len(content) - start) * share)), ANYWHERE)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("kind", ["plain", "grey", "best quality", "restart markers"])
def test_a_lost_sector_is_refused(kind, share):
    content = ENCODED[kind]
    start = _first_scan(content)
    with pytest.raises(DataError, match=r"'a\.jpg' is damaged: a part of its data is zeros"):
        decode_image(_lost_sector(content, start + int((len(content) - start) * share)), ANYWHERE)


def test_most_losses_inside_are_refused():
    """What was lost may by chance leave data that are valid to the last bit: no decoder can tell those."""
    found = 0
    for content in (ENCODED["plain"], ENCODED["grey"], ENCODED["progressive"]):
        start = _first_scan(content)
        for share in np.linspace(0.05, 0.9, 20):
            try:
                decode_image(_lost_bytes(content, start + int((len(content) - start) * share)), ANYWHERE)
            except DataError:
                found += 1
    assert found >= 50


def test_a_jpeg_without_its_end_is_truncated():
    with pytest.raises(DataError, match=r"'a\.jpg' is truncated: its end is missing"):
        decode_image(jpeg()[:-200], ANYWHERE)


def test_a_header_that_says_more_pixels_than_there_can_be_is_refused_before_memory_is_spent():
    content = bytearray(jpeg())
    where = content.index(b"\xff\xc0") + 5
    content[where : where + 4] = b"\xff\xdc\xff\xdc"
    with pytest.raises(DataError, match="its header says 65500 x 65500 px, which its data cannot hold"):
        decode_image(bytes(content), ANYWHERE)


def test_a_jpeg_of_twelve_bits_is_named():
    content = bytearray(jpeg())
    content[content.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(DataError, match=r"is a JPEG that cannot be read .*12.*: save it with 8 bits, or as PNG"):
        decode_image(bytes(content), ANYWHERE)


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(9) + b"\xff\xd9"])
def test_a_jpeg_without_a_picture_is_refused(content):
    with pytest.raises(DataError, match=r"'a\.jpg' is "):
        decode_image(content, ANYWHERE)


def test_damage_is_counted_when_a_data_set_is_verified(tmp_path):
    for number in range(4):
        path = tmp_path / f"normal/{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        content = jpeg(array=np.roll(PHOTO, 20 * number, 0))
        path.write_bytes(_cut(content, len(content) // 2) if number == 2 else content)
    notes = verify(pellucid.read_folder(tmp_path)).samples.notes
    assert any("1 files are skipped" in note and "2.jpg' is damaged" in note for note in notes)


def test_the_reported_pane_is_refused():
    case = SHARED / "cases" / "13-damaged-jpeg"
    if not case.is_dir():
        pytest.skip("the reported file is not here: ../shared is absent")
    open_image(case / "2_full.jpg")
    with pytest.raises(DataError, match="is damaged"):
        open_image(case / "2_cut85.jpg")
