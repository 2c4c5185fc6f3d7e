"""Every kind of image file is read as it is stored, or refused by its name."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_images import (
    GREY,
    OPAQUE,
    PICTURE,
    RAMP,
    RGBA,
    bare_tiff,
    opencv,
    pillow,
    planes,
    sixteen,
    thumbnailed,
    tiff,
    twelve_bits,
)
from PIL import Image

from pellucid.acquisition.arrays import read_or_convert
from pellucid.acquisition.images import decode_image, open_image
from pellucid.acquisition.masks import read_mask
from pellucid.errors import DataError

ANYWHERE = Path("a")
ROWS = "\n".join(" ".join(map(str, row)) for row in GREY)
READ = {  # content, what it shows
    "png": (pillow(PICTURE, "PNG"), PICTURE),
    "png, opaque alpha": (pillow(OPAQUE, "PNG"), PICTURE),
    "bmp": (pillow(PICTURE, "BMP"), PICTURE),
    "webp": (pillow(PICTURE, "WEBP", lossless=True), PICTURE),
    "ppm": (pillow(PICTURE, "PPM"), PICTURE),
    "pgm": (pillow(GREY, "PPM"), GREY),
    "pgm, 16 bit": (b"P5\n64 48\n65535\n" + sixteen(GREY).astype(">u2").tobytes(), GREY),
    "pgm, 12 bit": (
        b"P5 # camera 7\n64 48\n4095\n" + (GREY.astype(">u2") * 16).astype(">u2").tobytes(),
        GREY * (16 / 4095 * 255),
    ),
    "pgm, white is 100": (b"P5\n64\n48\n100\n" + (GREY // 3).tobytes(), GREY // 3 * 2.55),
    "pgm, text": (f"P2\n# by hand\n64 48\n255\n{ROWS}\n".encode(), GREY),
    "pgm, 12-bit text": (f"P2\n64 48 1023\n{ROWS}\n".encode(), GREY * (255 / 1023)),
    "pbm": (pillow(GREY, "PPM", "1"), np.asarray(Image.fromarray(GREY).convert("1")) * 255),
    "pbm, text": (f"P1\n64 48\n{' '.join('01'[int(v < 128)] for v in GREY.ravel())}".encode(), (GREY >= 128) * 255),
    "jp2": (pillow(PICTURE, "JPEG2000"), PICTURE),
    "jp2, grey of 16 bit": (pillow(sixteen(GREY), "JPEG2000"), GREY),
    "j2k, grey": (pillow(GREY, "JPEG2000", no_jp2=True), GREY),
    "tif": (tiff(PICTURE, photometric="rgb"), PICTURE),
    "tif, big": (tiff(PICTURE, photometric="rgb", bigtiff=True), PICTURE),
    "tif, tiles": (tiff(PICTURE, photometric="rgb", tile=(16, 16)), PICTURE),
    "tif, Deflate": (tiff(PICTURE, photometric="rgb", compression="deflate", predictor=True), PICTURE),
    "tif, LZW": (opencv(PICTURE, ".tif"), PICTURE),
    "tif, LZW of 16 bit": (opencv(sixteen(PICTURE), ".tif"), PICTURE),
    "tif, LZW of odd width": (pillow(PICTURE[:, :63], "TIFF", compression="tiff_lzw"), PICTURE[:, :63]),
    "tif, LZW without predictor": (pillow(PICTURE, "TIFF", compression="tiff_lzw"), PICTURE),
    "tif, LZW in strips": (pillow(PICTURE, "TIFF", compression="tiff_lzw", strip_size=1000), PICTURE),
    "tif, LZW of a palette": (
        pillow(PICTURE, "TIFF", "P", compression="tiff_lzw"),
        np.asarray(Image.fromarray(PICTURE).convert("P").convert("RGB")),
    ),
    "tif, PackBits": (pillow(PICTURE, "TIFF", compression="packbits"), PICTURE),
    "tif, fax": (
        pillow(GREY, "TIFF", "1", compression="group4"),
        np.asarray(Image.fromarray(GREY).convert("1")) * 255,
    ),
    "tif, 12 bit packed": (twelve_bits(), GREY),
    "tif, white is zero": (tiff(255 - GREY, photometric="miniswhite"), GREY),
    "tif, white is zero of 16 bit": (tiff(65535 - sixteen(GREY), photometric="miniswhite"), GREY),
    "tif, planes": (tiff(planes(PICTURE), photometric="rgb", planarconfig="separate"), PICTURE),
    "tif, planes of 16 bit": (tiff(planes(sixteen(PICTURE)), photometric="rgb", planarconfig="separate"), PICTURE),
    "tif, big end first": (tiff(sixteen(GREY).astype(">u2"), byteorder=">"), GREY),
    "tif, half floats": (tiff((GREY / 255).astype(np.float16)), GREY),
    "tif, double floats": (tiff(GREY / 255), GREY),
    "tif, CMYK": (pillow(PICTURE, "TIFF", "CMYK"), PICTURE),
    "tif with a thumbnail": (thumbnailed(), PICTURE),
}


@pytest.mark.parametrize("kind", READ)
def test_what_is_read_is_read_as_it_is_stored(kind):
    content, expected = READ[kind]
    image = decode_image(content, ANYWHERE)
    shown = (
        np.asarray(expected, np.float32) if np.ndim(expected) == 3 else np.repeat(np.float32(expected)[..., None], 3, 2)
    )
    np.testing.assert_allclose(image.pixels * 255, shown, atol=0.1)
    assert image.warnings == ()
    assert image.pixels[..., 0].flags.c_contiguous or image.pixels.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["", ".jpg", ".bmp", ".png", ".TIF"])
def test_a_suffix_that_lies_changes_nothing(tmp_path, suffix):
    path = tmp_path / f"a.b{suffix}"
    path.write_bytes(pillow(PICTURE, "PNG"))
    np.testing.assert_allclose(open_image(path).pixels * 255, PICTURE, atol=0.01)


LEFT_OUT = {
    "png": pillow(RGBA, "PNG"),
    "png, grey": pillow(RGBA, "PNG", "LA"),
    "png, palette": pillow(PICTURE, "PNG", "P", transparency=bytes(256)),
    "png of 16 bit": opencv(sixteen(RGBA), ".png"),
    "webp": pillow(RGBA, "WEBP", lossless=True, exact=True),
    "bmp": opencv(RGBA, ".bmp"),
    "jp2": pillow(RGBA, "JPEG2000"),
    "tif": tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]),
    "tif, multiplied": tiff(RGBA, photometric="rgb", extrasamples=["assocalpha"]),
    "tif, LZW": pillow(RGBA, "TIFF", compression="tiff_lzw"),
    "tif, LZW of odd width": pillow(RGBA[:, :63], "TIFF", compression="tiff_lzw"),
    "tif of 16 bit": tiff(sixteen(RGBA), photometric="rgb", extrasamples=["unassalpha"]),
    "tif, grey": tiff(
        np.dstack([GREY, RAMP]), photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    ),
    "tif, palette": pillow(RGBA, "TIFF", "PA"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_alpha_that_says_something_is_left_out_with_a_warning(kind):
    image = decode_image(LEFT_OUT[kind], ANYWHERE)
    assert image.warnings == ("It has an alpha channel that is not opaque: it is left out.",)
    if "palette" not in kind and "grey" not in kind:
        np.testing.assert_allclose(image.pixels * 255, PICTURE[:, : image.pixels.shape[1]], atol=0.01)


@pytest.mark.parametrize("layout", [{"planarconfig": "separate"}, {"planarconfig": "contig"}])
def test_bands_are_taken_as_colours_with_a_warning(layout):
    bands = np.dstack([PICTURE, GREY, RAMP])
    stored = planes(bands) if layout["planarconfig"] == "separate" else bands
    image = decode_image(tiff(stored, photometric="minisblack", **layout), ANYWHERE)
    np.testing.assert_allclose(image.pixels * 255, PICTURE, atol=0.01)
    assert image.warnings == ("It has 5 channels: the first three are taken as red, green and blue.",)


FRAMES = {"save_all": True, "append_images": [Image.fromarray(255 - PICTURE)]}
REFUSED = {
    "pages": (tiff(np.stack([GREY, GREY])), "holds 2 images: save each in a file of its own"),
    "pages in colours": (tiff(np.stack([PICTURE] * 3), photometric="rgb"), "holds 3 images"),
    "ImageJ's stack": (tiff(np.stack([GREY] * 4), imagej=True), "holds 4 images"),
    "animated png": (pillow(PICTURE, "PNG", **FRAMES), "holds 2 images"),
    "animated webp": (pillow(PICTURE, "WEBP", **FRAMES), "holds 2 images"),
    "animated gif": (pillow(PICTURE, "GIF", **FRAMES), "is GIF, which is not read"),
    "gif": (pillow(PICTURE, "GIF"), r"is GIF, which is not read \(png, jpg, bmp, .*\): convert it to PNG"),
    "avif": (pillow(PICTURE, "AVIF"), "is AVIF, which is not read"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(40), "is HEIC, which is not read"),
    "hdr": (opencv(PICTURE.astype(np.float32), ".hdr"), "is Radiance HDR, which is not read"),
    "exr": (b"v/1\x01" + bytes(60), "is OpenEXR, which is not read"),
    "svg": (b"<svg xmlns=''/>", "is SVG, which is not read"),
    "text": (b"hello", "is not an image that can be read"),
    "signed": (tiff(GREY.astype(np.int16)), "is a TIFF of 16-bit signed integers, whose range is not known: save it"),
    "signed bytes": (tiff(GREY.astype(np.int8)), "8-bit signed integers"),
    "32 bit": (tiff(GREY.astype(np.uint32)), "is a TIFF of 32-bit integers, whose range is not known"),
    "64 bit": (tiff(GREY.astype(np.int64)), "64-bit signed integers"),
    "complex": (tiff(GREY.astype(np.complex64)), "64-bit complex numbers"),
    "Lab": (pillow(PICTURE, "TIFF", "LAB"), "is a TIFF of 8-bit CIELAB colours: save it as grey or RGB"),
    "floats to 255": (tiff(GREY.astype(np.float32)), r"has float pixels from \d+ to \d+; they have to lie in \[0, 1\]"),
    "4 bit": (bare_tiff(4, bytes(64 * 48 // 2)), "is a TIFF of 4 bits with compression NONE that cannot be read"),
    "pgm above its white": (b"P5\n2 2\n10\n" + bytes([1, 2, 3, 11]), "has values up to 11; its header says 10"),
    "pgm without numbers": (b"P5\nx y\n", "a PNM file whose header cannot be read"),
    "pgm of no size": (b"P5\n0 4\n255\n", "a PNM file of 0 x 4 px"),
    "pgm, letters": (b"P2\n2 2\n255\n1 2 x 4", "is damaged: where numbers should be"),
    "pgm, huge": (b"P2\n2 2\n255\n1 2 3 99999999999999999999", "has values from 1 to 99999999999999999999"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_named(kind):
    content, message = REFUSED[kind]
    with pytest.raises(DataError, match=message) as error:
        decode_image(content, Path("pane.x"))
    assert "'pane.x'" in str(error.value)
    assert "\n" not in str(error.value)


def _without(content: bytes, start: int, count: int) -> bytes:
    return content[:start] + bytes(count) + content[start + count :]


BROKEN = {
    "png": (pillow(PICTURE, "PNG"), "checksums"),
    "tif, LZW": (opencv(PICTURE, ".tif"), "compressed data are wrong"),
    "tif, LZW of 16 bit": (opencv(sixteen(PICTURE), ".tif"), "cannot be read"),
    "tif, Deflate": (tiff(PICTURE, photometric="rgb", compression="deflate"), "TIFF is damaged"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damage_is_refused(kind):
    content, message = BROKEN[kind]
    with pytest.raises(DataError, match=message):
        decode_image(_without(content, len(content) // 2, 40), ANYWHERE)


def test_a_tiff_that_says_more_pixels_than_there_can_be_is_refused_before_memory_is_spent():
    for content in (READ["tif"][0], READ["tif, Deflate"][0]):
        changed = bytearray(content)
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            for name in ("ImageLength", "RowsPerStrip"):
                tag = file.pages.first.tags[name]
                changed[tag.valueoffset : tag.valueoffset + 4] = (60_000_000).to_bytes(4, "little")
        with pytest.raises(DataError, match="its header says 64 x 60000000 px, which its data cannot hold"):
            decode_image(bytes(changed), ANYWHERE)


def test_a_tiff_without_one_of_its_strips_is_refused():
    content = tiff(PICTURE, photometric="rgb", rowsperstrip=8)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        where = file.pages.first.tags["StripByteCounts"].valueoffset
        kind = file.pages.first.tags["StripByteCounts"].dtype
    changed = bytearray(content)
    size = {3: 2, 4: 4}[int(kind)]
    changed[where + size : where + 2 * size] = bytes(size)  # tifffile would read zeros there
    with pytest.raises(DataError, match="is truncated"):
        decode_image(bytes(changed), ANYWHERE)


@given(
    seed=st.sampled_from([content for content, _ in [*READ.values(), *REFUSED.values()]] + [*LEFT_OUT.values()]),
    changes=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 20_000),
)
@settings(max_examples=300)
def test_whatever_bytes_come_are_an_image_or_one_sentence(seed, changes, cut):
    content = bytearray(seed[: max(1, len(seed) - cut)] if cut < len(seed) else seed)
    for where, value in changes:
        content[where % min(len(content), 400)] = value
    message = ""
    try:
        pixels = decode_image(bytes(content), ANYWHERE).pixels
    except DataError as error:
        message, pixels = str(error), np.zeros((1, 1, 3))
    assert not message or ("'a'" in message and "\n" not in message)
    assert pixels.ndim == 3
    assert np.isfinite(pixels).all()


WHOLE = (
    "png",
    "bmp",
    "webp",
    "ppm",
    "pgm, 16 bit",
    "pgm, text",
    "pbm",
    "jp2",
    "j2k, grey",
    "tif",
    "tif, LZW",
    "tif, tiles",
)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_that_ends_too_early_is_refused(kind, share):
    content, _ = READ[kind]
    with pytest.raises(DataError, match="'a'"):
        decode_image(content[: int(len(content) * share)], ANYWHERE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_every_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    blocks = np.kron(PICTURE[:5, :7], np.ones((16, 16, 1), np.uint8))
    content = pillow(blocks, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    across = blocks.swapaxes(0, 1)
    turned = (blocks, blocks[:, ::-1], blocks[::-1, ::-1], blocks[::-1])
    turned += (across, across[:, ::-1], across[::-1, ::-1], across[::-1])
    pixels = decode_image(content, ANYWHERE).pixels
    np.testing.assert_allclose(pixels * 255, turned[orientation - 1], atol=12 if kind == "JPEG" else 0.01)


@pytest.mark.parametrize("kind", ["png", "tif, planes", "pgm", "tif, white is zero of 16 bit", "pbm"])
def test_masks_are_read_from_every_kind(tmp_path, kind):
    content, shown = READ[kind]
    (tmp_path / "m").write_bytes(content)
    brightest = np.asarray(shown).max(axis=2) if np.ndim(shown) == 3 else np.asarray(shown)
    expected = brightest > (float(brightest.min()) + float(brightest.max())) / 2  # grey ones are cut in the middle
    np.testing.assert_array_equal(read_mask(tmp_path / "m"), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_of_arrays_and_pil_images_warns_too(mode):
    for image in (RGBA, Image.fromarray(RGBA).convert(mode)):
        assert read_or_convert(image)[1].warnings == ("It has an alpha channel that is not opaque: it is left out.",)
    assert read_or_convert(Image.fromarray(OPAQUE))[1].warnings == ()
    assert read_or_convert(OPAQUE)[1].warnings == ()


def test_pil_images_of_several_frames_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(REFUSED["pages"][0])
    with Image.open(tmp_path / "a.tif") as opened:
        with pytest.raises(DataError, match=r"holds 2 images: give one of them, as in image\.copy\(\)"):
            read_or_convert(opened)
        opened.seek(1)
        np.testing.assert_array_equal(read_or_convert(opened.copy())[1].pixels[..., 0], GREY / np.float32(255))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_bits_that_pillow_drops_are_told(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(opencv(sixteen(PICTURE), f".{suffix}"))
    with Image.open(path) as opened:
        (warning,) = read_or_convert(opened)[1].warnings
    assert "8 of its 16 bits" in warning
    assert read_or_convert(path)[1].warnings == ()


def test_sixteen_bits_of_a_pgm_are_kept_from_pillow_too(tmp_path):
    (tmp_path / "a.pgm").write_bytes(READ["pgm, 16 bit"][0])
    with Image.open(tmp_path / "a.pgm") as opened:
        np.testing.assert_array_equal(read_or_convert(opened)[1].pixels, open_image(tmp_path / "a.pgm").pixels)


DECODERS_SAY = """
import sys
import zlib
from pathlib import Path
from pellucid.acquisition.images import open_image
from pellucid.errors import DataError
for name in sys.argv[1:]:
    try:
        open_image(Path(name))
    except DataError:
        print("refused")
import cv2, numpy as np
cv2.imdecode(np.frombuffer(b"GIF89a" + bytes(20), np.uint8), 1)  # a user's own call is told as before
"""


def test_decoders_say_nothing_on_their_own(tmp_path):
    names = []
    for number, (content, _) in enumerate(
        [*BROKEN.values(), *REFUSED.values(), READ["jp2"], READ["webp"], READ["bmp"]]
    ):
        for damage, changed in (
            ("zeros", _without(content, len(content) // 2, 30)),
            ("cut", content[: len(content) // 2]),
        ):
            names.append(tmp_path / f"{number}-{damage}")
            names[-1].write_bytes(changed)
    jpeg = pillow(PICTURE, "JPEG")
    for damage, changed in (("cut", jpeg[:-200] + b"\xff\xd9"), ("flip", _without(jpeg, 700, 3))):
        names.append(tmp_path / damage)
        names[-1].write_bytes(changed)
    done = subprocess.run(
        [sys.executable, "-c", DECODERS_SAY, *map(str, names)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("refused") > len(names) * 0.8
    told = [line for line in done.stderr.splitlines() if line]
    assert len(told) == 1, done.stderr
    assert "grfmt_gif" in told[0]


def test_the_log_level_of_opencv_is_left_as_it_was():
    before = cv2.utils.logging.getLogLevel()
    decode_image(READ["png"][0], ANYWHERE)
    with pytest.raises(DataError):
        decode_image(REFUSED["signed"][0], ANYWHERE)
    assert cv2.utils.logging.getLogLevel() == before


def test_a_png_cannot_hold_more_than_deflate_makes_of_its_bytes():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = (30_000).to_bytes(4, "big")
    head, pixels = chunk(b"IHDR", side + side + bytes((8, 2, 0, 0, 0))), chunk(b"IDAT", zlib.compress(bytes(1000)))
    with pytest.raises(DataError, match="its header says 30000 x 30000 px, which its data cannot hold"):
        decode_image(b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b""), ANYWHERE)
    white = np.full((4000, 4000), 255, np.uint8)  # as dense as it gets
    assert decode_image(opencv(white, ".png"), ANYWHERE).pixels.shape == (4000, 4000, 3)
