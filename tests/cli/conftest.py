"""What several commands' tests read."""

from __future__ import annotations

import pytest
from commands import COMPARED, pellucid


@pytest.fixture(scope="session")
def compared(glass, tmp_path_factory):
    """The results of a comparison of three detectors."""
    out = tmp_path_factory.mktemp("out")
    pellucid("compare", glass, "-o", out, *COMPARED)
    return out
