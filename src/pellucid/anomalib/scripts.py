"""Scripts and notebooks that were written for anomalib, run as they are."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.anomalib._paths import Paths
from pellucid.errors import DataError


def map_names() -> None:
    """Let ``anomalib`` be found in :mod:`pellucid.anomalib` from now on, as in a notebook that is open."""
    sys.meta_path.insert(0, Paths("anomalib"))
    sys.meta_path.append(Paths("others"))


@contextmanager
def mapped_names() -> Iterator[None]:
    """Let ``anomalib`` be found in :mod:`pellucid.anomalib` while it is open.

    Lightning and torchvision are found here, too, as far as such scripts need them, where they are not installed.
    """
    own, others = Paths("anomalib"), Paths("others")
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "anomalib"}
    for name in before:
        del sys.modules[name]
    sys.meta_path.insert(0, own)
    sys.meta_path.append(others)
    try:
        yield
    finally:
        sys.meta_path.remove(own)
        sys.meta_path.remove(others)
        for name, module in list(sys.modules.items()):
            if getattr(getattr(module, "__spec__", None), "loader", None) in (own, others):
                del sys.modules[name]
        sys.modules.update(before)


def run_script(path: Path, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Run a script, or the code of a notebook, in this process, with ``__name__ == "__main__"``.

    Args:
        path: of a ``.py`` or ``.ipynb`` file.
        arguments: that it finds in ``sys.argv``.

    Returns:
        Its names when it ended.

    Raises:
        DataError: it cannot be read.
    """
    if not path.is_file():
        raise DataError(f"There is no script '{path}'.")
    argv, first = sys.argv, sys.path[0] if sys.path else ""
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with mapped_names():
            if path.suffix == ".ipynb":
                names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
                exec(compile(notebook_code(path), str(path), "exec"), names)
                return names
            return runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv = argv
        if sys.path and sys.path[0] != first:
            sys.path.pop(0)


def notebook_code(path: Path) -> str:
    """Return the code cells of a notebook as one script; lines for the shell and for IPython are left out.

    Args:
        path: of the ``.ipynb`` file.

    Raises:
        DataError: it is no notebook.
    """
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"'{path}' is no notebook.") from None
    lines = [line for text in texts if not text.startswith("%%") for line in f"{text}\n".splitlines()]
    return "\n".join("" if line.lstrip().startswith(("!", "%")) else line for line in lines)
