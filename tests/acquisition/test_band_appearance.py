"""What an image in bands looks like is what the whole looks like, and no band's height moves it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.acquisition.band_appearance import BandAppearance, describe, seen_whole
from pellucid.acquisition.images import to_floats
from pellucid.synthesis.glass import draw_pane


def in_bands(pixels, rows):
    found = BandAppearance(pixels.shape[1])
    for top in range(0, len(pixels), rows):
        found.add(pixels[top : top + rows])
    return found, found.finish()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 300),
    rows=st.integers(1, 700),
    grey_rows=st.sampled_from([0, 100, 700]),
    eight_bit=st.booleans(),
    seed=st.integers(0, 9),
)
def test_bands_look_like_the_whole(height, width, rows, grey_rows, eight_bit, seed):
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.linspace(0.2, 0.9, width) + rng.normal(0, 0.1, (height, width)), 0, 1)
    pixels = np.repeat(pixels[..., None], 3, 2).astype(np.float32)
    pixels[grey_rows:] *= np.array([1, 0.9, 0.8], np.float32)
    values = (pixels * 255).astype(np.uint8)
    if eight_bit:
        pixels = to_floats(values)
    found = BandAppearance(width)
    for top in range(0, height, rows):
        band = (values if eight_bit else pixels)[top : top + rows]
        found.add(band[..., :1] if top + rows <= grey_rows else band)
    seen, expected = found.finish(), asdict(describe(pixels))
    assert seen == in_bands(pixels, rows)[1]
    assert asdict(seen) == pytest.approx(expected, rel=1e-9)


def test_what_is_constant_or_noise_is_found_out_in_bands():
    flat = np.full((300, 64, 3), 0.5, np.float32)
    assert in_bands(flat, 7)[0].is_constant
    flat[290, 60, 1] = 0.6
    assert not in_bands(flat, 7)[0].is_constant
    fitted = describe(np.repeat(draw_pane(np.random.default_rng(0))[..., None], 3, 2))
    noise = np.repeat(np.random.default_rng(0).random((512, 256, 1), np.float32), 3, 2)
    for pixels in (noise, noise + np.linspace(0, 9, 256, dtype=np.float32)[:, None], noise * 0 + noise[:1]):
        found, appearance = in_bands(pixels, 100)
        whole = seen_whole(pixels)
        assert found.is_noise(appearance, fitted) == whole.is_noise(whole.finish(), fitted)
    found, appearance = in_bands(noise, 100)
    assert found.is_noise(appearance, fitted)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("rows", [60, 1000])
def test_a_line_is_stuck_where_it_has_no_noise_of_its_own(axis, rows):
    glass = np.random.default_rng(3).normal(0.5, 0.02, (300, 260)).astype(np.float32)
    for line, expected in (
        (lambda one: one * 0 + 0.8, True),  # constant
        (lambda one: one * 0, True),
        (lambda one: one + 0.3, False),  # drawn: brighter glass
        (lambda one: one * 0.6, False),  # a dark scratch has less light, and less noise
    ):
        for place in (40, 130):
            for thickness in (1, 3):
                pixels = glass.T.copy() if axis else glass.copy()
                for k in range(place, place + thickness):
                    pixels[k] = line(pixels[k])
                pixels = np.round((pixels.T if axis else pixels) * 255).astype(np.float32)[..., None] / 255
                found, _ = in_bands(np.ascontiguousarray(pixels), rows)
                assert found.line_is_stuck() == expected


def test_without_noise_around_it_a_line_is_not_called_stuck():
    smooth = np.repeat(np.linspace(0.4, 0.6, 64, dtype=np.float32)[None, :, None], 200, 0)
    smooth[:, 30] = 0.9
    found, _ = in_bands(smooth, 50)
    assert not found.line_is_stuck()
