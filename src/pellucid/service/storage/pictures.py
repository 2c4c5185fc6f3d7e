"""Pictures and maps as files beside the record, in a folder for each day."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid._io.files import write_bytes
from pellucid.acquisition.images import FULL_BITS, Pixels, read_image
from pellucid.errors import DataError, OutputError
from pellucid.reports.colours import colour_map, lay_over
from pellucid.reports.deep_zoom import Picture, check_installed, write_tiles
from pellucid.reports.pictures import GREY, RED, YELLOW, as_bgr, draw_outlines, frame
from pellucid.service.storage.tables import InspectionRow

Floats = NDArray[np.float32]
MAP_LEVELS = 65_535  # of a map's file, 16 bits
DAYS_AFTER_KILL = 2  # whose files are looked at after a start
THUMBNAIL_PX = 240  # longer side
OVERLAY_PX = 2_000  # longer side that a larger picture is shown at
DRAWN_SUFFIXES = (".png", ".jpg", ".bmp")  # that OpenCV reads as 8 bits, as they are shown
DRAWN_BYTES_PER_PIXEL = 4  # of those
READ_BYTES_PER_PIXEL = 36  # of others, which are read as they are inspected
BROWSER_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".bmp": "image/bmp", ".webp": "image/webp"}


@dataclass(frozen=True)
class StoredPicture:
    """Where a picture and its map lie, below the folder, and what the map's levels stand for."""

    picture: str
    map: str
    map_low: float
    map_high: float


class PictureStore:
    """Keeps the files of inspections.

    Args:
        folder: made when the first file is written; thumbnails go beside it, into ``thumbnails``, and tiles of large
            pictures into ``tiles``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thumbnails = folder.with_name("thumbnails")
        self._tiles = folder.with_name("tiles")

    def save(
        self, time: datetime, content: bytes, suffix: str, anomaly_map: Floats, size: tuple[int, int]
    ) -> StoredPicture:
        """Write a picture as it was sent, and its map.

        Args:
            time: of the inspection; its day names the folder.
            content: of the image file.
            suffix: of that file.
            anomaly_map: (H, W).
            size: (height, width) that a larger map is reduced to.

        Raises:
            DiskFullError: the disk is full.
            OutputError: the folder cannot be written to.
        """
        if anomaly_map.size > size[0] * size[1]:
            anomaly_map = np.asarray(cv2.resize(anomaly_map, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
        low, high = float(anomaly_map.min()), float(anomaly_map.max())
        levels = (
            ((anomaly_map - low) * (MAP_LEVELS / max(high - low, 1e-30))).round().clip(0, MAP_LEVELS).astype(np.uint16)
        )
        drawn = cv2.imencode(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        name = f"{time:%Y-%m-%d}/{time:%H%M%S}-{secrets.token_hex(8)}"
        stored = StoredPicture(f"{name}{suffix}", f"{name}.map.png", low, high)
        try:
            write_bytes(self._folder / stored.picture, content)
            write_bytes(self._folder / stored.map, drawn)
        except BaseException:
            self.remove([stored.picture, stored.map])
            raise
        return stored

    def save_thumbnail(self, picture: str, pixels: Pixels) -> None:
        """Write the small picture of one that was saved; when that cannot be done, it is drawn when it is asked for.

        Args:
            picture: where it lies.
            pixels: (H, W, 3) that it holds.
        """
        self._keep_thumbnail(picture, _jpeg(as_bgr(_shrunk(pixels, THUMBNAIL_PX))))

    def remove(self, files: list[str]) -> str | None:
        """Delete pictures and maps with their thumbnails and tiles, and the folders of days that have become empty.

        Returns:
            Why one of them is still there.
        """
        trouble = None
        for path in [*(self._folder / file for file in files), *{self._thumbnail(file) for file in files}]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                trouble = f"Cannot remove '{path}': {error.strerror or error}."
            with contextlib.suppress(OSError):  # other files of that day
                path.parent.rmdir()
        for tiles in {self._tiles_of(file) for file in files}:
            shutil.rmtree(tiles, ignore_errors=True)
            with contextlib.suppress(OSError):
                tiles.parent.rmdir()
        return trouble

    def unfinished(self, older_than: float) -> Iterator[tuple[datetime, set[str]]]:
        """Go through the files of the last days that were there before a moment (time.time()), an hour after the other.

        A kill between file and row leaves some without a row; :meth:`remove_before` finds those of earlier days.

        Yields:
            The hour's begin (UTC), and its files; of no more than one hour, because a day can have some 100,000.
        """
        for day in sorted(self._folder.glob("????-??-??"))[-DAYS_AFTER_KILL:]:
            for hour in range(24):
                with contextlib.suppress(OSError, ValueError):
                    begin = datetime.fromisoformat(f"{day.name}T{hour:02}:00:00+00:00")
                    with os.scandir(day) as entries:
                        old = {
                            f"{day.name}/{entry.name}"
                            for entry in entries
                            if entry.name.startswith(f"{hour:02}") and entry.stat().st_mtime < older_than
                        }
                    if old:
                        yield begin, old

    def remove_before(self, moment: datetime) -> None:
        """Delete the days before that of a moment: what is still there was left by a kill, between file and row."""
        days = [day for kind in (self._folder, self._thumbnails, self._tiles) for day in kind.glob("????-??-??")]
        for day in days:
            if day.name < f"{moment:%Y-%m-%d}":
                shutil.rmtree(day, ignore_errors=True)

    def path(self, row: InspectionRow) -> Path:
        """Find the file that was sent.

        Raises:
            DataError: it was removed when its time had come.
        """
        return self._file(row, row.picture)

    def for_browser(self, row: InspectionRow) -> Path | None:
        """Find the file that browsers show as it is; None where they do not.

        Raises:
            DataError: it was removed when its time had come.
        """
        path = self.path(row)
        return path if path.suffix in BROWSER_MEDIA_TYPES else None

    def drawing_bytes(self, row: InspectionRow) -> int:
        """Estimate the memory that drawing a picture takes."""
        path = self.path(row)
        per_pixel = DRAWN_BYTES_PER_PIXEL if path.suffix in DRAWN_SUFFIXES else READ_BYTES_PER_PIXEL
        return row.width * row.height * per_pixel + path.stat().st_size

    def as_png(self, row: InspectionRow) -> bytes:
        """Draw the picture as it is, PNG."""
        return _png(self._drawn(row))

    def heat(self, row: InspectionRow) -> bytes:
        """Draw the map in colours to be laid over the picture, PNG; see :mod:`pellucid.reports.colours`."""
        return _png(colour_map(self.map(row), row.good_level, row.pixel_limit))

    def overlay(self, row: InspectionRow) -> bytes:
        """Draw the picture under its map, with outlines and boxes of defects, PNG; at most ``OVERLAY_PX`` a side."""
        picture = _shrunk(self._drawn(row), OVERLAY_PX)
        height, width = picture.shape[:2]
        enlarged = np.asarray(cv2.resize(self.map(row), (width, height)), np.float32)
        drawn = lay_over(picture, colour_map(enlarged, row.good_level, row.pixel_limit))
        for defects, line, style in ((row.ignored, GREY, (GREY, 1)), (row.defects, YELLOW, (RED, None))):
            for defect in defects:
                polygons = defect.get("outline", [])
                scaled = [[(x * width // row.width, y * width // row.width) for x, y in p] for p in polygons]
                draw_outlines(drawn, scaled, line)
                x, y, w, h = (round(value * width / row.width) for value in defect["box"])
                frame(drawn, (x, y, max(w, 1), max(h, 1)), *style)
        return _png(drawn)

    def thumbnail(self, row: InspectionRow) -> bytes | None:
        """Read the small picture, JPEG; None when there is none yet, see :meth:`make_thumbnail`.

        Raises:
            DataError: the pictures were removed when their time had come.
        """
        try:
            return self._thumbnail(self._name(row, row.picture)).read_bytes()
        except FileNotFoundError:
            return None

    def make_thumbnail(self, row: InspectionRow) -> bytes:
        """Draw the small picture, JPEG, and keep it: it is of a time when none were made."""
        drawn = _jpeg(_shrunk(self._drawn(row), THUMBNAIL_PX))
        self._keep_thumbnail(self._name(row, row.picture), drawn)
        return drawn

    def large_picture(self, row: InspectionRow) -> Picture:
        """Read the picture of which tiles are made.

        Raises:
            DataError: it was removed when its time had come, or cannot be read.
            ParameterError: pyvips is not installed.
        """
        check_installed()
        return Picture(self.path(row), np.ascontiguousarray(self._drawn(row)[..., ::-1]), FULL_BITS)

    def make_tiles(self, row: InspectionRow, picture: Picture) -> None:
        """Write the tiles of a large picture, unless they are there.

        Raises:
            DataError: it was removed when its time had come.
            OutputError: they cannot be written.
        """
        folder = self._tiles_of(self._name(row, row.picture))
        if folder.is_dir():
            return
        try:
            write_tiles(picture, folder)
        except OutputError:
            if not folder.is_dir():  # who asked at the same time was faster
                raise

    def tile(self, row: InspectionRow, level: int, column: int, line: int) -> Path:
        """Find a tile.

        Raises:
            DataError: there is none, or the picture was removed when its time had come.
        """
        path = self._tiles_of(self._name(row, row.picture)) / str(level) / f"{column}_{line}.jpg"
        if not path.is_file():
            raise DataError(f"The picture of inspection {row.id} has no such tile.")
        return path

    def map(self, row: InspectionRow) -> Floats:
        """Read the map's values, (H, W), to a 65,535th of their range."""
        content = np.frombuffer(self._file(row, row.map).read_bytes(), np.uint8)
        levels = np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), np.float32)
        return np.asarray(row.map_low + levels * ((row.map_high - row.map_low) / MAP_LEVELS), np.float32)

    def _file(self, row: InspectionRow, name: str | None) -> Path:
        return self._folder / self._name(row, name)

    def _name(self, row: InspectionRow, name: str | None) -> str:
        """Check that a file of an inspection is still there."""
        if name is None or not (self._folder / name).is_file():
            raise DataError(f"The pictures of inspection {row.id} were removed: their time was over.")
        return name

    def _keep_thumbnail(self, picture: str, drawn: bytes) -> None:
        with contextlib.suppress(OutputError):
            write_bytes(self._thumbnail(picture), drawn)

    def _thumbnail(self, file: str) -> Path:
        """Find the thumbnail of a picture or of its map: what they share is their name up to the first dot."""
        return self._thumbnails / f"{file.partition('.')[0]}.jpg"

    def _tiles_of(self, file: str) -> Path:
        """Find the folder of a picture's tiles; its map has the same name up to the first dot."""
        return self._tiles / file.partition(".")[0]

    def _drawn(self, row: InspectionRow) -> NDArray[np.uint8]:
        """Read the picture to be shown, (H, W, 3) BGR; in 8 bits at once where that can be done."""
        path = self.path(row)
        if path.suffix in DRAWN_SUFFIXES:
            image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                return np.asarray(image, np.uint8)
        return as_bgr(read_image(path))


def _shrunk(image: NDArray[Any], side_px: int) -> NDArray[Any]:
    """Reduce an image (H, W, 3) to a longer side of ``side_px``; a smaller one stays."""
    scale = side_px / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()
