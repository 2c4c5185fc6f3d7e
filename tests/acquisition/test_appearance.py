"""What cannot be judged is recognised by what the image looks like; good images of other sessions are not."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.acquisition.appearance import TOLERANCES, Appearance, differences, fitted_range
from pellucid.acquisition.band_appearance import describe, seen_whole
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import DecodedImage, read_image
from pellucid.synthesis.glass import DEFECT_GENERATORS, draw_defective_pane, draw_pane

SIDE = 128


def stored(pixels):
    """As an 8-bit camera gives it."""
    return (np.round(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def pane(seed):
    grey = draw_pane(np.random.default_rng(seed))[:SIDE, :SIDE]
    return stored(np.repeat(grey[..., None], 3, 2))


@pytest.fixture(scope="module")
def fitted():
    lowest, highest = fitted_range([describe(pane(seed)) for seed in range(30)])
    return FittedImages(data_sha256="", lowest=lowest, highest=highest)


def noise(mean, deviation, seed=0):
    grey = np.random.default_rng(seed).normal(mean, deviation, (SIDE, SIDE, 1))
    return stored(np.repeat(grey, 3, 2))


def stuck_row(pixels, value, rows=1):
    changed = pixels.copy()
    changed[50 : 50 + rows] = value
    return changed


def shifted_bayer(pixels):
    """A raw image of a camera whose channels differ, made into colours by the pattern of the next row."""
    seen = pixels * [0.55, 1, 0.7] * 255
    raw = np.empty(seen.shape[:2], np.uint8)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        raw[row::2, column::2] = seen[row::2, column::2, channel]
    return stored(cv2.cvtColor(raw, cv2.COLOR_BayerGRBG2RGB) / 255 / [0.55, 1, 0.7])


FAR = {
    "a few per cent of the light": (lambda p: stored(p * 0.05 + noise(0, 0.004)), "darker"),
    "a fifth of the light": (lambda p: stored(p * 0.2 + noise(0, 0.004)), "darker"),
    "sensor noise in the dark": (lambda _: noise(3 / 255, 2 / 255), "darker"),
    "a lens blurred beyond anything": (lambda p: stored(cv2.GaussianBlur(p, (0, 0), 4)), "more blurred"),
    "all rows the same": (lambda p: np.repeat(p[:1], SIDE, 0), "more blurred down"),
    "all columns the same": (lambda p: np.repeat(p[:, :1], SIDE, 1), "more blurred across"),
    "overexposed": (lambda p: stored(p * 1.8), "more often white"),
    "half of the frame never came": (lambda p: np.where(np.arange(SIDE)[:, None, None] < 64, p, 0), "more often black"),
    "a black row": (lambda p: stuck_row(p, 0), "one line"),
    "three white rows": (lambda p: stuck_row(p, 1, 3), "one line"),
    "a black column": (lambda p: stuck_row(p.transpose(1, 0, 2), 0).transpose(1, 0, 2), "one line"),
    "colours of the wrong pattern": (shifted_bayer, "redder"),
    "another scale": (lambda p: cv2.resize(p, (SIDE * 8, SIDE * 8)), "wider"),
    "a thumbnail": (lambda p: cv2.resize(p, (40, 40), interpolation=cv2.INTER_AREA), "narrower"),
    "only the green channel": (lambda p: p * np.float32([0, 1, 0]), "less red"),
}


@pytest.mark.parametrize(("spoil", "word"), FAR.values(), ids=FAR)
def test_what_cannot_be_judged_says_why(spoil, word, fitted):
    for seed in (100, 101, 102):
        check = fitted.check(DecodedImage(spoil(pane(seed)).astype(np.float32)))
        assert check.reason.startswith("Not judged: the image is far from those fitted on: ")
        assert word in check.reason
        assert check.warnings == ()


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_one_flat_colour_is_a_dead_camera_even_for_a_model_that_remembers_nothing(value, fitted):
    flat = DecodedImage(np.full((SIDE, SIDE, 3), value, np.float32))
    for known in (fitted, FittedImages(data_sha256="")):
        assert known.check(flat).reason == (
            "Not judged: every pixel has the same value, as of a covered lens or a dead camera."
        )


@pytest.mark.parametrize("deviation", [1, 2, 5, 30])
@pytest.mark.parametrize("mean", [1, 128, 252])
def test_noise_alone_is_not_judged_whatever_its_level(mean, deviation, fitted):
    for seed in range(5):
        dead = DecodedImage(noise(mean / 255, deviation / 255, seed))
        assert fitted.check(dead).reason.startswith("Not judged: ")


def test_noise_of_the_light_and_contrast_of_the_fitted_images_has_its_own_sentence(fitted):
    highest = replace(fitted.highest, sharpness_x=4.1, sharpness_y=4.1)  # as of flatglass_line
    dead = DecodedImage(noise(0.55, 4 / 255))
    known = fitted.model_copy(update={"highest": highest})
    assert known.check(dead).reason == "Not judged: the image is nothing but noise, as of a covered lens."
    grainy = fitted.model_copy(update={"highest": replace(highest, sharpness_x=7.5, sharpness_y=7.5)})
    assert grainy.check(dead).reason == ""  # whoever fitted on noise gets it judged


def test_a_grainy_image_that_shows_something_is_not_noise_alone(fitted):
    ramp = np.linspace(0.4, 0.7, SIDE, dtype=np.float32)[None, :, None]
    grainy = stored(np.repeat(ramp, 3, 2) + noise(0.5, 20 / 255) - 0.5)
    sharp = replace(describe(grainy), sharpness_x=9, sharpness_y=9)
    for pixels, expected in ((grainy, False), (noise(0.5, 20 / 255), True)):
        seen = seen_whole(pixels)
        seen.finish()
        assert seen.is_noise(sharp, fitted.highest) == expected


NOTICEABLE = {
    "half of the light": (lambda p: stored(p * 0.45), "darker"),
    "twice the size": (
        lambda p: cv2.resize(p, (SIDE * 2, SIDE * 2)) + noise(0, 0.006, 1).repeat(2, 0).repeat(2, 1),
        "",
    ),
    "out of focus": (lambda p: stored(cv2.GaussianBlur(p, (0, 0), 0.7)), "blurred"),
    "another white balance": (lambda p: stored(p * np.float32([1.3, 1, 1])), "redder"),
}


@pytest.mark.parametrize(("spoil", "word"), NOTICEABLE.values(), ids=NOTICEABLE)
def test_what_is_noticeable_warns_and_is_judged(spoil, word, fitted):
    check = fitted.check(DecodedImage(spoil(pane(100)).astype(np.float32)))
    assert check.reason == ""
    assert any(word in warning for warning in check.warnings)
    assert all(warning.startswith("Compared with those fitted on, the image is ") for warning in check.warnings)


def test_other_good_panes_and_defects_are_judged_without_a_word(fitted):
    rng = np.random.default_rng(7)
    kinds = tuple(DEFECT_GENERATORS)
    defective = [draw_defective_pane(rng, kinds[n % len(kinds)])[0][:SIDE, :SIDE] for n in range(24)]
    for image in [
        *(pane(seed) for seed in range(200, 240)),
        *(stored(np.repeat(d[..., None], 3, 2)) for d in defective),
    ]:
        assert fitted.check(DecodedImage(image)).reason == ""


def test_a_few_odd_images_do_not_widen_the_range():
    good = [describe(pane(seed)) for seed in range(60)]
    dead = [describe(noise(3 / 255, 2 / 255, seed)) for seed in range(1)]
    assert fitted_range([*good, *dead]) == fitted_range(good)
    many = [describe(noise(3 / 255, 2 / 255, seed)) for seed in range(20)]  # a second kind of image, not a few odd ones
    assert fitted_range([*good, *many])[0].light < 0.05


def test_one_image_has_a_range():
    one = describe(pane(0))
    assert fitted_range([one]) == (one, one)
    assert differences(one, one, one) == []


def test_every_value_has_a_tolerance_and_both_ends_are_told():
    assert list(TOLERANCES) == [field.name for field in fields(Appearance)]
    middle = describe(pane(0))
    for name, tolerance in TOLERANCES.items():
        value = getattr(middle, name)
        low = value / (tolerance.far * 1.1) if tolerance.is_ratio else value - tolerance.far * 1.1
        high = value * (tolerance.far * 1.1) if tolerance.is_ratio else value + tolerance.far * 1.1
        for other, word in ((low, tolerance.below), (high, tolerance.above)):
            found = differences(replace(middle, **{name: other}), middle, middle)
            assert [one.sentence.startswith(word) and one.excess > 1 for one in found] == ([True] if word else [])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_every_size_of_image_can_be_described(height, width, seed):
    pixels = np.random.default_rng(seed).random((height, width, 3), np.float32)
    found = describe(pixels)
    assert np.isfinite([getattr(found, field.name) for field in fields(found)]).all()
    assert (found.height, found.width) == (height, width)


def test_the_description_agrees_with_a_slow_one():
    pixels = pane(3)
    grey = (pixels * [0.299, 0.587, 0.114]).sum(2)
    found = describe(pixels)
    assert found.light == pytest.approx(pixels.mean(), abs=1e-4)
    coarse = grey.reshape(16, 8, 16, 8).mean((1, 3))
    steps = np.abs(np.diff(coarse, axis=0)).mean() / 2 + np.abs(np.diff(coarse, axis=1)).mean() / 2
    assert found.contrast == pytest.approx(steps / pixels.mean(), rel=0.05)
    assert found.sharpness_x == pytest.approx(np.abs(np.diff(grey, axis=1)).mean() / steps, rel=0.05)
    assert found.sharpness_y == pytest.approx(np.abs(np.diff(grey, axis=0)).mean() / steps, rel=0.05)


SETS = {
    "glass_defect": ("normal_train", "normal_test", lambda name: name[:4]),
    "magnetic_tile": ("train/good", "test/good", lambda name: name.split("_num")[0]),
    "flatglass_line": ("normal", None, lambda name: name.split("_ts")[0]),
}


@pytest.mark.parametrize("name", SETS)
def test_good_images_of_a_session_that_was_not_fitted_on_are_judged(name, shared):
    """False alarms, sessions apart: none in 960 real images."""
    train, test, session_of = SETS[name]
    folders = [shared / "data" / name / part for part in (train, test) if part]
    seen = {path: describe(read_image(path)) for folder in folders for path in sorted(folder.iterdir())}
    for session in {session_of(path.name) for path in seen}:
        fitted = [seen[path] for path in seen if session_of(path.name) != session]
        lowest, highest = fitted_range(fitted)
        for path in seen:
            if session_of(path.name) == session:
                assert [one.sentence for one in differences(seen[path], lowest, highest) if one.excess > 1] == []
