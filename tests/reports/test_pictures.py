"""Captions of result pictures: any name is drawn, and what a font lacks is escaped."""

from __future__ import annotations

import numpy as np
import pytest
from odd_names import ODD_STEMS, needs_raw_names, odd_name

from pellucid.reports import pictures

PANE = np.full((40, 300, 3), 0.5, np.float32)


def caption(text: str) -> np.ndarray:
    """The band above a picture that says so."""
    drawn = pictures.result_picture(PANE, PANE[..., 0], 0.0, 1.0, boxes=[], caption=text, rejected=False)
    return drawn[: pictures.CAPTION_PX]


@needs_raw_names
@pytest.mark.parametrize("kind", ODD_STEMS)
def test_any_name_is_drawn(kind):
    assert not np.array_equal(caption(odd_name(kind)), caption(""))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("玻璃", r"\u73bb\u7483"),
        ("🙂", r"\U0001f642"),
        ("\udcfc", r"\udcfc"),
        ("a\nb", r"a\nb"),
        ("\u202egnp", r"\u202egnp"),
    ],
)
def test_what_a_font_lacks_is_escaped(text, shown):
    assert np.array_equal(caption(text), caption(shown))


@pytest.mark.parametrize("text", ["Scheibe ü", "стекло", "γυαλί", "sticlă ş ğ ő"])
def test_letters_of_europe_are_drawn(text):
    escaped = text.encode("unicode_escape").decode()
    assert not np.array_equal(caption(text), caption(escaped))


def test_without_matplotlib_names_are_escaped(monkeypatch):
    pictures._font.cache_clear()
    monkeypatch.setattr(pictures, "find_spec", lambda _: None)
    try:
        assert np.array_equal(caption("Scheibe ü"), caption(r"Scheibe \xfc"))
        assert not np.array_equal(caption("Scheibe"), caption(""))
    finally:
        pictures._font.cache_clear()
