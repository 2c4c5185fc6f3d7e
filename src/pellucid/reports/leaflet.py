"""Leaflet, by which large pictures are zoomed: the copy that NiceGUI brings, read where a page is written."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from pellucid.errors import ParameterError, missing_extra

SCRIPT, STYLE = "elements/leaflet/dist/index.js", "elements/leaflet/dist/leaflet/leaflet.css"
EXPORT = re.compile(r"export\s*\{\s*([\w$]+) as leaflet\s*\};?")  # of the module; a page has no modules
SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)


class Leaflet(NamedTuple):
    """What a page needs: a script that sets ``window.leaflet``, and its style."""

    script: str
    style: str


def read_leaflet() -> Leaflet:
    """Read Leaflet from the installed NiceGUI, which is not imported.

    Raises:
        ParameterError: NiceGUI is not installed, or brings it in a form that is not known.
    """
    found = find_spec("nicegui")
    if found is None or not found.submodule_search_locations:
        raise ParameterError(missing_extra("serve", "nicegui", "A page of a large image"))
    folder = Path(next(iter(found.submodule_search_locations)))
    try:
        script, style = (folder / SCRIPT).read_text("utf-8"), (folder / STYLE).read_text("utf-8")
    except OSError as error:
        raise ParameterError(f"NiceGUI's Leaflet cannot be read: {error.strerror}: '{error.filename}'.") from None
    whole, count = EXPORT.subn(r"window.leaflet = \1;", SOURCE_MAP.sub("", script))
    if count != 1 or "</script" in whole.lower() or "</style" in style.lower():
        raise ParameterError(
            f"NiceGUI's Leaflet is not of the form that this pellucid knows: '{folder / SCRIPT}'. pip install"
            " 'nicegui<4'."
        )
    return Leaflet(f"(() => {{{whole}\n}})();", style)
