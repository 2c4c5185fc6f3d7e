"""The service's log: a line for an event, whatever names and messages hold."""

from __future__ import annotations

import logging
import time
from collections import deque
from types import TracebackType

from pellucid import __name__ as PACKAGE_NAME
from pellucid._io.names import printable

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MAX_TRACEBACKS, TRACEBACK_PERIOD_S = 20, 60.0  # at most so many in that time
TRACEBACK_INDENT = "    "  # no line of a traceback looks like an event


class LineFormatter(logging.Formatter):
    """Formats an event as one printable line, and its traceback as indented ones: nothing can be forged by a name."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the library's name
        """Return the event's line."""
        return printable(super().formatMessage(record))

    def formatException(  # noqa: N802, the library's name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """Return a traceback's lines."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802, the library's name
        """Return a stack's lines."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(TRACEBACK_INDENT + printable(line) for line in text.split("\n"))


def begin_log() -> None:
    """Send what every logger says to standard error, Python's warnings too."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(LOG_FORMAT))
    handler.addFilter(TracebackLimit())
    logging.basicConfig(handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger(PACKAGE_NAME).setLevel(logging.INFO)


class TracebackLimit(logging.Filter):
    """Lets so many tracebacks a minute into the log; beyond, an error is one line, and no client fills a disk."""

    def __init__(self) -> None:
        super().__init__()
        self._moments: deque[float] = deque(maxlen=MAX_TRACEBACKS)

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the traceback from a record beyond the limit."""
        if record.exc_info and record.exc_info[0] is not None:
            now = time.monotonic()
            if len(self._moments) == MAX_TRACEBACKS and now - self._moments[0] < TRACEBACK_PERIOD_S:
                record.msg = (
                    f"{record.getMessage()} ({record.exc_info[0].__name__}; {MAX_TRACEBACKS} tracebacks a minute)"
                )
                record.args, record.exc_info, record.exc_text = (), None, None
            else:
                self._moments.append(now)
        return True
