"""Room for a fit: how much disk and memory its features will take, estimated before hours of work."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class FitSpace:
    """What the features of a fit take, in bytes.

    Attributes:
        n_images: how many images are learned from.
        disk_bytes: of the file in the temporary folder that all features are spilled to.
        memory_bytes: of what is kept of them in memory.
    """

    n_images: int
    disk_bytes: int
    memory_bytes: int


def estimate_fit_space(
    n_images: int,
    map_shapes: Iterable[Sequence[int]],
    *,
    bytes_per_value: int = FLOAT32_BYTES,
    kept_share: float = 0.0,
) -> FitSpace:
    """Estimate what the features of a fit take.

    Args:
        n_images: how many images are learned from, at least 1.
        map_shapes: (C, h, w) of every map that is spilled for an image, at the size that images are resized to.
        bytes_per_value: of what is spilled: 4 for float32, 2 for float16.
        kept_share: share of the features that stays in memory as float32, in [0, 1]; for PatchCore the share of the
            coreset.

    Example:
        >>> estimate_fit_space(2000, [(288, 32, 32)], kept_share=0.02).disk_bytes
        2359296000
    """
    values = n_images * sum(math.prod(shape) for shape in map_shapes)
    return FitSpace(n_images, values * bytes_per_value, math.ceil(values * kept_share) * FLOAT32_BYTES)


def warn_of_little_room(space: FitSpace, folder: Path | None = None) -> None:
    """Warn where a fit will not find the disk or the memory that it takes.

    Args:
        space: what it takes.
        folder: where features are spilled to; the temporary folder of the system when it is not given.

    Warns:
        UserWarning: a sentence with what is needed, what is free, and what to do about it.
    """
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    free_bytes = shutil.disk_usage(folder).free
    if space.disk_bytes > free_bytes:
        warnings.warn(
            f"The features of {space.n_images} images take {_gigabytes(space.disk_bytes)} in the temporary folder"
            f" '{folder}', which has {_gigabytes(free_bytes)} left: make room there, name another folder in the"
            " environment variable TMPDIR, or fit on fewer or smaller images.",
            stacklevel=2,
        )
    available_bytes = available_memory_bytes()
    if available_bytes is not None and space.memory_bytes > available_bytes:
        warnings.warn(
            f"What is kept of the features of {space.n_images} images takes {_gigabytes(space.memory_bytes)} of memory,"
            f" of which {_gigabytes(available_bytes)} are free: keep a smaller share, or fit on fewer images.",
            stacklevel=2,
        )


def available_memory_bytes() -> int | None:
    """Return how much memory could be taken without swapping; None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = meminfo.read_text("utf-8").splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        return found[0] * 1024 if found else None
    if importlib.util.find_spec("psutil") is None:
        return None
    import psutil

    return int(psutil.virtual_memory().available)


def total_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return how much memory the machine has, or the container that this runs in; None where the system does not say.

    Args:
        root: of the file system that is asked.
    """
    known = [*_container_limits(root), *_physical_memory(root)]
    return min(known, default=None)


def _container_limits(root: Path) -> Iterator[int]:
    """Go through the limits of the control groups, version 2 and 1, from this process's own up to the outermost."""
    own = root / "proc/self/cgroup"
    for line in own.read_text("utf-8").splitlines() if own.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            mounted = root / "sys/fs/cgroup" / controllers
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            group = mounted / path.lstrip("/")
            for folder in (group, *group.parents):
                if not folder.is_relative_to(mounted):
                    break
                with contextlib.suppress(OSError, ValueError):  # it is not there, or "max"
                    yield int((folder / name).read_text("utf-8"))


def _physical_memory(root: Path) -> Iterator[int]:
    meminfo = root / "proc/meminfo"
    if meminfo.exists():
        lines = meminfo.read_text("utf-8").splitlines()
        yield from (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    elif hasattr(os, "sysconf"):  # macOS
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    elif importlib.util.find_spec("psutil") is not None:
        import psutil

        yield int(psutil.virtual_memory().total)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
