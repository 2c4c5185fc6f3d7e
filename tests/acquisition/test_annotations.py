"""Annotations in the formats that people have: recognised by content, rasterised exactly, paired as masks are."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from truth_files import SIZE, mask, normals, pane, photo

import pellucid
from pellucid.acquisition.annotations import find_annotation, read_annotations
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.masks import open_mask, read_mask
from pellucid.acquisition.orientation import turn_upright
from pellucid.acquisition.shapes import (
    checked_runs,
    decode_run_string,
    fill_bitmap,
    fill_ellipse,
    fill_polygon,
    fill_runs,
)
from pellucid.acquisition.splits import read_splits_csv, splits_csv
from pellucid.acquisition.verify import verify
from pellucid.errors import DataError
from pellucid.records import Split

HEIGHT, WIDTH = SIZE
OUTLINE = [(10.2, 5.1), (40.7, 8.4), (33.3, 30.9), (12.5, 22.0)]  # x, y


def _inside(x, y, corners):
    """Even-odd rule by counting the edges to the right, one point at a time: slow and obvious."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x:
            crossings += 1
    return crossings % 2 == 1


def _slow_polygon(corners, size=SIZE):
    return np.array([[_inside(c + 0.5, r + 0.5, corners) for c in range(size[1])] for r in range(size[0])])


REGION = _slow_polygon(OUTLINE)
BOX = np.zeros(SIZE, bool)
BOX[10:20, 5:25] = True


# --- shapes ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 15)), min_size=3, max_size=9))
def test_polygons_are_filled_as_point_by_point(corners):
    filled = fill_polygon(np.array(corners), (10, 20))
    different = np.argwhere(filled != _slow_polygon(corners, (10, 20)))
    for row, column in different:  # a centre on the outline itself may fall to either side
        assert _distance(column + 0.5, row + 0.5, corners) < 1e-9


def _distance(x, y, corners):
    point, ends = np.array([x, y]), np.array(corners)
    starts, along = np.roll(ends, 1, axis=0), ends - np.roll(ends, 1, axis=0)
    lengths = np.maximum((along**2).sum(axis=1), 1e-300)
    share = np.clip(((point - starts) * along).sum(axis=1) / lengths, 0, 1)
    return np.linalg.norm(starts + share[:, None] * along - point, axis=1).min()


@given(st.lists(st.tuples(st.integers(-3, 22), st.integers(-3, 12)), min_size=3, max_size=9))
def test_corners_between_pixels_leave_no_doubt(corners):
    filled = fill_polygon(np.array(corners, float), (10, 20))
    doubtful = np.array([[_distance(c + 0.5, r + 0.5, corners) < 1e-9 for c in range(20)] for r in range(10)])
    np.testing.assert_array_equal(filled[~doubtful], _slow_polygon(corners, (10, 20))[~doubtful])


def test_neighbours_share_no_pixel_and_leave_none_out():
    left, right = [(2, 2), (10.5, 1), (10.5, 9.5), (3, 8)], [(10.5, 1), (18, 3), (17, 8), (10.5, 9.5)]
    both = fill_polygon(np.array(left, float), (10, 20)).astype(int) + fill_polygon(np.array(right, float), (10, 20))
    assert both.max() == 1
    whole = [(2, 2), (10.5, 1), (18, 3), (17, 8), (10.5, 9.5), (3, 8)]
    np.testing.assert_array_equal(both > 0, fill_polygon(np.array(whole, float), (10, 20)))


@given(st.floats(-5, 45), st.floats(-5, 35), st.floats(0.5, 20), st.floats(0.5, 20), st.floats(-360, 360))
def test_ellipses_are_filled_as_point_by_point(x, y, rx, ry, degrees):
    filled = fill_ellipse((x, y), (rx, ry), degrees, (30, 40))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for row in range(30):
        for column in range(40):
            dx, dy = column + 0.5 - x, row + 0.5 - y
            value = ((dx * cos + dy * sin) / rx) ** 2 + ((dy * cos - dx * sin) / ry) ** 2
            assert abs(value - 1) < 1e-9 or filled[row, column] == (value <= 1)


@given(st.integers(-8, 12), st.integers(-8, 12))
def test_bitmaps_are_cut_at_the_edge(left, top):
    bitmap, region = np.random.default_rng(0).random((5, 7)) > 0.5, np.zeros((9, 10), bool)
    for row in range(5):
        for column in range(7):
            if 0 <= top + row < 9 and 0 <= left + column < 10:
                region[top + row, left + column] = bitmap[row, column]
    np.testing.assert_array_equal(fill_bitmap(bitmap, (left, top), (9, 10)), region)


def _runs(region, by_columns):
    """Run lengths, the first outside, one pixel at a time."""
    counts, inside = [0], False
    for pixel in region.ravel(order="F" if by_columns else "C"):
        if pixel != inside:
            counts.append(0)
            inside = bool(pixel)
        counts[-1] += 1
    return counts


def _run_string(counts):
    """COCO's compressed run lengths, as its C code writes them."""
    text = ""
    for n, count in enumerate(counts):
        value = count - (counts[n - 2] if n > 2 else 0)
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr((bits | 32 if more else bits) + 48)
    return text


@given(st.integers(0, 10_000), st.booleans())
def test_run_lengths_come_back(seed, by_columns):
    rng = np.random.default_rng(seed)
    region = rng.random((rng.integers(1, 70), rng.integers(1, 70))) > rng.random()
    counts = _runs(region, by_columns)
    assert decode_run_string(_run_string(counts)) == counts
    filled = fill_runs(checked_runs(counts, region.shape), region.shape, region.shape, by_columns=by_columns)
    np.testing.assert_array_equal(filled, region)


def test_a_string_of_pycocotools():
    """Written by pycocotools 2.0: a 6 x 8 bitmap with the rectangle of rows 2 to 3, columns 1 to 4."""
    region = np.zeros((6, 8), bool)
    region[2:4, 1:5] = True
    assert decode_run_string("82400000`0") == _runs(region, by_columns=True)


@pytest.mark.parametrize("counts", [[1, 2], [10, -4], []])
def test_run_lengths_of_another_size_are_refused(counts):
    with pytest.raises(ValueError, match=r"run lengths of \d+ pixels do not make 4x3"):
        checked_runs(counts, (3, 4))
    with pytest.raises(ValueError, match="end within a number"):
        decode_run_string("P")


# --- the formats -----------------------------------------------------------------------------------------------------


def _coco(images, path, *, name="{}.png", sizes=True):
    """COCO: file name, then shapes by their COCO fields."""
    data = {"images": [], "annotations": [], "categories": [{"id": 4, "name": "crack"}, {"id": 9, "name": "seed"}]}
    for n, (stem, shapes) in enumerate(images.items()):
        data["images"].append({"id": n, "file_name": name.format(stem)})
        if sizes:
            data["images"][-1] |= {"height": HEIGHT, "width": WIDTH}
        for fields in shapes:
            data["annotations"].append({"id": len(data["annotations"]), "image_id": n, "category_id": 4, **fields})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def _text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _flat(corners):
    return [value for corner in corners for value in corner]


def _labelme(path, *shapes, **fields):
    data = {
        "version": "5.4.1",
        "shapes": list(shapes),
        "imagePath": "x.png",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    return _text(path, json.dumps(data | fields))


def _voc(path, *objects, size=SIZE):
    return _text(
        path,
        f"<annotation><folder>f</folder><filename>x.png</filename><size><width>{size[1]}</width><height>{size[0]}</height>"
        f"<depth>1</depth></size><segmented>0</segmented>{''.join(objects)}</annotation>",
    )


def _cvat(path, images, size=SIZE):
    shown = "".join(
        f'<image id="{n}" name="{name}" width="{size[1]}" height="{size[0]}">{"".join(shapes)}</image>'
        for n, (name, shapes) in enumerate(images.items())
    )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return _text(path, f"{head}{shown}</annotations>")


def _yolo(path, *rows):
    return _text(path, "".join(f"{' '.join(map(str, row))}\n" for row in rows))


def _png(region):
    return base64.b64encode(cv2.imencode(".png", region.astype(np.uint8) * 255)[1]).decode()


POINTS = ";".join(f"{x},{y}" for x, y in OUTLINE)
ONES = np.divide(_flat(OUTLINE), [WIDTH, HEIGHT] * 4)
VOC_SIDES = "<xmin>6</xmin><ymin>11</ymin><xmax>25</xmax><ymax>20</ymax>"
VOC_BOX = f"<object><name>crack</name><bndbox>{VOC_SIDES}</bndbox></object>"
POLYGON_TAGS = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(OUTLINE, 1))
CIRCLE = fill_ellipse((20, 15), (5, 5), 0, SIZE)
PATCH = REGION[4:32, 8:42]
FORMATS = {  # how image a.png is annotated, in which file, and what that covers
    "COCO polygon": (lambda f: _coco({"a": [{"segmentation": [_flat(OUTLINE)]}]}, f / "annotations/i.json"), REGION),
    "COCO, two parts": (
        lambda f: _coco(
            {"a": [{"segmentation": [_flat(OUTLINE), [50, 32, 58, 32, 58, 38, 50, 38]]}]}, f / "labels/i.json"
        ),
        REGION | fill_polygon(np.array([(50, 32), (58, 32), (58, 38), (50, 38)], float), SIZE),
    ),
    "COCO runs": (
        lambda f: _coco(
            {"a": [{"segmentation": {"counts": _runs(REGION, True), "size": SIZE}, "iscrowd": 1}]},
            f / "labels/i.json",
        ),
        REGION,
    ),
    "COCO string": (
        lambda f: _coco(
            {"a": [{"segmentation": {"counts": _run_string(_runs(REGION, True)), "size": SIZE}}]}, f / "i.json"
        ),
        REGION,
    ),
    "COCO box": (
        lambda f: _coco({"a": [{"segmentation": [], "bbox": [5, 10, 20, 10]}]}, f / "labels/i.json"),
        BOX,
    ),
    "COCO without sizes": (
        lambda f: _coco({"a": [{"segmentation": [_flat(OUTLINE)]}]}, f / "abnormal/i.json", sizes=False),
        REGION,
    ),
    "COCO, Windows": (
        lambda f: _coco({"a": [{"segmentation": [_flat(OUTLINE)]}]}, f / "labels/i.json", name="C:\\photos\\{}.PNG"),
        REGION,
    ),
    "LabelMe polygon": (
        lambda f: _labelme(f / "abnormal/a.json", {"label": "crack", "points": OUTLINE, "shape_type": "polygon"}),
        REGION,
    ),
    "LabelMe rectangle": (
        lambda f: _labelme(
            f / "labels/a.json", {"label": "crack", "points": [[25, 20], [5, 10]], "shape_type": "rectangle"}
        ),
        BOX,
    ),
    "LabelMe circle": (
        lambda f: _labelme(
            f / "abnormal/a.json", {"label": "crack", "points": [[20, 15], [23, 19]], "shape_type": "circle"}
        ),
        CIRCLE,
    ),
    "LabelMe mask": (
        lambda f: _labelme(
            f / "abnormal/a.json",
            {"label": "crack", "points": [[8, 4], [42, 32]], "shape_type": "mask", "mask": _png(PATCH)},
        ),
        REGION,
    ),
    "VOC box": (lambda f: _voc(f / "Annotations/a.xml", VOC_BOX), BOX),
    "VOC polygon": (
        lambda f: _voc(f / "abnormal/a.xml", f"<object><name>crack</name><polygon>{POLYGON_TAGS}</polygon></object>"),
        REGION,
    ),
    "CVAT polygon": (
        lambda f: _cvat(f / "annotations.xml", {"a.png": [f'<polygon label="crack" points="{POINTS}" z_order="0"/>']}),
        REGION,
    ),
    "CVAT box": (
        lambda f: _cvat(
            f / "annotations.xml", {"abnormal/a.png": ['<box label="crack" xtl="5" ytl="10" xbr="25" ybr="20"/>']}
        ),
        BOX,
    ),
    "CVAT turned box": (
        lambda f: _cvat(
            f / "labels/x.xml",
            {"a.png": ['<box label="crack" xtl="10" ytl="5" xbr="20" ybr="25" rotation="90"/>']},
        ),
        BOX,
    ),
    "CVAT ellipse": (
        lambda f: _cvat(
            f / "annotations.xml",
            {"a.png": ['<ellipse label="crack" cx="20" cy="15" rx="4" ry="9" rotation="30"/>', '<tag label="x"/>']},
        ),
        fill_ellipse((20, 15), (4, 9), 30, SIZE),
    ),
    "CVAT mask": (
        lambda f: _cvat(
            f / "annotations/x.xml",
            {
                "a.png": [
                    f'<mask label="crack" rle="{", ".join(map(str, _runs(PATCH, False)))}" left="8" top="4" width="34"'
                    ' height="28"/>'
                ]
            },
        ),
        REGION,
    ),
    "YOLO box": (lambda f: _yolo(f / "labels/a.txt", (0, 15 / WIDTH, 15 / HEIGHT, 20 / WIDTH, 10 / HEIGHT)), BOX),
    "YOLO polygon": (lambda f: _yolo(f / "labels/abnormal/a.txt", (0, *ONES)), REGION),
    "YOLO beside": (lambda f: _yolo(f / "abnormal/a.txt", (0, *ONES)), REGION),
}


@pytest.fixture
def plain(tmp_path):
    normals(tmp_path / "normal")
    pane(tmp_path / "abnormal/a.png")
    return tmp_path


@pytest.mark.parametrize("form", FORMATS)
def test_formats(plain, form):
    make, region = FORMATS[form]
    file = make(plain)
    if "YOLO" in form:
        _text(file.parent / "classes.txt", "crack\nseed\n")
    data = read_folder(plain)
    (sample,) = [s for s in data.samples if s.label == "abnormal"]
    assert sample.mask == file
    assert sample.type == "crack"
    np.testing.assert_array_equal(read_mask(file, sample.path, SIZE), region)
    kind = form.split(" ")[0].strip(",").replace("VOC", "Pascal VOC")
    assert data.notes == (f"The {kind} annotations of 1 images say where these are defective.",)
    boxes = [note for note in verify(data).samples.notes if "measure boxes, not outlines: a.png." in note]
    assert bool(boxes) == ("box" in form or form == "LabelMe rectangle")


@pytest.mark.parametrize("form", FORMATS)
def test_formats_survive_splits_csv_and_a_csv_of_samples(plain, form):
    make, region = FORMATS[form]
    file = make(plain)
    (sample,) = [s for s in read_folder(plain).samples if s.label == "abnormal"]
    again = read_splits_csv(splits_csv(Split((), (), (), (sample,)), plain), plain, None).test[0]
    np.testing.assert_array_equal(read_mask(again.mask, again.path, SIZE), region)
    rows = f"path,label,mask\nnormal/good0.png,normal,\nabnormal/a.png,abnormal,{file.relative_to(plain).as_posix()}\n"
    _text(plain / "data.csv", rows)
    (sample,) = [s for s in read_folder(plain / "data.csv").samples if s.label == "abnormal"]
    np.testing.assert_array_equal(read_mask(sample.mask, sample.path, SIZE), region)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "path: .\nnames: ['crack', \"seed\"]\nnc: 2\n"),
        ("data.yaml", "names:\n  0: crack\n  1: seed\nnc: 2\n"),
        ("data.yaml", "names:\n- crack\n- seed\n"),
        ("data.yaml", "names: {0: crack, 1: seed}"),
        ("obj.names", "crack\nseed\n"),
    ],
)
def test_names_of_yolos_classes(plain, name, text):
    _text(plain / name, text)
    _yolo(plain / "labels/a.txt", (1, *ONES), (0, 0.5, 0.5, 0.1, 0.1))
    assert read_folder(plain).samples[-1].type == "crack + seed"


def test_a_class_without_a_name_is_its_number(plain):
    _yolo(plain / "labels/a.txt", (3, *ONES))
    _text(plain / "data.yaml", "nc: 3\n")
    assert read_folder(plain).samples[-1].type == "class 3"


def test_type_folders_win_over_labels(tmp_path):
    normals(tmp_path / "train/good")
    pane(tmp_path / "test/scratch/a.png")
    _labelme(tmp_path / "test/scratch/a.json", {"label": "crack", "points": OUTLINE})
    sample = read_folder(tmp_path).samples[-1]
    assert (sample.type, sample.mask) == ("scratch", tmp_path / "test/scratch/a.json")


# --- pairing ---------------------------------------------------------------------------------------------------------


def _two_types(root):
    normals(root / "normal_train")
    for kind in ("crack", "scratch"):
        for n in range(2):
            pane(root / f"abnormal_test/{kind}/{n}.png")


@pytest.mark.parametrize("form", ["COCO", "CVAT", "YOLO", "LabelMe", "VOC"])
def test_same_names_in_two_folders_are_told_apart(tmp_path, form):
    _two_types(tmp_path)
    starts = {"crack/0": 1, "crack/1": 6, "scratch/0": 10, "scratch/1": 15}
    outlines = {name: [(x, 3), (x + 6, 3), (x + 6, 12)] for name, x in starts.items()}
    if form == "COCO":
        _coco({k: [{"segmentation": [_flat(v)]}] for k, v in outlines.items()}, tmp_path / "annotations/instances.json")
    if form == "CVAT":
        shapes = {
            f"images/{k}.png": [f'<polygon label="x" points="{";".join(f"{x},{y}" for x, y in v)}"/>']
            for k, v in outlines.items()
        }
        _cvat(tmp_path / "annotations.xml", shapes)
    for name, corners in outlines.items():
        if form == "YOLO":
            _yolo(tmp_path / f"labels/{name}.txt", (0, *np.divide(_flat(corners), [WIDTH, HEIGHT] * 3)))
        if form == "LabelMe":
            _labelme(tmp_path / f"abnormal_test/{name}.json", {"label": "x", "points": corners})
        if form == "VOC":
            tags = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(corners, 1))
            _voc(tmp_path / f"Annotations/{name}.xml", f"<object><name>x</name><polygon>{tags}</polygon></object>")
    for sample in verify(read_folder(tmp_path)).samples.samples:
        if sample.label == "abnormal":
            name = f"{sample.path.parent.name}/{sample.path.stem}"
            expected = fill_polygon(np.array(outlines[name], float), SIZE)
            np.testing.assert_array_equal(read_mask(sample.mask, sample.path, SIZE), expected)


def test_a_bare_name_that_fits_two_images_is_left_over(tmp_path):
    _two_types(tmp_path)
    _coco({"0": [{"segmentation": [_flat(OUTLINE)]}], "7": [{"bbox": [1, 2, 3, 4]}]}, tmp_path / "annotations/i.json")
    data = read_folder(tmp_path)
    assert not any(s.mask for s in data.samples)
    assert data.notes[0] == "1 COCO annotations have no image and are ignored: 7.png."
    assert data.notes[1].startswith("1 COCO annotations have names that do not say which image they belong to")


def test_what_is_annotated_of_no_image_is_told(plain):
    file = _coco({"a": [{"segmentation": [_flat(OUTLINE)]}], "b": []}, plain / "annotations/i.json")
    data = json.loads(file.read_text())
    data["annotations"].append({"id": 99, "image_id": 77, "bbox": [1, 2, 3, 4]})
    file.write_text(json.dumps(data))
    assert read_folder(plain).notes[0] == "2 COCO annotations have no image and are ignored: b.png, image 77."


def test_images_that_are_not_annotated_are_told(plain):
    pane(plain / "abnormal/b.png")
    _labelme(plain / "abnormal/a.json", {"label": "crack", "points": OUTLINE})
    assert read_folder(plain).notes[-1] == (
        "1 defective test images have no mask or annotation and count for image metrics only: b.png."
    )


def test_a_mask_wins_over_annotations_and_their_label_stays(plain):
    _labelme(plain / "abnormal/a.json", {"label": "crack", "points": OUTLINE})
    mask(plain / "mask/a.png")
    data = read_folder(plain)
    assert data.samples[-1].mask == plain / "mask/a.png"
    assert data.samples[-1].type == "crack"
    assert data.notes == ("1 images have LabelMe annotations beside masks, which are taken: a.png.",)


def test_of_two_formats_the_more_exact_is_taken(plain):
    file = _coco({"a": [{"segmentation": [_flat(OUTLINE)]}]}, plain / "annotations/i.json")
    _yolo(plain / "labels/a.txt", (0, 0.5, 0.5, 0.1, 0.1))
    data = read_folder(plain)
    assert data.samples[-1].mask == file
    assert "1 images have YOLO annotations beside COCO annotations, which are taken: a.png." in data.notes


def test_annotations_of_good_images(plain):
    _yolo(plain / "labels/good0.txt")  # nothing on it: as it should be
    _yolo(plain / "labels/good1.txt", (0, *ONES))
    _yolo(plain / "labels/a.txt", (0, *ONES))
    checked = verify(read_folder(plain)).samples
    assert [s.mask for s in checked.samples if s.label == "normal"] == [None] * 3
    told = [note for note in checked.notes if "good" in note]
    assert len(told) == 1
    assert told[0].startswith("1 images of good parts have masks that mark defects")
    assert told[0].endswith(": good1.png.")


def test_a_defective_image_with_nothing_annotated(plain):
    _yolo(plain / "labels/a.txt")
    checked = verify(read_folder(plain)).samples
    assert checked.samples[-1].mask is None
    assert any("1 masks of defective images are empty" in note for note in checked.notes)


@pytest.mark.parametrize("kind", ["line", "linestrip", "point"])
def test_lines_and_points_cover_nothing_and_are_told(plain, kind):
    shapes = [{"label": "l", "points": OUTLINE[:2], "shape_type": kind}, {"label": "crack", "points": OUTLINE}]
    _labelme(plain / "abnormal/a.json", *shapes)
    checked = verify(read_folder(plain)).samples
    np.testing.assert_array_equal(read_mask(checked.samples[-1].mask, checked.samples[-1].path, SIZE), REGION)
    assert any(note.startswith("1 images are annotated with points or lines") for note in checked.notes)
    _labelme(plain / "abnormal/a.json", shapes[0])
    os.utime(plain / "abnormal/a.json", ns=(1, 1))
    checked = verify(read_folder(plain)).samples
    assert checked.samples[-1].mask is None
    assert any(note.startswith("1 images are annotated with points or lines") for note in checked.notes)


# --- damage ----------------------------------------------------------------------------------------------------------

DAMAGED = {
    "no JSON": ("abnormal/a.json", "{", "is a damaged annotation file: Expecting property name"),
    "no XML": ("Annotations/a.xml", "<annotation>", "is a damaged annotation file: no element found"),
    "entities": ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "it defines entities"),
    "video": ("annotations.xml", '<annotations><track id="0"/></annotations>', "export it as 'CVAT for images'"),
    "no UTF-8": ("abnormal/a.json", b'{"shapes": "\xff"}', "is a damaged annotation file"),
    "no file name": ("x.json", '{"images": [{"id": 1}], "annotations": []}', "it lacks 'file_name'"),
    "wrong type": ("x.json", '{"images": 3, "annotations": []}', "is a damaged annotation file"),
    "deep": ("x.json", "[" * 100_000, "is a damaged annotation file"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_files_are_told_and_stop_nothing(plain, what):
    name, text, told = DAMAGED[what]
    path = plain / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    data = read_folder(plain)
    assert data.samples[-1].mask is None
    assert data.notes[0].startswith(f"1 annotation files are ignored: '{path}' is a damaged annotation file: ")
    assert told in data.notes[0]


DAMAGED_SHAPES = {
    "NaN": lambda f: _labelme(f / "labels/a.json", {"label": "x", "points": [[1, 2], [3, math.nan], [5, 6]]}),
    "odd": lambda f: _coco({"a": [{"segmentation": [[1, 2, 3]]}]}, f / "annotations/a.json"),
    "runs": lambda f: _coco({"a": [{"segmentation": {"counts": [1, 2], "size": SIZE}}]}, f / "annotations/x.json"),
    "no box": lambda f: _voc(f / "Annotations/a.xml", "<object><name>crack</name></object>"),
    "text": lambda f: _cvat(f / "annotations.xml", {"a.png": ['<polygon label="x" points="1,2;3"/>']}),
    "no picture": lambda f: _labelme(
        f / "labels/a.json", {"label": "x", "points": [[1, 2], [3, 4]], "shape_type": "mask", "mask": "aGVsbG8="}
    ),
}


@pytest.mark.parametrize("what", DAMAGED_SHAPES)
def test_a_damaged_shape_spoils_its_own_image_only(plain, what):
    DAMAGED_SHAPES[what](plain)
    checked = verify(read_folder(plain)).samples
    assert checked.samples[-1].mask is None
    assert any(
        note.startswith("1 masks cannot be used") and "has a shape of 'a.png' that cannot be read: " in note
        for note in checked.notes
    )


def test_other_files_are_no_annotations(plain):
    for name, text in {
        "README.txt": "Photos of line 2",
        "labels/classes.txt": "crack",
        "config.json": '{"a": 1}',
        "list.json": "[1]",
        "page.xml": "<html/>",
        "annotations/scores.txt": "0 0.5 0.5",
    }.items():
        _text(plain / name, text)
    assert read_folder(plain).notes == ("No masks or annotations: pixel metrics cannot be computed.",)


@pytest.mark.parametrize("row", ["0 0.5 0.5 12 10", "crack 1 2 3 4", "0 0.1 0.2 0.3 0.4 0.9", "0 0.1 x 0.3 0.4"])
def test_a_file_named_like_an_image_that_holds_something_else_is_told(plain, row):
    _text(plain / "labels/a.txt", row)
    (note, _) = read_folder(plain).notes
    assert note.startswith("1 files are named like images and hold no annotations that can be read")
    assert note.endswith(": a.txt.")


def test_a_csv_may_name_a_file_that_says_nothing_of_the_image(plain):
    file = _coco({"b": []}, plain / "annotations/i.json")
    with pytest.raises(DataError, match=r"i\.json' says nothing of an image 'a\.png'"):
        find_annotation(file, plain / "abnormal/a.png")
    file = _coco({"x/a": [], "y/a": []}, plain / "annotations/j.json")
    with pytest.raises(DataError, match=r"j\.json' says several things of an image 'a\.png'"):
        find_annotation(file, plain / "abnormal/a.png")
    with pytest.raises(DataError, match="Cannot read"):
        read_annotations(plain / "none.json")


def test_a_changed_file_is_read_again(plain):
    file = _labelme(plain / "labels/a.json", {"label": "crack", "points": OUTLINE})
    assert read_annotations(file)[0].type == "crack"
    _labelme(file, {"label": "seed", "points": OUTLINE})
    os.utime(file, ns=(1, 1))
    assert read_annotations(file)[0].type == "seed"


# --- sizes and EXIF --------------------------------------------------------------------------------------------------


def test_annotations_of_another_size_are_not_used(plain):
    _labelme(plain / "labels/a.json", {"label": "crack", "points": OUTLINE}, imageHeight=480, imageWidth=640)
    checked = verify(read_folder(plain)).samples
    assert checked.samples[-1].mask is None
    assert any("is 640x480 px but its image 'a.png' is 60x40 px" in note for note in checked.notes)


def test_an_image_of_unknown_size_needs_one(plain):
    file = _yolo(plain / "labels/a.txt", (0, *ONES))
    with pytest.raises(DataError, match="does not say how large its image is"):
        read_mask(file)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_annotations_of_a_turned_photo(tmp_path, orientation):
    path = photo(tmp_path / "a.jpg", SIZE, orientation)
    upright = turn_upright(REGION, orientation)
    stored = open_mask(_labelme(tmp_path / "a.json", {"label": "x", "points": OUTLINE}), path, upright.shape)
    np.testing.assert_array_equal(stored.defective, upright if orientation >= 5 else REGION)
    sideways = {"turned"} if orientation >= 5 else {"perhaps turned"} if orientation > 1 else set()
    assert {*stored.remarks} == sideways
    relative = open_mask(_yolo(tmp_path / "a.txt", (0, *ONES)), path, upright.shape)  # has no size to tell by
    assert {*relative.remarks} == ({"perhaps turned"} if orientation > 1 else set())


def test_annotations_are_measured(glass, model, tmp_path):
    """The same metrics as with masks of the same regions: one way to a score."""
    shutil.copytree(glass, tmp_path / "masks")
    shutil.copytree(glass, tmp_path / "coco")
    shutil.rmtree(tmp_path / "coco/mask")
    runs = {}
    for file in (glass / "mask").glob("*.png"):
        region = cv2.imread(str(file), 0) > 0
        runs[file.stem] = [{"segmentation": {"counts": _runs(region, True), "size": region.shape}}]
        size = region.shape
    file = _coco(runs, tmp_path / "coco/annotations/instances.json")
    data = json.loads(file.read_text())
    for image in data["images"]:
        image["height"], image["width"] = size
    file.write_text(json.dumps(data))
    inspector = pellucid.load(model, runtime="torch")
    by_mask, by_coco = (pellucid.evaluate(inspector, tmp_path / name) for name in ("masks", "coco"))
    assert by_mask.metrics["pixel_auroc"] is not None
    assert by_mask.metrics == by_coco.metrics
