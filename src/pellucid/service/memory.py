"""Memory that was freed goes back to the system.

The C library keeps what its threads free, in an arena for each of them, and large images leave holes in all of them:
a service that is at its limit of memory for an hour would look as if it lost some with every image.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

TRIM_PERIOD_S = 60.0


def trim_memory() -> float:
    """Give freed memory back where the C library can (glibc); returns the seconds until that is worth doing again."""
    if os.name == "posix":
        with contextlib.suppress(AttributeError):  # musl's and macOS's have no such function
            ctypes.CDLL(None).malloc_trim(0)
    return TRIM_PERIOD_S
