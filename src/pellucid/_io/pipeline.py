"""Work in stages that overlap: each has threads of its own, results come in order, only a few items are under way."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

IO_THREADS = min(4, os.cpu_count() or 1)  # threads of a stage that reads, writes or draws


@dataclass(frozen=True)
class Stage:
    """What is done with the result of the stage before, by how many threads."""

    work: Callable[[Any], Any]
    threads: int


def overlap(items: Iterable[Any], *stages: Stage) -> Iterator[Future[Any]]:
    """Every item's future after the last stage, in order; an error in any stage is its future's.

    At most one item waits for each thread. Leaving early cancels what has not begun.
    """
    pools = [ThreadPoolExecutor(stage.threads) for stage in stages]
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            future = pools[0].submit(stages[0].work, item)
            for stage, pool in zip(stages[1:], pools[1:], strict=True):
                future = pool.submit(_after, future, stage.work)
            waiting.append(future)
            if len(waiting) > 2 * sum(stage.threads for stage in stages):
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown()


def _after(before: Future[Any], work: Callable[[Any], Any]) -> Any:
    return work(before.result())
