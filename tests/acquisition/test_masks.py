"""Mask files to defective pixels: whatever tools and people store, turned as their photos are, told where it is odd."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw, ImageOps
from truth_files import SIZE, disc, mask, normals, pane, photo, write

from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.masks import open_mask, read_mask
from pellucid.acquisition.orientation import find_orientation, read_orientation, turn_upright
from pellucid.acquisition.verify import verify
from pellucid.errors import DataError

DISC = disc()
OTHER = disc(at=(30, 45), radius=6)
CLASSES = DISC * 1 + (OTHER & ~DISC) * 2


def _layer(colour, alpha):
    return np.dstack([np.broadcast_to(np.asarray(colour, np.uint8), (*SIZE, 3)), np.asarray(alpha, np.uint8)])


EXACT = {  # files that say of every pixel whether it is defective: nothing is guessed, nothing is told
    "0 and 255": ("m.png", DISC.astype(np.uint8) * 255, DISC),
    "0 and 1": ("m.png", DISC.astype(np.uint8), DISC),
    "16 bit": ("m.png", DISC.astype(np.uint16) * 65535, DISC),
    "16 bit, 0 and 1": ("m.tif", DISC.astype(np.uint16), DISC),
    "classes 0 to 2": ("m.png", CLASSES.astype(np.uint8), CLASSES > 0),
    "16-bit classes": ("m.png", (CLASSES * 7).astype(np.uint16), CLASSES > 0),
    "classes as greys": ("m.png", (CLASSES * 127).astype(np.uint8), CLASSES > 0),
    "bmp": ("m.bmp", DISC.astype(np.uint8) * 255, DISC),
    "colours": ("m.png", (CLASSES[..., None] == (1, 2, 3)).astype(np.uint8) * 255, CLASSES > 0),
    "nearly black blue": ("m.png", DISC[..., None] * np.uint8([1, 0, 0]), DISC),
    "alpha alone, white": ("m.png", _layer(255, DISC * 255), DISC),
    "alpha alone, black": ("m.png", _layer(0, DISC * 255), DISC),
    "opaque": ("m.png", _layer(DISC[..., None] * 255, np.full(SIZE, 255)), DISC),
    "red on a transparent white": ("m.png", _layer(np.where(DISC[..., None], (0, 0, 255), 255), DISC * 255), DISC),
    "black on a transparent white": ("m.png", _layer(np.where(DISC[..., None], 0, 255), DISC * 255), DISC),
    "random classes": ("m.png", np.random.default_rng(0).integers(0, 5, SIZE, np.uint8), None),
}


@pytest.mark.parametrize("what", EXACT)
def test_masks_that_say_it_exactly(tmp_path, what):
    name, pixels, region = EXACT[what]
    read = open_mask(write(tmp_path / name, pixels), pane(tmp_path / "image.png"), SIZE)
    np.testing.assert_array_equal(read.defective, pixels > 0 if region is None else region)
    assert read.remarks == ()


@pytest.mark.parametrize("kind", ["bool", "int8", "int16", "uint32", "int64", "float32", "float64"])
def test_masks_of_every_tiff_type(tmp_path, kind):
    tifffile.imwrite(tmp_path / "m.tif", DISC.astype(kind))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), DISC)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_masks_of_one_bit(tmp_path, suffix):
    Image.fromarray(DISC).save(tmp_path / f"m.{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"m.{suffix}"), DISC)


def _palette(colours, numbers):
    image = Image.fromarray(numbers.astype(np.uint8), "P")
    image.putpalette([*np.ravel(colours), *[0] * (768 - 3 * len(colours))])
    return image


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("colours", "numbers"),
    [
        ([(0, 0, 0), (255, 255, 255)], DISC * 1),
        ([(255, 255, 255), (0, 0, 0)], ~DISC * 1),  # numbered the other way by a tool that saves bytes
        ([(0, 0, 0)], DISC * 1),  # the palette got lost
        ([(0, 0, 0), (128, 0, 0), (0, 128, 0)], CLASSES),
    ],
)
def test_masks_with_a_palette(tmp_path, colours, numbers):
    _palette(colours, numbers).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), disc() if numbers is not CLASSES else CLASSES > 0)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
def test_the_void_of_pascal_voc_is_good(tmp_path):
    wide = cv2.dilate(DISC.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    colours = [(0, 0, 0), (128, 0, 0), (0, 128, 0), *[(0, 0, 0)] * 252, (224, 224, 192)]
    _palette(colours, np.where(DISC, 1, wide * 255)).save(tmp_path / "m.png")
    read = open_mask(tmp_path / "m.png", tmp_path / "none.png", SIZE)
    np.testing.assert_array_equal(read.defective, DISC)
    assert read.remarks == ("void",)


def _jpeg(quality):
    return lambda region: cv2.imdecode(
        cv2.imencode(".jpg", region.astype(np.uint8) * 255, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0
    )


def _smoothed(region):  # drawn large and made small, as tools with soft brushes do
    return cv2.resize(cv2.resize(region.astype(np.uint8) * 255, None, fx=4, fy=4), SIZE[::-1], interpolation=3)


GREY = {
    **{f"jpeg {quality}": _jpeg(quality) for quality in (50, 75, 90, 95)},
    "smoothed": _smoothed,
    "blurred": lambda region: cv2.GaussianBlur(region.astype(np.uint8) * 255, (0, 0), 1.2),
    "16 bit blurred": lambda region: cv2.GaussianBlur(region.astype(np.uint16) * 4095, (0, 0), 1.2),
}


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("how", GREY)
def test_grey_masks_are_cut_in_the_middle(tmp_path, how, suffix):
    pixels = GREY[how](DISC)
    read = open_mask(write(tmp_path / f"m.{suffix}", pixels), pane(tmp_path / "i.png"), SIZE)
    assert np.count_nonzero(pixels) > 1.1 * DISC.sum()  # above zero is too much
    assert abs(int(read.defective.sum()) - int(DISC.sum())) <= 0.04 * DISC.sum()
    assert read.remarks == ("grey",)


def test_a_jpeg_is_grey_whatever_its_levels(tmp_path):
    write(tmp_path / "m.jpg", CLASSES.astype(np.uint8) * 60)
    assert open_mask(tmp_path / "m.jpg", pane(tmp_path / "i.png"), SIZE).remarks == ("grey",)


def test_a_gradient_is_cut_in_the_middle(tmp_path):
    ramp = np.tile(np.linspace(0, 200, SIZE[1]).astype(np.uint8), (SIZE[0], 1))
    np.testing.assert_array_equal(read_mask(write(tmp_path / "m.png", ramp)), ramp > 100)


def test_numbered_defects_are_no_greys(tmp_path):
    numbers = np.zeros(SIZE, np.uint8)
    for n in range(50):
        numbers[n // 10 * 8 : n // 10 * 8 + 4, n % 10 * 6 : n % 10 * 6 + 4] = n + 1
    read = open_mask(write(tmp_path / "m.png", numbers), pane(tmp_path / "i.png"), SIZE)
    np.testing.assert_array_equal(read.defective, numbers > 0)
    assert read.remarks == ()


def test_a_mask_with_nan_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.where(DISC, np.nan, 0).astype(np.float32))
    with pytest.raises(DataError, match=r"m\.tif' contains NaN or infinite pixels"):
        read_mask(tmp_path / "m.tif")


# --- EXIF orientation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_found_and_applied_as_pillow_does(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").write_bytes(b"")
    stored = Image.fromarray(DISC.astype(np.uint8) * 255)
    content = io.BytesIO()
    stored.save(content, kind, exif=exif)
    assert find_orientation(content.getvalue()) == orientation
    (tmp_path / "a").write_bytes(content.getvalue())
    assert read_orientation(tmp_path / "a") == orientation
    png = io.BytesIO()
    stored.save(png, "PNG", exif=exif)
    np.testing.assert_array_equal(
        turn_upright(np.asarray(stored), orientation), np.asarray(ImageOps.exif_transpose(Image.open(png)))
    )


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"\xff\xd8..Exif\0\0MM\0*\0\0\0\x08\0\x02\1", b"II*\0" + b"\xff" * 9]
)
def test_files_without_an_orientation_stand_upright(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert read_orientation(tmp_path / "a") == read_orientation(tmp_path / "none") == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_in_stored_pixels_is_turned_with_its_photo(tmp_path, orientation):
    path = photo(tmp_path / "p.jpg", SIZE, orientation)
    upright = turn_upright(DISC, orientation)
    read = open_mask(mask(tmp_path / "m.png"), path, upright.shape)
    if orientation >= 5:
        np.testing.assert_array_equal(read.defective, upright)
        assert read.remarks == ("turned",)
    else:  # its size is the same either way
        np.testing.assert_array_equal(read.defective, DISC)
        assert read.remarks == (("perhaps turned",) if orientation > 1 else ())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_of_the_upright_photo_stays_as_it_is(tmp_path, orientation):
    path = photo(tmp_path / "p.jpg", SIZE, orientation)
    upright = turn_upright(DISC, orientation)
    read = open_mask(mask(tmp_path / "m.png", upright), path, upright.shape)
    np.testing.assert_array_equal(read.defective, upright)
    assert read.remarks == (("perhaps turned",) if orientation in (2, 3, 4) else ())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_of_a_square_photo_nobody_knows(tmp_path, orientation):
    path = photo(tmp_path / "p.jpg", (40, 40), orientation)
    read = open_mask(mask(tmp_path / "m.png", DISC[:, :40]), path, (40, 40))
    np.testing.assert_array_equal(read.defective, DISC[:, :40])
    assert read.remarks == (("perhaps turned",) if orientation > 1 else ())


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_with_an_orientation_of_its_own(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 100} if suffix == "jpg" else {}
    Image.fromarray(DISC.astype(np.uint8) * 255).save(tmp_path / f"m.{suffix}", exif=exif, **quality)
    upright = turn_upright(DISC, orientation)
    read = open_mask(tmp_path / f"m.{suffix}", photo(tmp_path / "p.jpg", SIZE, orientation), upright.shape)
    np.testing.assert_array_equal(read.defective, upright)
    assert not {"turned", "perhaps turned"} & {*read.remarks}


# --- a data set's masks are checked ----------------------------------------------------------------------------------


def _verified(tmp_path):
    checked = verify(read_folder(tmp_path))
    return {s.path.stem: s for s in checked.samples.samples}, checked.samples.notes


@pytest.mark.parametrize("damage", ["size", "turned size", "no image", "empty file", "truncated", "NaN"])
def test_a_mask_that_cannot_be_used_never_stops_the_rest(tmp_path, damage):
    normals(tmp_path / "normal")
    for name in ("a", "b"):
        pane(tmp_path / f"abnormal/{name}.png")
        mask(tmp_path / f"mask/{name}.png")
    path = tmp_path / "mask/a.png"
    if "size" in damage:
        mask(path, disc((30, 30)) if damage == "size" else disc().T)
    elif damage == "NaN":
        tifffile.imwrite(path, np.full(SIZE, np.nan, np.float32))
    else:
        path.write_bytes({"no image": b"hello", "empty file": b"", "truncated": path.read_bytes()[:60]}[damage])
    samples, notes = _verified(tmp_path)
    assert samples["a"].mask is None
    assert samples["b"].mask is not None
    (note,) = [note for note in notes if "cannot be used" in note]
    assert note.startswith("1 masks cannot be used, and their images count for image metrics only: ")
    assert str(path) in note
    if damage == "size":
        assert note.endswith(f"Mask '{path}' is 30x30 px but its image 'a.png' is 60x40 px.")


ODD = {
    "empty": (DISC & False, "masks of defective images are empty and are ignored"),
    "covering": (DISC | True, "masks cover their whole image"),
    "inverted": (~DISC, "masks cover more than half of their image; if good glass is white in them, they are inverted"),
    "grey": (GREY["jpeg 90"](DISC), "masks are grey, as JPEG makes them, and were cut in the middle"),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("count", [1, 2])
def test_odd_masks_are_counted_and_named(tmp_path, what, count):
    normals(tmp_path / "normal")
    region, told = ODD[what]
    for n in range(3):
        pane(tmp_path / f"abnormal/{n}.png")
        odd = region.astype(np.uint8) * (1 if what == "grey" else 255)
        write(tmp_path / f"mask/{n}.png", odd if n < count else disc(at=(12 + n, 20)).astype(np.uint8))
    samples, notes = _verified(tmp_path)
    (note,) = [note for note in notes if told in note]
    assert note.startswith(f"{count} masks ")
    assert note.endswith(": 0.png." if count == 1 else ": 0.png, 1.png.")
    assert (samples["0"].mask is None) == (what == "empty")
    if what == "inverted":  # it is told, never turned
        np.testing.assert_array_equal(read_mask(samples["0"].mask), ~DISC)


def test_equal_masks_are_told(tmp_path):
    normals(tmp_path / "normal")
    for n in range(4):
        pane(tmp_path / f"abnormal/{n}.png")
        write(tmp_path / f"mask/{n}.png", (DISC if n < 3 else OTHER).astype(np.uint8) * (255 if n else 1))
    assert any(
        note == "3 masks are equal; one may have been copied to several images: 0.png, 1.png, 2.png."
        for note in _verified(tmp_path)[1]
    )


def test_masks_of_good_images_are_told(tmp_path):
    normals(tmp_path / "normal", 4)
    pane(tmp_path / "abnormal/a.png")
    mask(tmp_path / "mask/a.png")
    mask(tmp_path / "mask/good0.png")
    for n in (1, 2):
        mask(tmp_path / f"mask/good{n}.png", DISC & False)
    samples, notes = _verified(tmp_path)
    assert all(s.mask is None for s in samples.values() if s.label == "normal")
    assert any(
        note.startswith("1 images of good parts have masks that mark defects") and "good0.png" in note for note in notes
    )
    assert "2 images of good parts have empty masks, as they should: good1.png, good2.png." in notes


def test_ordinary_masks_leave_nothing_to_tell(tmp_path):
    normals(tmp_path / "normal")
    for n in range(3):
        pane(tmp_path / f"abnormal/{n}.png")
        mask(tmp_path / f"mask/{n}.png", disc(at=(12 + n, 20)))
    assert _verified(tmp_path)[1] == ()


@pytest.mark.parametrize(
    ("size", "remark"), [(SIZE, "3 masks lie as their photos"), ((40, 40), "3 photos have an EXIF")]
)
def test_photos_that_are_turned_are_told(tmp_path, size, remark):
    normals(tmp_path / "normal")
    for n in range(3):
        photo(tmp_path / f"abnormal/{n}.jpg", size, 6)
        mask(tmp_path / f"mask/{n}.png", disc(at=(12 + n, 20))[: size[0], : size[1]])
    notes = _verified(tmp_path)[1]
    assert any(note.startswith(remark) for note in notes)


def test_a_drawn_polygon_of_a_soft_brush_is_cut_in_the_middle(tmp_path):
    large = Image.new("L", (SIZE[1] * 8, SIZE[0] * 8))
    ImageDraw.Draw(large).polygon([(80, 60), (400, 100), (200, 280)], fill=255)
    exact = np.asarray(large, float).sum() / 255 / 64
    large.resize(SIZE[::-1], Image.Resampling.BOX).save(tmp_path / "m.png")
    read = open_mask(tmp_path / "m.png", pane(tmp_path / "i.png"), SIZE)
    assert read.remarks == ("grey",)
    assert read.defective.sum() == pytest.approx(exact, rel=0.02)
