"""One supervisor for all threads of the service: what goes wrong in one item never ends a thread.

An error that the package foresees (:class:`pellucid.errors.PellucidError`, OSError) is logged as a warning, the same
one once a minute: the database or a folder is away, and may come back. Any other is logged with its traceback. Both
are counted in ``/metrics`` and shown in ``/ready``, and the thread goes on with the next item after a pause. A thread
whose work does not get done now makes the service not ready.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from pellucid.errors import PellucidError

log = logging.getLogger("pellucid.service")
FORESEEN_ERRORS = (PellucidError, OSError)  # something is away, and may come back
FAILURE_PAUSE_S = 2.0  # until a thread goes on after an error
FAILURE_SHOWN_S = 3600.0  # that an error stays in /ready
REPEATED_LOG_S = 60.0  # until the same foreseen error is logged again
FAILED_STEPS_ALLOWED = 2  # in a row; with one more a thread counts as not working
STUCK_S = 60.0  # at one item, until a thread counts as stuck
CLOSE_TIMEOUT_S = 5.0  # that a stop waits for a thread's step


@dataclass
class ThreadState:
    """How the work of one thread goes.

    Attributes:
        name: of the thread.
        is_vital: whether the service is not ready while it does not work.
        failed_steps_allowed: in a row; with one more it does not work.
        has_ended: whether it ended though it has more to do.
        failures: since the service began.
        failed_steps: in a row.
        message: of the last error.
        failed_at: when that was.
        done_at: when the last step was done.
    """

    name: str
    is_vital: bool = False
    failed_steps_allowed: int = FAILED_STEPS_ALLOWED
    has_ended: bool = False
    failures: int = 0
    failed_steps: int = 0
    message: str = ""
    failed_at: datetime | None = None
    done_at: datetime | None = None
    _busy_since: float | None = None  # time.monotonic() at which the item began that is under way
    _failed_clock: float = 0.0
    _logged_clock: float = float("-inf")
    _item_failed: bool = False  # in this step, because something is away
    _lock: threading.Lock = field(default_factory=threading.Lock)  # items of one step may be done side by side

    def trouble(self) -> str | None:
        """Tell in one sentence why its work does not get done now; None if it does."""
        busy_s = 0.0 if (since := self._busy_since) is None else time.monotonic() - since
        if self.has_ended:
            return f"The thread '{self.name}' has ended ({self.message or 'unknown why'}): restart the service."
        if busy_s > STUCK_S:
            return f"The thread '{self.name}' has been at one step for {busy_s:.0f} s."
        if self.failed_steps > self.failed_steps_allowed and self.failed_at is not None:
            return (
                f"The thread '{self.name}' does not get on: it failed {self.failed_steps} times in a row, last at"
                f" {self.failed_at:%H:%M:%S} ({self.message})."
            )
        return None

    def lately(self) -> str | None:
        """Tell in one sentence what failed lately though it works again; None if nothing did."""
        if self.failed_at is None or time.monotonic() - self._failed_clock > FAILURE_SHOWN_S:
            return None
        return (
            f"The thread '{self.name}' failed {self.failures} times and goes on; last at {self.failed_at:%H:%M:%S}"
            f" ({self.message})."
        )

    def begin_step(self) -> None:
        """Say that a step begins."""
        self._item_failed = False
        self._busy_since = time.monotonic()

    def end_step(self, error: BaseException | None) -> None:
        """Say how a step ended; one in which an item could not be done because something is away has failed."""
        has_failed = error is not None or self._item_failed
        self.failed_steps = self.failed_steps + 1 if has_failed else 0
        if not has_failed:
            self.done_at = datetime.now().astimezone()
        self._busy_since = None

    def end_item(self, error: BaseException | None) -> None:
        """Say how an item of a step ended; an unforeseen error is that item's own."""
        if isinstance(error, FORESEEN_ERRORS):
            self._item_failed = True
        if self._busy_since is not None:
            self._busy_since = time.monotonic()

    def note(self, error: BaseException) -> None:
        """Log an error and keep it."""
        message = str(error) if isinstance(error, PellucidError) else f"{type(error).__name__}: {error}"
        now = time.monotonic()
        with self._lock:
            repeated = message == self.message and now - self._logged_clock < REPEATED_LOG_S
            self.failures += 1
            self.message, self.failed_at, self._failed_clock = message, datetime.now().astimezone(), now
            if not repeated:
                self._logged_clock = now
        if isinstance(error, FORESEEN_ERRORS):
            if not repeated:
                log.warning("%s: %s", self.name, error)
        else:
            log.error("%s: unforeseen, and it goes on", self.name, exc_info=error)


class Supervisor:
    """Does items of work; an error in one is logged, counted and shown.

    Args:
        on_failure: called with a thread's name at each error; counts it for ``/metrics``.
    """

    def __init__(self, on_failure: Callable[[str], object] = lambda _: None) -> None:
        self._on_failure = on_failure
        self._states: dict[str, ThreadState] = {}

    def state(self, thread: str) -> ThreadState:
        """Return how a thread's work goes."""
        return self._states.setdefault(thread, ThreadState(thread))

    def threads(self) -> list[ThreadState]:
        """List how the work of every thread goes."""
        return list(self._states.values())

    def attempt(self, thread: str, item: Callable[[], object]) -> BaseException | None:
        """Do one item of a thread's step; returns the error that ended it, None if it went well."""
        error = self._done(thread, item)
        self.state(thread).end_item(error)
        return error

    def step(self, thread: str, step: Callable[[], object]) -> BaseException | None:
        """Do one step of a thread, which may be of many items; returns the error that ended it."""
        state = self.state(thread)
        state.begin_step()
        error = self._done(thread, step)
        state.end_step(error)
        return error

    def reasons(self) -> list[str]:
        """Tell which threads do not get their work done, where the service needs it; one sentence each."""
        return [trouble for state in self.threads() if state.is_vital and (trouble := state.trouble())]

    def warnings(self) -> list[str]:
        """Tell what else does not work, or failed lately; one sentence for each thread."""
        told = ((state, state.trouble()) for state in self.threads())
        sentences = (
            state.lately() if trouble is None else None if state.is_vital else trouble for state, trouble in told
        )
        return [sentence for sentence in sentences if sentence is not None]

    def _done(self, thread: str, item: Callable[[], object]) -> BaseException | None:
        try:
            item()
        except BaseException as error:  # SystemExit too: a library must not end a thread
            self.state(thread).note(error)
            self._on_failure(thread)
            return error
        return None


class Worker:
    """One thread that does step after step under the supervisor.

    Args:
        supervisor: that it runs under.
        name: of the thread, in the log, in ``/metrics`` and in ``/ready``.
        step: does one step; returns the seconds to wait before the next one, None when there is none.
        is_vital: whether the service is not ready while its work does not get done.
        failed_steps_allowed: in a row; with one more it does not.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        name: str,
        step: Callable[[], float | None],
        *,
        is_vital: bool = True,
        failed_steps_allowed: int = FAILED_STEPS_ALLOWED,
    ) -> None:
        self._supervisor, self._name, self._step = supervisor, name, step
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._wait_s: float | None = 0.0
        self._state = supervisor.state(name)
        self._state.is_vital, self._state.failed_steps_allowed = is_vital, failed_steps_allowed

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether it was started and has not ended."""
        return self._thread.is_alive()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Finish the step that is being done, and do no more; see :meth:`join`."""
        self.stopping.set()
        return self.join(timeout_s)

    def join(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until the thread has ended, if it was ever started; one that does not in time is left, and False."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("%s: still at its step after %g s; it is left", self._name, timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._goes_on():
                with contextlib.suppress(BaseException):  # outside of a step, where another thread may raise one
                    self._work()
        finally:
            self._state.has_ended = self._goes_on()

    def _work(self) -> None:
        while self._goes_on() and not self.stopping.wait(self._wait_s):
            if self._supervisor.step(self._name, self._advance) is not None:
                self._wait_s = FAILURE_PAUSE_S

    def _goes_on(self) -> bool:
        return self._wait_s is not None and not self.stopping.is_set()

    def _advance(self) -> None:
        self._wait_s = self._step()
