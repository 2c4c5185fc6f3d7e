"""Which images show the same: every way in which a photo comes back, and everything that only looks like it."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest
from panes import frame, jpeg, moved, pane, stored

from pellucid.acquisition import likeness
from pellucid.acquisition.images import read_image
from pellucid.acquisition.likeness import connected, find_alike, fingerprint

PANES = 12


def _groups(images):
    """A group for each image, as found."""
    return connected(find_alike([_fingerprint(i) for i in images]).pairs, len(images)).tolist()


def _fingerprint(grey):
    return fingerprint(np.repeat(np.float32(grey / 255)[..., None], 3, 2))


def _tiles(grey):
    return [grey[y : y + 96, x : x + 96] for y in (0, 32, 64) for x in (0, 32, 64)]


AGAIN = {
    "frames": lambda p, rng: [frame(p, rng) for _ in range(5)],
    "noisy frames": lambda p, rng: [frame(p, rng, noise=4) for _ in range(5)],
    "two frames": lambda p, rng: [frame(p, rng) for _ in range(2)],
    "flickering light": lambda p, rng: [frame(p, rng, gain=0.1) for _ in range(4)],
    "qualities": lambda p, rng: [jpeg(p + rng.normal(0, 1, p.shape), q) for q in (40, 60, 80, 95)],
    "sizes": lambda p, _rng: [
        cv2.resize(p, None, fx=f, fy=f, interpolation=cv2.INTER_AREA) for f in (1, 0.8, 0.6, 0.4)
    ],
    "brightness": lambda p, _rng: [stored(p * f + s) for f, s in ((1, 0), (0.7, 10), (1.1, 5), (0.9, -30))],
    "gamma": lambda p, _rng: [stored(255 * (p / 255) ** g) for g in (1, 0.6, 1.5)],
    "mirrored": lambda p, rng: [frame(q, rng, noise=1) for q in (p, p[:, ::-1], p[::-1], p[::-1, ::-1])],
    "moving": lambda p, rng: [frame(moved(p, 5 * k, -3 * k), rng, noise=1) for k in range(5)],
    "tiles": lambda p, _rng: _tiles(stored(p)),
    "noisy tiles": lambda p, rng: [frame(t, rng, noise=1) for t in _tiles(p)],
    "tiles as JPEG": lambda p, _rng: [jpeg(t, 90) for t in _tiles(p)],
    "crops": lambda p, rng: [stored(p[y : y + 110, x : x + 110]) for x, y in rng.integers(0, 50, (4, 2))],
    "large photos": lambda p, rng: [frame(cv2.resize(p, (700, 700)), rng) for _ in range(3)],
}


@pytest.mark.parametrize("how", AGAIN)
def test_one_thing_is_found_however_it_comes_back(how):
    rng = np.random.default_rng(0)
    images, truth = [], []
    for number in range(PANES):
        again = AGAIN[how](pane(number), rng)
        images += again
        truth += [number] * len(again)
    groups = _groups(images)
    assert all(len({t for t, g in zip(truth, groups, strict=True) if g == k}) == 1 for k in set(groups)), "two in one"
    most = 2 * PANES if how == "noisy tiles" else PANES + 2
    assert len(set(groups)) <= most, "what belongs together was torn apart"


@pytest.mark.parametrize(("panes", "frames"), [(1, 40), (2, 30), (3, 4), (4, 15), (40, 2)])
@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_however_many_frames_there_are_of_each(panes, frames, noise):
    rng = np.random.default_rng(1)
    groups = _groups([frame(pane(n), rng, noise=noise) for n in range(panes) for _ in range(frames)])
    assert sorted(Counter(groups).values()) == [frames] * panes


@pytest.mark.parametrize(("panes", "frames"), [(1, 30), (2, 30), (4, 15), (1, 12)])
@pytest.mark.parametrize("others", [0, 20])
def test_a_camera_that_gives_one_frame_again_and_again(panes, frames, others):
    """Equal to the last pixel, in files that differ: there is no noise to know them by."""
    images = [stored(pane(n)) for n in range(panes) for _ in range(frames)] + [
        stored(pane(99 + n)) for n in range(others)
    ]
    assert sorted(Counter(_groups(images)).values()) == [1] * others + [frames] * panes


def test_a_long_burst_of_which_more_than_noise_differs_is_undecided():
    """A light that wanders over 40 frames of each of two parts; ten others of their own are no part of it."""
    rng = np.random.default_rng(3)
    light = np.hypot(*(np.mgrid[:160, :160] - np.reshape([60, 100], (2, 1, 1))))
    images = [
        frame(moved(pane(n), *rng.integers(-1, 2, 2)) + rng.uniform(-20, 20) * np.sin(light / 30), rng)
        for n in range(2)
        for _ in range(40)
    ] + [frame(pane(99 + n), rng) for n in range(10)]
    found = find_alike([_fingerprint(image) for image in images])
    truth = np.repeat([0, 1, *range(2, 12)], [40, 40, *[1] * 10])
    assert found.undecided
    assert sum(map(len, found.undecided)) >= 60
    assert all(len(set(truth[group])) == 1 and len(group) > 10 for group in found.undecided)


def _product(rng, jitter):
    """A stamped part, laid down by hand: all look alike, and none is another one."""
    image, (dx, dy) = np.full((200, 200), 90, np.uint8), rng.normal(0, jitter, 2)
    centre = (int(100 + dx), int(100 + dy))
    cv2.circle(image, centre, 70, 180, -1)
    cv2.circle(image, centre, 40, 60, -1)
    cv2.putText(image, "ABC7", (centre[0] - 30, centre[1] + 65), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 20, 2)
    return stored(image + cv2.GaussianBlur(rng.normal(0, 4, image.shape), (0, 0), 2) + rng.normal(0, 2, image.shape))


def _dirty_camera(number):
    """One of five cameras, each with dirt of its own in front of it, on a pane that no other has seen."""
    rng = np.random.default_rng((5, number % 5))
    return stored(pane(number) + 2 * cv2.GaussianBlur(rng.normal(0, 12, (160, 160)), (0, 0), 3))


def _rolled(rng):
    x, y = np.mgrid[:160, :160] + rng.uniform(0, 16, (2, 1, 1))
    return stored(128 + 20 * np.sin(x * np.pi / 8) * np.sin(y * np.pi / 8) + rng.normal(0, 2, (160, 160)))


def _lined(rng):
    image = np.full((160, 160), 128.0)
    for x in rng.integers(5, 150, 6):
        cv2.line(image, (int(x), 0), (int(x + rng.integers(-4, 5)), 159), float(rng.uniform(110, 150)), 1, cv2.LINE_AA)
    return stored(image + rng.normal(0, 2, image.shape))


APART = {
    "panes": lambda n, rng: frame(pane(n), rng),
    "noise": lambda _n, rng: stored(128 + rng.normal(0, 3, (128, 128))),
    "light": lambda _n, rng: stored(
        128 + np.linspace(-20, 20, 128) * rng.uniform(-1, 1) + rng.normal(0, 1, (128, 128))
    ),
    "products in place": lambda _n, rng: _product(rng, 1),
    "products anywhere": lambda _n, rng: _product(rng, 6),
    "dirty cameras": lambda n, _rng: _dirty_camera(n),
    "rolled pattern": lambda _n, rng: _rolled(rng),
    "draw lines": lambda _n, rng: _lined(rng),
    "one stain": lambda n, _rng: stored(pane(n) - 60 * (np.hypot(*(np.mgrid[:160, :160] - 80)) < 12)),
    "a dark edge": lambda n, _rng: stored(pane(n) * (np.arange(160) > 6)[:, None]),
}


@pytest.mark.parametrize("kind", APART)
def test_different_things_are_left_apart(kind):
    rng = np.random.default_rng(2)
    groups = Counter(_groups([APART[kind](n, rng) for n in range(60)]))
    assert len(groups) >= 57, "a few may meet by chance"
    assert max(groups.values()) <= 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (8, 8), (20, 31), (33, 33), (500, 40)])
def test_any_size_has_a_fingerprint(shape):
    rng = np.random.default_rng(3)
    images = [stored(rng.uniform(0, 255, shape)) for _ in range(5)]
    assert len(_groups([*images, images[2]])) == 6
    assert len(_groups([np.full(shape, 128.0)] * 3)) == 3
    assert _groups(images[:1]) == [0]


def test_images_without_detail_are_like_nothing():
    assert len(set(_groups([np.full((60, 60), float(v)) for v in range(100, 130)]))) == 30
    assert not fingerprint(np.full((50, 50, 3), 0.5, np.float32)).whole.any()


def test_many_images_are_compared_in_cells(monkeypatch):
    """Of 180 photos 30 pairs overlap; nearly as many are found among the landmarks of a cell as among all."""
    rng = np.random.default_rng(4)
    images = [frame(pane(n, 112), rng, noise=1) for n in range(120)]
    tiles = [frame(moved(pane(2000 + n), -32 * k, 0)[:112, :112], rng, noise=1) for n in range(30) for k in range(2)]
    fingerprints = [fingerprint(np.repeat(np.float32(i / 255)[..., None], 3, 2)) for i in [*images, *tiles]]
    true = {(120 + 2 * n, 121 + 2 * n) for n in range(30)}
    all_at_once = set(map(tuple, find_alike(fingerprints).pairs.tolist()))
    monkeypatch.setattr(likeness, "CELL_SIZE", 256)
    assert sum(len(f.places) for f in fingerprints) > 8 * likeness.CELL_SIZE
    in_cells = set(map(tuple, find_alike(fingerprints).pairs.tolist()))
    assert len(all_at_once & true) >= 27
    assert len(in_cells & true) >= 24
    assert len(all_at_once - true) <= 2
    assert in_cells - true <= all_at_once - true


@pytest.mark.parametrize(
    ("folder", "groups", "largest"),
    [("flatglass_line/normal", (315, 341), 6), ("glass_defect/normal_train", (115, 118), 2)],
)
def test_real_sets_are_not_fused(shared, folder, groups, largest):
    paths = sorted((shared / "data" / folder).iterdir())
    found = Counter(connected(find_alike([fingerprint(read_image(p)) for p in paths]).pairs, len(paths)).tolist())
    assert groups[0] <= len(found) <= groups[1]
    assert max(found.values()) <= largest


def test_exposures_of_one_tile_are_found(shared):
    """Objects of magnetic_tile were taken up to six times; the exposures of one have numbers that are near."""
    paths = sorted((shared / "data/magnetic_tile/train/good").iterdir())
    pairs = find_alike([fingerprint(read_image(p)) for p in paths]).pairs
    numbers = [int(p.stem.rpartition("_")[2]) for p in paths]
    assert len(pairs) >= 80
    near = [abs(numbers[a] - numbers[b]) < 600 for a, b in pairs]
    assert np.mean(near) > 0.98
    assert max(Counter(connected(pairs, len(paths)).tolist()).values()) <= 6
