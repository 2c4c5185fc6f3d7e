"""What all pages share: who looks, in which language, the frame around a page, and small elements."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec
from urllib.parse import urlencode

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from pellucid.errors import PellucidError
from pellucid.service.access import Account
from pellucid.service.pages.texts import Say
from pellucid.service.storage.record import Entry

if TYPE_CHECKING:
    from pellucid.service.app import Service

P = ParamSpec("P")
MOUNT = "/ui"
NAMES = {"inspect": "Inspect", "review": "Review", "models": "Models", "train": "Train", "trends": "Trends"}
HEAD = (
    '<link rel="stylesheet" href="/static/pellucid.css">'
    '<script type="module" src="/static/viewer.js"></script><script type="module" src="/static/drop.js"></script>'
)
THEMES = {"dark": True, "light": False}  # the cookie's word, else the browser's own wish
YEAR = 31_536_000  # seconds


@dataclass(frozen=True)
class Visit:
    """One person at one page."""

    its: Service
    say: Say
    who: Account
    theme: bool | None  # dark, light, or as the browser wishes
    query: dict[str, str]  # of the address: an inspection, a model

    @property
    def is_engineer(self) -> bool:
        """Whether models may be changed."""
        return self.who.role == "engineer"

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
        """Attributes; ``aria_label`` is ``aria-label``, None takes one away."""
        for key, value in attributes.items():
            name = key.rstrip("_").replace("_", "-")
            if value is None:
                self.props.pop(name, None)
            else:
                self.props[name] = value


class Picture(Tag):
    """An inspected image under its map with the boxes of its defects (``static/viewer.js``), or word that it is gone.

    Args:
        say: the page's language.
        tall: share of the window's height that the picture may have, in percent.
    """

    def __init__(self, say: Say, tall: int = 56) -> None:
        texts = {
            "map": say("Map"),
            "in": say("Zoom in"),
            "out": say("Zoom out"),
            "pixels": say("Show single pixels"),
            "fit": say("Show all"),
            "picture": say("The inspected image"),
            "stage": say("The inspected image: plus and minus zoom, arrows move, 0 shows all"),
        }
        super().__init__("div")
        with self:
            self._viewer = Tag("pellucid-viewer", texts=json.dumps(texts, ensure_ascii=False), tall=tall)
            self._gone = Tag("p", say("The pictures were removed: their time was over."), "empty")

    def show(self, entry: Entry) -> None:
        """Show an inspection."""
        there = entry.picture is not None
        self._viewer.set_visibility(there)
        self._gone.set_visibility(not there)
        if not there:
            return
        address = f"/inspections/{entry.id}"
        self._viewer.set(
            picture=f"{address}/picture",
            map=f"{address}/map",
            width=entry.width,
            height=entry.height,
            defects=json.dumps(entry.defects),
        )


class Thumb(Tag):
    """A small picture to click on, with a line of text."""

    def __init__(self, entry: Entry, act: Callable[[], Any]) -> None:
        super().__init__("button", classes=f"thumb {entry.verdict}", type="button", title=entry.part_id)
        with self:
            picture = f"/inspections/{entry.id}/thumbnail" if entry.picture else None
            Tag("img", src=picture, alt="", loading="lazy")
            self._line = Tag("span", dir="auto")
        self.on("click", act)

    def tell(self, text: str, classes: str = "") -> None:
        """What the line says."""
        self._line.text = text
        self._line.classes(replace=classes)


def address(say: Say, page: str, **query: object) -> str:
    """Where a page is, in the language that is spoken."""
    return f"{say.prefix}/{page}" + (f"?{urlencode(query)}" if query else "")


@contextmanager
def frame(visit: Visit, page: str) -> Iterator[None]:
    """Head and navigation; what is made inside is the page's content."""
    say = visit.say
    ui.add_head_html(HEAD)
    dark = ui.dark_mode(visit.theme)
    Tag("a", say("Skip to the content"), "skip", href="#content")
    with Tag("header", classes="top"):
        Tag("a", "pellucid", "brand", href=address(say, "inspect"))
        with Tag("nav", aria_label=say("Pages")):
            for name, title in NAMES.items():
                Tag("a", say(title), href=address(say, name), aria_current="page" if name == page else None)
        with Tag("div", classes="own"):
            _theme_button(visit, dark)
            other = say.other
            to = Tag("a", other.name, lang=other.language, href=address(other, page, **visit.query))
            to.on("click", js_handler=f"() => {{ {_cookie('language', other.language)} }}")
            if visit.its.settings.accounts:
                Tag("span", f"{visit.who.name} · {say(visit.who.role)}")
                leave = Tag("button", say("Log out"), "plain", type="button")
                leave.on(
                    "click",
                    js_handler="() => fetch('/session', {method: 'DELETE'}).then(() => location.assign('/login'))",
                )
    with Tag("main", classes="page", id="content"):
        Tag("h1", say(NAMES[page]))
        yield


def _theme_button(visit: Visit, dark: ui.dark_mode) -> None:
    say = visit.say

    def turn(word: str) -> None:
        dark.set_value(THEMES.get(word))
        ui.run_javascript(_cookie("theme", word))

    choice = Tag("select", aria_label=say("Colours"))
    now = next((word for word, is_dark in THEMES.items() if is_dark == visit.theme), "auto")
    with choice:
        for word, title in {"auto": "Automatic", "light": "Light", "dark": "Dark"}.items():
            Tag("option", say(title), value=word, selected="" if word == now else None)
    choice.on("change", lambda event: turn(event.args), js_handler="(e) => emit(e.target.value)")


def _cookie(name: str, value: str) -> str:
    return f"document.cookie = '{name}={value}; path=/; max-age={YEAR}; samesite=strict'"


def telling(handler: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """The same handler; an error that has a sentence for people is shown to them."""

    @functools.wraps(handler)
    async def told(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await handler(*args, **kwargs)
        except PellucidError as error:
            ui.notify(str(error), type="negative", multi_line=True, timeout=10_000, close_button=True)

    return told


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """A list of names and values."""
    with Tag("dl", classes="facts"):
        for name, value in rows:
            Tag("dt", name)
            with Tag("dd"):
                Tag("bdi", value)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> None:
    """A table whose first columns, ``texts`` of them, are words and the others numbers."""
    with Tag("div", classes="scroll"), Tag("table", classes="data"):
        with Tag("thead"), Tag("tr"):
            for k, name in enumerate(head):
                Tag("th", name, "text" if k < texts else "", scope="col")
        with Tag("tbody"):
            for row in rows:
                with Tag("tr"):
                    for k, value in enumerate(row):
                        with Tag("td", classes="text" if k < texts else ""):
                            Tag("bdi", value)


def verdict_words(say: Say, entry: Entry) -> str:
    """The verdict with a sign, for those who cannot tell its colour."""
    return f"✕ {say('REJECT')}" if entry.verdict == "reject" else f"✓ {say('OK')}"
