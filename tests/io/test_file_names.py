"""Names as printable text and as names of files: nothing is lost, too long, or to be taken for something else."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_names import ODD_STEMS, needs_raw_names, odd_name

from pellucid._io.files import csv_text, write_text
from pellucid._io.names import MAX_FILE_NAME_BYTES, fitting_file_name, named_path, printable
from pellucid.errors import DataError

any_text = st.text(st.characters(codec=None, exclude_categories=[]))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("pane_0412.png", "pane_0412.png"),
        ("玻璃 ü 🙂 [x] %s", "玻璃 ü 🙂 [x] %s"),
        ("pane_\udcfc", r"pane_\udcfc"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x1b[31m\x7f\x85", r"\x1b[31m\x7f\x85"),
        ("a\u202eb\u2066c\u2028d", r"a\u202eb\u2066c\u2028d"),
    ],
)
def test_what_cannot_be_printed_is_escaped(name, shown):
    assert printable(name) == shown
    assert str(DataError(f"'{name}' is odd.")) == f"'{shown}' is odd.".replace(r"\n", "\n")


@given(any_text)
def test_printable_text_is_one_line_of_utf_8_and_stays_as_it_is(text):
    shown = printable(text)
    shown.encode()
    assert len(shown.splitlines() or [""]) == 1
    assert printable(shown) == shown
    assert printable(text, keep="\n").count("\n") == text.count("\n")


@needs_raw_names
@pytest.mark.parametrize("kind", ODD_STEMS)
def test_what_was_written_down_names_the_file_again(tmp_path, kind):
    path = tmp_path / odd_name(kind)
    path.touch()
    assert named_path(printable(str(path))) == path


@given(any_text.filter(bool), any_text.filter(bool))
def test_file_names_fit_and_differ(one, other):
    names = [fitting_file_name(f"00001_{stem * 60}", ".png") for stem in (one, other)]
    for name in names:
        assert len(name.encode()) <= MAX_FILE_NAME_BYTES
        assert re.fullmatch(r'00001_[^\x00-\x1f<>:"/\\|?*]*\.png', name, re.DOTALL)
    assert (names[0] == names[1]) == (one * 60 == other * 60)


def test_a_plain_name_stays():
    assert fitting_file_name("00001_pane 0412 [x] ü", ".png") == "00001_pane 0412 [x] ü.png"


@needs_raw_names
@pytest.mark.parametrize("kind", ODD_STEMS)
def test_a_file_of_any_name_can_be_written(tmp_path, kind):
    write_text(tmp_path / odd_name(kind), "content")
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [ODD_STEMS[kind] + b".png"]


def test_tables_and_texts_hold_any_name(tmp_path):
    names = [odd_name(kind) for kind in ODD_STEMS] if sys.platform == "linux" else ["a\udcfc"]
    write_text(tmp_path / "a.csv", csv_text(["path", "n"], ((name, 1) for name in names)))
    assert len((tmp_path / "a.csv").read_text("utf-8").splitlines()) == len(names) + 1
    write_text(tmp_path / "a.txt", "\udcfc")
    assert (tmp_path / "a.txt").read_text("utf-8") == r"\udcfc"


def test_a_path_that_holds_an_escape_is_that_path(tmp_path):
    path = tmp_path / r"a\nb"
    assert named_path(str(path)) == Path(str(path).replace(r"\n", "\n"))
    if sys.platform != "win32":
        path.touch()
        assert named_path(str(path)) == path
