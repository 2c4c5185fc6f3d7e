"""Whose turn it is: items wait in lanes until the memory that they need is free.

Lanes take turns, and so do the items of one. An item that needs more memory than is free is overtaken by smaller ones,
but only so often: then everything waits until it fits. Nobody starves, neither a small item behind large ones nor a
large one behind small ones.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Generic, TypeVar

MAX_OVERTAKEN = 32  # smaller items that may go before one that waits for memory
Item = TypeVar("Item")


@dataclass(eq=False)
class Turn(Generic[Item]):
    """An item that waits, or whose turn it is.

    Attributes:
        item: what is to be done.
        lane: that it waits in.
        memory_bytes: that it needs.
        overtaken: how many went before it because they needed less.
    """

    item: Item
    lane: str
    memory_bytes: int
    overtaken: int = 0
    number: int = field(default_factory=count().__next__)  # in the order of coming


class TurnQueue(Generic[Item]):
    """Hands items out to threads as long as what they need together fits.

    Args:
        budget_bytes: of memory; an item needs at most all of it.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._free_bytes = budget_bytes
        self._lanes: dict[str, deque[Turn[Item]]] = {}  # the one whose turn it is first
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, turn: Turn[Item]) -> None:
        """Let an item wait."""
        with self._changed:
            self._lanes.setdefault(turn.lane, deque()).append(turn)
            self._changed.notify_all()

    def take(self) -> Turn[Item] | None:
        """Wait for the next turn; None once the queue is closed and nothing is left. Its memory is taken."""
        with self._changed:
            while (turn := self._next()) is None:
                if self._is_closed and not any(self._lanes.values()):
                    return None
                self._changed.wait()
            self._lanes[turn.lane].remove(turn)
            self._lanes[turn.lane] = self._lanes.pop(turn.lane)  # the others' turn
            self._take_memory(turn.memory_bytes, turn.number)
            return turn

    def drop(self, turn: Turn[Item]) -> None:
        """Let an item wait no more, if it still does."""
        with self._changed:
            if turn in self._lanes[turn.lane]:
                self._lanes[turn.lane].remove(turn)
                self._changed.notify_all()

    def give_back(self, memory_bytes: int) -> None:
        """Free memory that was taken."""
        with self._changed:
            self._free_bytes += memory_bytes
            self._changed.notify_all()

    @contextmanager
    def memory(self, memory_bytes: int, timeout_s: float) -> Iterator[bool]:
        """Take memory for something beside the items; gives whether there was some in time."""
        memory_bytes = min(memory_bytes, self.budget_bytes)
        with self._changed:
            is_taken = self._changed.wait_for(
                lambda: memory_bytes <= self._free_bytes and not self._overdue(), timeout_s
            )
            if is_taken:
                self._take_memory(memory_bytes, math.inf)
        try:
            yield is_taken
        finally:
            if is_taken:
                self.give_back(memory_bytes)

    def close(self) -> None:
        """Let threads end when nothing is left."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _heads(self) -> list[Turn[Item]]:
        return [lane[0] for lane in self._lanes.values() if lane]

    def _overdue(self) -> list[Turn[Item]]:
        """List what has been overtaken as often as may be, the oldest first."""
        return sorted((h for h in self._heads() if h.overtaken >= MAX_OVERTAKEN), key=lambda turn: turn.number)

    def _next(self) -> Turn[Item] | None:
        """Choose the one whose turn it is; None while nothing fits."""
        waiting = self._overdue()[:1] or chain.from_iterable(self._lanes.values())
        return next((turn for turn in waiting if turn.memory_bytes <= self._free_bytes), None)

    def _take_memory(self, memory_bytes: int, number: float) -> None:
        for head in self._heads():
            head.overtaken += head.number < number and head.memory_bytes > self._free_bytes
        self._free_bytes -= memory_bytes
