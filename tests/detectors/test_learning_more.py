"""Detectors that learn more images on top of those that they were fitted on, against fits on all of them."""

from __future__ import annotations

import copy

import pytest
import torch
from small import EXACT_CASES

from pellucid import detectors
from pellucid.errors import NotFittedError, ParameterError


def close(found, expected):
    (maps, scores), (expected_maps, expected_scores) = found, expected
    torch.testing.assert_close(scores, expected_scores, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(maps, expected_maps, rtol=1e-3, atol=1e-4 * float(expected_maps.max()))


@pytest.mark.parametrize(("name", "parameters"), EXACT_CASES)
def test_an_update_is_a_fit_on_all_images(name, parameters, batches):
    """In two steps, and so is each new image's score as if it had been left out."""
    images = torch.cat(batches)
    everything = detectors.create(name, **parameters)
    left_out = list(everything.fit_leaving_out(list(images.split(5)), [*range(12)]))
    updated = detectors.create(name, **parameters).fit([images[:6]])
    list(updated.update_leaving_out([images[6:8]], [0, 1]))
    found = list(updated.update_leaving_out(list(images[8:].split(3)), [5, 5, 7, 8]))
    new = images.flip(0, 2) ** 1.1
    close(updated.score(new), everything.score(new))
    maps, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    expected = [torch.cat(parts) for parts in zip(*left_out, strict=True)]
    close((maps[2:], scores[2:]), (expected[0][10:], expected[1][10:]))
    pair = detectors.create(name, **parameters).fit([torch.cat([images[:8], images[10:]])])
    close((maps[:2], scores[:2]), pair.score(images[8:10]))


@pytest.mark.parametrize("name", ["patchcore", "padim", "dfm", "subspace"])
def test_a_copy_of_the_earlier_detector_is_not_touched(name, batches):
    earlier = detectors.create(name).fit(batches[:2])
    state, before = earlier.state(), earlier.score(batches[2])
    list(copy.copy(earlier).update_leaving_out(batches[2:], [*range(4)]))
    close(earlier.score(batches[2]), before)
    assert all(torch.equal(tensor, state[key]) for key, tensor in earlier.state().items())


def test_the_bank_gains_the_new_patches_that_are_farthest_from_it(batches):
    """Against the slow way: one patch after the other, from the distances of all."""
    detector = detectors.create("patchcore", layers=("layer2",), coreset_sampling_ratio=0.1)  # features as they are
    bank = detector.fit(batches[:2]).bank_
    list(detector.update_leaving_out(batches[2:], [*range(4)]))
    patches = detector._embed(batches[2]).flatten(0, 2)
    expected = bank
    for _ in range(round(len(bank) / 2)):  # for half as many images
        farthest = torch.cdist(patches, expected).amin(1).argmax()
        expected = torch.cat([expected, patches[farthest][None]])
    torch.testing.assert_close(detector.bank_, expected)
    assert detector.images_.max() < 12
    assert (detector.images_[len(bank) :] >= 8).all()


def test_what_cannot_be_updated_is_refused(batches):
    with pytest.raises(NotFittedError, match="call fit first"):
        list(detectors.create("dfm").update_leaving_out(batches, [*range(12)]))
    trained = detectors.create("stfpm", epochs=1).fit(batches)
    with pytest.raises(ParameterError, match=r"Stfpm cannot learn more images on top .*: fit it again"):
        list(trained.update_leaving_out(batches, [*range(12)]))


@pytest.mark.parametrize(("name", "lacks"), [("patchcore", "images_"), ("padim", "count_"), ("dfm", "rest_")])
def test_a_model_of_an_earlier_pellucid_lacks_what_an_update_needs(name, lacks, batches):
    detector = detectors.create(name).fit(batches[:2])
    state = {key: tensor for key, tensor in detector.state().items() if key != lacks}
    old = detectors.create(name).load_state(state)
    with pytest.raises(ParameterError, match="earlier pellucid, which did not keep what an update needs: fit it again"):
        list(old.update_leaving_out(batches[2:], [*range(4)]))
