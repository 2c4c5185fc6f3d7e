"""SuperSimpleNet against slow loops: the clouds that noise lies in, its losses, and what each head sees."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid import detectors
from pellucid.detectors import supersimplenet
from pellucid.detectors._flaws import focal, mark, perlin_noise
from pellucid.detectors._maps import smooth_map
from pellucid.detectors.supersimplenet import SuperSimpleNet, draw_halves, truncated_l1
from pellucid.errors import ParameterError

FAST = {"epochs": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def fitted(batches):
    return SuperSimpleNet(**FAST).fit(batches)


def slow_perlin(height, width, generator):
    cells = [2 ** int(torch.randint(0, 7, (), generator=generator)) for _ in range(2)]
    rows, columns = min(cells[0], height), min(cells[1], width)
    angle = (2 * math.pi * torch.rand(rows + 1, columns + 1, generator=generator)).tolist()

    def slope(row, column, y, x):
        return math.sin(angle[row][column]) * (y - row) + math.cos(angle[row][column]) * (x - column)

    def between(a, b, t):
        return a + (b - a) * (6 * t**5 - 15 * t**4 + 10 * t**3)

    found = torch.empty(height, width)
    for k in range(height):
        for n in range(width):
            y, x = (k + 0.5) * rows / height, (n + 0.5) * columns / width
            i, j = int(y), int(x)
            above = between(slope(i, j, y, x), slope(i, j + 1, y, x), x - j)
            below = between(slope(i + 1, j, y, x), slope(i + 1, j + 1, y, x), x - j)
            found[k, n] = math.sqrt(2) * between(above, below, y - i)
    return found


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 50))
def test_clouds_are_perlins_noise(height, width, seed):
    found = perlin_noise(height, width, torch.Generator().manual_seed(seed))
    expected = slow_perlin(height, width, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found.abs().max() <= 1.01


@given(st.integers(0, 100), st.sampled_from([0.0, 0.3, 1.0]))
def test_losses_are_those_of_the_papers(seed, share):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 1, 3, 4, generator=generator)
    truth = (torch.rand(2, 1, 3, 4, generator=generator) < share).float()
    pairs = list(zip(logits.flatten().tolist(), truth.flatten().tolist(), strict=True))
    good, bad = [max(0.0, 0.5 + v) for v, t in pairs if not t], [max(0.0, 0.5 - v) for v, t in pairs if t]
    expected = sum(sum(kind) / len(kind) for kind in (good, bad) if kind)
    assert float(truncated_l1(logits, truth)) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    p = torch.sigmoid(logits.double())
    p = torch.where(truth > 0, p, 1 - p)
    assert float(focal(logits, truth, 4.0)) == pytest.approx(
        float((-((1 - p) ** 4) * p.log()).mean()), rel=1e-3, abs=1e-7
    )


def test_held_out_images_get_the_same_noise_every_time(fitted, batches):
    features = fitted._extract(batches[0])
    with torch.no_grad():
        first, second = fitted._loss(features), fitted._loss(features)
        fitted.adaptor_.train()
        try:
            others = {float(fitted._loss(features)) for _ in range(2)}
        finally:
            fitted.adaptor_.eval()
    assert float(first) == float(second)
    assert len(others) == 2


def test_noise_lies_where_the_clouds_are_high_and_nowhere_else(fitted, batches, monkeypatch):
    seen = []
    monkeypatch.setattr(fitted, "segmentation_", lambda both: seen.append(both) or both[:, :1])
    monkeypatch.setattr(fitted, "classification_", lambda both, maps: maps.mean((1, 2, 3)) + both.mean((1, 2, 3)))
    cloud = torch.zeros(8, 8)
    cloud[2:5, 3:6] = 0.9
    cloud[7, 7] = 0.1  # below the threshold
    monkeypatch.setattr(supersimplenet, "perlin_noise", lambda *_: cloud)
    with torch.no_grad():
        fitted._loss(fitted._extract(batches[0]))
    good, noised = seen[0].chunk(2)
    changed = (noised != good).any(1)  # (B, 8, 8)
    assert (changed == (cloud > 0.2)).all()
    assert float((noised - good)[:, :, 2:5, 3:6].std()) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("kind", ["head", "top", "peak"])
def test_scores(kind, fitted, batches):
    detector = SuperSimpleNet(**FAST, image_score=kind).load_state(fitted.state())
    maps, scores = detector.score(batches[0])
    with torch.inference_mode():
        adapted = detector._adapt(detector._extract(batches[0]))
        segmented = detector.segmentation_(adapted)
        expected = detector.classification_(adapted, segmented)
    torch.testing.assert_close(maps, smooth_map(segmented[:, 0], (64, 64)), rtol=1e-4, atol=1e-5)
    values = maps.flatten(1).sort().values
    expected = {"head": expected, "top": values[:, -41:].mean(1), "peak": values[:, -1]}[kind]
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert detector.score_of == ("top" if kind == "top" else "peak")


def test_enlarged_features_have_a_finer_grid(batches):
    detector = detectors.create("supersimplenet", epochs=8, batch_size=4, lr=1e-3, enlarge=True).fit(batches)
    assert detector._extract(batches[0]).shape[2:] == (16, 16)
    assert detector.score(batches[0])[0].isfinite().all()


@given(st.integers(0, 200), st.integers(1, 9), st.integers(1, 9))
def test_cells_of_a_defect_are_those_that_it_covers_by_half(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    marked = (torch.rand(3, 1, 4 * height, 4 * width, generator=generator) < 0.2 * seed / 100).float()
    marked[2] = -1
    found = mark(marked, (height, width))
    for k in range(2):
        share = torch.tensor(
            [
                [float(marked[k, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean()) for j in range(width)]
                for i in range(height)
            ]
        )
        most = min(0.5, float(share.max()))
        assert torch.equal(found[k, 0], ((share > 0) & (share >= most)).float())
        assert bool(found[k].any()) == bool(marked[k].any())  # however small it is
    assert (found[2] == -1).all()


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 9))
def test_an_epoch_has_every_defect_and_as_many_good_images(defective, seed):
    drawn = draw_halves(torch.tensor(defective), torch.Generator().manual_seed(seed)).tolist()
    assert len(set(drawn)) == len(drawn)
    assert {k for k in drawn if defective[k]} == {k for k, own in enumerate(defective) if own}
    assert len(drawn) == sum(defective) + min(sum(defective), len(defective) - sum(defective))


def test_labelled_defects_get_no_noise_and_unknown_places_teach_the_image_alone(fitted, batches, monkeypatch):
    seen = []
    monkeypatch.setattr(fitted, "segmentation_", lambda both: seen.append(both) or both[:, :1])
    monkeypatch.setattr(fitted, "classification_", lambda both, maps: maps.mean((1, 2, 3)) + both.mean((1, 2, 3)))
    monkeypatch.setattr(supersimplenet, "perlin_noise", lambda *_: torch.ones(8, 8))
    features = fitted._extract(batches[0][:3])
    marked = torch.zeros(3, 1, 8, 8)
    marked[1, :, 2:5] = 1
    marked[2] = -1
    with torch.no_grad():
        found = fitted._loss(features, marked)
    first, second = seen[0].chunk(2)
    assert ((second != first).any(1)[:, None] == (marked == 0)).all()
    maps, scores = seen[0][:, :1], seen[0][:, :1].mean((1, 2, 3)) + seen[0].mean((1, 2, 3))
    truth = torch.cat([marked, torch.where(marked == 0, 1.0, marked)])
    outlined = [0, 1, 3, 4]
    expected = focal(scores, torch.tensor([0.0, 1, 1, 1, 1, 1]), 4.0)
    expected += truncated_l1(maps[outlined], truth[outlined]) + focal(maps[outlined], truth[outlined], 4.0)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def defects_of(batches):
    """The same parts with a dark bar, whose place is known of one half of them."""
    pixels = batches[1].clone()
    pixels[:, :, 20:36, 8:56] *= 0.8
    marked = torch.zeros_like(pixels[:, :1])
    marked[:, :, 20:36, 8:56] = 1
    marked[::2] = -1
    return [torch.cat([pixels, marked], 1)]


def test_it_learns_defects_by_its_seed_and_leaves_the_backbone(fitted, batches):
    state = fitted.state()
    learned = []
    for _ in range(2):
        detector = SuperSimpleNet(**FAST, defect_epochs=8, lr=1e-3).load_state(state)
        detector.learn_defects(batches, iter(defects_of(batches)))
        learned.append(detector)
    own, again = (detector.state() for detector in learned)
    assert all(torch.equal(own[name], again[name]) for name in own)
    changed = {name for name in own if not torch.equal(own[name], state[name])}
    assert {name.split(".")[0] for name in changed} == {"adaptor_", "segmentation_", "classification_"}
    images = defects_of(batches)[0][:, :3]
    rise = learned[0].score(images)[1] - learned[0].score(batches[1])[1]
    assert (rise > fitted.score(images)[1] - fitted.score(batches[1])[1]).all()


def test_a_training_on_defects_that_diverges_says_so(fitted, batches):
    detector = SuperSimpleNet(**FAST, lr=1e9).load_state(fitted.state())
    with pytest.raises(ParameterError, match=r"supersimplenet diverged. Set a lower learning rate than lr=1e\+09"):
        detector.learn_defects(batches, defects_of(batches))
