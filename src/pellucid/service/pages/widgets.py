"""What pages are built of: who looks and in which language, small elements, pictures, tables, and errors as notes."""

from __future__ import annotations

import functools
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec
from urllib.parse import urlencode

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from pellucid.errors import PellucidError
from pellucid.records import LARGE_PIXELS, IgnoreReason
from pellucid.regions.kinds import KINDS
from pellucid.reports.colours import scale_bar
from pellucid.reports.pictures import SCALE_PX, png
from pellucid.service.access.accounts import Account, sentence_for
from pellucid.service.access.middleware import account_of
from pellucid.service.language.asked import translator_for
from pellucid.service.language.translator import Translator
from pellucid.service.state import Service
from pellucid.service.storage.tables import InspectionRow
from pellucid.service.unforeseen import log_unforeseen

P = ParamSpec("P")
PAGES_PATH = "/ui"
PAGE_QUERY = ("inspection", "model")  # that the address of a page may name
PAGE_TITLES = {"inspect": "Inspect", "review": "Review", "models": "Models", "train": "Train", "trends": "Trends"}
IGNORED_SENTENCES: dict[IgnoreReason, str] = {
    "region": "in a region that is ignored",
    "margin": "near the border",
    "area": "too small to count",
}
SHA256_CHARS = 16  # that are shown
POLL_PERIOD_S = 1.0  # between looks for something new
COOKIE_MAX_AGE_S = 31_536_000  # a year
ERROR_NOTE_MS = 10_000  # that an error is shown


@dataclass(frozen=True)
class Visit:
    """One person at one page."""

    service: Service
    t: Translator
    account: Account
    theme: bool | None  # dark, light, or as the browser wishes
    query: dict[str, str]  # of the address: an inspection, a model
    is_first: bool = False  # whether this person has not been here, or has not said so

    @property
    def is_engineer(self) -> bool:
        """Whether this person may change models."""
        return self.account.role == "engineer"

    def requested_model(self, names: Container[str]) -> str | None:
        """The model that the address names, if it is one of these."""
        name = self.query.get("model")
        return name if name in names else None

    @property
    def inspection(self) -> int | None:
        """The inspection that the address names."""
        number = self.query.get("inspection", "")
        return int(number) if number.isdecimal() and len(number) < 10 else None


class Tag(TextElement):
    """An element of HTML with a text; what it says is never taken for HTML."""

    def __init__(self, name: str, text: str = "", classes: str = "", **attributes: object) -> None:
        super().__init__(tag=name, text=text)
        self.classes(classes)
        self.set(**attributes)

    def set(self, **attributes: object) -> None:
        """Set attributes; ``aria_label`` is ``aria-label``, None takes one away."""
        for key, value in attributes.items():
            name = key.rstrip("_").replace("_", "-")
            if value is None:
                self.props.pop(name, None)
            else:
                self.props[name] = value


class Sentence(Tag):
    """An error, a warning or a reason, in the page's language; one that is known in English only says that it is."""

    def __init__(self, t: Translator, english: str, tag: str = "p", classes: str = "trouble", **attributes: object):
        said = t.sentence(english)
        super().__init__(tag, said.text, classes, **said.attributes, **attributes)


class PictureViewer(Tag):
    """An inspected image under its map with its defects' outlines (``static/viewer.js``), or word that it is gone.

    Args:
        t: the page's language.
        height_percent: share of the window's height that the picture may have.
    """

    def __init__(self, t: Translator, height_percent: int = 56) -> None:
        texts = {
            "map": t("Map"),
            "limit": t("limit"),
            "in": t("Zoom in"),
            "out": t("Zoom out"),
            "pixels": t("Show single pixels"),
            "fit": t("Show all"),
            "picture": t("The inspected image"),
            "kinds": {kind: t(kind) for kind in KINDS},
            "digits": t.own_digits,
            "stage": t("The inspected image: plus and minus zoom, arrows move, 0 shows all"),
        }
        texts |= {str(reason): t(sentence) for reason, sentence in IGNORED_SENTENCES.items()}
        super().__init__("div")
        scale = f"data:image/png;base64,{b64encode(png(scale_bar(*SCALE_PX))).decode()}"
        with self:
            texts_json = json.dumps(texts, ensure_ascii=False)
            self._viewer = Tag("pellucid-viewer", texts=texts_json, tall=height_percent, scale=scale)
            self._large = Tag("a", t("Zoom to every pixel, and print"), target="_blank")
            self._gone = Tag("p", t("The pictures were removed: their time was over."), "empty")

    def show(self, row: InspectionRow) -> None:
        """Show an inspection."""
        is_kept = row.picture is not None
        self._viewer.set_visibility(is_kept)
        self._gone.set_visibility(not is_kept)
        self._large.set_visibility(is_kept and row.width * row.height > LARGE_PIXELS)
        if not is_kept:
            return
        address = f"/inspections/{row.id}"
        self._large.set(href=f"{address}/sheet")
        self._viewer.set(
            picture=f"{address}/picture",
            map=f"{address}/map",
            width=row.width,
            height=row.height,
            defects=json.dumps(row.defects),
            ignored=json.dumps(row.ignored),
        )


class Thumbnail(Tag):
    """A small picture to click on, with a line of text."""

    def __init__(self, row: InspectionRow, on_click: Callable[[], Any]) -> None:
        super().__init__("button", classes=f"thumb {row.verdict}", type="button", title=row.part_id)
        with self:
            picture = f"/inspections/{row.id}/thumbnail" if row.picture else None
            Tag("img", src=picture, alt="", loading="lazy")
            self._line = Tag("span", dir="auto")
        self.on("click", on_click)

    def set_caption(self, text: str, classes: str = "") -> None:
        """Change what the line says."""
        self._line.text = text
        self._line.classes(replace=classes)


def page_address(t: Translator, page: str, **query: object) -> str:
    """Return where a page is, in the language that is spoken."""
    return f"{t.prefix}/{page}" + (f"?{urlencode(query)}" if query else "")


def set_cookie(name: str, value: str) -> str:
    """Return the script by which a browser keeps a choice."""
    return f"document.cookie = `{name}={value}; path=/; max-age={COOKIE_MAX_AGE_S}; samesite=strict`"


def notify_errors(handler: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Return the same handler; errors are shown to people, by their sentence or by their number in the log."""

    @functools.wraps(handler)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await handler(*args, **kwargs)
        except PellucidError as error:
            sentence = sentence_for(account_of(ui.context.client.request), str(error))
        except Exception:
            sentence = log_unforeseen(f"a page's {handler.__qualname__}")
        else:
            return
        notify_error(translator_for(ui.context.client.request), sentence)

    return wrapped


def notify_error(t: Translator, english: str) -> None:
    """Show an error as a note."""
    said = t.sentence(english)
    ui.notify(
        said.text,
        type="negative",
        multi_line=True,
        timeout=ERROR_NOTE_MS,
        close_button=True,
        attrs=said.attributes | {"role": "alert"},
    )


def definition_list(rows: Iterable[tuple[str, str]]) -> None:
    """Show a list of names and values."""
    with Tag("dl", classes="facts"):
        for name, value in rows:
            Tag("dt", name)
            with Tag("dd"):
                Tag("bdi", value)


def download_link(t: Translator, address: str) -> Tag:
    """Show where a table is to be had as a file."""
    return Tag("a", t("Download as a table (CSV)"), "download", href=address, download="")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, name: str, text_columns: int = 1) -> None:
    """Show a table, called ``name``, whose first columns (``text_columns``) are words and the others numbers."""
    scrolled = Tag("div", classes="scroll", tabindex="0", role="region", aria_label=name)
    with scrolled, Tag("table", classes="data"):
        with Tag("thead"), Tag("tr"):
            for k, word in enumerate(head):
                Tag("th", word, "text" if k < text_columns else "", scope="col")
        with Tag("tbody"):
            for row in rows:
                with Tag("tr"):
                    for k, value in enumerate(row):
                        with Tag("td", classes="text" if k < text_columns else ""):
                            Tag("bdi", value)


def ignored_sentence(t: Translator, row: InspectionRow) -> str:
    """Spell how many defects do not count, by reason."""
    counts = Counter(one["reason"] for one in row.ignored)
    return ", ".join(f"{t.number(count)} {t(IGNORED_SENTENCES[reason])}" for reason, count in counts.most_common())


def verdict_label(t: Translator, row: InspectionRow) -> str:
    """Spell the verdict with a sign, for those who cannot tell its colour."""
    return f"✕ {t('REJECT')}" if row.verdict == "reject" else f"✓ {t('OK')}"
