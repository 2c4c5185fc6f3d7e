"""Outlines of drawn flaws, found in regions that are far too large for them, as maps' are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.acquisition.images import without_repeated_channels
from pellucid.errors import DataError
from pellucid.records import Defect
from pellucid.regions.background import deviate, noise_level
from pellucid.regions.bands import MAX_MEASURED_DEFECTS
from pellucid.regions.defects import Measuring, find_defects, find_measured, margin_at, margin_of
from pellucid.regions.outline import SMOOTHINGS_PX, Usual, outline
from pellucid.regions.usual import shown_by, strongest
from pellucid.synthesis.flaws import apply_flaw, draw_flaw
from pellucid.synthesis.glass import draw_pane


def flawed_pane(kind, size, contrast, seed=0, reach=10):
    """A pane as a camera stores it, the map of a detector that sees its flaw from some pixels away, and the mask."""
    rng = np.random.default_rng((seed, size))
    pane = draw_pane(rng)
    covered = draw_flaw(rng, kind, size, pane.shape)
    pixels = (np.clip(apply_flaw(pane, covered, contrast), 0, 1) * 255).round().astype(np.float32) / np.float32(255)
    mask = covered >= min(0.5, float(covered.max()))
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return np.repeat(pixels[..., None], 3, 2), near.astype(np.float32), mask


def iou(found, mask):
    return (found & mask).sum() / (found | mask).sum()


@pytest.mark.parametrize("contrast", [-0.3, -0.12, 0.2])
@pytest.mark.parametrize(("kind", "size"), [("scratch", 2), ("scratch", 5), ("bold line", 6), ("stone", 10)])
def test_a_flaw_is_outlined_within_a_region_many_times_as_large(kind, size, contrast):
    pixels, anomaly_map, mask = flawed_pane(kind, size, contrast)
    above = anomaly_map > 0.5
    found = outline(pixels, above, 8)
    assert iou(found, mask) > 0.75 > 2 * iou(above, mask)


def test_measures_of_a_scratch_are_those_that_were_drawn():
    pixels, anomaly_map, mask = flawed_pane("scratch", 3, -0.2)
    by_image, by_map = (find_defects(anomaly_map, 0.5, pixels, source=source)[0] for source in ("image", "map"))
    truth = find_defects(mask.astype(np.float32), 0.5, pixels)[0]
    assert by_image.kind == truth.kind == "dark line"
    assert by_image.contrast == pytest.approx(-0.2, abs=0.03)
    for name in ("area_px", "length_px", "width_mean_px", "feret_max_px"):
        assert getattr(by_image, name) == pytest.approx(getattr(truth, name), rel=0.15), name
    assert by_map.width_px > 4 * truth.width_px


def test_what_the_image_does_not_show_keeps_the_region():
    rng = np.random.default_rng(0)
    pixels = np.repeat(draw_pane(rng)[..., None], 3, 2)
    above = np.zeros((256, 256), bool)
    above[40:70, 50:90] = above[150:160, 200:230] = True
    assert np.array_equal(outline(pixels, above, 8), above)


def test_damage_of_a_structure_keeps_the_region():
    """A bright grain is no outline of a rough patch whose every pixel deviates."""
    rng = np.random.default_rng(0)
    pixels = np.repeat(draw_pane(rng)[..., None], 3, 2)
    above = np.zeros((256, 256), bool)
    above[60:160, 60:160] = True
    pixels[60:160, 60:160] += rng.normal(0, 0.02, (100, 100, 1)).astype(np.float32)
    pixels[100:103, 100:103] += np.float32(0.2)
    assert np.array_equal(outline(np.clip(pixels, 0, 1), above, 8), above)


def test_one_region_may_hold_two_flaws_and_two_regions_one():
    pixels = np.full((128, 128, 3), 0.5, np.float32) + np.random.default_rng(0).normal(0, 0.004, (128, 128, 1))
    pixels = pixels.astype(np.float32)
    pixels[40:43, 20:100] -= np.float32(0.1)
    pixels[60:64, 60:64] += np.float32(0.1)
    anomaly_map = np.zeros((128, 128), np.float32)
    anomaly_map[30:72, 50:100], anomaly_map[30:50, 15:45] = 2, 3
    found = find_defects(anomaly_map, 1, pixels, source="image")
    assert [(d.kind, d.area_px) for d in found] == [("dark line", 240), ("bright point", 16)]
    assert [d.peak for d in found] == [3, 2]
    assert len(find_defects(anomaly_map, 1, pixels, source="map")) == 2


def test_a_flaw_of_one_colour_is_outlined():
    rng = np.random.default_rng(0)
    pixels = (0.5 + rng.normal(0, 0.005, (100, 100, 3))).astype(np.float32)
    mask = np.zeros((100, 100), bool)
    mask[50:54, 30:70] = True
    pixels[mask, 1] -= np.float32(0.08)
    above = cv2.dilate(mask.astype(np.uint8), np.ones((19, 19), np.uint8)) > 0
    assert iou(outline(pixels, above, 8), mask) > 0.9


def pane_with(*, lines, flaw, contrast=0.06):
    """A grey pane with thin lines of some contrast and between two of them a flaw; a region of the map; flaw; lines."""
    pixels = 0.5 + np.random.default_rng(0).normal(0, 0.003, (160, 160, 1))
    drawn, mask, above = (np.zeros((160, 160), bool) for _ in range(3))
    drawn[48:98, lines] = mask[70:76, 70:76] = above[56:90, 52:100] = True
    pixels[drawn] += 0.5 * contrast
    pixels[mask] = 0.5 * (1 + flaw)
    return np.repeat(pixels.astype(np.float32), 3, 2), above, mask, drawn & ~mask


def peak_at(row, column):
    y, x = np.mgrid[0:160, 0:160]
    return (100 - np.hypot(y - row, x - column)).astype(np.float32)


def learned(*lines):
    """What panes with these lines, a little stronger, and no flaw show."""
    panes = (pane_with(lines=list(one), flaw=0, contrast=0.07) for one in lines)
    return strongest(usual for pixels, above, *_ in panes for usual in shown_by(pixels, above, 8))


def test_what_good_parts_show_is_no_defect_beside_one():
    pixels, above, mask, lines = pane_with(lines=[60, 84], flaw=-0.2)
    assert (outline(pixels, above, 8) & lines).any()
    usual = learned([60, 84], [60, 110], [40, 84])
    assert iou(outline(pixels, above, 8, usual, peak_at(73, 73)), mask) > 0.9
    assert len(find_defects(peak_at(73, 73), 80, pixels, source="image")) > 1
    assert len(find_defects(peak_at(73, 73), 80, pixels, source="image", usual=usual)) == 1


def test_a_flaw_as_faint_as_good_parts_is_outlined_where_the_map_is_highest_on_it():
    pixels, above, mask, _ = pane_with(lines=[60, 84], flaw=-0.06)
    usual = Usual(strengths=(100.0,) * len(SMOOTHINGS_PX), energy=3)
    assert iou(outline(pixels, above, 8, usual, peak_at(73, 73)), mask) > 0.9
    on_line = outline(pixels, above, 8, usual, peak_at(73, 84))
    assert on_line[60:86, 84].all()
    assert not (on_line & mask).any()
    assert not on_line[:, 60].any()


def test_a_region_that_hardly_rises_beside_a_clear_one_has_to_show_something():
    pixels, above, mask, _ = pane_with(lines=[60, 84], flaw=-0.2)
    usual = learned([60, 84], [60, 110], [40, 84])
    anomaly_map = np.where(above, peak_at(73, 73), np.float32(0))
    above = above.copy()
    above[120:140, 120:140] = True
    low, high = anomaly_map[anomaly_map > 0].min(), anomaly_map.max()
    for share, listed in ((0.05, False), (0.15, True)):
        anomaly_map[120:140, 120:140] = low + share * (high - low)
        found = outline(pixels, above, 8, usual, anomaly_map)
        assert iou(found[:112], mask[:112]) > 0.9
        assert found[112:].any() == listed
        assert outline(pixels, above, 8, None, anomaly_map)[120:140, 120:140].all()
    pixels[128:133, 128:133] -= np.float32(0.1)
    anomaly_map[120:140, 120:140] = low + np.float32(0.05) * (high - low)
    assert outline(pixels, above, 8, usual, anomaly_map)[128:133, 128:133].all()


def test_a_flaw_on_a_line_is_outlined_without_the_line():
    pixels, above, mask, _ = pane_with(lines=[73], flaw=0.2)
    assert outline(pixels, above, 8)[50:60, 73].mean() > 0.7
    found = outline(pixels, above, 8, learned([73], [60, 84]), peak_at(73, 73))
    assert iou(found, mask) > 0.7
    assert not found[50:60, 73].any()


def test_where_only_what_good_parts_show_is_found_the_map_outlines():
    pixels, above, _, _ = pane_with(lines=[60, 84], flaw=0)
    assert not np.array_equal(outline(pixels, above, 8), above)
    assert np.array_equal(outline(pixels, above, 8, learned([60, 84]), peak_at(73, 73)), above)


def test_what_good_parts_show_does_not_have_to_be_explained():
    """A small flaw is outlined although the lines of its region deviate more in all."""
    pixels, above, mask, _ = pane_with(lines=list(range(55, 100, 12)), flaw=-0.1)
    usual = Usual(strengths=(100.0,) * len(SMOOTHINGS_PX), energy=1)
    assert np.array_equal(outline(pixels, above, 8, usual, peak_at(73, 73)), above)
    learned_energy = usual.model_copy(update={"energy": learned(range(55, 100, 12)).energy})
    assert iou(outline(pixels, above, 8, learned_energy, peak_at(73, 73)), mask) > 0.9


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), top=st.integers(0, 190), left=st.integers(0, 190), side=st.integers(8, 66))
def test_nothing_is_outlined_that_was_learned_from_the_same_window(seed, top, left, side):
    pixels = np.repeat(draw_pane(np.random.default_rng(seed))[..., None], 3, 2)
    above = np.zeros((256, 256), bool)
    above[top : top + side, left : left + side] = True
    (usual,) = shown_by(pixels, above, 8)
    plain = np.argwhere(above & ~(outline(pixels, above, 8) & ~above))
    anomaly_map = np.zeros((256, 256), np.float32)
    anomaly_map[tuple(plain[0])] = 1
    found = outline(pixels, above, 8, usual, anomaly_map)
    assert np.array_equal(found, above) or found[tuple(plain[0])]


@pytest.mark.parametrize("contrast", [0.05, 0.1, 0.2])
def test_strength_and_energy_are_those_of_the_window(contrast):
    pixels = (0.5 + np.random.default_rng(1).normal(0, 0.004, (200, 200, 1))).astype(np.float32)
    pixels[90:110, 99:101] += np.float32(contrast)
    above = np.zeros((200, 200), bool)
    above[80:120, 80:120] = True
    (usual,) = shown_by(pixels, above, 8)
    assert usual.strengths[0] == pytest.approx(contrast / 0.004, rel=0.1)
    assert usual.energy == pytest.approx(1 + 40 * contrast**2 / (1600 * 0.004**2), rel=0.1)


def test_the_most_of_several_windows_counts():
    one, two = (Usual(strengths=(k, *(5.0,) * (len(SMOOTHINGS_PX) - 1)), energy=e) for k, e in ((7.0, 1.5), (6.0, 2.5)))
    assert strongest([one, two]) == Usual(strengths=one.strengths, energy=2.5)
    assert strongest([]) is None


def test_the_background_under_a_flaw_is_that_beside_it():
    y, x = np.mgrid[0:120, 0:120].astype(np.float32)
    light = 0.3 + 0.002 * x + 0.001 * y
    flawed = light.copy()
    flawed[55:63, 20:100] += np.float32(0.2)
    regions = np.zeros((120, 120), bool)
    regions[45:73, 10:110] = True
    found = deviate(flawed[..., None], regions, 28)
    assert np.abs(found.background - light).max() < 0.004
    assert found.values[55:63, 20:100] == pytest.approx(0.2, abs=0.004)


def test_noise_is_told_where_most_values_are():
    values = np.random.default_rng(0).normal(0, 0.02, 50_000).astype(np.float32)
    assert noise_level(values) == pytest.approx(0.02, rel=0.02)
    values[::50] = 1
    assert noise_level(values) == pytest.approx(0.02, rel=0.1)


def test_grey_is_one_channel():
    grey = np.repeat(np.random.default_rng(0).random((5, 6, 1), np.float32), 3, 2)
    assert without_repeated_channels(grey).shape == (5, 6, 1)
    grey[2, 3, 1] += 1
    assert without_repeated_channels(grey) is grey


def test_hundreds_of_regions_are_listed_and_the_strongest_measured():
    anomaly_map = np.zeros((400, 400), np.float32)
    anomaly_map[::20, ::20] = np.arange(1, 401).reshape(20, 20)
    read = lambda: np.full((400, 400, 3), 0.5, np.float32)  # noqa: E731
    found = find_measured(anomaly_map, 0.5, read, Measuring(outline="image"), 12)
    assert [d.peak for d in found.defects] == list(range(400, 0, -1))
    assert [bool(d.kind) for d in found.defects] == [True] * MAX_MEASURED_DEFECTS + [False] * 300
    assert found.notes == ("Of its 400 defects, the 100 with the highest peaks are measured.",)
    assert found.defects[-1] == Defect((0, 0, 1, 1), 1, 1.0, (0.0, 0.0))


def test_an_image_that_has_gone_is_outlined_by_its_map():
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[10:20, 10:40] = 1

    def read():
        raise DataError("Cannot read 'gone.png': no such file.")

    found = find_measured(anomaly_map, 0.5, read, Measuring(outline="image", mm_per_px=0.5), 8)
    (defect,) = found.defects
    assert (defect.kind, defect.area_px, defect.contrast, defect.length_mm) == ("area", 300, None, pytest.approx(15))
    assert found.notes[0].endswith("without contrast: Cannot read 'gone.png': no such file.")


def test_the_margin_is_as_large_as_the_network_sees_it():
    assert margin_of((256, 256), (256, 256)) == 8
    assert margin_of((1024, 2048), (256, 256)) == 64
    assert margin_of((64, 64), (256, 256)) == 4
    assert [margin_at(reduction) for reduction in (1, 3)] == [8, 24]
