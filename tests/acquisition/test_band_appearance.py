"""What an image in bands looks like is what the whole looks like, and no band's height moves it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.acquisition.appearance import describe, is_noise
from pellucid.acquisition.band_appearance import BandAppearance
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
    grey=st.booleans(),
    seed=st.integers(0, 9),
)
def test_bands_look_like_the_whole(height, width, rows, grey, seed):
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.linspace(0.2, 0.9, width) + rng.normal(0, 0.1, (height, width)), 0, 1)
    pixels = np.repeat(pixels[..., None], 3, 2).astype(np.float32)
    if not grey:
        pixels *= np.array([1, 0.9, 0.8], np.float32)
    given_pixels = pixels[..., :1] if grey else pixels
    _, found = in_bands(given_pixels, rows)
    assert found == in_bands(given_pixels, 256)[1]
    expected = asdict(describe(pixels))
    coarse = dict.fromkeys(("contrast", "sharpness_x", "sharpness_y"), 0.1 if height % 8 or width % 8 else 1e-3)
    for name, value in asdict(found).items():
        assert value == pytest.approx(expected[name], rel=coarse.get(name, 2e-3), abs=2e-3), name


def test_what_is_constant_or_noise_is_found_out_in_bands():
    flat = np.full((300, 64, 3), 0.5, np.float32)
    assert in_bands(flat, 7)[0].is_constant
    flat[290, 60, 1] = 0.6
    assert not in_bands(flat, 7)[0].is_constant
    fitted = describe(np.repeat(draw_pane(np.random.default_rng(0))[..., None], 3, 2))
    noise = np.repeat(np.random.default_rng(0).random((512, 256, 1), np.float32), 3, 2)
    for pixels in (noise, noise + np.linspace(0, 9, 256, dtype=np.float32)[:, None], noise * 0 + noise[:1]):
        found, appearance = in_bands(pixels, 100)
        assert found.is_noise(appearance, fitted) == is_noise(pixels, describe(pixels), fitted)
    found, appearance = in_bands(noise, 100)
    assert found.is_noise(appearance, fitted)
