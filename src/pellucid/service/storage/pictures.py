"""Pictures and maps as files beside the record, in a folder for each day."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid._io.files import write_bytes
from pellucid.acquisition.images import Pixels, read_image
from pellucid.errors import DataError
from pellucid.reports.pictures import as_bgr, frame, heat
from pellucid.service.storage.tables import InspectionRow

Floats = NDArray[np.float32]
MAP_LEVELS = 65_535  # of a map's file, 16 bits
DAYS_AFTER_KILL = 2  # whose files are looked at after a start
THUMBNAIL_PX = 240  # longer side
BROWSER_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".bmp": "image/bmp"}  # what browsers show as it is


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
        folder: made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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

    def remove(self, files: list[str]) -> str | None:
        """Delete files, and the folders of days that have become empty; returns why one of them is still there."""
        trouble = None
        for file in files:
            path = self._folder / file
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                trouble = f"Cannot remove '{path}': {error.strerror or error}."
            with contextlib.suppress(OSError):  # other files of that day
                path.parent.rmdir()
        return trouble

    def unfinished(self, older_than: float) -> dict[str, list[str]]:
        """List the files of the last days that were there before a moment (time.time()), by day.

        A kill between file and row leaves some without a row; :meth:`remove_before` finds those of earlier days.
        """
        days = sorted(self._folder.glob("????-??-??"))[-DAYS_AFTER_KILL:]
        found = {}
        for day in days:
            with contextlib.suppress(OSError, ValueError):
                date.fromisoformat(day.name)
                files = [path for path in day.iterdir() if path.stat().st_mtime < older_than]
                found[day.name] = [path.relative_to(self._folder).as_posix() for path in files]
        return found

    def remove_before(self, moment: datetime) -> None:
        """Delete the days before that of a moment: what is still there was left by a kill, between file and row."""
        for day in self._folder.glob("????-??-??"):
            if day.name < f"{moment:%Y-%m-%d}":
                shutil.rmtree(day, ignore_errors=True)

    def path(self, row: InspectionRow) -> Path:
        """Find the file that was sent.

        Raises:
            DataError: it was removed when its time had come.
        """
        return self._file(row, row.picture)

    def for_browser(self, row: InspectionRow) -> tuple[bytes, str]:
        """Read the picture as browsers show it, and its media type."""
        path = self.path(row)
        if path.suffix in BROWSER_MEDIA_TYPES:
            return path.read_bytes(), BROWSER_MEDIA_TYPES[path.suffix]
        return _png(as_bgr(read_image(path))), "image/png"

    def heat(self, row: InspectionRow) -> bytes:
        """Draw the map in colours, PNG; they span zero to twice the pixel limit."""
        return _png(heat(self.map(row), row.pixel_limit))

    def overlay(self, row: InspectionRow) -> bytes:
        """Draw the picture under its map, with the boxes of its defects, PNG."""
        pixels = self.pixels(row)
        height, width = pixels.shape[:2]
        coloured = heat(np.asarray(cv2.resize(self.map(row), (width, height)), np.float32), row.pixel_limit)
        drawn = np.asarray(cv2.addWeighted(as_bgr(pixels), 0.6, coloured, 0.4, 0), np.uint8)
        for defect in row.defects:
            x, y, w, h = defect["box"]
            frame(drawn, (x, y, w, h))
        return _png(drawn)

    def thumbnail(self, row: InspectionRow, side_px: int = THUMBNAIL_PX) -> bytes:
        """Draw the picture reduced to ``side_px`` pixels, JPEG."""
        image = as_bgr(self.pixels(row))
        scale = side_px / max(image.shape[:2])
        if scale < 1:
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        return cv2.imencode(".jpg", image)[1].tobytes()

    def pixels(self, row: InspectionRow) -> Pixels:
        """Read the picture as it was inspected."""
        return read_image(self.path(row))

    def map(self, row: InspectionRow) -> Floats:
        """Read the map's values, (H, W), to a 65,535th of their range."""
        content = np.frombuffer(self._file(row, row.map).read_bytes(), np.uint8)
        levels = np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), np.float32)
        return np.asarray(row.map_low + levels * ((row.map_high - row.map_low) / MAP_LEVELS), np.float32)

    def _file(self, row: InspectionRow, name: str | None) -> Path:
        path = self._folder / (name or "")
        if name is None or not path.is_file():
            raise DataError(f"The pictures of inspection {row.id} were removed: their time was over.")
        return path


def _png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
