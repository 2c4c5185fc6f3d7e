"""Who is let in: so many requests and bytes under way at most, each counted until its work has ended."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LATENCY_SMOOTHING = 0.05  # share of the newest request in the running mean of seconds


class BusyError(Exception):
    """As many requests as may wait do; ``seconds`` until it is worth trying again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"The service is busy: try again in {seconds} s.")
        self.seconds = seconds


class Admission:
    """Counts what one kind of sender has under way.

    Args:
        max_requests: that may be worked on; one whose body is still coming is none yet.
        max_bytes: of all of them, those of bodies that are still coming included; one alone may have more.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._lock = threading.Lock()
        self._bytes = 0
        self._seconds = 0.1  # that a request took lately, from in to out
        self.under_way = 0  # requests

    @contextmanager
    def request(self) -> Iterator[AdmittedRequest]:
        """Take a request in; it counts until the caller and all who hold it are done with it.

        Raises:
            BusyError: too much is under way.
        """
        admitted = AdmittedRequest(self)
        if self.under_way >= self._max_requests:  # its body need not be read to know
            raise self.busy()
        try:
            yield admitted
        finally:
            admitted.release()

    def busy(self) -> BusyError:
        """Make the error that says how long a request takes now."""
        return BusyError(max(1, math.ceil(self._seconds)))

    def add_bytes(self, count: int, own: int) -> None:
        """Count bytes of a request that has ``own`` already; see :meth:`AdmittedRequest.add_bytes`."""
        with self._lock:
            if self._bytes > own and self._bytes + count > self._max_bytes:
                raise self.busy()
            self._bytes += count

    def begin(self) -> None:
        """Count a request that is worked on; see :meth:`AdmittedRequest.begin`."""
        with self._lock:
            if self.under_way >= self._max_requests:
                raise self.busy()
            self.under_way += 1

    def end(self, bytes_held: int, seconds: float | None) -> None:
        """Count a request out; ``seconds`` that it was worked on, None if it never was."""
        with self._lock:
            self._bytes -= bytes_held
            if seconds is not None:
                self.under_way -= 1
                self._seconds += LATENCY_SMOOTHING * (seconds - self._seconds)


class AdmittedRequest:
    """One request that was taken in by :meth:`Admission.request`."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._lock = threading.Lock()
        self._holders = 1
        self._bytes = 0
        self._begun: float | None = None

    def add_bytes(self, count: int) -> None:
        """Count bytes that have come.

        Raises:
            BusyError: others hold so many that these are too many.
        """
        self._admission.add_bytes(count, self._bytes)
        self._bytes += count

    def begin(self) -> None:
        """Begin to work on it: its body has come.

        Raises:
            BusyError: too many are worked on.
        """
        self._admission.begin()
        self._begun = time.perf_counter()

    def hold(self) -> None:
        """Keep it counted until one more :meth:`release`."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Let go of it; the last one counts it out."""
        with self._lock:
            self._holders -= 1
            is_over = not self._holders
        if is_over:
            seconds = None if self._begun is None else time.perf_counter() - self._begun
            self._admission.end(self._bytes, seconds)
