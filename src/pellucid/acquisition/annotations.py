"""Annotation files to regions: COCO, Pascal VOC, YOLO, LabelMe and CVAT, recognised by what is in them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from pellucid.acquisition.images import Size, read_content
from pellucid.acquisition.pairing import common_tail, path_parts
from pellucid.acquisition.shapes import (
    Corners,
    Region,
    box_corners,
    checked_runs,
    decode_run_string,
    fill_bitmap,
    fill_ellipse,
    fill_normalised_polygon,
    fill_polygon,
    fill_runs,
    unite,
)
from pellucid.errors import DataError

ANNOTATION_SUFFIXES = (".json", ".xml", ".txt")
FORMATS = ("COCO", "LabelMe", "CVAT", "Pascal VOC", "YOLO")  # of two for one image the first is taken
MAX_CACHED_FILES = 64  # one of COCO or CVAT is asked for each of its images
_DAMAGES = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Shape:
    """One annotated region.

    Attributes:
        label: what it is called; empty where it has no name.
        fill: makes the region (H, W) of an image of a given height and width.
        is_box: it is an upright box around the defect, not its outline.
    """

    label: str
    fill: Callable[[Size], Region]
    is_box: bool = False


@dataclass(frozen=True)
class Annotation:
    """What a file says of one image.

    Attributes:
        image: the image as the file names it; the file itself where it speaks of one image.
        format: one of :data:`FORMATS`.
        size: height and width of the image that was annotated, px; None where the file does not say.
        shapes: the annotated regions; none for an image without defects.
        without_area: number of points, lines and other shapes that cover no pixels, which are left out.
        problem: why one of its shapes cannot be read; empty where all can.
    """

    image: PurePath
    format: str
    size: Size | None
    shapes: tuple[Shape, ...]
    without_area: int = 0
    problem: str = ""

    @property
    def type(self) -> str | None:
        """The names of what is annotated, as in ``crack + scratch``; None where nothing has a name."""
        return " + ".join(sorted({shape.label for shape in self.shapes} - {""})) or None

    def region(self, size: Size) -> Region:
        """Return every pixel that any shape covers, (H, W) of the given size."""
        return unite((shape.fill(size) for shape in self.shapes), size)


def read_annotations(file: Path) -> tuple[Annotation, ...]:
    """Read an annotation file of any of the formats.

    Args:
        file: a JSON, XML or text file.

    Returns:
        What it says of each image; empty where the file is something else.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    return tuple(one for same_stem in _read_cached(file).values() for one in same_stem)


def find_annotation(file: Path, image: Path) -> Annotation:
    """Return what a file says of an image: of several the one whose path agrees with the image's for longest.

    Args:
        file: as :func:`read_annotations` takes it.
        image: path of the image.

    Raises:
        DataError: the file cannot be read, says nothing of the image, or one of the image's shapes is damaged.
    """
    by_stem = _read_cached(file)
    found = [one for one in by_stem.get(_key(file), []) if one.image == file] or by_stem.get(_key(image), [])
    agreement = [common_tail(one.image, image) for one in found]
    if not found or agreement.count(max(agreement)) > 1:
        raise DataError(f"'{file}' says {'several things' if found else 'nothing'} of an image '{image.name}'.")
    annotation = found[agreement.index(max(agreement))]
    if annotation.problem:
        raise DataError(f"'{file}' has a shape of '{image.name}' that cannot be read: {annotation.problem}.")
    return annotation


def _read_cached(file: Path) -> dict[str, list[Annotation]]:
    try:
        status = file.stat()
        return _read(file, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise DataError(f"Cannot read '{file}': {error.strerror or error}.") from None
    except _DAMAGES as error:
        raise DataError(f"'{file}' is a damaged annotation file: {_reason(error)}.") from None


@lru_cache(MAX_CACHED_FILES)
def _read(file: Path, modified_ns: int, size_bytes: int) -> dict[str, list[Annotation]]:  # noqa: ARG001 - the key
    """Annotations by the stem of their image."""
    reader = {".json": _read_json, ".xml": _read_xml, ".txt": _read_yolo}[file.suffix.lower()]
    by_stem: dict[str, list[Annotation]] = {}
    for one in reader(file, read_content(file)):
        by_stem.setdefault(_key(one.image), []).append(one)
    return by_stem


def _key(path: PurePath) -> str:
    return path_parts(path)[-1]


def _reason(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _annotation(
    image: PurePath, of_format: str, size: Size | None, elements: Iterable[Any], read: Callable[[Any], Shape | None]
) -> Annotation:
    """Read the shapes of an image; a damaged one spoils what is known of this image and of no other."""
    shapes: list[Shape] = []
    without_area, problem = 0, ""
    for element in elements:
        try:
            shape = read(element)
        except _DAMAGES as error:
            problem = _reason(error)
        else:
            shapes += [shape] if shape else []
            without_area += shape is None
    return Annotation(image, of_format, size, tuple(shapes), without_area, problem)


def _read_json(file: Path, content: bytes) -> Iterable[Annotation]:
    data = json.loads(content.decode("utf-8-sig"))
    if not isinstance(data, dict):
        return ()
    if "images" in data and "annotations" in data:
        return _read_coco(data)
    if "shapes" not in data or "imagePath" not in data:
        return ()
    size = _size(data.get("imageHeight"), data.get("imageWidth"))
    return (_annotation(file, "LabelMe", size, data["shapes"], _labelme_shape),)


def _read_xml(file: Path, content: bytes) -> Iterable[Annotation]:
    if b"<!ENTITY" in content:
        raise ValueError("it defines entities, which no annotation tool does")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    if root.tag == "annotation":
        size = _size(root.findtext("size/height"), root.findtext("size/width"))
        return (_annotation(file, "Pascal VOC", size, root.iter("object"), _voc_shape),)
    if root.tag != "annotations":
        return ()
    if root.find("track") is not None:
        raise ValueError("it is CVAT's format for video; export it as 'CVAT for images'")
    return [
        _annotation(
            _image_path(image.attrib["name"]),
            "CVAT",
            _size(image.get("height"), image.get("width")),
            (one for one in image if one.tag != "tag"),
            _cvat_shape,
        )
        for image in root.iter("image")
    ]


def _read_coco(data: dict[str, Any]) -> Iterator[Annotation]:
    names = {category["id"]: str(category["name"]) for category in data.get("categories", [])}
    images = {image["id"]: image for image in data["images"]}
    by_image: dict[Any, list[dict[str, Any]]] = {key: [] for key in images}
    for one in data["annotations"]:
        by_image.setdefault(one["image_id"], []).append(one)

    def shape(one: dict[str, Any]) -> Shape | None:
        return _coco_shape(one, names.get(one.get("category_id"), ""))

    for key, annotated in by_image.items():
        image = images.get(key, {"file_name": f"image {key}"})
        size = _size(image.get("height"), image.get("width"))
        yield _annotation(_image_path(image["file_name"]), "COCO", size, annotated, shape)


def _coco_shape(one: dict[str, Any], label: str) -> Shape | None:
    """Polygons and run lengths are outlines; the box counts only where there are none."""
    outline = one.get("segmentation")
    if isinstance(outline, dict):
        height, width = outline["size"]
        counts = decode_run_string(outline["counts"]) if isinstance(outline["counts"], str) else outline["counts"]
        return Shape(label, partial(fill_runs, checked_runs(counts, (height, width)), (height, width), by_columns=True))
    if outline:
        polygons = [_points(polygon) for polygon in outline]
        return Shape(label, partial(_fill_polygons, [corners for corners in polygons if len(corners) > 2]))
    if one.get("bbox"):
        x, y, width, height = map(float, one["bbox"])
        return _box(label, x, y, x + width, y + height)
    return None


def _fill_polygons(polygons: Sequence[Corners], size: Size) -> Region:
    """One object in several parts."""
    return unite((fill_polygon(corners, size) for corners in polygons), size)


def _labelme_shape(one: dict[str, Any]) -> Shape | None:
    label, kind, corners = str(one.get("label") or ""), one.get("shape_type") or "polygon", _points(one["points"])
    if kind == "rectangle" and len(corners) == 2:
        return _box(label, *corners.ravel())
    if kind in ("polygon", "rectangle", "oriented_rectangle", "rotation"):
        return _polygon(label, corners)
    if kind == "circle":
        radius = float(np.linalg.norm(corners[1] - corners[0]))
        return Shape(label, partial(fill_ellipse, corners[0], (radius, radius), 0))
    if kind == "mask":
        encoded = np.frombuffer(base64.b64decode(one["mask"]), np.uint8)
        bitmap = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
        if bitmap is None:
            raise ValueError("the mask of a shape is no image")
        left, top = corners.min(axis=0).round().astype(int)
        return Shape(label, partial(fill_bitmap, bitmap > 0, (int(left), int(top))))
    return None


def _voc_shape(one: ElementTree.Element) -> Shape | None:
    """The box holds its first and last column and row, counted from 1; a polygon beside it is the outline."""
    label, outline = (one.findtext("name") or "").strip(), one.find("polygon")
    if outline is not None:
        return _polygon(label, _points([point.text for point in outline]))
    x0, y0, x1, y1 = (float(one.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax"))
    return _box(label, x0 - 1, y0 - 1, x1, y1)


def _cvat_shape(one: ElementTree.Element) -> Shape | None:
    label, degrees = one.get("label", ""), float(one.get("rotation", 0))

    def numbers(*names: str) -> list[float]:
        return [float(one.attrib[name]) for name in names]

    if one.tag == "polygon":
        return _polygon(label, _points(one.attrib["points"].replace(";", ",").split(",")))
    if one.tag == "box":
        x0, y0, x1, y1 = numbers("xtl", "ytl", "xbr", "ybr")
        return _box(label, x0, y0, x1, y1, degrees)
    if one.tag == "ellipse":
        return Shape(label, partial(fill_ellipse, numbers("cx", "cy"), numbers("rx", "ry"), degrees))
    if one.tag == "mask":
        left, top, width, height = map(int, numbers("left", "top", "width", "height"))
        counts = checked_runs([int(count) for count in one.attrib["rle"].split(",")], (height, width))
        return Shape(label, partial(fill_runs, counts, (height, width), corner=(left, top), by_columns=False))
    return None


def _read_yolo(file: Path, content: bytes) -> Iterable[Annotation]:
    """A line a shape: its class and a box or a polygon, as shares of the image's width and height."""
    rows = [line.split() for line in content.decode("utf-8-sig", "replace").splitlines() if line.strip()]
    if not all(_is_yolo(row) for row in rows):
        return ()
    names = _class_names(file)
    shapes = []
    for number, *values in rows:
        label, corners = names.get(int(number), f"class {number}"), np.array(values, float)
        if len(corners) == 4:
            x, y, width, height = corners
            corners = box_corners(x - width / 2, y - height / 2, x + width / 2, y + height / 2).ravel()
        fill = partial(fill_normalised_polygon, corners.reshape(-1, 2))
        shapes.append(Shape(label, fill, is_box=len(values) == 4))
    return (Annotation(file, "YOLO", None, tuple(shapes)),)


def _is_yolo(row: Sequence[str]) -> bool:
    if len(row) < 5 or len(row) == 6 or len(row) % 2 == 0 or not row[0].isdecimal():
        return False
    try:
        return all(-0.01 <= float(value) <= 1.01 for value in row[1:])  # tools round, a little beyond the edge
    except ValueError:
        return False


def _class_names(file: Path) -> dict[int, str]:
    """Names of YOLO's numbers: classes.txt or obj.names, a name a line, or ``names`` of data.yaml; nearest first."""
    for folder in list(file.parents)[:3]:
        for name in ("classes.txt", "obj.names", "data.yaml", "dataset.yaml"):
            if (path := folder / name).is_file():
                text = path.read_text(encoding="utf-8-sig", errors="replace")
                found = text.splitlines() if path.suffix != ".yaml" else _yaml_names(text)
                return {n: label.strip() for n, label in enumerate(found)}
    return {}


def _yaml_names(text: str) -> list[str]:
    """``names`` of a data.yaml: a list or numbers from 0 on, in one line or a name a line."""
    block = re.search(
        r"^names:[ \t]*(?:[\[{](?P<line>[^\]}]*)[\]}]|\n(?P<lines>(?:[ \t]*(?:-|\d+:).*\n?)+))", text, re.M
    )
    if block is None:
        return []
    entries = block["line"].split(",") if block["line"] is not None else block["lines"].splitlines()
    return [re.sub(r"^\s*(?:-|\d+:)?\s*", "", entry).strip(" \"'") for entry in entries]


def _polygon(label: str, corners: Corners) -> Shape | None:
    return Shape(label, partial(fill_polygon, corners)) if len(corners) > 2 else None


def _box(label: str, x0: float, y0: float, x1: float, y1: float, degrees: float = 0) -> Shape:
    return Shape(label, partial(fill_polygon, _points(box_corners(x0, y0, x1, y1, degrees))), is_box=True)


def _points(values: Any) -> Corners:
    """Corners (N, 2), from pairs or from ``x, y, x, y``."""
    corners = np.array(values, float).reshape(-1, 2)
    if not np.isfinite(corners).all():
        raise ValueError("a coordinate is missing or no number")
    return corners


def _size(height: Any, width: Any) -> Size | None:
    size = int(height or 0), int(width or 0)
    return size if min(size) > 0 else None


def _image_path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))
