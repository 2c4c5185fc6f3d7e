"""A pipeline of functions that overlap: each has threads of its own, results come in order, few items are under way."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

IO_THREADS = min(4, os.cpu_count() or 1)  # of an operation that reads, writes or draws


@dataclass(frozen=True)
class Operation:
    """A function of a pipeline, called with what the one before it returned.

    Attributes:
        function: takes one item and returns one.
        threads: how many items it may work on at the same time, at least 1.
    """

    function: Callable[[Any], Any]
    threads: int


def run_pipeline(items: Iterable[Any], *operations: Operation) -> Iterator[Future[Any]]:
    """Send every item through all operations, while others are at other operations.

    An item whose function raises skips the operations behind it, and its future raises that error; the other items go
    on. Two items for each thread are under way at most. Closing the iterator early cancels what has not begun.

    Args:
        items: what the first operation is called with, one after the other; taken only as far as there is room.
        operations: in the order in which they are called, at least one.

    Yields:
        The future of every item after the last operation, in the order of ``items``.
    """
    pools = [ThreadPoolExecutor(operation.threads) for operation in operations]
    limit = 2 * sum(operation.threads for operation in operations)
    under_way: deque[Future[Any]] = deque()
    try:
        for item in items:
            future = pools[0].submit(operations[0].function, item)
            for operation, pool in zip(operations[1:], pools[1:], strict=True):
                future = pool.submit(_call_with_result, operation.function, future)
            under_way.append(future)
            if len(under_way) > limit:
                yield under_way.popleft()
        while under_way:
            yield under_way.popleft()
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown()


def _call_with_result(function: Callable[[Any], Any], before: Future[Any]) -> Any:
    return function(before.result())
