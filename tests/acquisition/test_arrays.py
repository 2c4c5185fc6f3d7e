"""Images in memory: the pixels that reading them from a file gives, for every kind; sentences for what is no image."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

import pellucid
from pellucid.acquisition.arrays import PIL_MODES_AS_STORED, PIL_MODES_TO_RGB, PIL_MODES_WITH_ALPHA, read_or_convert
from pellucid.acquisition.images import DecodedImage, decode_image
from pellucid.errors import DataError

DTYPES = ("bool", "uint8", ">u2", "<u2", "float16", "<f4", ">f4", "float64")
LAYOUTS = ("C", "Fortran", "every other", "backwards", "part of a larger one", "read-only")


@st.composite
def arrays(draw, dtypes=DTYPES):
    """Images of every type, shape and layout in memory."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    sides = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    channels = draw(st.sampled_from([(), (1,), (3,), (4,)]))
    values = {"elements": st.floats(0, 1, width=16)} if dtype.kind == "f" else {}
    image = draw(hnp.arrays(dtype, (*sides, *channels), **values))
    layout = draw(st.sampled_from(LAYOUTS))
    if layout == "Fortran":
        return np.asfortranarray(image)
    if layout == "every other":
        return np.repeat(np.repeat(image, 2, 0), 2, 1)[::2, ::2]
    if layout == "backwards":
        return image[::-1, ::-1].copy()[::-1, ::-1]
    if layout == "part of a larger one":
        return np.pad(image, [(2, 1), (1, 2)] + [(0, 0)] * len(channels))[2:-1, 1:-2]
    image.flags.writeable = layout != "read-only"
    return image


def read_back(image: np.ndarray) -> np.ndarray:
    """What reading a file of this array gives: PNG where there is one of its type, TIFF for floats."""
    path = Path("a.png")
    stored = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    if image.dtype.kind == "f":
        out = io.BytesIO()
        colours = "rgb" if stored.shape[2:] in ((3,), (4,)) else "minisblack"
        tifffile.imwrite(out, stored.astype(np.promote_types(stored.dtype, np.float32)), photometric=colours)
        return decode_image(out.getvalue(), path).pixels
    if image.dtype == bool:
        stored = stored.astype(np.uint8) * 255
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(stored.shape[2] if stored.ndim == 3 else 1)
    stored = stored if order is None else cv2.cvtColor(stored, order)
    return decode_image(cv2.imencode(".png", stored)[1].tobytes(), path).pixels


@given(arrays())
def test_an_array_is_what_reading_its_file_gives(image):
    before = image.copy()
    path, decoded = read_or_convert(image)
    pixels = decoded.pixels
    np.testing.assert_array_equal(pixels, read_back(image))
    assert (path, pixels.dtype, pixels.shape) == (Path("<array>"), np.float32, (*image.shape[:2], 3))
    assert pixels[..., 0].flags.c_contiguous or pixels.flags.c_contiguous
    assert not np.shares_memory(pixels, image)
    np.testing.assert_array_equal(image, before)


def pil_images(mode: str) -> st.SearchStrategy[Image.Image]:
    """Images of a mode with any content, palettes among them transparent ones."""

    def build(size: tuple[int, int], seed: int) -> Image.Image:
        rng = np.random.default_rng(seed)
        width, height = size
        if mode == "F":
            return Image.fromarray(rng.random((height, width), np.float32))
        if mode == "1":
            return Image.fromarray(rng.random((height, width)) > 0.5)
        if mode.startswith("I;16"):
            return Image.frombytes(mode, size, rng.bytes(2 * width * height))
        if mode in ("P", "PA"):
            image = Image.fromarray(rng.integers(0, 4, (height, width), np.uint8)).convert("P")
            image.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
            if mode == "P" and seed % 2:
                image.info["transparency"] = rng.bytes(4)  # a value for each of its four colours
            return image.convert(mode)
        return Image.frombytes(mode, size, rng.bytes(Image.getmodebands(mode) * width * height))

    return st.builds(build, st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(0, 2**32 - 1))


FILES = [  # format, mode, largest difference
    *(("PNG", mode, 0.0) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B")),
    *(("TIFF", mode, 0.0) for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "F")),
    *(("TIFF", mode, 0.0) for mode in ("I;16", "I;16B", "I;16L")),
    ("TIFF", "YCbCr", 1.01 / 255),  # OpenCV and Pillow round differently
    ("TIFF", "CMYK", 1.01 / 255),
]


@pytest.mark.parametrize(("file", "mode", "difference"), FILES)
@settings(max_examples=25)
@given(data=st.data())
def test_a_pil_image_is_what_reading_its_file_gives(file, mode, difference, data):
    image = data.draw(pil_images(mode))
    out = io.BytesIO()
    image.save(out, file)
    expected = decode_image(out.getvalue(), Path("a")).pixels
    opened = Image.open(out)
    for one in (image, opened):
        path, decoded = read_or_convert(one)
        pixels = decoded.pixels
        np.testing.assert_allclose(pixels, expected, rtol=0, atol=difference)
        assert (path, pixels.dtype, pixels.shape) == (Path("<array>"), np.float32, (image.height, image.width, 3))


def test_every_mode_of_pillow_is_taken_or_named():
    tried = {mode for _, mode, _ in FILES}
    assert tried | {"RGBa", "HSV", "I", "I;16N"} == {*PIL_MODES_AS_STORED, *PIL_MODES_TO_RGB, *PIL_MODES_WITH_ALPHA}


@pytest.mark.parametrize("mode", ["RGBa", "HSV"])
@settings(max_examples=25)
@given(data=st.data())
def test_modes_that_no_file_has_are_what_their_rgb_is(mode, data):
    image = data.draw(pil_images("RGBA" if mode == "RGBa" else "RGB")).convert(mode)
    np.testing.assert_array_equal(read_or_convert(image)[1].pixels, read_or_convert(image.convert("RGB"))[1].pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_orientation_is_applied_as_in_a_file(tmp_path, suffix, orientation):
    rng = np.random.default_rng(orientation)
    image = Image.fromarray(np.kron(rng.integers(0, 256, (3, 5, 3), np.uint8), np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=exif, **({"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    with Image.open(path) as opened:
        named, decoded = read_or_convert(opened)
        upright = np.asarray(ImageOps.exif_transpose(opened))
    pixels = decoded.pixels
    assert named == path
    assert pixels.shape == ((40, 24, 3) if orientation > 4 else (24, 40, 3))
    np.testing.assert_array_equal(pixels, np.float32(upright) / np.float32(255))
    np.testing.assert_allclose(pixels, read_or_convert(path)[1].pixels, atol=4 / 255)  # two decoders of JPEG


def test_sixteen_bits_of_a_png_are_kept_whatever_mode_pillow_opens_it_in(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (6, 7), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    with Image.open(tmp_path / "a.png") as opened:
        np.testing.assert_array_equal(read_or_convert(opened)[1].pixels, read_or_convert(tmp_path / "a.png")[1].pixels)
    older = Image.fromarray(values.astype(np.int32))  # mode I, as earlier versions opened it
    older.format = "PNG"
    np.testing.assert_array_equal(read_or_convert(older)[1].pixels, read_or_convert(values)[1].pixels)


def test_a_transparent_palette_warns_nobody():
    image = Image.fromarray(np.zeros((4, 4), np.uint8)).convert("P")
    image.info["transparency"] = b"\x00\x80"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_or_convert(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4, 3), 200.0), r"floats from 200 to 200; they have to lie in \[0, 1\]: divide it by 255\."),
        (np.full((4, 4), 4095.0), r"they have to lie in \[0, 1\]: divide it by 65535\."),
        (np.full((4, 4), 1e6), r"they have to lie in \[0, 1\]: undo its normalisation first\."),
        (np.linspace(-2, 2, 16).reshape(4, 4), r"from -2 to 2; .*: undo its normalisation first\."),
        (np.array([[0.0, np.nan]]), "contains NaN or infinite pixels"),
        (np.array([[0.0, np.inf]]), "contains NaN or infinite pixels"),
        (np.zeros((4, 4), np.int64), r"array of int64, whose range is not known: give image\.astype\(np\.uint8\)"),
        (np.zeros((4, 4), np.int8), "array of int8, whose range is not known"),
        (np.zeros((4, 4), np.uint32), "array of uint32, whose range is not known"),
        (np.zeros((4, 4), complex), r"array of complex128; bool, uint8, uint16 and floats in \[0, 1\] are taken"),
        (np.full((4, 4), "x"), "array of <U1; bool, uint8"),
        (np.empty((4, 4), object), "array of object; bool, uint8"),
        (np.zeros((0, 4, 3)), r"array without pixels, of shape \(0, 4, 3\)"),
        (np.zeros((4, 0), np.uint8), r"array without pixels, of shape \(4, 0\)"),
        (np.zeros((3, 8, 9)), r"shape \(3, 8, 9\); .* are taken; channels come last, .*transpose\(1, 2, 0\)"),
        (np.zeros((8, 9, 2)), r"shape \(8, 9, 2\); \(H, W\), \(H, W, 1\), \(H, W, 3\) and \(H, W, 4\) are taken\."),
        (np.zeros((2, 8, 9, 3)), r"shape \(2, 8, 9, 3\): give one image at a time"),
        (np.zeros(9), r"shape \(9,\); \(H, W\)"),
        (np.float64(1), "A float64 is not an image"),
        (torch.zeros(3, 4, 4), r"torch tensor is not taken, .*tensor\.permute\(1, 2, 0\)\.cpu\(\)\.numpy\(\)"),
        ([[0, 1]], "A list is not an image: give a path, a NumPy array or a PIL image"),
        (b"\x89PNG", r"A bytes object is not an image: open it with PIL\.Image\.open"),
        (None, "None is not an image; cv2.imread returns it"),
        (Image.new("LAB", (4, 4)), "PIL image of mode LAB, which is not taken: give one of mode RGB"),
        (Image.new("I", (4, 4)), "array of int32, whose range is not known"),
        (Image.new("F", (4, 4), 200.0), r"they have to lie in \[0, 1\]: divide it by 255"),
    ],
)
def test_what_is_no_image_is_told_what_to_do(image, message):
    with pytest.raises(DataError, match=message) as error:
        read_or_convert(image)
    assert "\n" not in str(error.value)


def test_a_pil_image_whose_file_is_truncated_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with Image.open(path) as opened, pytest.raises(DataError, match=f"Cannot read '{re.escape(str(path))}'"):
        read_or_convert(opened)


def test_a_path_may_be_any_path_like(tmp_path):
    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path / "a.png")

    cv2.imwrite(str(tmp_path / "a.png"), np.arange(16, dtype=np.uint8).reshape(4, 4))
    for path in (str(tmp_path / "a.png"), tmp_path / "a.png", Place()):
        named, decoded = read_or_convert(path)
        assert named == tmp_path / "a.png"
        assert decoded.pixels[1, 0, 0] == np.float32(4) / np.float32(255)


def test_floats_in_the_camera_s_range_are_told_that_range():
    values = np.full((4, 4), 3000.0)
    for bits, divisor in ((12, 4095), (14, 16383), (10, 65535), (16, 65535)):
        with pytest.raises(DataError, match=rf"lie in \[0, 1\]: divide it by {divisor}\."):
            read_or_convert(values, bits)


@pytest.mark.parametrize(
    ("head", "top", "is_lost"), [("P6", 65535, True), ("P6", 1023, True), ("P3", 4095, True), ("P6", 255, False)]
)
def test_a_ppm_of_which_pillow_drops_bits_says_so(head, top, is_lost, tmp_path):
    path = tmp_path / "a.ppm"
    values = np.arange(12) * (top // 12)
    content = (
        values.astype(">u2" if top > 255 else np.uint8).tobytes()
        if head == "P6"
        else b" ".join(b"%d" % v for v in values)
    )
    path.write_bytes(f"{head}\n2 2\n{top}\n".encode() + content)
    with Image.open(path) as opened:
        warned = any("Pillow keeps 8 of its 16 bits" in warning for warning in read_or_convert(opened)[1].warnings)
    assert warned == is_lost


def test_what_was_decoded_already_is_neither_checked_nor_copied():
    decoded = DecodedImage(np.zeros((4, 4, 3), np.float32), warnings=("It is odd.",))
    path, read = read_or_convert(decoded)
    assert read is decoded
    assert path == Path("<array>")


def test_an_inspection_is_the_same_from_a_path_an_array_and_a_pil_image(glass):
    inspector = pellucid.fit(glass, "dfm", image_size=64, false_reject=0.1)
    path = next((glass / "abnormal_test").glob("*.png"))
    expected = inspector.inspect(path)
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    with Image.open(path) as opened:
        images = [str(path), opened, grey, grey[..., None], np.repeat(grey[..., None], 3, 2), grey / np.float32(255)]
        for image in images:
            found = inspector.inspect(image)
            assert (found.score, found.verdict, found.defects) == (expected.score, expected.verdict, expected.defects)
            np.testing.assert_array_equal(found.map, expected.map)
