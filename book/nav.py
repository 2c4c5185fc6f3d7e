"""Hooks of mkdocs: pages that ``mkdocs.yml`` need not name, notebooks to download, a part for each detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
from mkdocs.structure.files import File

from book import notebooks

HOW_TO, MORE, DECISIONS = "How to", "More", "Decisions"  # of the navigation
DETECTORS_MARK = "<!-- detectors: a part for each, by book/nav.py -->"


def on_config(config: Any) -> Any:
    """Fill the navigation: decisions in the order of their numbers, and pages that it does not name."""
    folder = Path(config.docs_dir)
    pages = [page.relative_to(folder).as_posix() for page in sorted(folder.rglob("*.md"))]
    decisions = [page for page in pages if page.startswith("decisions/")]
    unnamed = [page for page in pages if page not in {*decisions, *_named(config.nav)}]
    for part in config.nav:
        if DECISIONS in part:
            part[DECISIONS] = decisions
        elif HOW_TO in part and unnamed:
            part[HOW_TO].append({MORE: unnamed})
    return config


def _named(part: Any) -> Iterator[str]:
    """Every page that a part of the navigation names."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, (list, dict)):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _named(inner)


def on_files(files: Any, *, config: Any) -> Any:
    """Put every example as a notebook beside its page."""
    for name in notebooks.names():
        content = jupytext.writes(notebooks.read(name), fmt="ipynb")
        files.append(File.generated(config, f"{notebooks.PAGES}/{name}.ipynb", content=content))
    return files


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Put the module of every detector where the reference asks for it: its docstring names the paper."""
    detectors = sorted((Path(config.docs_dir).parent / "src/pellucid/detectors").glob("[!_]*.py"))
    directives = (f"::: pellucid.detectors.{file.stem}" for file in detectors)
    return markdown.replace(DETECTORS_MARK, "\n".join(directives))
