"""Sentences of pages and errors in Persian, dates of the Jalali calendar, digits."""

from __future__ import annotations

import ast
from datetime import UTC, date, datetime
from pathlib import Path
from typing import get_args

import jdatetime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

import pellucid
from pellucid import errors
from pellucid.limits import promise
from pellucid.regions.kinds import KINDS
from pellucid.service import language, pages
from pellucid.service.access import answers
from pellucid.service.access.accounts import Role
from pellucid.service.language import errors as errors_in_persian
from pellucid.service.language.asked import translator_for
from pellucid.service.language.errors import PERSIAN_ERRORS, persian_error
from pellucid.service.language.persian import PERSIAN
from pellucid.service.language.translator import DATE_STYLES, PERSIAN_DIGITS, Translator
from pellucid.service.storage.tables import ChangeKind
from pellucid.service.training import TrainingState

SOURCE = Path(pellucid.__file__).parent
SAID_IN_PAGES = (  # modules whose errors people meet in a page
    *("access/accounts.py", "admission.py", "api/dependencies.py", "decisions_export.py", "limit_check.py"),
    *("model_folder.py", "queue.py", "registry.py", "served_model.py", "storage/pictures.py", "storage/writer.py"),
    *("training.py", "unforeseen.py", "updates.py", "uploads.py", "zone_changes.py"),
)
NEVER_IN_PAGES = (  # of starting, of accounts' files, and of programs
    *("PELLUCID_TOKEN", "two accounts", "The accounts in", "the name '{}' is", "there are several accounts"),
    *("'{}' is not allowed", "'{}' was sent under an Idempotency-Key"),
)


def test_every_sentence_is_there_in_persian():
    """Whatever the pages say is a key, and every key is said."""
    said = set()
    others = [Path(language.__file__).parent / "translator.py", Path(answers.__file__), Path(promise.__file__)]
    for file in [*Path(pages.__file__).parent.glob("*.py"), *others]:
        said |= {n.value for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Constant)}
    service_words = {*get_args(TrainingState), *get_args(Role), *KINDS, *get_args(ChangeKind)}
    assert set(PERSIAN) - said - service_words == set()
    assert service_words <= set(PERSIAN)
    for english, persian in (PERSIAN | PERSIAN_ERRORS).items():
        assert _holes(english) == _holes(persian), english
    assert not set(PERSIAN) & set(PERSIAN_ERRORS)


def _holes(text: str) -> set[str]:
    return {part.split("}")[0] for part in text.split("{")[1:]}


def _template(node: ast.AST) -> str | None:
    """A text of the code, with {} for what is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _nameless(sentence: str) -> str:
    return "{}".join(part.split("}")[-1] for part in sentence.split("{"))


def test_every_error_in_persian_is_one_that_the_code_says():
    own, of_starlette = Path(errors_in_persian.__file__), {"Not Found", "Method Not Allowed"}
    files = [file for file in SOURCE.rglob("*.py") if file != own]
    said = {_template(node) for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))}
    assert {_nameless(english) for english in PERSIAN_ERRORS} - said - of_starlette == set()


def test_every_error_that_a_page_may_show_is_there_in_persian():
    said = set()
    for name in SAID_IN_PAGES:
        for node in ast.walk(ast.parse((SOURCE / "service" / name).read_text("utf-8"))):
            called = getattr(node, "func", None)
            if isinstance(node, ast.Call) and getattr(called, "id", getattr(called, "attr", "")).endswith("Error"):
                said |= {sentence for sentence in map(_template, node.args) if sentence}
    shown = {sentence for sentence in said if not sentence.startswith(NEVER_IN_PAGES)}
    assert len(shown) > 30
    assert {sentence for sentence in shown if persian_error(sentence.replace("{}", "7")) is None} == set()


@pytest.mark.parametrize(
    ("english", "persian"),
    [
        ("'a 1.png' is empty (0 bytes).", "«a 1.png» خالی است (0 بایت)."),
        ("'a.png' is not a TIFF that can be read.", "«a.png» فایل TIFF نیست که خوانده شود."),
        (str(errors.unknown_name("model", "pame", ["pane"])), "model «pame» شناخته نیست: آیا منظورتان «pane» است؟"),
        (
            "The record has not answered for 20 s; nothing was kept.",
            "دفتر ثبت 20 ثانیه پاسخ نداده است؛ چیزی ثبت نشد.",
        ),
    ],
)
def test_errors_are_said_with_what_was_filled_in(english, persian):
    assert persian_error(english) == persian
    assert Translator("fa").sentence(english).attributes == {"lang": "fa", "dir": "rtl"}
    assert Translator("en").sentence(english) == (english, "en")


def test_numbers_in_errors_are_persian_too():
    assert Translator("fa").sentence("There is no inspection 12.").text == "بازرسی ۱۲ وجود ندارد."
    assert Translator("fa", "jalali").sentence("There is no inspection 12.").text == "بازرسی 12 وجود ندارد."


def test_an_unknown_error_stays_english_and_says_so():
    said = Translator("fa").sentence("A sentence that nobody has translated.")
    assert said == ("A sentence that nobody has translated.", "en")
    assert said.attributes == {"lang": "en", "dir": "ltr"}


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
def test_dates_are_those_of_the_jalali_calendar(moment):
    """Against the calendar's own rule: days since a Nowruz that is known, in years that jdatetime calls leap."""
    moment = moment.replace(tzinfo=UTC)
    local = moment.astimezone()
    year, month, day = map(int, Translator("en", "jalali").moment(moment, "%Y-%m-%d").split("-"))
    nowruz = date(2024, 3, 20)  # 1 Farvardin 1403
    days = (local.date() - nowruz).days
    years = range(1403, year) if year >= 1403 else range(year, 1403)
    whole = sum(366 if jdatetime.date(one, 1, 1).isleap() else 365 for one in years)
    begun = days - whole if year >= 1403 else days + whole
    lengths = [31] * 6 + [30] * 5
    assert sum(lengths[: month - 1]) + day - 1 == begun
    assert Translator("fa").moment(moment).translate(str.maketrans(PERSIAN_DIGITS, "0123456789")) == (
        Translator("en", "jalali").moment(moment)
    )


def test_dates_and_digits_are_a_choice():
    noon = datetime(2026, 11, 28, 12, tzinfo=UTC)
    days = {
        (language, style): Translator(language, style).moment(noon, "%Y-%m-%d")
        for language, styles in DATE_STYLES.items()
        for style in (None, *styles)
    }
    assert days == {
        ("en", None): "2026-11-28",
        ("en", "gregorian"): "2026-11-28",
        ("en", "jalali"): "1405-09-07",
        ("fa", None): "۱۴۰۵-۰۹-۰۷",
        ("fa", "persian"): "۱۴۰۵-۰۹-۰۷",
        ("fa", "jalali"): "1405-09-07",
        ("fa", "gregorian"): "2026-11-28",
    }
    assert Translator("en", "persian").moment(noon, "%Y") == "2026", "a style that English lacks"


def test_numbers_for_people_are_persian_and_names_are_as_they_are():
    t = Translator("fa")
    assert t.number(0.0316, ".3g") == "۰٫۰۳۱۶"
    assert t.digits("3 / 10 (30.0%)") == "۳ / ۱۰ (۳۰٫۰٪)"
    assert t.digits("SHA-256, padim2, 1e-05, pane-0412") == "SHA-256, padim2, 1e-05, pane-0412"
    assert t("by {who}", who="7") == "از 7"
    assert "۱۲" in t("at most {x} of 100 good parts score as high", x=12)
    assert "۱۰۰" in t("at most {x} of 100 good parts score as high", x=12)
    assert Translator("fa", "jalali").digits("30.0%") == "30.0%"


@pytest.mark.parametrize(
    ("path", "cookie", "header", "expected"),
    [
        ("/ui/review", "language=fa; dates=persian", "fa", Translator("en", "persian")),
        ("/ui/fa/review", "dates=gregorian", "en", Translator("fa", "gregorian")),
        ("/ui/fa/review", "dates=<script>", "en", Translator("fa")),
        ("/nowhere", "", "fa-IR,en;q=0.5", Translator("fa")),
        ("/nowhere", "language=en", "fa-IR", Translator("en")),
        ("/ui/", "language=fa", "", Translator("fa")),
        ("/ui/fancy", "", "", Translator("en")),
    ],
)
def test_who_asks_is_spoken_to_in_their_language(path, cookie, header, expected):
    headers = [(b"cookie", cookie.encode()), (b"accept-language", header.encode())]
    assert translator_for(Request({"type": "http", "path": path, "headers": headers})) == expected
