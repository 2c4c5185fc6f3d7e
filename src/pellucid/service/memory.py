"""Memory that was freed goes back to the system.

The C library (glibc) keeps what its threads free, in an arena for each of them, and raises the size of a block that is
the system's own, and goes back to it at once, to that of the largest one that was ever freed. Images leave holes in all
arenas then: a service whose live memory stays the same takes some more with every image, and with every fault that
makes threads work at the same time, for hours.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

TRIM_PERIOD_S = 60.0
LARGE_BLOCK_BYTES = 128 * 1024  # of the system's own from here on: glibc's number, before it is raised
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
OWN_CHOICES = ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_")  # glibc's variables: who sets one knows


def limit_arenas() -> None:
    """Keep large blocks out of the C library's arenas, and these to one a core; called before threads begin.

    Where the library is another one than glibc, and where one of its own variables says how, nothing is done.
    """
    if os.name == "posix" and not any(name in os.environ for name in OWN_CHOICES):
        with contextlib.suppress(AttributeError):  # musl's and macOS's have no such function
            set_option = ctypes.CDLL(None).mallopt
            set_option(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
            set_option(M_ARENA_MAX, max(2, os.cpu_count() or 1))


def trim_memory() -> float:
    """Give freed memory back where the C library can (glibc); returns the seconds until that is worth doing again."""
    if os.name == "posix":
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
    return TRIM_PERIOD_S
