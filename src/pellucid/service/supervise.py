"""One supervisor for all threads of the service: what goes wrong in one item never ends a thread.

An error that the package foresees (:class:`pellucid.errors.PellucidError`, OSError) is logged as a warning: the
database or a folder is away, and may come back. Any other is logged with its traceback, counted in ``/metrics`` and
shown in ``/ready``. In both cases the thread goes on with the next item after a pause.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pellucid.errors import PellucidError

log = logging.getLogger("pellucid.service")
FORESEEN_ERRORS = (PellucidError, OSError)  # something is away, and may come back
FAILURE_PAUSE_S = 2.0  # until a thread goes on after an error
FAILURE_SHOWN_S = 3600.0  # that an unforeseen error stays in /ready


@dataclass(frozen=True)
class Failure:
    """The last unforeseen error of a thread."""

    thread: str
    count: int  # since the service began
    message: str
    at: datetime
    clock: float  # time.monotonic() of it

    def sentence(self) -> str:
        """Tell it in one sentence."""
        return (
            f"The thread '{self.thread}' failed {self.count} times and goes on; last at {self.at:%H:%M:%S}"
            f" ({self.message})."
        )


class Supervisor:
    """Does items of work; an error in one is logged, counted and shown.

    Args:
        on_failure: called with a thread's name at each unforeseen error; counts it for ``/metrics``.
    """

    def __init__(self, on_failure: Callable[[str], object] = lambda _: None) -> None:
        self._on_failure = on_failure
        self._failures: dict[str, Failure] = {}

    def attempt(self, thread: str, item: Callable[[], object]) -> Exception | None:
        """Do one item of a thread's work; returns the error that ended it, None if it went well."""
        try:
            item()
        except FORESEEN_ERRORS as error:
            log.warning("%s: %s", thread, error)
            return error
        except Exception as error:
            log.exception("%s: unforeseen, and it goes on", thread)
            count = self._failures[thread].count + 1 if thread in self._failures else 1
            message = f"{type(error).__name__}: {error}"
            self._failures[thread] = Failure(thread, count, message, datetime.now().astimezone(), time.monotonic())
            self._on_failure(thread)
            return error
        return None

    def warnings(self) -> list[str]:
        """Tell what failed lately, one sentence for each thread."""
        now = time.monotonic()
        failures = list(self._failures.values())
        return [failure.sentence() for failure in failures if now - failure.clock < FAILURE_SHOWN_S]


class Worker:
    """One thread that does step after step under the supervisor.

    Args:
        supervisor: that it runs under.
        name: of the thread, in the log, in ``/metrics`` and in ``/ready``.
        step: does one step; returns the seconds to wait before the next one, None when there is none.
    """

    def __init__(self, supervisor: Supervisor, name: str, step: Callable[[], float | None]) -> None:
        self._supervisor, self._name, self._step = supervisor, name, step
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._wait_s: float | None = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Finish the step that is being done, and do no more."""
        self.stopping.set()
        self.join()

    def join(self) -> None:
        """Wait until the thread has ended, if it was ever started."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._wait_s is not None and not self.stopping.wait(self._wait_s):
            if self._supervisor.attempt(self._name, self._advance) is not None:
                self._wait_s = FAILURE_PAUSE_S

    def _advance(self) -> None:
        self._wait_s = self._step()
