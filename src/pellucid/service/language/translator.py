"""Says in a person's language what pages and errors say: sentences, numbers, moments."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple

import jdatetime  # type: ignore[import-untyped]

from pellucid.service.language.errors import persian_error
from pellucid.service.language.persian import PERSIAN

Language = Literal["en", "fa"]
DateStyle = Literal["gregorian", "jalali", "persian"]  # persian: of the Jalali calendar in Persian digits
DATE_STYLES: dict[Language, tuple[DateStyle, ...]] = {  # that may be chosen, the usual one first
    "en": ("gregorian", "jalali"),
    "fa": ("persian", "jalali", "gregorian"),
}
LATIN_DIGITS, PERSIAN_DIGITS = "0123456789", "۰۱۲۳۴۵۶۷۸۹"
NAME_HOLES = ("name", "who")  # of sentences: what stands there is somebody's or something's own
_NUMBER = re.compile(r"[-+−]?\d[\d.,]*%?")
_NUMBER_IN_TEXT = re.compile(r"(?<![\w.\-])[-+−]?\d[\d.,]*(?![\w\-])%?")  # no part of a word such as SHA-256 or 1e-05
_TO_PERSIAN = str.maketrans(LATIN_DIGITS + "%", PERSIAN_DIGITS + "٪")


class Said(NamedTuple):
    """A sentence, and the language that it is in."""

    text: str
    language: Language

    @property
    def attributes(self) -> dict[str, str]:
        """What an element of HTML with this sentence has to say of it."""
        return {"lang": self.language, "dir": "rtl" if self.language == "fa" else "ltr"}


@dataclass(frozen=True)
class Translator:
    """Translates what a page says: ``t("Inspect")``, ``t("{n} images", n=3)``.

    Args:
        language: of the page.
        dates: how dates and digits are written; None for what is usual in the language, as for a style that it lacks.
    """

    language: Language
    dates: DateStyle | None = None

    def __call__(self, english: str, /, **values: object) -> str:
        if self.language == "en":
            return english.format(**values) if values else english
        text = self.digits(PERSIAN[english])
        return text.format(**{name: self._value(name, value) for name, value in values.items()}) if values else text

    def sentence(self, english: str) -> Said:
        """Say an error or a warning that is known in English only; what has no translation stays English."""
        translated = persian_error(english, self._value) if self.language == "fa" else None
        return Said(english, "en") if translated is None else Said(translated, "fa")

    @property
    def name(self) -> str:
        """Name of the language, in itself."""
        return "فارسی" if self.language == "fa" else "English"

    @property
    def other(self) -> Translator:
        """Language that one may change to."""
        return replace(self, language="en" if self.language == "fa" else "fa")

    @property
    def prefix(self) -> str:
        """Beginning of the addresses of pages."""
        return "/ui/fa" if self.language == "fa" else "/ui"

    @property
    def is_rtl(self) -> bool:
        """Whether it is written from right to left."""
        return self.language == "fa"

    @property
    def date_style(self) -> DateStyle:
        """How dates and digits are written."""
        styles = DATE_STYLES[self.language]
        return self.dates if self.dates in styles else styles[0]

    @property
    def own_digits(self) -> str:
        """The ten digits that numbers are written in; empty where they are 0 to 9."""
        return PERSIAN_DIGITS if self.date_style == "persian" else ""

    def digits(self, text: str) -> str:
        """Write the numbers in a text in the page's digits; words with digits in them stay as they are."""
        return _NUMBER_IN_TEXT.sub(lambda number: _persian(number[0]), text) if self.own_digits else text

    def number(self, value: float, form: str = "") -> str:
        """Spell a number, formatted as by :func:`format`."""
        return self.digits(format(value, form))

    def moment(self, time: datetime, form: str = "%Y-%m-%d %H:%M:%S") -> str:
        """Spell a moment in this machine's zone, in the calendar that was chosen."""
        local = time.astimezone()
        if self.date_style != "gregorian":
            local = jdatetime.datetime.fromgregorian(datetime=local)
        text = local.strftime(form)
        return text.translate(_TO_PERSIAN) if self.own_digits else text

    def seconds(self, seconds: float) -> str:
        """Spell a span of time."""
        minutes, rest = divmod(round(seconds), 60)
        return self("{m} min {s} s", m=minutes, s=rest) if minutes else self("{s} s", s=rest)

    def _value(self, name: str, value: object) -> str:
        """What stands in a hole of a sentence: numbers in the page's digits, names as they are."""
        text = str(value)
        return self.digits(text) if name not in NAME_HOLES and _NUMBER.fullmatch(text) else text


def _persian(number: str) -> str:
    """A number in Persian digits, with the sign of Persian between whole numbers and fractions."""
    return re.sub(r"(?<=\d)\.(?=\d)", "٫", number).translate(_TO_PERSIAN)
