"""A watched folder of a service in this process, and the ways in which cameras and programs write a picture."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import tifffile

from pellucid.service.newest import newest_model
from pellucid.service.state import Service
from pellucid.service.storage.record import Filter
from pellucid.service.storage.tables import InspectionRow
from pellucid.service.watch import FolderWatcher

SETTLE_S, PATIENCE_S = 0.2, 5.0
PIECES, PAUSE_S = 4, 0.7  # pauses are longer than the settling time, and the patience than any pause of a busy machine


@dataclass
class Line:
    """A folder, and the service that watches it."""

    service: Service
    folder: Path

    def rows(self, name: str | None = None) -> list[InspectionRow]:
        """What the record holds, the oldest first."""
        rows = self.service.database.find(Filter(), 1000)[::-1]
        return [row for row in rows if name is None or row.file == name]

    def contents(self, name: str) -> list[bytes]:
        """What was inspected under a name, in order."""
        return [self.service.pictures.path(row).read_bytes() for row in self.rows(name)]

    @contextmanager
    def watched(self, **options: object) -> Iterator[FolderWatcher]:
        """Watch the folder."""
        service = self.service
        watcher = FolderWatcher(
            self.folder,
            service.queue,
            lambda: service.registry.choose(newest_model(service.registry)),
            service.supervisor,
            service.database.watched_files,
            **{"settle_s": SETTLE_S, "patience_s": PATIENCE_S, "max_bytes": 10_000_000, **options},
        )
        watcher.start()
        try:
            yield watcher
        finally:
            watcher.close()


# --- ways of writing ------------------------------------------------------------------------------------------------


def pieces(content: bytes, count: int = PIECES) -> list[tuple[int, bytes]]:
    """Cut a content into parts, each with its place."""
    cuts = [len(content) * k // count for k in range(count + 1)]
    return [(low, content[low:high]) for low, high in pairwise(cuts)]


def _write_at(path: Path, place: int, piece: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(piece)


def size_first(path: Path, content: bytes) -> None:
    """As SMB copies do, case 16."""
    with path.open("wb") as file:
        file.truncate(len(content))
        for _, piece in pieces(content):
            file.write(piece)
            file.flush()
            time.sleep(PAUSE_S)


def size_first_closed_between(path: Path, content: bytes) -> None:
    """As an NFS server does, which opens the file for every request."""
    with path.open("wb") as file:
        file.truncate(len(content))
    for place, piece in pieces(content):
        time.sleep(PAUSE_S)
        _write_at(path, place, piece)


def allocated_first(path: Path, content: bytes) -> None:
    """With space reserved for it, as cameras do that must not lose a frame."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, len(content))
        else:
            file.write(bytes(len(content)))
            file.seek(0)
        for _, piece in pieces(content):
            time.sleep(PAUSE_S)
            file.write(piece)
            file.flush()


def appended(path: Path, content: bytes) -> None:
    """Piece after piece, the file open."""
    with path.open("wb") as file:
        for _, piece in pieces(content):
            file.write(piece)
            file.flush()
            time.sleep(PAUSE_S)


def appended_closed_between(path: Path, content: bytes) -> None:
    """Piece after piece, the file closed between."""
    for _, piece in pieces(content):
        with path.open("ab") as file:
            file.write(piece)
        time.sleep(PAUSE_S)


def blocks_in_any_order(path: Path, content: bytes) -> None:
    """As a kernel writes back what a network drive was sent."""
    blocks = [(k, content[k : k + 4096]) for k in range(0, len(content), 4096)]
    random.Random(0).shuffle(blocks)
    path.touch()
    os.truncate(path, len(content))
    for number, (place, block) in enumerate(blocks):
        _write_at(path, place, block)
        if number % (len(blocks) // 3 + 1) == 0 or number == len(blocks) - 2:
            time.sleep(PAUSE_S)


def end_first(path: Path, content: bytes) -> None:
    """The last piece before the others: a sparse file with its end mark."""
    path.touch()
    for place, piece in pieces(content)[::-1]:
        _write_at(path, place, piece)
        time.sleep(PAUSE_S)


def mapped(path: Path, content: bytes) -> None:
    """Through memory, as frame grabbers do; the file itself is closed."""
    with path.open("w+b") as file:
        file.truncate(len(content))
        memory = mmap.mmap(file.fileno(), len(content))
    for place, piece in pieces(content):
        memory[place : place + len(piece)] = piece
        time.sleep(PAUSE_S)
    memory.flush()
    memory.close()


def renamed_from_tmp(path: Path, content: bytes) -> None:
    """Under another suffix, then renamed."""
    appended(path.with_name(path.name + ".tmp"), content)
    path.with_name(path.name + ".tmp").replace(path)


def renamed_from_temporary_image(path: Path, content: bytes) -> None:
    """Under a name that is an image's, too."""
    appended_closed_between(path.with_name(path.stem + ".part" + path.suffix), content)
    path.with_name(path.stem + ".part" + path.suffix).replace(path)


def renamed_from_hidden(path: Path, content: bytes) -> None:
    """As rsync does."""
    appended_closed_between(path.with_name("." + path.name), content)
    path.with_name("." + path.name).replace(path)


def copied_with_times(path: Path, content: bytes) -> None:
    """Slowly, and dated back at the end."""
    size_first(path, content)
    os.utime(path, (1.7e9, 1.7e9))


def moved_from_other_folder(path: Path, content: bytes) -> None:
    """Whole, from beside the folder."""
    beside = path.parent.parent / f"beside-{path.name}"
    beside.write_bytes(content)
    shutil.move(beside, path)


def overwritten_by_its_program(path: Path, content: bytes) -> None:
    """Over an older picture, by a program that has it open: half of each is no picture of a pane."""
    path.write_bytes(content[:54] + content[54:][::-1])
    with path.open("r+b") as file:
        for _, piece in pieces(content):
            file.write(piece)
            file.flush()
            time.sleep(PAUSE_S)


def grown_after_its_end_mark(path: Path, content: bytes) -> None:
    """A whole picture, then what a camera says about it."""
    with path.open("wb") as file:
        file.write(content[:-40])
        file.flush()
        time.sleep(PAUSE_S)
        file.write(content[-40:])


def by_another_process(path: Path, content: bytes) -> None:
    """By a program of its own, which ends without closing what it wrote."""
    source = path.parent.parent / f"source-{path.name}"
    source.write_bytes(content)
    code = (
        "import os, sys, time\n"
        "content = open(sys.argv[1], 'rb').read()\n"
        "file = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | getattr(os, 'O_BINARY', 0))\n"
        "os.ftruncate(file, len(content))\n"
        "for k in range(4):\n"
        "    time.sleep(0.7)\n"
        "    os.write(file, content[len(content) * k // 4 : len(content) * (k + 1) // 4])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(source), str(path)], check=True)


def bmp(image: np.ndarray) -> bytes:
    return cv2.imencode(".bmp", image)[1].tobytes()


def bmp_without_size(image: np.ndarray) -> bytes:
    """Some programs leave the header's size at zero."""
    content = bytearray(bmp(image))
    content[2:6] = bytes(4)
    return bytes(content)


def tiff(image: np.ndarray, **options: object) -> bytes:
    """With its directory first, as tifffile writes it."""
    import io

    stream = io.BytesIO()
    tifffile.imwrite(stream, image[..., ::-1], photometric="rgb", **options)
    return stream.getvalue()


def tiff_packed(image: np.ndarray) -> bytes:
    return tiff(image, compression="zlib", rowsperstrip=16)


def tiff_directory_last(image: np.ndarray) -> bytes:
    return cv2.imencode(".tif", image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()


def jpeg_with_trailer(image: np.ndarray) -> bytes:
    return jpeg(image) + b"camera 7, exposure 200 us, lot 20261126A"


Way = tuple[Callable[[Path, bytes], None], Callable[[np.ndarray], bytes], str]
WAYS: dict[str, Way] = {
    f"{write.__name__}-{encode.__name__}": (write, encode, suffix)
    for write, encode, suffix in (
        (size_first, bmp, ".bmp"),
        (size_first, tiff, ".tif"),
        (size_first, tiff_packed, ".tif"),
        (size_first, tiff_directory_last, ".tiff"),
        (size_first, png, ".png"),
        (size_first, jpeg, ".jpg"),
        (size_first_closed_between, bmp, ".bmp"),
        (size_first_closed_between, tiff, ".tif"),
        (allocated_first, bmp_without_size, ".bmp"),
        (appended, png, ".png"),
        (appended, tiff_directory_last, ".tif"),
        (appended_closed_between, bmp, ".bmp"),
        (appended_closed_between, bmp_without_size, ".bmp"),
        (appended_closed_between, tiff, ".tif"),
        (appended_closed_between, jpeg, ".jpeg"),
        (blocks_in_any_order, bmp, ".bmp"),
        (blocks_in_any_order, tiff, ".tif"),
        (end_first, bmp, ".bmp"),
        (end_first, png, ".png"),
        (end_first, jpeg, ".jpg"),
        (mapped, bmp, ".bmp"),
        (renamed_from_tmp, bmp, ".bmp"),
        (renamed_from_temporary_image, bmp, ".bmp"),
        (renamed_from_hidden, bmp, ".bmp"),
        (copied_with_times, bmp, ".bmp"),
        (moved_from_other_folder, bmp, ".bmp"),
        (overwritten_by_its_program, bmp, ".bmp"),
        (grown_after_its_end_mark, jpeg_with_trailer, ".jpg"),
        (by_another_process, bmp, ".bmp"),
    )
}
LINUX_ONLY = ("overwritten_by_its_program-bmp", "grown_after_its_end_mark-jpeg_with_trailer")
