"""What a comparison made in its folder: nothing else in there is ever replaced or removed."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pellucid._io.files import write_text
from pellucid.errors import OutputError, join_names
from pellucid.study.measure import CONFIG_FILE, FITTED_IMAGES_FILE

LEADERBOARD_FILE = "leaderboard.json"  # written last: the comparison is complete
RESULT_FILES = (CONFIG_FILE, LEADERBOARD_FILE, "leaderboard.csv", "report.html", "pareto.png")
SPLIT_FILES = ("splits.csv", FITTED_IMAGES_FILE)  # of every seed
MANIFEST_FILE = "comparison.json"  # lists, by their paths in the folder, the files and folders that are its own
MADE_BY = "pellucid compare"
PREVIOUS_FOLDER = ".previous"  # keeps an earlier comparison's own until the next one is complete
BOOKKEEPING = (MANIFEST_FILE, PREVIOUS_FOLDER)


def is_comparison(output: Path) -> bool:
    """Tell whether a folder is one that a comparison has written to."""
    return _listed(output) is not None or _has_keys(output / CONFIG_FILE, "data", "detectors", "prefer")


def check_foreign(output: Path, paths: Iterable[str]) -> None:
    """Make sure that nothing is in the way but what an earlier comparison made in this folder.

    Args:
        output: folder of the results.
        paths: in it, that are about to be written.

    Raises:
        OutputError: one of them is there, and no comparison made it.
    """
    own = _own(output)
    foreign = [path for path in (*paths, *BOOKKEEPING) if path not in own and _is_there(output / path)]
    if foreign:
        raise OutputError(
            f"'{output}' holds {join_names(foreign)}, which no comparison in this folder made: give another folder with"
            " -o, or move that away."
        )


def claim(output: Path, paths: Iterable[str]) -> None:
    """Note that these paths in a folder are the comparison's own, before they are written.

    Raises:
        OutputError: one of them is there, and no comparison made it; or the folder cannot be written to.
    """
    paths = list(paths)
    check_foreign(output, paths)
    listed = {"made_by": MADE_BY, "paths": sorted(_own(output) | set(paths) | set(BOOKKEEPING))}
    write_text(output / MANIFEST_FILE, json.dumps(listed, indent=2) + "\n")


def set_aside(output: Path) -> bool:
    """Move a complete earlier comparison into ``.previous``, where it stays until :func:`forget_previous`.

    Returns:
        Whether there was one.
    """
    if not (output / LEADERBOARD_FILE).exists():
        return False
    forget_previous(output)
    _move_own(output, output, output / PREVIOUS_FOLDER)
    return True


def bring_back(output: Path) -> None:
    """Put the earlier comparison back in the place of one that failed altogether."""
    _move_own(output, output / PREVIOUS_FOLDER, output)
    forget_previous(output)


def forget_previous(output: Path) -> None:
    """Remove the earlier comparison: the new one is complete."""
    shutil.rmtree(output / PREVIOUS_FOLDER, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file or folder of the comparison's own, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _move_own(output: Path, source: Path, target: Path) -> None:
    for path in _own(output) - set(BOOKKEEPING):
        if _is_there(source / path):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            remove(target / path)
            (source / path).rename(target / path)


def _own(output: Path) -> set[str]:
    """What earlier comparisons made; those of before 0.3 left no list, and are known by their configurations."""
    listed = _listed(output)
    if listed is not None or not is_comparison(output):
        return listed or set()
    folders = [output, *(path for path in output.glob("seed-*") if path.is_dir())]
    models = (path.parent for folder in folders for path in folder.glob(f"*/{CONFIG_FILE}"))
    made = [model for model in models if _has_keys(model / CONFIG_FILE, "detector", "tested_sha256")]
    made += [folder / name for folder in folders for name in SPLIT_FILES] + [output / name for name in RESULT_FILES]
    return {path.relative_to(output).as_posix() for path in made}


def _listed(output: Path) -> set[str] | None:
    """What the manifest lists, inside the folder; None without a manifest of a comparison."""
    try:
        manifest = json.loads((output / MANIFEST_FILE).read_text("utf-8"))
        paths = {PurePosixPath(path) for path in manifest["paths"]}
        made_by = manifest["made_by"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    inside = {path.as_posix() for path in paths if not path.is_absolute() and ".." not in path.parts}
    return inside if made_by == MADE_BY else None


def _is_there(path: Path) -> bool:
    """Whether something is there that could be lost."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _has_keys(file: Path, *keys: str) -> bool:
    try:
        return set(keys) <= tomllib.loads(file.read_text("utf-8")).keys()
    except (OSError, ValueError):
        return False
