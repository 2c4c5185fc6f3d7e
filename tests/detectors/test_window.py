"""PatchCore that searches within a window around a patch's own place, against the slow way: one place at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pellucid import detectors, testing
from pellucid.detectors._search import WindowSearch
from pellucid.errors import DataError, ParameterError


def slow_nearest(queries, bank, grid, window):
    """Distances of patches (B, h, w, D) from the nearest of a bank (h, w, m, D) not more than a window away."""
    h, w = grid
    found = torch.empty(len(queries), h, w)
    for b, y, x in np.ndindex(*found.shape):
        near = bank[max(0, y - window) : y + window + 1, max(0, x - window) : x + window + 1].flatten(0, 2)
        found[b, y, x] = (near - queries[b, y, x]).norm(dim=1).min()
    return found


@settings(max_examples=20)
@given(
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    memories=st.integers(1, 3),
    window=st.integers(0, 8),
    count=st.integers(1, 2),
    left_out=st.booleans(),
    seed=st.integers(0, 9),
)
def test_a_windowed_search_compares_places_with_those_around_them(grid, memories, window, count, left_out, seed):
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randn(*grid, memories, 5, generator=generator)
    queries = torch.randn(count, *grid, 5, generator=generator)
    flat = bank.reshape(-1, 5)
    search = WindowSearch(flat, flat.square().sum(1), grid, window)
    if left_out and memories > 1:  # the first memory of every place
        own = torch.zeros(*grid, memories, dtype=torch.bool)
        own[:, :, 0] = True
        search, bank = search.without(own.flatten()), bank[:, :, 1:]
    squared, index = search.nearest(queries.reshape(-1, 5))
    expected = slow_nearest(queries, bank, grid, window)
    torch.testing.assert_close(squared.sqrt().view(expected.shape), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((flat[index] - queries.reshape(-1, 5)).norm(dim=1), squared.sqrt())


def test_a_window_over_everything_is_no_window(batches):
    whole = {"coreset_sampling_ratio": 1.0}
    images = [F.interpolate(batch, size=(64, 96)) for batch in batches]
    everywhere = detectors.create("patchcore", **whole).fit(images)
    window = detectors.create("patchcore", window=20, **whole).fit(images)
    for found, expected in zip(window.score(images[1] ** 1.2), everywhere.score(images[1] ** 1.2), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_normal_elsewhere_is_anomalous_here():
    """A band of stripes across every part, at one height; at another height it is a flaw, for a window alone."""
    generator = torch.Generator().manual_seed(0)
    good = 0.5 + 0.02 * torch.randn(12, 3, 96, 64, generator=generator)
    good[:, :, 16:32] += 0.3 * (torch.arange(64) % 8 < 4)
    wrong = good[:4].roll(32, 2)  # its features are those of good parts, two of the coarser cells further down
    rises = {}
    for window in (None, 1):
        detector = detectors.create("patchcore", coreset_sampling_ratio=0.5, window=window).fit([good[4:]])
        scores = detector.score(torch.cat([good[:4], wrong]))[1]
        rises[window] = float(scores[4:].mean() / scores[:4].mean())
    assert rises[1] > 2
    assert rises[1] > 1.5 * rises[None]


def test_every_place_has_as_many_memories_chosen_by_greedy_k_center(batches):
    detector = detectors.create("patchcore", coreset_sampling_ratio=0.25, window=1, layers=("layer2",)).fit(batches)
    patches = torch.cat([detector._embed(batch) for batch in batches])  # (12, h, w, D), not projected
    _, h, w, D = patches.shape
    bank, images = detector.bank_.view(h, w, 3, D), detector.images_.view(h, w, 3)
    assert images[:, :, 0].unique().numel() > 1  # the first of each place is drawn
    for y, x in np.ndindex(h, w):
        of_place = patches[:, y, x]
        torch.testing.assert_close(bank[y, x], of_place[images[y, x].long()])
        for k in (1, 2):
            distances = torch.cdist(of_place, bank[y, x, :k]).amin(1)
            assert distances[images[y, x, k]] == pytest.approx(float(distances.max()), rel=1e-3)


def test_an_update_adds_to_every_place_what_is_farthest_there(batches):
    detector = detectors.create("patchcore", coreset_sampling_ratio=0.25, window=1, layers=("layer2",))
    detector.fit(batches[:2])  # two memories of each place
    list(detector.update_leaving_out(batches[2:], [*range(4)]))  # and one more, of half as many images
    patches = detector._embed(batches[2])
    _, h, w, D = patches.shape
    bank, images = detector.bank_.view(h, w, 3, D), detector.images_.view(h, w, 3)
    assert (images[:, :, :2] < 8).all()
    for y, x in np.ndindex(h, w):
        farthest = torch.cdist(patches[:, y, x], bank[y, x, :2]).amin(1).argmax()
        assert images[y, x, 2] == 8 + farthest
        torch.testing.assert_close(bank[y, x, 2], patches[farthest, y, x])


def test_a_group_without_which_a_place_has_no_memory_is_refused(batches):
    detector = detectors.create("patchcore", coreset_sampling_ratio=0.1, window=0)  # one memory of each place
    with pytest.raises(DataError, match=r"Within window=0 of some places .* one image or group, .* a larger window"):
        list(detector.fit_leaving_out(batches, [*range(12)]))


def test_a_window_on_tiles_or_below_zero_is_refused(batches):
    with pytest.raises(
        ParameterError, match="window=2 compares places of a part, which tiles do not show: give tile=0"
    ):
        detectors.create("patchcore", window=2).fit(batches, margin=16)
    with pytest.raises(ParameterError, match=r"window=1\.5 is not allowed: it has to be 0 or more and whole"):
        detectors.create("patchcore", window=1.5)
    with pytest.raises(ParameterError, match="window=-1 is not allowed: it has to be 0 or more"):
        detectors.create("patchcore", window=-1)


def test_a_model_with_a_window_is_what_it_was(batches):
    detector = detectors.create("patchcore", window=1).fit(batches)
    assert isinstance(detector._search, WindowSearch)
    loaded = detectors.create("patchcore", window=1).load_state(detector.state())
    for found, expected in zip(loaded.score(batches[0]), detector.score(batches[0]), strict=True):
        assert torch.equal(found, expected)
    assert not isinstance(detectors.create("patchcore").fit(batches)._search, WindowSearch)


@pytest.mark.parametrize(
    "check",
    [testing.check_export_to_openvino, pytest.param(testing.check_export_to_onnx, marks=pytest.mark.slow)],
)
def test_a_graph_with_a_window_scores_as_torch_does(check):
    check(testing.Candidate("patchcore", window=1))
