"""What counts: an image is rejected only for it, and all that is ignored is listed with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from pellucid.acquisition.fitted_images import FittedImages
from pellucid.calibration import HeldOutScore
from pellucid.errors import DataError
from pellucid.inspector import Inspector
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.records.limits import Limit
from pellucid.regions.defects import find_defects
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.runtimes import Floats

HEIGHT, WIDTH = 12, 16
maps = arrays.arrays(np.float32, (HEIGHT, WIDTH), elements=st.sampled_from([-2.0, 0.0, 0.5, 1.0, 1.5, 2.0, 4.0]))
regions = arrays.arrays(bool, (HEIGHT, WIDTH), elements=st.booleans())
margins, areas = st.integers(0, 4), st.integers(0, 6)


class GivenMap:
    """A runtime that gives one map, at the size of the image, and one score."""

    name = "torch"
    parallel_requests = batch_size = 1
    score_of = "peak"
    device = "cpu"

    def __init__(self, anomaly_map: Floats, score: float) -> None:
        self.map, self._score = anomaly_map, score

    def for_throughput(self):
        return self

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        return np.stack([self.map] * len(pixels)), np.full(len(pixels), self._score, np.float32)


def zones_of(counted: np.ndarray, margin: int = 0, min_area: int = 0) -> Zones:
    return Zones._drawn(counted, margin=margin, min_area=min_area)


def inspected(anomaly_map: np.ndarray, zones: Zones, score: float = 3.0, pixel: float = 1.0):
    """What becomes of an image with a map and a score, with a limit of 2 on scores."""
    known = Limit(2.0, pixel, 0.05, (0.1, 0.2, 0.3))
    runtime = GivenMap(anomaly_map, score)
    inspector = Inspector(runtime, known, anomaly_map.shape, FittedImages(data_sha256=""), 0, 0.05, zones=zones)
    return inspector.inspect(IMAGE)


IMAGE = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def slow_verdict(anomaly_map, counted, margin, min_area, threshold) -> str:
    """Pixel by pixel: rejected if enough pixels that count and are connected are above the threshold."""
    inner = np.zeros_like(counted)
    for y in range(margin, HEIGHT - margin):
        for x in range(margin, WIDTH - margin):
            inner[y, x] = counted[y, x]
    labels, count = ndimage.label((anomaly_map > threshold) & inner, np.ones((3, 3)))
    return "reject" if any((labels == k + 1).sum() >= max(min_area, 1) for k in range(count)) else "ok"


@given(maps, regions, margins, areas)
def test_an_image_is_rejected_only_for_what_counts_and_all_else_is_listed(anomaly_map, counted, margin, min_area):
    zones = zones_of(counted, margin, min_area)
    threshold = segmentation_threshold(anomaly_map, 1.0)
    if slow_verdict(np.ones_like(anomaly_map), counted, margin, min_area, 0.0) == "ok":
        with pytest.raises(DataError, match="In an image of 16x12 px there is no place for a defect that counts"):
            inspected(anomaly_map, zones)
        return
    found = inspected(anomaly_map, zones)
    assert found.verdict == slow_verdict(anomaly_map, counted, margin, min_area, threshold)
    assert (found.score, found.p_value) == (3.0, 0.25), "what the detector said stays"
    assert (found.verdict == "reject") == bool(found.defects)
    listed = sum(d.area_px for d in found.defects) + sum(one.defect.area_px for one in found.ignored)
    assert listed == (anomaly_map > threshold).sum(), "no pixel is lost, none is there twice"
    for reason, place in (("region", ~counted), ("margin", counted & (zones.counted((HEIGHT, WIDTH)) != counted))):
        pixels = ((anomaly_map > threshold) & place).sum()
        assert sum(one.defect.area_px for one in found.ignored if one.reason == reason) == pixels
    assert all(one.defect.area_px < min_area for one in found.ignored if one.reason == "area")
    assert all(d.area_px >= min_area for d in found.defects)


@given(maps, regions, regions, margins, margins, areas, areas)
def test_zones_never_reject_more_and_together_ignore_what_either_does(anomaly_map, one, two, m1, m2, a1, a2):
    first, second = zones_of(one, m1, a1), zones_of(two, m2, a2)
    try:
        both = first.and_ignore(second)
        assert both == second.and_ignore(first)
        np.testing.assert_array_equal(
            both.counted((HEIGHT, WIDTH)), first.counted((HEIGHT, WIDTH)) & second.counted((HEIGHT, WIDTH))
        )
        verdicts = [inspected(anomaly_map, zones).verdict for zones in (EVERYTHING, first, second, both)]
    except DataError:
        return
    assert verdicts[0] == "reject"
    assert verdicts[3] == "ok" or verdicts[1] == verdicts[2] == "reject"
    for zones in (first, second, both):
        assert inspected(anomaly_map, zones, score=1.9).verdict == "ok", "what is below the limit stays accepted"
    assert first.and_ignore(EVERYTHING) == EVERYTHING.and_ignore(first) == first


@given(maps, regions, margins, areas, st.sampled_from([-3.0, -2.0, -0.5, 0.5, 1.2, 3.9, 4.0]))
def test_the_highest_value_that_counts_says_at_which_thresholds_something_does(anomaly_map, counted, margin, area, at):
    zones = zones_of(counted, margin, area)
    try:
        highest = zones.highest(anomaly_map)
    except DataError:
        return
    assert (highest > at) == bool(
        zones.sort(anomaly_map.shape, lambda place: find_defects(anomaly_map, at, place=place))[0]
    )
    scored = HeldOutScore(3.0, float(anomaly_map.max()), highest, 0.0)
    assert scored.counts(1.0) == (inspected(anomaly_map, zones).verdict == "reject")


def test_what_was_not_judged_stays_rejected():
    away = zones_of(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) < 40, 1, 3)
    broken = np.zeros((HEIGHT, WIDTH), np.float32)
    broken[10, 10] = np.nan  # where nothing counts
    for anomaly_map, score in ((broken, 3.0), (np.zeros_like(broken), np.nan), (np.zeros_like(broken), np.inf)):
        found = inspected(anomaly_map, away, score)
        assert (found.verdict, found.defects, found.ignored) == ("reject", (), ())
        assert found.reason.startswith("Not judged")
    dead = np.full((HEIGHT, WIDTH * 3, 3), 7, np.uint8)  # and of another shape than the drawing
    known = Limit(2.0, 1.0, 0.05, (0.1,))
    inspector = Inspector(
        GivenMap(broken, 0.0), known, (HEIGHT, WIDTH), FittedImages(data_sha256=""), 0, 0.05, zones=away
    )
    assert inspector.inspect(dead).verdict == "reject"


@pytest.mark.parametrize("factor", [0.5, 1, 2.3, 3])
@settings(max_examples=5)
@given(seed=st.integers(0, 50))
def test_a_drawing_is_scaled_to_images_of_its_shape(factor, seed):
    coarse = np.random.default_rng(seed).random((8, 10)) < 0.5
    coarse[0, :2] = True, False
    zones = zones_of(np.kron(coarse, np.ones((6, 6), bool)))
    size = (round(48 * factor), round(60 * factor))
    counted = zones.counted(size)
    expected = [
        [coarse[int((y + 0.5) * 8 / size[0]), int((x + 0.5) * 10 / size[1])] for x in range(size[1])]
        for y in range(size[0])
    ]
    np.testing.assert_array_equal(counted, expected)


def test_a_drawing_of_another_shape_is_refused():
    zones = zones_of(np.eye(100, dtype=bool))
    with pytest.raises(DataError, match="What counts was drawn on 100x100 px, which is of another shape than 16x12 px"):
        inspected(np.zeros((HEIGHT, WIDTH), np.float32), zones, score=0.0)
    assert zones.counted((100, 101)).any(), "a rounded pixel is no other shape"
    with pytest.raises(DataError, match="of another shape"):
        zones.and_ignore(zones_of(np.ones((10, 30), bool)))


# --- files ------------------------------------------------------------------------------------------------------------


def mask(path: Path, region: np.ndarray) -> Path:
    cv2.imwrite(str(path), region.astype(np.uint8) * 255)
    return path


def labelme(path: Path, *corners: tuple[float, float], size=(40, 60)) -> Path:
    shape = {"label": "bolt", "shape_type": "polygon", "points": corners}
    content = {"shapes": [shape], "imagePath": "x.png", "imageHeight": size[0], "imageWidth": size[1]}
    path.write_text(json.dumps(content), "utf-8")
    return path


def test_masks_and_polygons_say_what_counts(tmp_path):
    left, top = np.zeros((40, 60), bool), np.zeros((80, 120), bool)
    left[:, :30], top[:20] = True, True  # drawn at twice the size
    bolt = labelme(tmp_path / "bolt.json", (10, 5), (20, 5), (20, 15), (10, 15))
    yolo = tmp_path / "corner.txt"
    yolo.write_text("0 0.95 0.95 0.1 0.1\n", "utf-8")
    image = mask(tmp_path / "pane.png", left)
    zones = Zones.read(
        only=[mask(tmp_path / "left.png", left), mask(tmp_path / "top.png", top)], ignore=[bolt, yolo], image=image
    )
    expected = left.copy()
    expected[:10] = True
    expected[5:15, 10:20] = False
    np.testing.assert_array_equal(zones.counted((40, 60)), expected)
    assert str(zones) == f"{expected.mean():.1%} of the image"
    again = Zones.model_validate_json(zones.model_dump_json())
    assert again == zones


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (
            lambda p: mask(p / "z.png", np.zeros((4, 4), bool)),
            "marks nothing: it should mark, as a mask or by polygons",
        ),
        (lambda p: p / "absent.png", "Cannot read"),
        (lambda p: labelme(p / "z.json", (0, 0), (60, 0), (60, 40), (0, 40)), "no place for a defect that counts"),
        (lambda p: _coco(p / "z.json", 2), "annotates 2 images: draw what counts, or does not, on one"),
        (lambda p: _written(p / "z.txt", "0 .5 .5 .1 .1"), "cannot be used .*: it does not say how large its image is"),
        (lambda p: labelme(p / "z.json", (0, 0), (None, 0), (6, 4)), "cannot be used .*: a coordinate is missing"),
    ],
)
def test_a_drawing_that_cannot_be_used_is_a_sentence(write, sentence, tmp_path):
    with pytest.raises(DataError, match=sentence):
        Zones.read(ignore=[write(tmp_path)])


def _written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def _coco(path: Path, images: int) -> Path:
    listed = [{"id": k, "file_name": f"{k}.png", "height": 4, "width": 4} for k in range(images)]
    return _written(path, json.dumps({"images": listed, "annotations": []}))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"margin": -1}, "greater than or equal to 0"),
        ({"runs": [3]}, "run lengths of 3 pixels do not make 0x0"),
        ({"drawn_size": [2, 2], "runs": [3]}, "run lengths of 3 pixels do not make 2x2"),
        ({"drawn_size": [2**20, 2**20], "runs": [2**40]}, "larger than any image"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_zones_that_are_none_are_not_read(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        Zones.model_validate(values)


def test_ignored_defects_are_drawn_grey_and_told():
    anomaly_map = np.zeros((HEIGHT, WIDTH), np.float32)
    anomaly_map[2:5, 3:6], anomaly_map[8:11, 10:14] = 3.0, 2.0
    counted = np.ones((HEIGHT, WIDTH), bool)
    counted[:, 8:] = False
    found, alone = inspected(anomaly_map, zones_of(counted)), inspected(anomaly_map, EVERYTHING)
    assert [d.box for d in found.defects] == [(3, 2, 3, 3)]
    assert [(one.defect.box, one.reason) for one in found.ignored] == [((10, 8, 4, 3), "region")]
    assert "1 defect, 1 ignored" in repr(found)
    assert "<th>ignored by</th>" in found._repr_html_()
    assert "<td>region</td>" in found._repr_html_()
    assert "ignored" not in alone._repr_html_()
    drawn, plain = np.asarray(found.picture()), np.asarray(alone.picture())
    grey, red = (150, 150, 150), (230, 60, 60)
    panel = np.s_[60:, -plain.shape[1] // 3 :]

    def has(picture, colour):
        return (picture[panel] == colour).all(axis=2).sum()

    assert has(drawn, grey) > 0
    assert has(plain, grey) == 0
    assert 0 < has(drawn, red) < has(plain, red)
    accepted = replace(found, defects=(), verdict="ok")
    assert has(np.asarray(accepted.picture()), red) == 0
