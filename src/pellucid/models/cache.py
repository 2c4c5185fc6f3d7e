"""The graphs that model files were exported to, kept so that the next start is quick.

They lie in ``~/.cache/pellucid/graphs``, or below the folder that the environment variable ``PELLUCID_CACHE`` names.
"""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path

from pellucid.models.file import distribution_version
from pellucid.runtimes import MODULES, Name, require_installed

MAX_CACHED_GRAPHS = 8


def cached_folder(digest: str, format: Name) -> Path:
    """Return the folder for the graph of the model file with this SHA-256; the oldest ones make room.

    It belongs to one version of pellucid and one of the runtime: another one may compute something else.
    """
    require_installed(format)
    cache = Path(os.environ.get("PELLUCID_CACHE") or Path.home() / ".cache" / "pellucid") / "graphs"
    made_by = f"{distribution_version('pellucid')}-{metadata.version(MODULES[format])}"
    folder = cache / f"{digest[:32]}-{format}-{made_by}"
    if not folder.is_dir() and cache.is_dir():
        for old in sorted(cache.iterdir(), key=lambda f: f.stat().st_mtime)[: -MAX_CACHED_GRAPHS + 1]:
            shutil.rmtree(old, ignore_errors=True)
    return folder
