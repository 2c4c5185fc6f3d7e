"""An account of processor time: what each stage of an inspection spends, each counted in the thread that spends it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from pellucid.acquisition.band_appearance import BandAppearance
from pellucid.acquisition.bands import Band, Bands
from pellucid.acquisition.gate import Gate
from pellucid.passing import Passing
from pellucid.regions.band_zones import ZonedFinder
from pellucid.runtimes.bands import JoinedRows
from pellucid.runtimes.strips import Strip

STAGES = (
    ("gate", Gate, "looks"),
    ("rows of tiles", Strip, "__init__"),
    ("cutting", Strip, "planes"),
    ("joining", Strip, "join"),
    ("joining", JoinedRows, "take"),
    ("judging", Passing, "add"),
    ("light", BandAppearance, "add"),
    ("outlining", ZonedFinder, "add"),
    ("outlining", ZonedFinder, "finish"),
)
READING, REST = "reading", "network"  # the network's threads are not Python's: it is what no stage has spent


class Account:
    """Processor seconds by stage, without those of stages that it calls; what nobody counts is the network's."""

    def __init__(self) -> None:
        self._spent: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._inner = threading.local()  # seconds of the stages that the one of this thread has called so far

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and is counted."""

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            before, self._inner.seconds = getattr(self._inner, "seconds", 0.0), 0.0
            start = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                spent = time.thread_time() - start
                with self._lock:
                    self._spent[stage] += spent - self._inner.seconds
                self._inner.seconds = before + spent

        return call

    @contextmanager
    def open(self) -> Iterator[Account]:
        """Count all stages while it is open."""
        own = [(owner, name, getattr(owner, name)) for _, owner, name in STAGES]
        for (stage, owner, name), (*_, function) in zip(STAGES, own, strict=True):
            setattr(owner, name, self.timed(stage, function))
        start = time.process_time()
        try:
            yield self
        finally:
            for owner, name, function in own:
                setattr(owner, name, function)
        self._spent[REST] = time.process_time() - start - sum(self._spent.values())

    def read(self, bands: Bands) -> Any:
        """Return the same image, whose reading is counted."""
        return _CountedBands(bands, self)

    def ms_per_mpx(self, mpx: float) -> dict[str, float]:
        """Return milliseconds of processor time for each million pixels, the dearest stage first."""
        return {stage: round(1000 * seconds / mpx, 2) for stage, seconds in self._spent.most_common()}


class _CountedBands:
    def __init__(self, bands: Bands, account: Account) -> None:
        self._bands, self._account = bands, account

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bands, name)

    def __iter__(self) -> Iterator[Band]:
        bands, end = iter(self._bands), object()
        take = self._account.timed(READING, lambda: next(bands, end))
        while (band := take()) is not end:
            yield band
