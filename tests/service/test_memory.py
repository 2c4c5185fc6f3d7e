"""Memory that was freed is not kept."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pellucid.service.memory import OWN_CHOICES
from service.odd_files import png_bytes

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such arenas")
HEAP_BYTES = 64 << 20  # of an arena of a thread, and where it begins is a multiple of it
FREE_HALF = """
import ctypes, sys
from pathlib import Path
from pellucid.service.memory import TRIM_PERIOD_S, trim_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
blocks = [libc.malloc(100_000) for _ in range(2_000)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    libc.free(block)
before = resident_mb()
assert trim_memory() == TRIM_PERIOD_S
print(before - resident_mb())
"""
HOLES = """
import ctypes, sys
from pathlib import Path
from pellucid.service.memory import limit_arenas
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
def block(size):
    return ctypes.memset(ctypes.c_void_p(libc.malloc(size)), 1, size)
if "limited" in sys.argv:
    limit_arenas()
libc.free(block(8_000_000))  # as large as an image; glibc keeps smaller ones in its arenas after that
before = resident_mb()
freed = []
for _ in range(30):  # what stays, in no hole of before
    freed += [block(300_000) for _ in range(10)]
    block(100_000)
for one in freed:
    libc.free(one)
print(resident_mb() - before - 3)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells it so")
def test_what_was_freed_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", FREE_HALF], capture_output=True, text=True, timeout=300, check=True)
    assert float(done.stdout) > 150


@needs_glibc
@pytest.mark.parametrize("variable", ["", "MALLOC_ARENA_MAX=8", "GLIBC_TUNABLES=glibc.malloc.arena_max=8"])
def test_images_leave_no_holes_between_what_stays(variable):
    name, _, value = variable.partition("=")
    environment = {key: text for key, text in os.environ.items() if key not in OWN_CHOICES} | {name or "NONE": value}
    limited, as_it_is = (kept_mb(how, environment) for how in ("limited", "as it is"))
    assert as_it_is > 80, "or this measures nothing"
    assert limited > 80 if variable else limited < 5, "with a variable of glibc's own, its user chooses"


def kept_mb(how: str, environment: dict[str, str]) -> float:
    """Measure what stays of 90 MB that were freed between small blocks."""
    command = [sys.executable, "-c", HOLES, how]
    return float(subprocess.run(command, env=environment, capture_output=True, timeout=300, check=True).stdout)


@needs_glibc
def test_the_threads_of_a_service_share_an_arena_a_core(service):
    picture = png_bytes(np.full((64, 64), 127, np.uint8))
    for _ in range(8):
        assert service.http.post("/inspect", files={"files": ("a.png", picture)}).status_code == 200
    assert thread_arenas(service.process.pid) <= max(2, os.cpu_count() or 1)  # an arena may have grown a second heap


def thread_arenas(process: int) -> int:
    """Count them: an arena's heap begins at a multiple of its size, and the part of it that is not used ends there."""
    regions = re.findall(
        r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ 00:00 0\s*$", Path(f"/proc/{process}/maps").read_text(), re.MULTILINE
    )
    begins = {int(begin, 16) for begin, _, rights in regions if rights == "rw-p"}
    unused_ends = {int(end, 16) for _, end, rights in regions if rights == "---p"}
    return sum(begin % HEAP_BYTES == 0 and begin + HEAP_BYTES in unused_ends for begin in begins)


def test_a_library_that_cannot_is_left_alone(monkeypatch):
    from pellucid.service import memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    memory.limit_arenas()
    assert memory.trim_memory() == memory.TRIM_PERIOD_S
