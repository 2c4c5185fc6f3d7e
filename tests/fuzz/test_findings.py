"""Inputs that fuzzing found, inputs that it starts from, and some that everybody tries first."""

from __future__ import annotations

import time

import pytest

from fuzz.parsers import MAX_SECONDS, PARSERS, found

OBVIOUS = {
    "nothing": b"",
    "a null": b"null",
    "a number": b"0",
    "a list": b"[]",
    "a list of objects": b"[{}]",
    "an object": b"{}",
    "a byte": b"\xff",
    "no text": b"\xff\xfe\x00\xd8" * 10,
    "brackets without end": b"[" * 100_000,
    "objects without end": b'{"a":' * 100_000,
    "TOML brackets without end": b"x = " + b"[" * 100_000,
    "dots without end": b"a" + b".a" * 2_000 + b" = 1",
    "a huge number": b"x = 1" + b"0" * 5_000,
    "no end of line": b"a" * 100_000,
    "NULs": bytes(1_000),
}


@pytest.mark.parametrize("name", PARSERS)
def test_seeds_are_understood(name, tmp_path):
    """Otherwise fuzzing would begin far from what is to be tried."""
    PARSERS[name].parse(PARSERS[name].seeds()[0], tmp_path)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("kind", OBVIOUS)
def test_obvious_nonsense_is_refused_in_words(name, kind, tmp_path):
    start = time.process_time()
    PARSERS[name].try_(OBVIOUS[kind], tmp_path)
    assert time.process_time() - start < MAX_SECONDS


@pytest.mark.parametrize(("name", "path"), [pytest.param(n, p, id=f"{n}-{p.name}") for n, p in found()])
def test_what_was_found_is_mended(name, path, tmp_path):
    start = time.process_time()
    PARSERS[name].try_(path.read_bytes(), tmp_path)
    assert time.process_time() - start < MAX_SECONDS
