"""Pictures and maps as files, and for how long."""

from __future__ import annotations

import io
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import an_inspection_row, full_disk

from pellucid.acquisition.images import decode_image
from pellucid.errors import DataError, DiskFullError, OutputError
from pellucid.service.storage.pictures import MAP_LEVELS, OVERLAY_PX, THUMBNAIL_PX, PictureStore
from pellucid.service.storage.record import Database, Filter
from pellucid.service.storage.retention import expire, remove_leftovers
from service.odd_files import png_bytes, saved_bytes


def test_pictures_are_kept_for_their_time(tmp_path):
    database, pictures = Database(f"sqlite:///{tmp_path / 'r.db'}"), PictureStore(tmp_path / "pictures")
    now = datetime.now(UTC)
    anomaly_map, pixels = np.zeros((8, 8), np.float32), np.zeros((8, 8, 3), np.float32)
    kept = {}
    for name, days, verdict, decision in (
        ("new ok", 1, "ok", None),
        ("old ok", 40, "ok", None),
        ("decided ok", 40, "ok", "ok"),
        ("old reject", 40, "reject", None),
        ("ancient reject", 400, "reject", None),
        ("ancient decided", 400, "ok", "defect"),
    ):
        moment = now - timedelta(days=days)
        files = pictures.save(moment, b"content", ".png", anomaly_map, (8, 8))
        pictures.save_thumbnail(files.picture, pixels)
        entry = database.add(an_inspection_row(time=moment, verdict=verdict, picture=files.picture, map=files.map))
        if decision:
            database.decide(entry.id, decision, None, "ann")
        kept[name] = entry.id
    pictures.save(now - timedelta(days=401), b"left by a kill", ".png", anomaly_map, (8, 8))  # without a row
    assert expire(database, pictures, keep_ok=30, keep_reject=365) == 3
    left = {name for name, number in kept.items() if database.get(number).picture}
    assert left == {"new ok", "decided ok", "old reject"}
    assert len(list((tmp_path / "pictures").glob("*/*"))) == 6
    assert len(list((tmp_path / "thumbnails").glob("*/*"))) == 3
    assert len(list((tmp_path / "pictures").iterdir())) == 2, "empty days are gone"
    with pytest.raises(DataError, match="their time was over"):
        pictures.path(database.get(kept["old ok"]))
    database.close()


def test_pictures_without_a_row_go_hour_by_hour_and_nothing_else(database, tmp_path):
    """At the seam of hours, of days and of the age; names that are no picture's stay, and so do earlier days."""
    pictures, lost, kept = PictureStore(tmp_path / "pictures"), [], []
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [midnight + timedelta(hours=h, seconds=s) for h in (-25, -1, 0, 11, 23) for s in (0, 3599.9)]
    for n, moment in enumerate(moments):
        for has_row in (True, False):
            stored = pictures.save(moment, b"content", ".png", np.zeros((8, 8), np.float32), (8, 8))
            if has_row:
                database.add(an_inspection_row(time=moment, picture=stored.picture, map=stored.map))
            (kept if has_row or n < 2 else lost).extend([stored.picture, stored.map])  # the first day is over
    young = pictures.save(midnight, b"content", ".png", np.zeros((8, 8), np.float32), (8, 8))
    half = f"{midnight:%Y-%m-%d}/.pellucid-00ff.part"
    (tmp_path / "pictures" / half).write_bytes(b"half")
    (tmp_path / "pictures" / f"{midnight:%Y-%m-%d}" / "of a person.txt").write_bytes(b"note")
    (tmp_path / "pictures" / "not-a-da-ys").mkdir()
    for file in (*lost, *kept, half):
        os.utime(tmp_path / "pictures" / file, (1, 1))
    assert remove_leftovers(database, pictures, tmp_path) == len(lost) + 1
    there = {path.relative_to(tmp_path / "pictures").as_posix() for path in (tmp_path / "pictures").glob("*/*")}
    assert there == {*kept, young.picture, young.map, f"{midnight:%Y-%m-%d}/of a person.txt"}


def _float_tiff() -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, np.linspace(0, 1, 40 * 60, dtype=np.float32).reshape(40, 60))
    return out.getvalue()


RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 255, (40, 60, 3), np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6
SENT = {
    "colours": (".png", png_bytes(COLOURS)),
    "grey": (".png", png_bytes(COLOURS[..., 0])),
    "16 bit": (".png", png_bytes(RNG.integers(0, 65_535, (40, 60, 3), np.uint16))),
    "alpha": (".png", png_bytes(RNG.integers(0, 255, (40, 60, 4), np.uint8))),
    "palette": (".png", saved_bytes(Image.fromarray(COLOURS).quantize(9), "PNG")),
    "turned by EXIF": (".jpg", saved_bytes(Image.fromarray(COLOURS), "JPEG", exif=TURNED)),
    "CMYK": (".jpg", saved_bytes(Image.fromarray(COLOURS).convert("CMYK"), "JPEG")),
    "bmp": (".bmp", saved_bytes(Image.fromarray(COLOURS), "BMP")),
    "tiff": (".tif", saved_bytes(Image.fromarray(COLOURS), "TIFF")),
    "float tiff": (".tif", _float_tiff()),
    "a line": (".png", png_bytes(np.full((1, 3_000), 90, np.uint8))),
    "larger than it is shown": (".png", png_bytes(cv2.resize(COLOURS, (3_000, 2_000)))),
}


@pytest.mark.parametrize("name", SENT)
def test_pictures_are_drawn_as_they_were_inspected(tmp_path, name):
    suffix, content = SENT[name]
    pictures = PictureStore(tmp_path / "pictures")
    pixels = decode_image(content, Path(name)).pixels
    height, width = pixels.shape[:2]
    kept = pictures.save(datetime.now(UTC), content, suffix, np.zeros((8, 8), np.float32), (8, 8))
    pictures.save_thumbnail(kept.picture, pixels)
    row = an_inspection_row(
        picture=kept.picture,
        map=kept.map,
        width=width,
        height=height,
        defects=[{"box": [width - 10, 0, 2, 1], "area_px": 2, "peak": 1.0, "centroid": [1.0, 0.0]}],
    )
    as_inspected = (pixels[..., ::-1] * 255).round()
    shown = cv2.imdecode(np.frombuffer(pictures.as_png(row), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(shown, as_inspected, atol=1)
    overlay = cv2.imdecode(np.frombuffer(pictures.overlay(row), np.uint8), cv2.IMREAD_COLOR)
    scale = min(1, OVERLAY_PX / max(height, width))
    assert overlay.shape == (max(round(height * scale), 1), max(round(width * scale), 1), 3)
    edge = overlay[0, round((width - 10) * scale) - 2].astype(int)
    assert edge[2] > edge[1] + 100, "the box of the defect is red"
    small = pictures.thumbnail(row)
    assert len(small) < 30_000
    made_now = pictures.make_thumbnail(row)
    sizes = {cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR).shape for each in (small, made_now)}
    assert len(sizes) == 1
    assert max(sizes.pop()) <= THUMBNAIL_PX
    assert pictures.drawing_bytes(row) >= width * height * 3


def test_thumbnails_of_old_rows_are_made_once_and_removed_with_their_pictures(tmp_path):
    pictures = PictureStore(tmp_path / "pictures")
    content, pixels = SENT["colours"][1], np.zeros((40, 60, 3), np.float32)
    kept = pictures.save(datetime.now(UTC), content, ".png", np.zeros((8, 8), np.float32), (8, 8))
    pictures.save_thumbnail(kept.picture, pixels)
    row = an_inspection_row(picture=kept.picture, map=kept.map, width=60, height=40)
    (file,) = tmp_path.glob("thumbnails/*/*.jpg")
    file.unlink()
    assert pictures.thumbnail(row) is None
    assert pictures.make_thumbnail(row) == pictures.thumbnail(row) == file.read_bytes()
    pictures.remove([kept.picture, kept.map])
    assert not list(tmp_path.glob("*/*"))
    for read in (pictures.thumbnail, pictures.make_thumbnail, pictures.overlay, pictures.for_browser):
        with pytest.raises(DataError, match="their time was over"):
            read(row)


@pytest.mark.parametrize(("level", "limit"), [(3.0, 5.0), (-90.0, -4.0)])
def test_a_good_part_is_shown_as_it_is(tmp_path, level, limit):
    pictures = PictureStore(tmp_path / "pictures")
    low = level + (limit - level) * np.random.default_rng(0).uniform(-1, 0.49, (8, 8)).astype(np.float32)
    kept = pictures.save(datetime.now(UTC), SENT["colours"][1], ".png", low, (8, 8))
    levels = {"map_low": kept.map_low, "map_high": kept.map_high, "good_level": level, "pixel_limit": limit}
    row = an_inspection_row(picture=kept.picture, map=kept.map, width=60, height=40, **levels)
    assert not cv2.imdecode(np.frombuffer(pictures.heat(row), np.uint8), cv2.IMREAD_UNCHANGED)[..., 3].any()
    overlay = cv2.imdecode(np.frombuffer(pictures.overlay(row), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(overlay, COLOURS)


@given(low=st.floats(-1e3, 1e3), spread=st.floats(0, 1e4), seed=st.integers(0, 99))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_maps_keep_their_values(tmp_path, low, spread, seed):
    anomaly_map = np.float32(low + spread * np.random.default_rng(seed).random((9, 11)))
    pictures = PictureStore(tmp_path / "pictures")
    kept = pictures.save(datetime.now(UTC), b"x", ".png", anomaly_map, (9, 11))
    found = pictures.map(an_inspection_row(map=kept.map, map_low=kept.map_low, map_high=kept.map_high))
    step = (float(anomaly_map.max()) - float(anomaly_map.min())) / MAP_LEVELS
    np.testing.assert_allclose(found, anomaly_map, atol=step / 2 + 1e-6 * (abs(low) + spread) + 1e-7)


def test_a_full_disk_leaves_no_half_of_a_picture(tmp_path):
    with full_disk(tmp_path / "small", 1):
        pictures = PictureStore(tmp_path / "small")
        for _ in range(2):
            pictures.save(datetime.now(UTC), bytes(300_000), ".png", np.zeros((8, 8), np.float32), (8, 8))
        with pytest.raises(DiskFullError, match="No space"):
            pictures.save(datetime.now(UTC), bytes(600_000), ".png", np.zeros((8, 8), np.float32), (8, 8))
        assert all(f.stat().st_size for f in (tmp_path / "small").glob("*/*"))
        assert not list((tmp_path / "small").glob("*/.*"))


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in a file's place is made as POSIX does")
def test_a_picture_that_cannot_be_removed_stops_no_other_and_is_tried_again(tmp_path, monkeypatch):
    database = Database(f"sqlite:///{tmp_path / 'r.db'}")
    old = datetime.now(UTC) - timedelta(days=40)
    store = PictureStore(tmp_path / "pictures")
    for number in range(5):
        name = f"2026-01-01/{number}"
        (tmp_path / "pictures/2026-01-01").mkdir(parents=True, exist_ok=True)
        for suffix in (".png", ".map.png"):
            (tmp_path / "pictures" / f"{name}{suffix}").write_bytes(b"x")
        database.add(an_inspection_row(time=old, picture=f"{name}.png", map=f"{name}.map.png"))
    stuck = tmp_path / "pictures/2026-01-01/1.png"
    stuck.unlink()
    (stuck / "inside").mkdir(parents=True)  # unlink fails, as on a file that Windows has open
    monkeypatch.setattr(PictureStore, "remove_before", lambda *_: None)
    for _ in range(2):
        with pytest.raises(OutputError, match="1 inspections are past their time but stay"):
            expire(database, store, keep_ok=1, keep_reject=1)
        assert [row.picture for row in database.find(Filter(), 9)] == [None, None, None, "2026-01-01/1.png", None]
        assert [path.name for path in (tmp_path / "pictures/2026-01-01").iterdir()] == ["1.png"]
    (stuck / "inside").rmdir()
    stuck.rmdir()
    stuck.write_bytes(b"x")
    assert expire(database, store, keep_ok=1, keep_reject=1) == 1
    assert list((tmp_path / "pictures").iterdir()) == []
    database.close()


def test_outlines_are_drawn_on_the_overlay(tmp_path):
    pictures = PictureStore(tmp_path / "pictures")
    content = png_bytes(np.full((40, 60), 90, np.uint8))
    kept = pictures.save(datetime.now(UTC), content, ".png", np.zeros((8, 8), np.float32), (8, 8))
    defect = {"box": [10, 10, 30, 20], "area_px": 9, "peak": 1.0, "centroid": [1.0, 0.0]}
    outlined = defect | {"outline": [[[15, 15], [25, 15], [25, 20]]]}
    drawn = []
    for defects in ([defect], [outlined]):
        row = an_inspection_row(picture=kept.picture, map=kept.map, width=60, height=40, defects=defects)
        drawn.append(cv2.imdecode(np.frombuffer(pictures.overlay(row), np.uint8), cv2.IMREAD_COLOR).astype(int))
    changed = np.argwhere((drawn[0] != drawn[1]).any(2))
    assert changed.min(0).tolist() == [15, 15]
    assert changed.max(0).tolist() == [20, 25]
