"""Which language and which dates somebody asks for: by a page's address, by cookies, by what the browser prefers."""

from __future__ import annotations

from typing import get_args

from starlette.requests import HTTPConnection

from pellucid.service.language.translator import DateStyle, Language, Translator


def translator_for(connection: HTTPConnection) -> Translator:
    """Return who says things to whoever asks: in the page's language, that of the cookie, or the browser's first."""
    path, cookies = connection.scope["path"], connection.cookies
    preferred = connection.headers.get("accept-language", "").split(",")
    offered = [cookies.get("language"), *(part.partition(";")[0].strip()[:2].lower() for part in preferred)]
    language: Language = "fa" if next((one for one in offered if one in ("en", "fa")), "en") == "fa" else "en"
    for t in (Translator("fa"), Translator("en")):  # the longer prefix first
        if path.startswith(f"{t.prefix}/"):
            language = t.language if path != f"{t.prefix}/" else language
            break
    dates = cookies.get("dates")
    return Translator(language, next((style for style in get_args(DateStyle) if style == dates), None))
