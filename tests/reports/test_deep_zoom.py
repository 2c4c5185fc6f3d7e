"""Tiles put together again are the picture, on every level, whichever way it was read."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from pellucid.acquisition.images import read_image
from pellucid.errors import DataError, OutputError, ParameterError
from pellucid.records import Inspection
from pellucid.reports import deep_zoom
from pellucid.reports.deep_zoom import TILE_PX, Picture, levels_of, overview, write_tiles

pytest.importorskip("pyvips", reason="pyvips is not installed")


def inspected(pixels=None, path="a.png", size=(10, 10), bits=16):
    shape = size if pixels is None else pixels.shape[:2]
    return Inspection(Path(path), 1.0, 2.0, 0.5, "ok", np.zeros(shape, np.float32), pixels=pixels, bits=bits)


def smooth(height, width):
    """Colours that JPEG keeps, (height, width, 3)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x / width, y / height, (x + y) / (width + height)], -1)


def put_together(level):
    """The tiles of a level as one picture, (H, W, 3) BGR."""
    columns = sorted({int(file.stem.split("_")[0]) for file in level.iterdir()})
    rows = sorted({int(file.stem.split("_")[1]) for file in level.iterdir()})
    return np.vstack([np.hstack([cv2.imread(str(level / f"{c}_{r}.jpg")) for c in columns]) for r in rows])


@pytest.mark.parametrize("size", [(700, 300), (256, 256), (257, 100), (1, 1), (40, 1030)])
def test_every_level_is_half_of_the_next(size, tmp_path):
    pixels = smooth(*size)
    write_tiles(Picture.of(inspected(pixels)), tmp_path / "tiles")
    levels = sorted(tmp_path.joinpath("tiles").iterdir(), key=lambda folder: int(folder.name))
    assert [folder.name for folder in levels] == [str(n) for n in range(levels_of(size[1], size[0]))]
    assert len(list(levels[0].iterdir())) == 1
    for number, folder in enumerate(reversed(levels)):
        shown, step = put_together(folder), 2**number
        assert shown.shape[:2] == (-(-size[0] // step), -(-size[1] // step))
        wanted = cv2.resize(pixels[..., ::-1] * 255, shown.shape[1::-1], interpolation=cv2.INTER_AREA)
        off = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY) - cv2.cvtColor(wanted, cv2.COLOR_BGR2GRAY)  # JPEG halves colour
        assert np.abs(off).mean() < 3
    assert [file.name for file in tmp_path.iterdir()] == ["tiles"]


def test_tiles_are_replaced(tmp_path):
    for size in ((600, 600), (100, 100)):
        write_tiles(Picture.of(inspected(smooth(*size))), tmp_path / "tiles")
    assert [file.relative_to(tmp_path / "tiles").as_posix() for file in (tmp_path / "tiles").rglob("*.jpg")] == [
        "0/0_0.jpg"
    ]


def test_folders_that_are_not_utf8_get_their_tiles(tmp_path):
    if sys.platform != "linux":
        pytest.skip("names are UTF-8 here")
    folder = tmp_path / "b\udce4d" / "tiles"
    write_tiles(Picture.of(inspected(smooth(300, 300))), folder)
    assert (folder / "1" / "1_1.jpg").exists()


def test_one_plane_in_memory_is_a_grey_picture():
    grey = np.broadcast_to(np.full((300, 200, 1), 0.5, np.float32), (300, 200, 3))
    assert Picture.of(inspected(grey)).open().bands == 1


def test_an_overview_is_small_and_never_larger():
    picture = Picture.of(inspected(smooth(600, 300)))
    for side, size in ((100, (100, 50)), (5000, (600, 300))):
        shown = cv2.imdecode(np.frombuffer(overview(picture, side), np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape[:2] == size


@pytest.mark.parametrize("kind", ["grey", "colour", "alpha", "12 bit"])
@pytest.mark.parametrize("whole", [True, False], ids=["read as inspected", "row by row"])
def test_files_look_as_inspecting_reads_them(kind, whole, tmp_path, monkeypatch):
    if not whole:
        monkeypatch.setattr(deep_zoom, "MAX_WHOLE_PIXELS", 0)
    colours = (smooth(90, 120) * 255).round().astype(np.uint8)
    path, bits = tmp_path / "image.png", 16
    if kind == "12 bit":
        path, bits = tmp_path / "image.tif", 12
        tifffile.imwrite(path, (smooth(90, 120)[..., 0] * 4095).astype(np.uint16))
    else:
        shown = {"grey": colours[..., 0], "colour": colours, "alpha": np.dstack([colours, colours[..., 0]])}[kind]
        cv2.imwrite(str(path), shown)
    picture = Picture.of(inspected(path=str(path), size=(90, 120), bits=bits))
    assert (picture.pixels is None) != whole
    assert picture.size == (120, 90)
    shown = picture.open().numpy()
    shown = shown[..., None] if shown.ndim == 2 else shown
    assert np.abs(shown - read_image(path, bits) * 255).max() <= 1


def test_a_turned_photo_is_upright(tmp_path, monkeypatch):
    from PIL import Image

    photo = Image.fromarray((smooth(40, 90) * 255).astype(np.uint8))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.png", exif=exif)
    monkeypatch.setattr(deep_zoom, "MAX_WHOLE_PIXELS", 0)
    picture = Picture.of(inspected(path=str(tmp_path / "turned.png")))
    assert picture.size == (40, 90)
    assert np.abs(picture.open().numpy() - read_image(tmp_path / "turned.png") * 255).max() <= 1


def test_what_cannot_be_read_is_said(tmp_path, monkeypatch):
    (tmp_path / "no.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"no.png"):
        Picture.of(inspected(path=str(tmp_path / "no.png")))
    monkeypatch.setattr(deep_zoom, "MAX_WHOLE_PIXELS", 0)
    with pytest.raises(DataError, match=r"Cannot make a picture of '.*no.png': .+"):
        Picture.of(inspected(path=str(tmp_path / "no.png")))
    cv2.imwrite(str(tmp_path / "cut.png"), (smooth(400, 400) * 255).astype(np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"Cannot make a picture of '.*cut.png': .+"):
        overview(Picture.of(inspected(path=str(tmp_path / "cut.png"))), 50)


def test_where_tiles_cannot_be_written_is_said(tmp_path):
    picture = Picture.of(inspected(smooth(20, 20)))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"Cannot write '.*file'"):
        write_tiles(picture, tmp_path / "file" / "tiles")
    (tmp_path / "tiles").write_text("in the way, too")
    with pytest.raises(OutputError, match=r"Cannot write '.*tiles'"):
        write_tiles(picture, tmp_path / "tiles")
    assert not [file for file in tmp_path.rglob("*") if file.name.startswith(".pellucid")]


def test_without_pyvips_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(
        ParameterError, match=r"A page of a large image needs 'pyvips\[binary\]', which is not installed"
    ):
        Picture.of(inspected(smooth(20, 20)))


def test_tiles_are_as_large_as_the_page_thinks():
    assert (levels_of(TILE_PX, 1), levels_of(TILE_PX + 1, 1), levels_of(4000, 6000)) == (1, 2, 6)
