"""The k-means detector: pellucid's contract, and its map against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from pellucid_kmeans import Kmeans
from scipy.spatial.distance import cdist

from pellucid.detectors import smooth_map
from pellucid.errors import ParameterError
from pellucid.testing import Candidate, check_detector


def test_contract():
    check_detector("kmeans", clusters=20)


def test_the_map_is_the_distance_to_the_nearest_centre():
    candidate = Candidate(Kmeans, clusters=5)
    detector, pixels = candidate.fitted, candidate.batches[0][:1]
    patches = detector._embed(pixels)  # (1, 8, 8, D)
    distance = cdist(patches.flatten(0, 2), detector.centres_).min(1).reshape(1, 8, 8)
    expected = smooth_map(patches.new_tensor(distance), (64, 64))
    np.testing.assert_allclose(detector.score(pixels)[0], expected, rtol=1e-3, atol=1e-3)


def test_a_value_that_is_not_allowed():
    candidate = Candidate(Kmeans, clusters=0)
    with pytest.raises(ParameterError, match="clusters=0 is not allowed"):
        candidate.make().fit(candidate.batches)
