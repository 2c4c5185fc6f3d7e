"""The gate: as a slow reference computes it, blind to light, seams and usual lines, and not to bold ones."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.acquisition import contrast as contrast_module
from pellucid.acquisition import gate as gate_module
from pellucid.acquisition.contrast import (
    CHANNELS,
    LINE_SURROUNDINGS,
    LINE_WIDTHS_PX,
    PATCH_PX,
    SURROUNDINGS_PX,
    cut_strips,
    measure_contrast,
    segment_edges,
    to_grey,
)
from pellucid.acquisition.gate import UNIT_PX, Gate
from pellucid.acquisition.looks import STEP_PX, Look, cover
from pellucid.errors import DataError, ParameterError

CELL, CONTEXT = 64, 16


def _noisy(rows: int, columns: int, seed: int, sigma: float = 1.5) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(140, sigma, (rows, columns)).round(), 0, 255).astype(np.uint8)


def _mirrored(index: int, length: int) -> int:
    while not 0 <= index < length:
        index = -index if index < 0 else 2 * (length - 1) - index
    return index


def _box(values: np.ndarray, side: int) -> np.ndarray:
    """Mean over squares, one pixel at a time."""
    rows, columns = values.shape
    mean = np.empty((rows, columns))
    for y in range(rows):
        near_y = [_mirrored(y + d, rows) for d in range(-(side // 2), side // 2 + 1)]
        for x in range(columns):
            near_x = [_mirrored(x + d, columns) for d in range(-(side // 2), side // 2 + 1)]
            mean[y, x] = values[np.ix_(near_y, near_x)].mean()
    return mean


def _halved(values: np.ndarray) -> np.ndarray:
    rows, columns = (side // 2 for side in values.shape)
    return values.reshape(rows, 2, columns, 2).mean((1, 3))


def _reference(strip: np.ndarray, above: int, below: int) -> list[np.ndarray]:
    last = len(strip) - below
    edges = segment_edges(last - above) + above
    reduced = cv2.copyMakeBorder(strip, 0, -len(strip) % 8, 0, -strip.shape[1] % 8, cv2.BORDER_REFLECT_101).astype(
        float
    )
    found: dict[tuple[str, int], np.ndarray] = {}

    def highest(values: np.ndarray, level: int) -> np.ndarray:
        spans = zip(edges[:-1] // 2**level, -(-edges[1:] // 2**level), strict=True)
        return np.array([values[a : max(b, a + 1)].max(0) for a, b in spans])[:, : -(-strip.shape[1] // 2**level)]

    for level in range(4):
        if level:
            reduced = _halved(reduced)
        around = _box(reduced, SURROUNDINGS_PX)
        off = reduced - (around.round() if level == 0 else around)
        found["bright", level], found["dark", level] = highest(off, level), highest(-off, level)
        if level < 3:
            power = _halved(off**2)
            power = np.floor(power + 0.5) if level == 0 else power
            found["texture", level + 1] = highest(_box(power, PATCH_PX), level + 1)
    means = np.array([strip[a:b].mean(0) for a, b in itertools.pairwise(edges)])
    lines = []
    for width in LINE_WIDTHS_PX:
        row_means = [
            [np.mean([row[_mirrored(x + d, len(row))] for d in range(-(n // 2), n // 2 + 1)]) for x in range(len(row))]
            for n in (width, width * LINE_SURROUNDINGS)
            for row in means
        ]
        line = np.array(row_means[: len(means)]) - np.array(row_means[len(means) :])
        lines += [line, -line]
    return [found[channel] for channel in CHANNELS[: -len(lines)]] + lines


@given(st.integers(0, 99), st.integers(17, 40), st.integers(20, 45), st.sampled_from([0, 8, 16]))
@settings(max_examples=12)
def test_contrast_is_that_of_the_slow_reference(seed, rows, columns, above):
    strip = _noisy(rows + above, columns, seed, sigma=8)
    found = measure_contrast(strip, above, 0)
    for (kind, level), fast, slow in zip(CHANNELS, found.strongest, _reference(strip, above, 0), strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-3, err_msg=f"{kind} {level}")
    np.testing.assert_allclose(found.light, strip[above:].mean(0), rtol=1e-6)


def test_chunks_of_columns_change_nothing(monkeypatch):
    strip = _noisy(120, 700, 1)
    whole = measure_contrast(strip, 24, 24)
    monkeypatch.setattr(contrast_module, "CHUNK_COLUMNS", 128)
    for one, other in zip(whole.strongest, measure_contrast(strip, 24, 24).strongest, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def _glass(
    seed: int, *, rows: int = 512, columns: int = 512, lines: dict[int, float] | None = None, lamp: float = 1
) -> np.ndarray:
    """Light that falls off to the sides, a seam between two cameras, lines of 2 px, noise."""
    x = np.arange(columns)
    light = lamp * 150 * (1 - 0.2 * ((x % 256) / 128 - 1) ** 2) * np.where(x < 256, 1, 0.93)
    for at, strength in (lines or {}).items():
        light[at : at + 2] *= 1 + strength
    noise = np.random.default_rng(seed).normal(0, 1.2 * lamp, (rows, columns))
    return np.clip((light + noise).round(), 0, 255).astype(np.uint8)


USUAL_LINES = {100: 0.08, 333: -0.06}


@pytest.fixture(scope="module")
def gate() -> Gate:
    good = [_glass(seed, lines={at: s * (0.9 + 0.02 * seed) for at, s in USUAL_LINES.items()}) for seed in range(10)]
    return Gate.fit(good, CELL, CONTEXT)


THRESHOLD = 8.0


def _passing(gate: Gate, pixels: np.ndarray) -> set[tuple[int, int]]:
    found = gate.with_threshold(THRESHOLD).candidates(pixels)
    assert found.shape == (-(-pixels.shape[0] // CELL), -(-pixels.shape[1] // CELL))
    return {(int(row), int(column)) for row, column in np.argwhere(found)}


def test_good_glass_does_not_pass(gate):
    assert _passing(gate, _glass(99, lines=USUAL_LINES)) == set()


@pytest.mark.parametrize("lamp", [0.85, 0.95, 1.1])
def test_another_lamp_changes_nothing(gate, lamp):
    assert len(_passing(gate, _glass(98, lines=USUAL_LINES, lamp=lamp))) <= 1
    flawed = _glass(98, lines=USUAL_LINES | {221: 0.04}, lamp=lamp)
    assert {column for _, column in _passing(gate, flawed)} >= {221 // CELL}


@pytest.mark.parametrize("size", [2, 5, 12, 30])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_spot_passes_where_it_is(gate, size, sign):
    pixels = _glass(97, lines=USUAL_LINES).astype(float)
    cv2.circle(spot := np.zeros(pixels.shape, np.float32), (224, 288), size // 2, 1, -1)
    flawed = np.clip(pixels * (1 + sign * 0.15 * spot), 0, 255).astype(np.uint8)
    assert (288 // CELL, 224 // CELL) in _passing(gate, flawed)
    assert len(_passing(gate, flawed)) <= 4  # it lies in the middle of its tile


def test_a_scratch_fainter_than_the_noise_of_a_pixel_passes(gate):
    pixels = _glass(96, lines=USUAL_LINES).astype(float)
    cv2.line(scratch := np.zeros(pixels.shape, np.float32), (200, 275), (245, 300), 1, 2)
    flawed = (pixels - 2.2 * scratch).round().astype(np.uint8)
    assert _passing(gate, flawed) == {(4, 3)}


def test_a_line_passes_where_it_is_bolder_than_those_that_were_learned_there(gate):
    assert _passing(gate, _glass(95, lines={104: 0.08, 333: -0.06})) == set()  # it wandered by 4 px
    bolder = _passing(gate, _glass(95, lines={100: 0.14, 333: -0.06}))
    assert {column for _, column in bolder} == {100 // CELL}
    assert len(bolder) >= 7  # all along
    elsewhere = _passing(gate, _glass(95, lines={100: 0.08, 333: -0.06, 220: 0.05}))
    assert {column for _, column in elsewhere} == {220 // CELL}
    changed = _passing(gate, _glass(95, lines={100: 0.08, 333: 0.06}))  # dark was usual
    assert {column for _, column in changed} <= {333 // CELL, 333 // CELL - 1}  # it lies near the border of its tile
    assert len(changed) >= 8


def test_a_faint_line_is_found_as_a_line(gate):
    pixels = _glass(94, lines=USUAL_LINES | {221: 0.012})
    strip = cut_strips(pixels, CELL, CONTEXT)[2]
    assert gate.strongest_channels(*strip)[221 // CELL] == "bright line"
    assert gate.strip_strengths(*strip)[221 // CELL] > THRESHOLD


def test_a_stain_over_a_whole_tile_is_told_by_its_light(gate):
    pixels = _glass(93, lines=USUAL_LINES).astype(float)
    ramp = np.clip(np.minimum(np.arange(512) - 130, 400 - np.arange(512)) / 100, 0, 1)
    flawed = (pixels * (1 - 0.1 * ramp[:, None] * ramp[None])).astype(np.uint8)
    assert (4, 4) in _passing(gate, flawed)


def test_the_strengths_are_computed_as_the_docstrings_say():
    """Tile by tile and column by column, from the contrast of the strip."""
    strip = cut_strips(_glass(92, rows=64, columns=150), CELL, CONTEXT)[0]
    wide = Gate.fit([_glass(s, rows=128, columns=150) for s in range(3)], CELL, CONTEXT)
    contrast = measure_contrast(*strip)
    ratios = [contrast.light[a : a + CELL].sum() / wide.light[a : a + CELL].sum() for a in range(0, 150, CELL)]
    expected = np.full((len(CHANNELS) + 1, 3), -np.inf)
    begin = 0
    for number, (kind, level) in enumerate(CHANNELS):
        values = contrast.strongest[number]
        for x in range(values.shape[1]):
            tile = (x << level) // CELL
            value = values[:, x].max() / ratios[tile] ** (2 if kind == "texture" else 1)
            excess = (value - wide.high[begin + x]) / wide.spread[begin + x]
            expected[number, tile] = max(expected[number, tile], excess)
        begin += values.shape[1]
    expected[-1] = np.abs(np.log(np.array(ratios) / np.median(ratios)))
    expected = (expected - wide.rare[:, :1]) / wide.rare[:, 1:]
    np.testing.assert_allclose(wide.channel_strengths(*strip), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(wide.strip_strengths(*strip), expected.max(0), rtol=1e-3)


def test_the_profile_is_learned_by_column():
    """Mean and variance over the segments of good images, the highest mean within 8 px, the mean variance there."""
    good = [_glass(seed, rows=128, columns=96) for seed in range(4)]
    fitted = Gate.fit(good, 32, 0)
    np.testing.assert_allclose(fitted.light, np.mean([one.mean(0) for one in good], axis=0), rtol=1e-6)
    values = []
    for one in good:
        for strip in cut_strips(one, 32, 0):
            contrast = measure_contrast(*strip)
            ratio = [contrast.light[a : a + 32].sum() / fitted.light[a : a + 32].sum() for a in range(0, 96, 32)]
            values += list(contrast.strongest[0] / np.repeat(ratio, 32))
    mean, variance = np.mean(values, 0), np.var(values, 0)
    for x in (0, 40, 95):
        near = [k for k in range(x - 8, x + 9) if 0 <= k < 96]
        assert fitted.high[x] == pytest.approx(mean[near].max(), rel=1e-5)
        around = [k if 0 <= k < 96 else (-k - 1 if k < 0 else 191 - k) for k in range(x - 8, x + 9)]
        high = np.array([mean[[k for k in range(c - 8, c + 9) if 0 <= k < 96]].max() for c in range(96)])
        changes = 0.1 * max(high[x] - np.median(high), 0)
        assert fitted.spread[x] == pytest.approx(math.sqrt(variance[around].mean() + changes**2 + 1 / 12), rel=1e-4)


def test_rows_of_tiles_do_not_depend_on_what_else_is_in_memory(gate):
    pixels = _glass(91, rows=300, lines=USUAL_LINES)
    whole = gate.strengths(pixels)
    assert whole.shape == (5, 8)
    mirrored = cv2.copyMakeBorder(pixels, CONTEXT, CONTEXT, 0, 0, cv2.BORDER_REFLECT_101)
    for row in range(5):
        top, bottom = row * CELL, min(row * CELL + CELL, 300)
        np.testing.assert_array_equal(
            gate.strip_strengths(mirrored[top : bottom + 2 * CONTEXT], CONTEXT, CONTEXT), whole[row]
        )


def test_tiles_pass_as_in_the_whole_image(gate):
    """Also with a margin that is wider than what the gate looks at, and rows below the last one of the image."""
    pixels, margin = _glass(88, rows=300, lines={250: 0.1}), 40
    opened = gate.with_threshold(2.0)
    expected = opened.candidates(pixels)
    assert 0 < expected.sum() < expected.size
    mirrored = cv2.copyMakeBorder(pixels, margin, margin + CELL, 0, 0, cv2.BORDER_REFLECT_101)
    for row in range(5):
        strip = mirrored[row * CELL : row * CELL + CELL + 2 * margin]
        rows = min(CELL, 300 - row * CELL)
        looks = [Look(0, tile * opened.cell, opened.cell, opened.cell) for tile in np.flatnonzero(expected[row])]
        assert opened.looks(strip, margin, rows) == looks


def test_pixels_of_every_type_are_the_same_glass(gate):
    pixels = _glass(90, rows=128)
    expected = gate.strengths(pixels)
    floats = pixels.astype(np.float32) / np.float32(255)
    for same in (
        floats[..., None],
        floats,
        np.repeat(floats[..., None], 3, 2),
        np.repeat(pixels[..., None], 3, 2),
        pixels.astype(np.uint16) * 257,
    ):
        np.testing.assert_array_equal(to_grey(same), pixels)
        np.testing.assert_array_equal(gate.strengths(same), expected)


def test_images_of_several_widths_have_one_profile():
    several = Gate.fit([_noisy(640, 200, 1), _noisy(640, 264, 2), _noisy(320, 264, 3)], CELL, CONTEXT)
    assert len(several.light) == 1
    assert several.light[0] == pytest.approx(140, rel=0.01)
    assert len(several.high) == len(CHANNELS)
    assert several.strengths(_noisy(64, 500, 4)).max() < THRESHOLD
    flawed = _noisy(64, 500, 4)
    flawed[30:33, 100:103] -= 20
    assert several.strengths(flawed)[0].argmax() == 1


def test_another_width_is_compared_with_all_columns(gate):
    other = _noisy(64, 300, 5)
    flawed = other.copy()
    flawed[30:36, 100:106] -= 40
    assert gate.strengths(flawed)[0, 1] > gate.strengths(other)[0, 1] + 5


def test_a_gate_is_stored_as_arrays(gate):
    one = gate.with_threshold(3.25)
    other = Gate.from_state(one.state())
    assert (other.cell, other.context, other.threshold) == (CELL, CONTEXT, 3.25)
    pixels = _glass(89)
    np.testing.assert_array_equal(one.strengths(pixels), other.strengths(pixels))


def test_before_a_threshold_is_set_every_tile_passes(gate):
    assert gate.candidates(_glass(1)).all()


def test_what_cannot_be_fitted_is_said():
    with pytest.raises(DataError, match="no images of good glass to learn from"):
        Gate.fit([], CELL, CONTEXT)
    with pytest.raises(ParameterError, match="cell=60 is not allowed: a tile's interior is a multiple of 8 px"):
        Gate.fit([_noisy(64, 64, 1)], 60, CONTEXT)


CLOSE_UPS_PX = ((128, 128), (192, 192), (384, 128))


@pytest.fixture(scope="module")
def close_gate() -> Gate:
    """Of tiles of 512 px with a margin of 64; its units are judged with their strip."""
    images = [_noisy(768, 1100, seed) for seed in range(4)]
    return Gate.fit(images, 384, 64).with_close_ups(*CLOSE_UPS_PX)


@pytest.mark.parametrize("rows", [384, 96, 50, 20])
def test_the_strongest_unit_is_that_of_its_tile(close_gate, rows):
    strip = _noisy(rows + 128, 1100, 9)
    strip[70:76, 500:506] = 90
    units = close_gate.unit_strengths(strip, 64, 64)
    assert units.shape == (max(1, round(rows / 32)), math.ceil(1100 / UNIT_PX))
    tiles = [units[:, left : left + 12].max() for left in range(0, units.shape[1], 12)]
    np.testing.assert_array_equal(tiles, close_gate.strip_strengths(strip, 64, 64))
    segment, unit = np.unravel_index(units.argmax(), units.shape)
    assert (segment, unit) == (0, 500 // UNIT_PX)


def test_what_is_around_a_candidate_is_computed_and_little_more(close_gate):
    glass = _noisy(384 + 128, 1100, 9)
    units = close_gate.unit_strengths(glass, 64, 64)
    opened = close_gate.with_threshold(float(units.max()))
    assert opened.looks(glass, 64, 384) == []
    for y, x in ((5, 3), (200, 500), (380, 1090), (160, 384)):
        flawed = glass.copy()
        flawed[64 + y - 2 : 64 + y + 3, max(0, x - 2) : x + 3] -= 15
        looks = opened.looks(flawed, 64, 384)
        assert 1 <= len(looks) <= 3
        assert all(look.size in CLOSE_UPS_PX and look.row % STEP_PX == look.column % STEP_PX == 0 for look in looks)
        seen = _painted(looks, (384, 1100))
        around = np.s_[max(0, y - UNIT_PX) : y + UNIT_PX, max(0, x - UNIT_PX) : x + UNIT_PX]
        assert seen[around].all()


def test_a_tile_with_much_in_it_is_computed_as_a_whole(close_gate):
    glass = _noisy(384 + 128, 1100, 9)
    opened = close_gate.with_threshold(float(close_gate.unit_strengths(glass, 64, 64).max()))
    rng = np.random.default_rng(0)
    for y, x in rng.integers(0, 380, (60, 2)):
        glass[64 + y : 68 + y, 384 + x : 388 + x] = 60
    looks = opened.looks(glass, 64, 384)
    assert Look(0, 384, 384, 384) in looks
    assert not any(look.size in CLOSE_UPS_PX and 384 <= look.column < 768 - look.width for look in looks)
    shade = glass.copy()
    shade[:, 384:768] = shade[:, 384:768] // 2  # light is one for all of a tile
    assert Look(0, 384, 384, 384) in opened.looks(shade, 64, 384)


def test_a_bolder_line_is_no_spot_from_end_to_end(close_gate, monkeypatch):
    """What all of a column shows is a line's business; a spot on it is compared with it, and found."""
    glass = _noisy(384 + 128, 1100, 9)
    lined = np.clip(glass.astype(np.int16) + 25 * (np.abs(np.arange(1100) - 700) < 4), 0, 255).astype(np.uint8)
    spotted = lined.copy()
    spotted[200:204, 699:703] = 255
    spots = np.array(["line" not in kind for kind, _ in CHANNELS] + [False])

    def excess(strip):
        return close_gate._excess(measure_contrast(strip, 64, 64), UNIT_PX, by_segment=True)

    line, spot = excess(lined), excess(spotted)
    assert spot[spots].max() > line[spots].max() + 10
    assert line[~spots].max() > 50
    monkeypatch.setattr(gate_module, "MIN_SEGMENTS", 1000)
    assert line[spots].max() < excess(lined)[spots].max() / 5


def test_a_spot_on_a_line_that_was_learned_stands_out():
    """Lines are of other strength in every image, so that what is usual at their columns spreads widely."""
    lines = np.abs(np.arange(1100) - 700) < 4

    def lined(seed):
        return np.clip(_noisy(512, 1100, seed).astype(np.int16) + 3 * seed * lines, 0, 255).astype(np.uint8)

    learned = Gate.fit([lined(seed) for seed in range(1, 9)], 384, 64)
    of_before = Gate.from_state({name: array for name, array in learned.state().items() if name != "spread_along"})
    clean, spotted = lined(4), lined(4)
    spotted[200:204, 698:702] -= 14

    def strength(gate, strip):
        return gate.unit_strengths(strip, 64, 64)[:, 700 // UNIT_PX].max()

    assert strength(of_before, spotted) < strength(of_before, clean) + 5
    assert strength(learned, spotted) > strength(learned, clean) + 50


def test_low_strips_are_compared_with_what_was_learned(close_gate):
    """Of fewer than five segments none is what a column shows all along; nor does a gate know it that learned none."""
    low = Gate.fit([_noisy(120, 400, seed) for seed in range(4)], 384, 64)
    assert low.spread_along.size == 0
    high = _noisy(512, 400, 9)
    high[200:204, 200:204] -= 30
    assert low.strengths(high).max() > low.strengths(_noisy(512, 400, 9)).max() + 5
    strip = _noisy(128 + 100, 1100, 9)
    of_before = Gate.from_state({name: array for name, array in close_gate.state().items() if name != "spread_along"})
    np.testing.assert_array_equal(
        close_gate._excess(measure_contrast(strip, 64, 64), UNIT_PX),
        of_before._excess(measure_contrast(strip, 64, 64), UNIT_PX),
    )


def _painted(looks: list[Look], size: tuple[int, int]) -> np.ndarray:
    seen = np.zeros(size, bool)
    for row, column, height, width in looks:
        seen[row : row + height, column : column + width] = True
    return seen


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=3),
    st.floats(0, 0.5),
    st.integers(0, 99),
)
def test_all_that_is_marked_is_covered_and_nothing_is_for_nothing(rows, columns, cells, share, seed):
    marked = np.random.default_rng(seed).random((rows, columns)) < share
    left, looks = marked.copy(), cover(marked, [(STEP_PX * height, STEP_PX * width) for height, width in cells], 96)
    for look in looks:
        row, column, height, width = (px // STEP_PX for px in look)
        part = left[row : row + height, column : column + width]
        assert part.any()
        assert row == 0 or row + height <= rows
        part[:] = False
    assert not left.any()


def test_looks_have_the_size_that_is_least_work():
    marked = np.zeros((13, 60), np.bool_)
    marked[4, 3] = marked[5:7, 20:22] = marked[2:5, 40:43] = marked[2:, 50] = True  # the last is a line
    sizes = [(64, 64), (128, 128), (192, 192), (13 * 64, 64)]
    assert {look.size: (look.row, look.column) for look in cover(marked, sizes, 96)} == {
        (64, 64): (4 * 64, 3 * 64),
        (128, 128): (5 * 64, 20 * 64),
        (192, 192): (2 * 64, 40 * 64),
        (13 * 64, 64): (0, 50 * 64),
    }


def test_gates_of_before_have_the_close_ups_that_they_had(close_gate):
    state = close_gate.state()
    assert Gate.from_state(state).close_ups == CLOSE_UPS_PX
    del state["close_ups"]  # they were squares, and their sides behind the other sizes, or a 0 for none
    for sides, expected in (([], ()), ([0], ()), ([128], ((128, 128),)), ([128, 192], ((128, 128), (192, 192)))):
        old = Gate.from_state(state | {"sizes": np.array([close_gate.cell, close_gate.context, *sides])})
        assert (old.close_ups, old.cell) == (expected, close_gate.cell)
