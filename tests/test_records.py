"""Values show themselves: short reprs, and an inspection as a picture in a notebook."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pellucid.errors import DataError
from pellucid.records import MAX_DEFECTS_SHOWN, Defect, Inspection, Sample, Samples, Split
from pellucid.records.limits import Limit
from pellucid.regions.defects import find_defects


@pytest.fixture
def inspection(tmp_path):
    """A rejected image of 40 x 60 px with three regions, on disk too."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.float32) / np.float32(255)
    path = tmp_path / "pane.png"
    cv2.imwrite(str(path), (pixels[..., ::-1] * 255).round().astype(np.uint8))
    anomaly_map = np.zeros((40, 60), np.float32)
    anomaly_map[3:9, 4:12], anomaly_map[20:22, 30:40], anomaly_map[30:38, 50:55] = 3, 2, 5
    defects = find_defects(anomaly_map, 1.0)
    return Inspection(path, 5.0, 1.5, 0.01, "reject", anomaly_map, defects, 1.0, pixels)


def _decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def _table(html):
    return [tuple(re.findall("<td>(.*?)</td>", row)) for row in re.findall("<tr>(<td>.*?)</tr>", html)]


def test_the_picture_is_the_png(inspection):
    picture = inspection.picture()
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), _decoded(inspection.png()))
    shown = re.search(r'src="data:image/png;base64,([^"]+)"', inspection._repr_html_())[1]
    assert b64decode(shown) == inspection.png()


def test_a_mask_is_one_panel_more(inspection, tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[5, 5] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    without, beside = inspection.picture(), inspection.picture(tmp_path / "mask.png")
    assert beside.height == without.height
    assert beside.width * 3 == without.width * 4
    np.testing.assert_array_equal(_decoded(inspection.png(tmp_path / "mask.png")), np.asarray(beside))
    with pytest.raises(DataError):
        inspection.picture(tmp_path / "absent.png")


def test_pixels_that_were_let_go_of_are_read_again(inspection):
    assert replace(inspection, pixels=None).png() == inspection.png()


def test_a_notebook_lists_defects_by_their_peak(inspection):
    assert _table(inspection._repr_html_()) == [
        ("area", "8.0 x 5.0 px", "", "50, 30, 5, 8", "40", "5"),
        ("area", "8.0 x 6.0 px", "", "4, 3, 8, 6", "48", "3"),
        ("line", "10.0 x 2.0 px", "", "30, 20, 10, 2", "20", "2"),
    ]


def test_a_defect_says_what_it_is_like_as_far_as_that_is_known():
    defect = Defect((1, 2, 30, 4), 12, 2.0, (2.0, 3.6))
    assert str(defect) == "30 x 4 px, at (2, 4)"
    measured = replace(defect, kind="dark line", length_px=31.04, width_px=2.0, contrast=-0.183)
    assert str(measured) == "dark line, 31.0 x 2.0 px, -18%, at (2, 4)"
    assert replace(measured, length_mm=1.552, width_mm=0.1).size_text == "1.55 x 0.10 mm"


def test_without_defects_there_is_no_table(inspection):
    accepted = replace(inspection, verdict="ok", score=1.0, p_value=0.5, defects=())
    html = accepted._repr_html_()
    assert "<table" not in html
    assert 'alt="ok, score 1   limit 1.5   p 0.500"' in html
    assert accepted.png() != inspection.png()


@pytest.mark.parametrize("more", [0, 1, 25])
def test_many_defects_are_counted(inspection, more):
    defect = Defect((1, 2, 3, 4), 12, 2.0, (2.0, 3.5))
    html = replace(inspection, defects=(defect,) * (MAX_DEFECTS_SHOWN + more))._repr_html_()
    assert len(_table(html)) == MAX_DEFECTS_SHOWN
    assert (f"<p>and {more} more</p>" in html) == (more > 0)
    assert "more</p>" not in html or more


def test_what_cannot_be_drawn_is_said_with_names_escaped(inspection):
    lost = replace(inspection, path=Path("<img src=a onerror=alert(1)>.png"), pixels=None)
    html = lost._repr_html_()
    assert "<img" not in html
    assert "&lt;img src=a onerror=alert(1)&gt;.png: reject, score 5" in html
    assert len(_table(html)) == 3
    with pytest.raises(DataError, match="onerror"):
        lost.picture()


def test_a_map_that_was_let_go_of(inspection):
    evaluated = replace(inspection, map=inspection.map[:0])
    with pytest.raises(DataError, match=r"The map of .* was let go of: inspect the image again"):
        evaluated.png()
    assert "was let go of" in evaluated._repr_html_()


def test_names_in_the_picture_may_be_anything(inspection):
    odd = replace(inspection, path=inspection.path.with_name("شیشه & <b> \"'.png"))
    assert odd.picture().size == inspection.picture().size
    assert "<b>" not in odd._repr_html_()


def test_reprs_are_short(inspection):
    sample = Sample(Path("a.png"), "normal")
    flaw = Sample(Path("b.png"), "abnormal")
    samples = Samples(Path("glass"), "plain", (sample, sample, flaw))
    assert repr(samples) == "Samples('glass', plain layout, 2 normal, 1 abnormal)"
    shown = repr(replace(inspection, path=Path("pane.png")))
    assert shown == "Inspection('pane.png', reject, score 5, limit 1.5, p 0.01, 3 defects)"
    accepted = repr(replace(inspection, path=Path("pane.png"), score=1.0, verdict="ok", p_value=0.5, defects=()))
    assert accepted == "Inspection('pane.png', ok, score 1, limit 1.5, p 0.5)"
    assert (
        repr(Split((sample,) * 40, (sample,) * 10, (), (flaw,) * 3)) == "Split(fit=40, calibrate=10, select=0, test=3)"
    )
    assert repr(Split((sample,), (), (), (), folds=5)) == "Split(fit=1, calibrate=0, select=0, test=0, folds=5)"
    limit = Limit(1.23456789, 2.0, 0.05, (1.0,) * 99)
    assert repr(limit) == "Limit(1.23457, conformal at 5.00% from 99 normals)"
    assert len(repr(inspection)) < 600
    assert "array" not in repr(inspection)
