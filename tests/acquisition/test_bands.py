"""Bands hold the pixels that reading a file whole gives, whatever the file and however high they are."""

from __future__ import annotations

import builtins
import struct
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.acquisition import tiff_bands
from pellucid.acquisition.band_files import VipsBands, open_bands
from pellucid.acquisition.bands import regroup
from pellucid.acquisition.frames import FrameBands
from pellucid.acquisition.images import open_image, read_image
from pellucid.acquisition.tiff_bands import TiffBands
from pellucid.errors import DataError, ParameterError

pytest.importorskip("pyvips", reason="libvips is not installed here")
TIFF_WAYS = (
    {},
    {"rowsperstrip": 1},
    {"rowsperstrip": 5},
    {"compression": "zlib", "rowsperstrip": 7},
    {"compression": "zlib", "predictor": True, "rowsperstrip": 3},
    {"tile": (16, 32)},
    {"tile": (32, 16), "compression": "zlib"},
    {"bigtiff": True, "byteorder": ">"},
    {"planarconfig": "separate", "compression": "zlib", "rowsperstrip": 6},
)


def drawn(seed, height, width, channels, kind, bits=16):
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, channels)
    if kind == "f4":
        return rng.random(shape, np.float32)
    return rng.integers(0, 256 if kind == "u1" else 2**bits, shape).astype(kind)


def joined(bands):
    parts, top = [], 0
    for band in bands:
        assert band.top == top
        assert len(band.pixels) == bands.rows or band.top + len(band.pixels) == bands.height
        parts.append(band.pixels)
        top += len(band.pixels)
    assert top == bands.height
    return np.concatenate(parts)


def assert_as_read(path, rows, bits=16):
    whole = open_image(path, bits)
    bands = open_bands(path, rows, bits)
    assert (bands.height, bands.width) == whole.pixels.shape[:2]
    found = joined(bands)
    assert found.dtype == np.float32
    assert np.array_equal(found, whole.pixels)
    assert (bands.remarks.peak, tuple(bands.remarks.warnings)) == (whole.peak, whole.warnings)
    assert np.array_equal(joined(bands), whole.pixels)  # it can be read again
    return bands


@settings(max_examples=60, deadline=None)
@given(
    way=st.sampled_from(TIFF_WAYS),
    height=st.integers(1, 70),
    width=st.integers(1, 50),
    channels=st.sampled_from([1, 2, 3, 4]),
    kind=st.sampled_from(["u1", "u2", "f4"]),
    bits=st.sampled_from([12, 16]),
    rows=st.integers(1, 80),
)
def test_bands_of_a_tiff_are_the_image(way, height, width, channels, kind, bits, rows):
    if channels < 3:
        way = {name: value for name, value in way.items() if name != "planarconfig"}
    if way.get("predictor") and kind == "f4":
        way = {**way, "predictor": False}
    values = drawn(height, height, width, channels, kind, bits)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.tif"
        photometric = "rgb" if channels >= 3 else "minisblack"
        if channels >= 3 and way.get("planarconfig"):
            tifffile.imwrite(path, values.transpose(2, 0, 1), photometric=photometric, **way)
        else:
            planar = {} if channels == 1 else {"planarconfig": "contig"}
            tifffile.imwrite(path, values, photometric=photometric, **{**planar, **way})
        assert isinstance(assert_as_read(path, rows, bits), TiffBands)


@settings(max_examples=40, deadline=None)
@given(
    suffix=st.sampled_from([".png", ".jpg", ".webp"]),
    height=st.integers(1, 200),
    width=st.integers(1, 90),
    channels=st.sampled_from([1, 3, 4]),
    sixteen=st.booleans(),
    rows=st.integers(1, 210),
)
def test_bands_of_other_files_are_the_image(suffix, height, width, channels, sixteen, rows):
    kind = "u2" if sixteen and suffix == ".png" else "u1"
    values = drawn(width, height, width, 3 if suffix == ".jpg" and channels == 4 else channels, kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sheet{suffix}"
        quality = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []  # without loss
        assert cv2.imwrite(str(path), values, quality)
        assert isinstance(assert_as_read(path, rows), VipsBands)


def test_a_grey_image_is_one_plane_in_memory(tmp_path):
    tifffile.imwrite(tmp_path / "sheet.tif", drawn(0, 20, 30, 1, "u1"))
    (band,) = open_bands(tmp_path / "sheet.tif", 20)
    assert band.pixels.shape == (20, 30, 3)
    assert band.pixels.strides[2] == 0
    assert not band.pixels.flags.writeable


def test_tiffs_that_only_libvips_decodes_in_bands(tmp_path):
    path = tmp_path / "sheet.tif"
    for values in (drawn(0, 60, 41, 3, "u1"), drawn(1, 60, 40, 1, "u2")):
        cv2.imwrite(str(path), values, [cv2.IMWRITE_TIFF_COMPRESSION, 5])  # LZW
        assert isinstance(assert_as_read(path, 16), VipsBands)


def test_a_tiff_by_packbits(tmp_path):
    path = tmp_path / "sheet.tif"
    cv2.imwrite(str(path), drawn(0, 60, 41, 3, "u1"), [cv2.IMWRITE_TIFF_COMPRESSION, 32773])
    assert isinstance(assert_as_read(path, 16), TiffBands)


def test_a_large_compressed_strip_is_decoded_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_bands, "MAX_SEGMENT_VALUES", 1000)
    path = tmp_path / "sheet.tif"
    tifffile.imwrite(path, drawn(0, 200, 31, 1, "u2"), compression="zlib", rowsperstrip=200)
    assert isinstance(assert_as_read(path, 16), VipsBands)
    tifffile.imwrite(path, drawn(0, 200, 31, 1, "u2"), rowsperstrip=200)
    assert isinstance(assert_as_read(path, 16), TiffBands)


def test_palettes_bits_and_negatives(tmp_path):
    path = tmp_path / "sheet.tif"
    Image.fromarray(drawn(0, 30, 20, 1, "u1")).convert("P").save(path)
    assert_as_read(path, 7)
    Image.fromarray(drawn(0, 30, 21, 1, "u1") > 128).save(path)
    assert_as_read(path, 7)
    tifffile.imwrite(path, drawn(0, 30, 20, 1, "u2"), photometric="miniswhite")
    assert_as_read(path, 7)
    Image.fromarray(drawn(0, 30, 20, 1, "u1")).convert("P").save(tmp_path / "sheet.png")
    assert_as_read(tmp_path / "sheet.png", 7)


def test_alpha_is_dropped_with_a_warning(tmp_path):
    path = tmp_path / "sheet.png"
    values = drawn(0, 40, 20, 4, "u1")
    cv2.imwrite(str(path), values)
    assert "alpha" in assert_as_read(path, 9).remarks.warnings[0]


def test_what_is_mirrored_is_turned_and_what_is_turned_refused(tmp_path):
    path = tmp_path / "sheet.tif"
    tifffile.imwrite(path, drawn(0, 20, 30, 1, "u1"), extratags=[(274, 3, 1, 2, True)])
    assert_as_read(path, 7)
    tifffile.imwrite(path, drawn(0, 20, 30, 1, "u1"), extratags=[(274, 3, 1, 6, True)])
    with pytest.raises(DataError, match=r"stored turned \(EXIF orientation 6\).*save it upright"):
        open_bands(path)
    photo = Image.fromarray(drawn(0, 20, 30, 3, "u1"))
    exif = Image.Exif()
    exif[274] = 2
    photo.save(tmp_path / "photo.jpg", exif=exif)
    assert_as_read(tmp_path / "photo.jpg", 7)
    exif[274] = 3
    photo.save(tmp_path / "photo.jpg", exif=exif)
    with pytest.raises(DataError, match="save it upright"):
        open_bands(tmp_path / "photo.jpg")


def test_what_is_decoded_as_a_whole_says_so(tmp_path):
    photo = Image.fromarray(drawn(0, 64, 64, 3, "u1"))
    photo.save(tmp_path / "photo.jpg", progressive=True)
    assert "progressively" in open_bands(tmp_path / "photo.jpg").remarks.warnings[0]
    photo.save(tmp_path / "photo.jpg")
    assert not open_bands(tmp_path / "photo.jpg").remarks.warnings
    interlaced = bytearray(b"\x89PNG\r\n\x1a\n")
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)),
        (b"IDAT", zlib.compress(b"\0\x80")),
        (b"IEND", b""),
    ):
        interlaced += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (tmp_path / "sheet.png").write_bytes(interlaced)
    bands = open_bands(tmp_path / "sheet.png")
    assert "progressively" in bands.remarks.warnings[0]
    assert np.array_equal(joined(bands), read_image(tmp_path / "sheet.png"))


def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path):
    path = tmp_path / "sheet.bmp"
    cv2.imwrite(str(path), drawn(0, 8, 8, 1, "u1"))
    with pytest.raises(
        DataError, match=r"is BMP, which is not read in bands \(TIFF, PNG, JPEG, WebP are\): save it as"
    ):
        open_bands(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(DataError, match="is GIF, which is not read"):
        open_bands(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        open_bands(path)
    with pytest.raises(DataError, match="Cannot read"):
        open_bands(tmp_path / "nothing.tif")
    with pytest.raises(DataError, match="it is a folder"):
        open_bands(tmp_path)
    tifffile.imwrite(path, np.zeros((2, 5, 6), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match="holds 2 images"):
        open_bands(path)
    Image.fromarray(drawn(0, 8, 8, 4, "u1"), "CMYK").save(tmp_path / "sheet.jpg")
    with pytest.raises(DataError, match="colours of CMYK: save it as grey or RGB"):
        open_bands(tmp_path / "sheet.jpg")
    tifffile.imwrite(path, np.zeros((5, 6), np.uint8))
    with pytest.raises(ParameterError, match="rows=0 is not allowed"):
        open_bands(path, 0)
    tifffile.imwrite(path, np.full((5, 6), 5000, np.uint16))
    with pytest.raises(DataError, match="values up to 5000"):
        list(open_bands(path, bits=12))
    tifffile.imwrite(path, np.zeros((5, 6), np.int32))
    with pytest.raises(DataError, match="32-bit signed integers"):
        open_bands(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_damage_is_told_when_it_is_reached(tmp_path, suffix):
    path = tmp_path / f"sheet{suffix}"
    values = drawn(0, 300, 200, 1, "u1")
    if suffix == ".tif":
        tifffile.imwrite(path, values, compression="zlib", rowsperstrip=10)
    else:
        cv2.imwrite(str(path), values)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"damaged|truncated"):
        list(open_bands(path))
    middle = len(content) // 2
    if suffix in (".png", ".tif"):
        path.write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
        with pytest.raises(DataError, match="damaged"):
            list(open_bands(path))


def test_a_strip_that_is_too_short_is_damage(tmp_path):
    path = tmp_path / "sheet.tif"
    tifffile.imwrite(path, np.zeros((40, 20), np.uint8), compression="zlib", rowsperstrip=10)
    short = zlib.compress(bytes(20 * 6))
    with tifffile.TiffFile(path) as file:
        at = file.pages.first.dataoffsets[1]
        assert len(short) <= file.pages.first.databytecounts[1]
    content = bytearray(path.read_bytes())
    content[at : at + len(short)] = short
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged: rows 10 to 19 cannot be decoded"):
        list(open_bands(path, 10))


def test_without_pyvips_the_message_says_what_to_install(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "sheet.png"), drawn(0, 8, 8, 1, "u1"))
    original = builtins.__import__

    def without(name, *arguments, **options):
        if name == "pyvips":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ParameterError, match=r"in bands needs .*pip install 'pyvips\[binary\]'"):
        open_bands(tmp_path / "sheet.png")


@given(heights=st.lists(st.integers(1, 9), min_size=1, max_size=8), rows=st.integers(1, 12))
def test_regrouping_keeps_every_row(heights, rows):
    whole = np.arange(sum(heights))[:, None]
    parts = np.split(whole, np.cumsum(heights)[:-1])
    bands = list(regroup(iter(parts), rows))
    assert np.array_equal(np.concatenate([part for _, part in bands]), whole)
    assert [top for top, _ in bands] == list(range(0, len(whole), rows))
    assert all(len(part) == rows for _, part in bands[:-1])


def write_frames(folder, sheet, rows, overlap, first=8):
    """Frames of a sheet; numbers in their names cross 10, so that the order of text would be another."""
    for k, top in enumerate(range(0, len(sheet) - overlap, rows - overlap)):
        cv2.imwrite(str(folder / f"frame{first + k}.png"), sheet[top : top + rows])


@pytest.mark.parametrize("overlap", [0, 4])
@pytest.mark.parametrize("rows", [3, 20, 500])
def test_frames_that_overlap_are_one_image(tmp_path, overlap, rows):
    sheet = drawn(0, 20 + 4 * (20 - overlap), 30, 1, "u2")
    write_frames(tmp_path, sheet, 20, overlap)
    bands = FrameBands(tmp_path, overlap, rows)
    assert np.array_equal(joined(bands)[..., 0], sheet / np.float32(65535))
    assert (bands.remarks.warnings, bands.remarks.peak) == ([], sheet.max())


def test_frames_that_cannot_be_one_image(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        FrameBands(tmp_path)
    sheet = drawn(0, 60, 30, 1, "u1")
    write_frames(tmp_path, sheet, 20, 0)
    with pytest.raises(ParameterError, match="overlap=20 is not allowed: the frames have 20 rows"):
        FrameBands(tmp_path, 20)
    (tmp_path / "frame9.png").unlink()
    bands = FrameBands(tmp_path)
    list(bands)
    assert bands.remarks.warnings == ["The numbers in the names of its frames go from 8 to 10: frames may be missing."]
    cv2.imwrite(str(tmp_path / "frame9.png"), sheet[:20])
    with pytest.raises(DataError, match=r"frame9.png' has the same content as '.*frame8.png': every frame is needed"):
        list(FrameBands(tmp_path))
    cv2.imwrite(str(tmp_path / "frame9.png"), sheet[:19])
    with pytest.raises(DataError, match=r"frame9.png' has 30x19 px, but '.*frame8.png' has 30x20: the frames"):
        list(FrameBands(tmp_path))
