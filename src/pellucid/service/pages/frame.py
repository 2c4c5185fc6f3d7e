"""The frame around every page: head, navigation, language, colours, logging out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from nicegui import ui

from pellucid.service.language.translator import DATE_STYLES, Translator
from pellucid.service.pages.widgets import PAGE_TITLES, Tag, Visit, page_address, set_cookie

HEAD_HTML = (
    '<link rel="stylesheet" href="/static/pellucid.css">'
    '<script type="module" src="/static/viewer.js"></script><script type="module" src="/static/drop.js"></script>'
)
THEMES = {"dark": True, "light": False}  # the cookie's word, else the browser's own wish


@contextmanager
def frame(visit: Visit, page: str) -> Iterator[None]:
    """Put head and navigation around a page; what is made inside is the page's content."""
    t = visit.t
    ui.add_head_html(HEAD_HTML)
    dark = ui.dark_mode(visit.theme)
    Tag("a", t("Skip to the content"), "skip", href="#content")
    with Tag("header", classes="top"):
        Tag("a", "pellucid", "brand", href=page_address(t, "inspect"))
        with Tag("nav", aria_label=t("Pages")):
            for name, title in PAGE_TITLES.items():
                Tag("a", t(title), href=page_address(t, name), aria_current="page" if name == page else None)
        with Tag("div", classes="own"):
            _theme_button(visit, dark)
            _date_choice(visit.t)
            other = t.other
            switch = Tag("a", other.name, lang=other.language, href=page_address(other, page, **visit.query))
            switch.on("click", js_handler=f"() => {{ {set_cookie('language', other.language)} }}")
            if visit.service.logins.required:
                Tag("span", f"{visit.account.name} · {t(visit.account.role)}")
                log_out = Tag("button", t("Log out"), "plain", type="button")
                log_out.on(
                    "click",
                    js_handler="() => fetch('/session', {method: 'DELETE'}).then(() => location.assign('/login'))",
                )
    with Tag("main", classes="page", id="content"):
        Tag("h1", t(PAGE_TITLES[page]))
        yield


def _theme_button(visit: Visit, dark: ui.dark_mode) -> None:
    t = visit.t

    def choose(word: object) -> None:
        if word in ("auto", *THEMES):  # it comes from the browser, and goes back into its script
            dark.set_value(THEMES.get(str(word)))
            ui.run_javascript(set_cookie("theme", str(word)))

    selector = Tag("select", aria_label=t("Colours"))
    current = next((word for word, is_dark in THEMES.items() if is_dark == visit.theme), "auto")
    with selector:
        for word, title in {"auto": "Automatic", "light": "Light", "dark": "Dark"}.items():
            Tag("option", t(title), value=word, selected="" if word == current else None)
    selector.on("change", lambda event: choose(event.args), js_handler="(e) => emit(e.target.value)")


def _date_choice(t: Translator) -> None:
    """Show how dates and digits can be written, by today's date; the page is sent again in what is chosen."""
    now = datetime.now(UTC)
    with Tag("select", aria_label=t("Dates and digits"), dir="ltr") as selector:
        for style in DATE_STYLES[t.language]:
            example = replace(t, dates=style).moment(now, "%Y-%m-%d")
            Tag("option", example, value=style, selected="" if style == t.date_style else None)
    selector.on("change", js_handler=f"(e) => {{ {set_cookie('dates', '${e.target.value}')}; location.reload() }}")
