"""What parses bytes from outside: each parser, what it may raise, and good inputs to start from."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse

from pellucid.acquisition.annotations import read_annotations
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.images import decode_image
from pellucid.acquisition.masks import read_mask
from pellucid.errors import PellucidError
from pellucid.models.export import read_export_header
from pellucid.models.file import read_header
from pellucid.service.access.accounts import Accounts
from pellucid.service.api.inspections import _uploads
from pellucid.service.model_folder import read_leaderboard
from pellucid.service.settings import read_settings
from pellucid.service.uploads import check_upload
from pellucid.study.sweep import Sweep

MAX_SECONDS = 2.0  # that one input may take
MAX_GROWTH_BYTES = 1_000_000_000  # of the process by one input
FOUND = Path(__file__).parent / "found"  # inputs that once failed, a folder for each parser
BOUNDARY = "fuzz"


@dataclass(frozen=True)
class Parser:
    """Something that takes bytes, with an empty folder to put them in as a file."""

    parse: Callable[[bytes, Path], object]
    seeds: Callable[[], list[bytes]]

    def try_(self, content: bytes, folder: Path) -> None:
        """Parse; only errors with a sentence for people are allowed."""
        with contextlib.suppress(PellucidError, HTTPException):
            self.parse(content, folder)


def _file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def parse(content: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(content)
        return read(path)

    return parse


# --- models ---------------------------------------------------------------------------------------------------------


@cache
def model_bytes() -> bytes:
    """A small model file."""
    import tempfile

    import pellucid
    from pellucid.synthesis.glass import draw_data_set

    with tempfile.TemporaryDirectory() as folder:
        draw_data_set(Path(folder) / "glass", seed=0, n_train=24, n_test=2, n_per_defect=1)
        path = Path(folder) / "m.pellucid"
        inspector = pellucid.fit(Path(folder) / "glass", "padim", image_size=64, false_reject=0.2, n_features=4)
        inspector.save(path)
        return path.read_bytes()


def sign(content: bytes) -> bytes:
    """Put the right checksum into a changed model file: whoever forges one does."""
    found = re.search(rb'sha256\\": \\"([0-9a-f]{64})', content)
    if found is None:
        return content
    blank = content[: found.start(1)] + b"0" * 64 + content[found.end(1) :]
    return content[: found.start(1)] + hashlib.sha256(blank).hexdigest().encode() + content[found.end(1) :]


def _header_only(content: bytes) -> bytes:
    """A model file whose header is as it was and whose tensors are few."""
    return content[: 8 + int.from_bytes(content[:8], "little")]


def _signed_model(content: bytes, folder: Path) -> None:
    from pellucid.models.load import load

    path = folder / "m.pellucid"
    path.write_bytes(sign(content))
    with contextlib.suppress(PellucidError):
        read_header(path)
    load(path, "torch")


def _export_header(content: bytes, folder: Path) -> None:
    (folder / "model.json").write_bytes(content)
    read_export_header(folder)


def _export_seeds() -> list[bytes]:
    head = json.loads(_header_only(model_bytes())[8:])
    header = json.loads(head["__metadata__"]["pellucid"])
    header.pop("sha256")
    version = 2
    return [
        json.dumps(
            {
                "format": form,
                "format_version": version,
                "sha256": "0" * 64,
                "max_difference": 0.0,
                "reference_score": 1.0,
                "model": header,
            }
        ).encode()
        for form in ("onnx", "openvino")
    ]


# --- tables and settings --------------------------------------------------------------------------------------------


def _csv(path: Path) -> object:
    for name in ("a.png", "b.png"):
        (path.parent / name).touch()
    return read_folder(path)


COCO = (
    b'{"images": [{"id": 1, "file_name": "a.png", "height": 16, "width": 16}], "categories": [{"id": 1, "name": "x"}],'
    b' "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "segmentation": [[1, 1, 5, 1, 5, 5]]}]}'
)
LABELME = (
    b'{"imagePath": "a.png", "imageHeight": 16, "imageWidth": 16,'
    b' "shapes": [{"label": "x", "shape_type": "polygon", "points": [[1, 1], [5, 1], [5, 5]]}]}'
)
VOC = (
    b"<annotation><filename>a.png</filename><size><width>16</width><height>16</height></size><object><name>x</name>"
    b"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"
)


# --- images ---------------------------------------------------------------------------------------------------------


def _images() -> list[bytes]:
    grey = np.arange(16 * 12, dtype=np.uint8).reshape(12, 16)
    kinds = [(kind, grey) for kind in (".png", ".jpg", ".bmp", ".tif")]
    kinds += [(kind, np.dstack([grey] * 3)) for kind in (".png", ".jpg", ".bmp", ".tif")]
    kinds += [(kind, grey.astype(np.uint16) * 200) for kind in (".png", ".tif")]
    return [cv2.imencode(kind, image)[1].tobytes() for kind, image in kinds]


def _upload(content: bytes, _: Path) -> None:
    suffix = check_upload(content, "a", megapixels=1)
    decode_image(content, Path(f"a{suffix}"))


# --- HTTP -----------------------------------------------------------------------------------------------------------


async def _receive_all(content: bytes) -> object:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": content, "more_body": False}

    headers = [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/inspect", "headers": headers, "query_string": b"", "app": None}
    return await _uploads(Request(scope, receive))  # type: ignore[arg-type]


def _multipart(content: bytes, _: Path) -> None:
    asyncio.run(_receive_all(content))


def _multipart_seeds() -> list[bytes]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
    rest = f"Content-Type: image/png\r\n\r\nxyz\r\n--{BOUNDARY}--\r\n"
    return [(head + rest).encode(), (head * 2 + rest).encode(), head.replace("filename", "filename*").encode()]


async def _wait() -> dict[str, object]:
    await asyncio.Event().wait()
    return {}


def _range(content: bytes, folder: Path) -> None:
    path = folder / "a.bin"
    path.write_bytes(bytes(1000))
    statuses: list[int] = []
    sent = 0

    async def send(message: dict[str, object]) -> None:
        nonlocal sent
        if message["type"] == "http.response.start":
            statuses.append(int(str(message["status"])))
        sent += len(bytes(message.get("body", b"")))  # type: ignore[call-overload]

    scope = {"type": "http", "method": "GET", "headers": [(b"range", content)]}
    asyncio.run(FileResponse(path)(scope, _wait, send))  # type: ignore[arg-type]
    assert statuses[0] in (200, 206, 400, 416)
    assert sent < 1_000_000, "many ranges must not make much of a small file"


PARSERS = {
    "model": Parser(_file("m.pellucid", read_header), lambda: [model_bytes(), _header_only(model_bytes())]),
    "signed-model": Parser(_signed_model, lambda: [model_bytes(), _header_only(model_bytes())]),
    "export-header": Parser(_export_header, _export_seeds),
    "csv": Parser(
        _file("data.csv", _csv),
        lambda: [b"path,label,split,type,mask,group\na.png,normal,train,,,\nb.png,abnormal,test,x,a.png,g\n"],
    ),
    "sweep": Parser(
        _file("sweep.toml", lambda path: Sweep.from_file(path, {})),
        lambda: [
            b'data = "a"\ndetectors = ["padim"]\nimage_size = [64, "128x64"]\nseed = 1\n'
            b"[parameters.padim]\nn_features = 4\n[grid.dfm]\nvariance = [0.9, 0.99]\n"
        ],
    ),
    "accounts": Parser(
        _file("accounts.toml", Accounts.read),
        lambda: [f'[[account]]\nname = "a"\nrole = "operator"\nkey_sha256 = "{"0" * 64}"\n'.encode()],
    ),
    "config": Parser(
        _file("config.toml", lambda path: read_settings({}, path)),
        lambda: [
            b'port = 80\nhost = "127.0.0.1"\ntimeout = 3.5\npages = false\nmodels = "m"\ndatabase = "sqlite://"\n'
        ],
    ),
    "leaderboard": Parser(
        _file("leaderboard.json", read_leaderboard),
        lambda: [b'[{"name": "padim", "recommended": true, "image_size": 64, "image_auroc": null}]'],
    ),
    "annotations-json": Parser(_file("a.json", read_annotations), lambda: [COCO, LABELME]),
    "annotations-xml": Parser(_file("a.xml", read_annotations), lambda: [VOC]),
    "annotations-yolo": Parser(
        _file("a.txt", read_annotations), lambda: [b"0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.2 0.1 0.2 0.2\n"]
    ),
    "image": Parser(_upload, _images),
    "mask": Parser(_file("mask.png", read_mask), _images),
    "multipart": Parser(_multipart, _multipart_seeds),
    "range": Parser(_range, lambda: [b"bytes=0-9", b"bytes=-5,3-4", b"bytes=1-,0-999", b"bytes=" + b"0-1," * 50]),
}


def found() -> Iterator[tuple[str, Path]]:
    """Inputs that once failed, with the name of their parser."""
    for folder in sorted(FOUND.glob("*/")):
        for path in sorted(folder.iterdir()):
            yield folder.name, path
