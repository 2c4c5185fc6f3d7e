"""A hook of mkdocs: every page of ``docs/decisions`` stands in the navigation, in the order of its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Fill the last part of the navigation."""
    decisions = next(entry for entry in config.nav if "Decisions" in entry)
    folder = Path(config.docs_dir)
    decisions["Decisions"] = [page.relative_to(folder).as_posix() for page in sorted(folder.glob("decisions/*.md"))]
    return config
