"""A pipeline of functions that overlap: each has threads of its own, results come in order, few items are under way."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

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


def take_ahead(items: Iterable[T], count: int = 1) -> Generator[T, None, None]:
    """Take items in a thread of its own, ahead of whoever asks for them.

    Closing the iterator early stops the thread at its next item, without waiting for that: it may never come.

    Args:
        items: taken one after the other; what they raise is raised where the item would have been.
        count: how many may be there that nobody has asked for yet, at least 1.
    """
    room, taken = threading.Semaphore(count), SimpleQueue[Future[T]]()
    closed = threading.Event()

    def take() -> None:
        iterator = iter(items)
        while room.acquire() and not closed.is_set():
            item: Future[T] = Future()
            try:
                item.set_result(next(iterator))
            except BaseException as error:  # whatever it is, the caller gets it
                item.set_exception(error)
            taken.put(item)
            if item.exception() is not None:
                return

    threading.Thread(target=take, name="taking ahead", daemon=True).start()
    try:
        while True:
            item = taken.get()
            if isinstance(item.exception(), StopIteration):
                return
            room.release()
            yield item.result()
    finally:
        closed.set()
        room.release()
