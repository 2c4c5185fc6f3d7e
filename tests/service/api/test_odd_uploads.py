"""What is sent and cannot be inspected, over HTTP."""

from __future__ import annotations

import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import rows_of

from service.odd_files import FRAMES, GREY, REFUSED, png_bytes, saved_bytes


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_inspected_gets_one_sentence(service, good, kind):
    content, status, words = REFUSED[kind]
    if content is None:
        out = io.BytesIO()
        tifffile.imwrite(out, np.full((40, 40), np.nan, np.float32))
        content = out.getvalue()
    before = len(rows_of(service.folder))
    answer = service.inspect((f"{kind}.png", content))
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert len(rows_of(service.folder)) == before
    mixed = service.inspect((f"{kind}.png", content), good)
    assert mixed.status_code == 207
    first, second = mixed.json()["items"]
    assert first["status"] == status
    assert words in first["error"]
    assert second["verdict"] in ("ok", "reject")


@pytest.mark.parametrize(
    "content",
    [
        png_bytes(np.full((40, 40), 30_000, np.uint16)),
        saved_bytes(FRAMES[0].convert("CMYK"), "JPEG"),
        saved_bytes(FRAMES[0].convert("CMYK"), "TIFF"),
        saved_bytes(FRAMES[0].convert("P"), "PNG"),
        saved_bytes(FRAMES[0].convert("LA"), "PNG"),
        png_bytes(np.zeros((1, 1), np.uint8)),
        saved_bytes(FRAMES[0], "WEBP"),
        saved_bytes(FRAMES[0], "PPM"),
        saved_bytes(FRAMES[0], "JPEG2000"),
    ],
    ids=["16 bit", "CMYK jpeg", "CMYK tiff", "palette", "alpha", "one pixel", "webp", "ppm", "jp2"],
)
def test_unusual_images_that_can_be_read_are_inspected(service, content):
    (item,) = service.inspect(("odd", content)).json()["items"]
    assert service.http.get(item["picture"]).headers["content-type"] in ("image/png", "image/jpeg", "image/webp")
    assert service.http.get(item["overlay"]).status_code == 200


SEEDS = [content for content, *_ in REFUSED.values() if content] + [
    png_bytes(GREY),
    saved_bytes(FRAMES[0], "JPEG"),
    saved_bytes(FRAMES[0], "TIFF"),
]


@given(
    seed=st.sampled_from(SEEDS),
    cut=st.integers(0, 5000),
    flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_files_are_inspected_or_refused(service, seed, cut, flips):
    content = bytearray(seed[: len(seed) - cut] if cut < len(seed) else seed)
    for where, value in flips:
        content[where % len(content)] = value
    answer = service.inspect(("mutated.png", bytes(content)))
    assert answer.status_code in (200, 413, 415, 422), answer.text
    if answer.status_code != 200:
        assert answer.json()["detail"].endswith(".")


def test_no_worker_was_lost(service, good):
    """After all of the above: as many at a time as before."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: service.inspect(good).status_code, range(48)))
    assert Counter(answers) == {200: 48}
    assert "Traceback" not in service.log()
