"""One contract over every detector that there is, and what it says to one that breaks it."""

from __future__ import annotations

import pytest
from conftest import FAST

from pellucid import detectors
from pellucid.testing import Candidate, detector_checks


def test_the_six_are_there():
    assert {"dfm", "fastflow", "padim", "patchcore", "reverse_distillation", "stfpm"} <= set(detectors.names())


@pytest.fixture(scope="module", params=detectors.names())
def candidate(request):
    return Candidate(request.param, **FAST.get(request.param, {}))


@pytest.mark.parametrize("check", detector_checks(), ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(candidate, check):
    check(candidate)
