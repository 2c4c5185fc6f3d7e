"""Where models of a comparison are trained: one after the other here, or on a Ray cluster, each in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pellucid._io.cluster import Engine, connected, machines
from pellucid.study.measure import ERROR_FILE


def run_all(
    folders: Sequence[Path],
    engine: Engine,
    trackers: Sequence[str],
    remaining: Callable[[Path, float], str],
) -> dict[str, str]:
    """Train and test the models of these folders, each described by its ``config.toml``.

    Args:
        folders: a model's each.
        engine: ``local`` runs one after the other; ``ray`` as many as its cluster has machines.
        trackers: names of trackers.
        remaining: told a folder whose model is done and the seconds since the one before, says how long the others will
            take; nothing where it does not know.

    Returns:
        Why a folder's model failed, by the folders of those that did.

    Raises:
        ParameterError: Ray is not installed, or its cluster cannot be reached.
    """
    run = _on_ray if engine == "ray" else _one_by_one
    failures, start = {}, time.monotonic()
    for number, (folder, reason) in enumerate(run(folders, trackers), 1):
        if reason:
            failures[str(folder)] = reason
        left = remaining(folder, time.monotonic() - start)
        start = time.monotonic()
        if len(folders) > 1:
            print(f"{number} of {len(folders)} done" + (f", {left}" if left else ""), file=sys.stderr, flush=True)
    return failures


def _one_by_one(folders: Sequence[Path], trackers: Sequence[str]) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        print(f"{display_name(folder)}: fitting and testing ...", file=sys.stderr, flush=True)
        yield folder, run_candidate(folder, trackers)


def _on_ray(folders: Sequence[Path], trackers: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Train one model at a time on every machine of the cluster of ``RAY_ADDRESS``, or of one that is started here.

    A model takes a whole machine, or else its times would be those of a busy one. Machines share the folders of data
    and results.
    """
    with connected() as ray:
        cores = min(machine.cores for machine in machines())
        remote = ray.remote(num_cpus=max(cores, 1), max_retries=0)(run_candidate)
        running = {remote.remote(folder.resolve(), list(trackers)): folder for folder in folders}
        while running:
            ready, _ = ray.wait(list(running))
            for future in ready:
                folder = running.pop(future)
                try:
                    yield folder, ray.get(future)
                except ray.exceptions.RayError as error:
                    yield folder, f"its worker was lost: {str(error).splitlines()[0]}"


def run_candidate(folder: Path, trackers: Sequence[str]) -> str:
    """Measure one model in a fresh process; returns why it failed, or nothing."""
    arguments = [sys.executable, "-m", "pellucid.study.measure", str(folder), *trackers]
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH")) if p)
    error = folder / ERROR_FILE
    error.unlink(missing_ok=True)
    code = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1"}, check=False).returncode
    if code == 0:
        return ""
    return error.read_text("utf-8") if error.exists() else f"its process ended with code {code}"


def display_name(folder: Path) -> str:
    """Return what the console calls a model: ``padim``, or ``seed-1/padim``."""
    own = folder.parent.name
    return f"{own}/{folder.name}" if own.startswith("seed-") else folder.name
