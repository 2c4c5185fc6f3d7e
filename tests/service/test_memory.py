"""Memory that was freed is not kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells it so")
def test_what_was_freed_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", FREE_HALF], capture_output=True, text=True, timeout=300, check=True)
    assert float(done.stdout) > 150


def test_a_library_that_cannot_is_left_alone(monkeypatch):
    from pellucid.service import memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert memory.trim_memory() == memory.TRIM_PERIOD_S
