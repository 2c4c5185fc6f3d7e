"""Defects of maps that come in bands are those of the map in one piece, to the last bit, whatever a band's height."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pellucid.errors import DataError, ParameterError
from pellucid.records import Defect, Ignored
from pellucid.regions import bands as bands_module
from pellucid.regions import rows as rows_module
from pellucid.regions.band_zones import ZonedFinder
from pellucid.regions.bands import DefectFinder
from pellucid.regions.clusters import Clusters
from pellucid.regions.defects import find_defects
from pellucid.regions.outline import SMOOTHINGS_PX, Usual
from pellucid.regions.rows import Rows, Window, longest_rows
from pellucid.regions.zones import Zones

EIGHT = np.ones((3, 3), bool)


def heights_of(total, rng):
    """How high each band is: all alike, or every one different."""
    if rng.random() < 0.5:
        height = int(rng.integers(1, total + 1))
        return [min(height, total - top) for top in range(0, total, height)]
    cuts = np.unique(rng.integers(0, total + 1, rng.integers(0, 12)))
    return [int(n) for n in np.diff([0, *cuts, total]) if n]


def in_bands(finder, heights, *arrays):
    """What was told while the image passed, and what is told at its end."""
    told, top = [], 0
    for height in heights:
        told += finder.add(*(None if one is None else one[top : top + height].copy() for one in arrays))
        top += height
    return told, finder.finish()


def scene(rng, height, width, colour=False):
    """A sheet with flaws that stand out, and a map that shows more than them."""
    pixels = 0.5 + 0.1 * np.linspace(0, 1, width) + rng.normal(0, 0.01, (height, width))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 14))):
        x, y, size = rng.integers(0, width), rng.integers(0, height), int(rng.integers(1, 7))
        if rng.random() < 0.5:
            cv2.circle(mask, (int(x), int(y)), size, 1, int(rng.choice([-1, 1])))
        else:
            to = (int(x + rng.integers(-40, 41)), int(y + rng.integers(-40, 41)))
            cv2.line(mask, (int(x), int(y)), to, 1, int(rng.integers(1, 4)))
    pixels = pixels + mask * rng.choice([-0.2, 0.15])
    near = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3) + 0.02 * rng.random((height, width))
    pixels = np.clip(np.repeat(pixels[..., None], 3, 2), 0, 1).astype(np.float32)
    if colour:
        pixels[height // 2 :, :, 1] *= np.float32(0.9)
    return near.astype(np.float32), pixels


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 150),
    width=st.integers(3, 150),
    source=st.sampled_from(["image", "map", "none"]),
    colour=st.booleans(),
    scale=st.sampled_from([None, 0.1, (0.1, 0.15)]),
    placed=st.booleans(),
    kept=st.sampled_from([2**24, 4000, 1000]),
    usual=st.sampled_from([None, 8.0, 18.0, 100.0]),
)
def test_bands_give_what_the_whole_gives(seed, height, width, source, colour, scale, placed, kept, usual):
    rng = np.random.default_rng(seed)
    anomaly_map, pixels = scene(rng, height, width, colour)
    given = None if source == "none" else pixels
    place = rng.random((height, width)) < 0.9 if placed else None
    if usual is not None:
        usual = Usual(strengths=(usual,) * len(SMOOTHINGS_PX), energy=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "MAX_KEPT_PIXELS", kept)
        patch.setattr(rows_module, "MIN_LONGEST_ROWS", 8)
        options = {"source": source if source != "none" else "map", "margin_px": 5, "mm_per_px": scale, "usual": usual}
        whole = find_defects(anomaly_map, 0.1, given, place=place, **options)
        for known in (None, height):
            finder = DefectFinder(
                width,
                0.1,
                outline_by_image=source == "image",
                with_pixels=given is not None,
                margin_px=5,
                mm_per_px=scale,
                usual=usual,
                height=known,
            )
            told, found = in_bands(finder, heights_of(height, rng), anomaly_map, given, place)
            assert found == whole
            assert all(one.border_px is None for one in told if known is None)
            assert known is None or set(told) <= set(found)


def test_what_good_parts_show_is_no_defect_in_bands_either(monkeypatch):
    """Of two lines in one region, as strong as usual, the one that the map is highest on; its rows are let go of."""
    monkeypatch.setattr(rows_module, "MAX_KEPT_PIXELS", 100 * 200)
    monkeypatch.setattr(rows_module, "MIN_LONGEST_ROWS", 200)
    anomaly_map, pixels = np.zeros((4000, 100), np.float32), np.full((4000, 100, 3), 0.5, np.float32)
    pixels += np.random.default_rng(0).normal(0, 0.003, (4000, 100, 1)).astype(np.float32)
    pixels[1990:2010, [40, 60]] += np.float32(0.05)
    anomaly_map[1985:2015, 35:65] = 0.5
    anomaly_map[1995:2005, 60] = 1
    usual = Usual(strengths=(50.0,) * len(SMOOTHINGS_PX), energy=3)
    lefts = {}
    for known in (None, usual):
        finder = DefectFinder(100, 0.1, outline_by_image=True, usual=known)
        _, found = in_bands(finder, [7] * 571 + [3], anomaly_map, pixels)
        assert found == find_defects(anomaly_map, 0.1, pixels, source="image", usual=known)
        lefts[known] = sorted(one.box[0] for one in found)
        assert sum(len(band) for _, band in finder._map._bands) < 100
    assert lefts == {None: [40, 60], usual: [60]}


def test_what_is_told_while_the_sheet_passes_is_what_is_told_at_its_end():
    anomaly_map, pixels = scene(np.random.default_rng(3), 400, 120)
    finder = DefectFinder(120, 0.1, outline_by_image=True, height=400)
    passed, told_at = 0, {}
    for top in range(0, 400, 20):
        passed += 20
        for one in finder.add(anomaly_map[top : top + 20], pixels[top : top + 20]):
            told_at[one] = passed
    found = finder.finish()
    assert len(told_at) >= len(found) - 2  # but for those at the end
    assert all(passed <= one.box[1] + one.box[3] + 150 for one, passed in told_at.items())
    assert set(told_at) <= set(found)


def test_long_defects_are_told_by_the_map_alone(monkeypatch):
    monkeypatch.setattr(rows_module, "MAX_KEPT_PIXELS", 100 * 128)
    monkeypatch.setattr(rows_module, "MIN_LONGEST_ROWS", 8)
    rng = np.random.default_rng(0)
    mask = np.zeros((300, 128), np.uint8)
    cv2.line(mask, (20, 2), (30, 298), 1, 2)
    cv2.circle(mask, (90, 150), 4, 1, -1)
    anomaly_map = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3)
    pixels = np.repeat((0.5 - 0.2 * mask + rng.normal(0, 0.01, mask.shape))[..., None], 3, 2).astype(np.float32)
    whole = find_defects(anomaly_map, 0.1, pixels, source="image")
    long, short = sorted(whole, key=lambda one: -one.box[3])
    assert long.contrast is None
    assert long.length_px > 250
    assert short.contrast == pytest.approx(-0.4, abs=0.05)
    finder = DefectFinder(128, 0.1, outline_by_image=True)
    _, found = in_bands(finder, [10] * 30, anomaly_map, pixels)
    assert found == whole
    assert finder.notes == (
        "1 of its regions span more than 100 rows: the map alone outlines them.",
        "1 of its defects span more than 100 rows: they have no contrast.",
    )
    monkeypatch.setattr(bands_module, "SHAPES_IN_LONGEST", 2)
    finder = DefectFinder(128, 0.1, outline_by_image=True)
    _, found = in_bands(finder, [7] * 42 + [6], anomaly_map, pixels)
    assert found == find_defects(anomaly_map, 0.1, pixels, source="image")
    (listed,) = (one for one in found if one.box[3] > 100)
    assert (listed.box, listed.area_px, listed.centroid) == (long.box, long.area_px, long.centroid)
    assert listed.length_px is None
    assert finder.notes[-1] == "1 of its defects are too large to be measured: box, area and peak are listed."


def test_hundreds_of_defects_are_listed_and_the_strongest_measured():
    rng = np.random.default_rng(0)
    anomaly_map = np.zeros((400, 400), np.float32)
    anomaly_map[::20, ::20] = rng.permutation(400).reshape(20, 20) // 2 + 1  # every peak twice
    whole = find_defects(anomaly_map, 0.5)
    for known in (None, 400):
        for height in (1, 40, 400):
            finder = DefectFinder(400, 0.5, with_pixels=False, height=known)
            told, found = in_bands(finder, [height] * (400 // height), anomaly_map)
            assert found == whole
            assert len(told) == 400
            assert finder.notes == ("Of its 400 defects, the 100 with the highest peaks are measured.",)
    assert [bool(one.kind) for one in whole] == [k < 100 for k in range(400)]
    assert [one.peak for one in whole] == sorted((one.peak for one in whole), reverse=True)


def test_rows_that_nobody_needs_are_let_go_of():
    finder = DefectFinder(100, 0.5, outline_by_image=True)
    rng = np.random.default_rng(0)
    kept = []
    for k in range(60):
        anomaly_map = np.zeros((4000, 100), np.float32)
        anomaly_map[50:60, 20:40] = 1 + k
        finder.add(anomaly_map, rng.random((4000, 100, 3), np.float32))
        kept.append(sum(len(band) for _, band in finder._pixels._bands))
    assert max(kept) <= longest_rows(100) // 4 + 2 * 4000
    assert len(finder.finish()) == 60


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    share=st.sampled_from([0.02, 0.1, 0.4, 0.6]),
    reach=st.integers(0, 3),
)
def test_clusters_are_those_of_the_whole_mask(seed, height, width, share, reach):
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < share
    values = rng.random((height, width), np.float32)
    shape = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    labels, count = ndimage.label(ndimage.binary_dilation(mask, shape) if reach else mask, EIGHT)
    expected = [mask & (labels == k) for k in range(1, count + 1)]
    rows, kept = Rows(), Rows()
    clusters = Clusters(rows, width, shape, kept)
    found, top = [], 0
    for band in heights_of(height, rng):
        rows.add(mask[top : top + band])
        kept.add(values[top : top + band])
        top += band
        found += clusters.advance(top, False)
        rows.drop(clusters.needed_from)
        kept.drop(clusters.done)
    found += clusters.advance(height, True)
    assert clusters.done == height
    assert not list(clusters.open)
    assert len(found) == len(expected)
    by_first = {cluster.first: cluster for cluster in found}
    for one in expected:
        y, x = np.nonzero(one)
        cluster = by_first[int(y[0]), int(x[0])]
        assert cluster.window == (y.min(), y.max() + 1, x.min(), x.max() + 1)
        assert (cluster.area, cluster.sums) == (len(y), (x.sum(), y.sum()))
        assert cluster.peak == values[one].max()
        assert np.array_equal(cluster.mask(), one[y.min() : y.max() + 1, x.min() : x.max() + 1])


def test_rows_are_cut_across_bands_grey_and_coloured():
    rows = Rows()
    image = np.arange(7 * 5 * 3, dtype=np.float32).reshape(7, 5, 3)
    rows.add(image[:2, :, :1])
    rows.add(image[2:7])
    rows.add(image[:0])
    cut = rows.cut(Window(1, 4, 2, 5))
    assert np.array_equal(cut[0], np.repeat(image[1, 2:5, :1], 3, 1))
    assert np.array_equal(cut[1:], image[2:4, 2:5])
    assert rows.cut(Window(0, 2, 0, 5)).shape == (2, 5, 1)
    rows.drop(2)
    assert np.array_equal(rows.cut(Window(2, 7, 0, 5)), image[2:7])
    assert rows.end == 7


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(12, 120),
    width=st.integers(12, 120),
    margin=st.integers(0, 5),
    min_area=st.sampled_from([0, 1, 30]),
    drawn=st.booleans(),
    known=st.booleans(),
)
def test_zones_sort_in_bands_as_on_the_whole(seed, height, width, margin, min_area, drawn, known):
    rng = np.random.default_rng(seed)
    anomaly_map, pixels = scene(rng, height, width)
    zones = Zones(margin=margin, min_area=min_area)
    if drawn:
        region = np.ones((height, width), bool)
        region[: height // 3, width // 2 :] = False
        zones = Zones._drawn(region, margin=margin, min_area=min_area)
    try:
        expected = zones.sort(
            (height, width),
            lambda place: find_defects(anomaly_map, 0.1, pixels, place=place, source="image", margin_px=5),
        )
    except DataError:
        return
    make = lambda: DefectFinder(width, 0.1, outline_by_image=True, margin_px=5, height=end)  # noqa: E731
    end = height if known or drawn else None
    told, found = in_bands(ZonedFinder(make, width, zones, end), heights_of(height, rng), anomaly_map, pixels)
    assert (found.defects, found.ignored) == expected
    if end:
        assert {one for one in told if isinstance(one, Defect)} <= set(found.defects)
        assert {one for one in told if isinstance(one, Ignored)} <= set(found.ignored)


def test_zones_that_no_stream_can_have():
    make = lambda: DefectFinder(100, 0.1)  # noqa: E731
    drawn = Zones._drawn(np.eye(50, dtype=bool), margin=0, min_area=0)
    with pytest.raises(ParameterError, match="nobody knows the height of a stream before it ends: give its height"):
        ZonedFinder(make, 100, drawn)
    with pytest.raises(DataError, match="drawn on 50x50 px, which is of another shape than 100x300"):
        ZonedFinder(make, 100, drawn, 300)
    with pytest.raises(DataError, match="In an image that is 100 px wide there is no place for a defect that counts"):
        ZonedFinder(make, 100, Zones(margin=50))
    finder = ZonedFinder(make, 100, Zones(margin=20))
    finder.add(np.zeros((40, 100), np.float32))
    with pytest.raises(DataError, match="In an image of 100x40 px there is no place"):
        finder.finish()
