"""A model whose maps are computed by the workers of a Ray cluster; all else stays on this machine.

What a worker gets is one call of the runtime, a tile or an image; so one sheet is spread over all of them as a folder
of images is, and bands, regions and verdicts are made here, in order, as without a cluster.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pellucid._io.cluster import Machine, connected, machines
from pellucid.acquisition.images import Size
from pellucid.errors import ClusterError, ParameterError
from pellucid.inspector import Inspector
from pellucid.records import ScoreOf
from pellucid.runtimes import Floats, Name

MAX_ATTEMPTS = 3  # of what is computed, on as many workers, before it is given up
WAITING = 1  # calls of a worker beyond those that it computes at a time, so that it need not wait for pixels
Content = dict[str, bytes]  # of the files of a model, by their names


@contextmanager
def on_ray(inspector: Inspector, path: Path) -> Iterator[Inspector]:
    """Give, while it is open, an inspector whose maps are computed by a worker on every machine of a cluster.

    The same bytes as here where the machines have the same processor, elsewise the same up to rounding. A worker that
    is lost is replaced, on another machine where its own is gone, and what it had to compute is computed again.

    Args:
        inspector: of a model, with the runtime that every worker takes; processors alone compute.
        path: of its model file, or of the folder that it was exported to; workers are sent what is in it.

    Raises:
        ParameterError: Ray is not installed, its cluster cannot be reached, or a worker cannot open the model.
    """
    with connected() as ray:
        workers = _Workers(ray, inspector.runtime.name, _content(path))
        runtime = RayRuntime(inspector.runtime.name, inspector.runtime.score_of, workers)
        yield replace(inspector, runtime=runtime)


def _content(path: Path) -> Content:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files if file.is_file()}


@dataclass
class RayRuntime:
    """The runtime of a model on workers.

    Attributes:
        name: of the runtime that each of them has.
        score_of: what of its map a score follows.
        workers: those.
    """

    name: Name
    score_of: ScoreOf
    workers: _Workers

    @property
    def device(self) -> str:
        """What computes, as the last line of ``inspect`` has it."""
        return f"{self.workers.count} worker{'s' if self.workers.count > 1 else ''} of a Ray cluster"

    @property
    def batch_size(self) -> int:
        return self.workers.batch_size

    @property
    def parallel_requests(self) -> int:
        return self.workers.parallel_requests

    def for_throughput(self) -> RayRuntime:
        """Return itself: workers always compute as many as they can."""
        return self

    def for_tiles(self, size: Size) -> RayRuntime:  # noqa: ARG002 - workers see it by what they are sent
        """Return itself: workers look at the size of what they are sent."""
        return self

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        return self.workers.score(pixels)


class _Worker:
    """What computes on another machine."""

    def __init__(self, name: Name, content: Content, threads: int) -> None:
        from pellucid.models.load import load

        if name == "torch":  # to which Ray would leave one thread
            import torch

            torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # its graph may still be mapped
            for file, data in content.items():
                (Path(folder) / file).write_bytes(data)
            whole = len(content) > 1
            path = Path(folder) if whole else Path(folder, *content)
            self._runtime = load(path, None if whole else name, device="cpu").runtime.for_throughput()
        self._turns = threading.Semaphore(self._runtime.parallel_requests)

    def sizes(self) -> tuple[int, int]:
        """Return how many images a call had best have, and how many calls are computed at a time."""
        return self._runtime.batch_size, self._runtime.parallel_requests

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Compute maps and scores of images of any size that the model has."""
        with self._turns:
            return self._runtime.for_tiles((pixels.shape[2], pixels.shape[3])).score(pixels)


@dataclass
class _Slot:
    """The place of a worker, of whom there may be several, one after the other."""

    machine: Machine
    worker: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Workers:
    """A worker on every machine, and whose turn it is."""

    def __init__(self, ray: Any, name: Name, content: Content) -> None:
        self._ray, self._name, self._content = ray, name, ray.put(content)
        self._slots: SimpleQueue[_Slot] = SimpleQueue()
        begun = [_Slot(machine, self._begin(machine)) for machine in machines()]
        try:
            sizes = ray.get([slot.worker.sizes.remote() for slot in begun])
        except ray.exceptions.RayError as error:
            raise ParameterError(f"A Ray worker cannot open the model: {_last_line(error)}") from None
        self.count = len(begun)
        self.batch_size: int = min(batch for batch, _ in sizes)
        self.parallel_requests: int = sum(parallel + WAITING for _, parallel in sizes)
        for slot, (_, parallel) in zip(begun, sizes, strict=True):
            for _ in range(parallel + WAITING):
                self._slots.put(slot)

    def _begin(self, machine: Machine) -> Any:
        """Start a worker on a machine, or elsewhere if that is gone."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = self._ray.remote(_Worker).options(
            num_cpus=0,
            max_concurrency=max(machine.cores, 1) + WAITING,
            scheduling_strategy=NodeAffinitySchedulingStrategy(machine.node, soft=True),
        )
        threads = int(os.environ.get("OMP_NUM_THREADS", max(machine.cores, 1)))
        return remote.remote(self._name, self._content, threads)

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Have some images computed by the next worker that is free.

        Raises:
            ClusterError: several workers were lost with it.
        """
        lost = ""
        for _ in range(MAX_ATTEMPTS):
            slot = self._slots.get()
            worker = slot.worker
            try:
                maps, scores = self._ray.get(worker.score.remote(pixels))
                return maps, scores
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None  # what the runtime said, without where
            except self._ray.exceptions.RayActorError as error:
                lost = _last_line(error)
                with slot.lock:
                    if slot.worker is worker:  # no other call of it was faster
                        slot.worker = self._begin(slot.machine)
            finally:
                self._slots.put(slot)
        raise ClusterError(f"{MAX_ATTEMPTS} Ray workers were lost one after the other, the last one with: {lost}")


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
