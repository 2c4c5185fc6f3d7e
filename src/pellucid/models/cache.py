"""The graphs that model files were exported to, kept so that the next start is quick.

They lie in ``~/.cache/pellucid/graphs``, or below the folder that the environment variable ``PELLUCID_CACHE`` names.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from pellucid.errors import OutputError
from pellucid.models.file import distribution_version
from pellucid.runtimes import MODULES, Name, require_installed

MAX_CACHED_GRAPHS = 8
CACHED_NAME = r"[0-9a-f]{32}-(openvino|onnx)-"  # what else lies there is somebody else's


def cached_folder(digest: str, format: Name) -> Path:
    """Return the folder for the graph of the model file with this SHA-256; the oldest ones make room.

    It belongs to one version of pellucid and one of the runtime: another one may compute something else.
    """
    require_installed(format)
    cache = Path(os.environ.get("PELLUCID_CACHE") or Path.home() / ".cache" / "pellucid") / "graphs"
    made_by = f"{distribution_version('pellucid')}-{metadata.version(MODULES[format])}"
    folder = cache / f"{digest[:32]}-{format}-{made_by}"
    if not folder.is_dir() and cache.is_dir():
        graphs = (path for path in cache.iterdir() if re.match(CACHED_NAME, path.name))
        for old in sorted(graphs, key=_modified)[: -MAX_CACHED_GRAPHS + 1]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary place for a folder, which is renamed in the end: other processes see the whole or nothing.

    What lies in the folder's place at the beginning goes; what another process has put there by the end stays.

    Raises:
        OutputError: the place cannot be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"Cannot write '{folder}': {error.strerror or error}.") from None
    with beside:
        made, old = Path(beside.name) / "new", Path(beside.name) / "old"
        with suppress(OSError):
            folder.rename(old)
        yield made
        try:
            made.rename(folder)
        except OSError as error:
            if not folder.is_dir():
                raise OutputError(f"Cannot write '{folder}': {error.strerror or error}.") from None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0
