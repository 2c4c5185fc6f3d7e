"""Room for a fit: the estimate is what is really written, and too little room is said before the work."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from pellucid._io import space
from pellucid._io.space import (
    FitSpace,
    available_memory_bytes,
    estimate_fit_space,
    total_memory_bytes,
    warn_of_little_room,
)
from pellucid.detectors._feature_cache import FeatureCache
from pellucid.detectors._spill import DiskTensor

MAPS = ((5, 8, 6), (9, 4, 3))  # (C, h, w)
GIGABYTE = 10**9


def test_the_estimate_is_what_the_files_hold(batches):
    n_images = sum(len(batch) for batch in batches)
    cpu = torch.device("cpu")
    with FeatureCache(batches, lambda x: [torch.rand(len(x), *shape) for shape in MAPS], cpu) as cache:
        size = cache._rows.file.seek(0, 2)
    assert estimate_fit_space(n_images, MAPS, bytes_per_value=2).disk_bytes == size
    with DiskTensor(cpu) as patches:
        for batch in batches:
            patches.append(torch.rand(len(batch) * 8 * 6, 5))
        assert estimate_fit_space(n_images, MAPS[:1]).disk_bytes == patches.file.seek(0, 2)


def test_memory_is_what_is_kept():
    assert estimate_fit_space(10, [(4, 5, 5)], kept_share=0.02, bytes_per_value=2) == FitSpace(10, 2000, 80)
    assert estimate_fit_space(10, [(4, 5, 5)]).memory_bytes == 0


def usage(monkeypatch, free):
    kind = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: kind(0, 0, free))


def test_too_little_disk_is_said_and_what_to_do(monkeypatch, tmp_path):
    usage(monkeypatch, GIGABYTE)
    message = (
        rf"features of 500 images take 2\.5 GB in the temporary folder '{tmp_path}', which has 1 GB left: .* TMPDIR"
    )
    with pytest.warns(UserWarning, match=message):
        warn_of_little_room(FitSpace(500, 5 * GIGABYTE // 2, 0), tmp_path)


def test_too_little_memory_is_said_and_what_to_do(monkeypatch):
    monkeypatch.setattr(space, "available_memory_bytes", lambda: GIGABYTE)
    with pytest.warns(UserWarning, match=r"500 images takes 2 GB of memory, of which 1 GB are free: keep a smaller"):
        warn_of_little_room(FitSpace(500, 0, 2 * GIGABYTE))


@pytest.mark.parametrize("memory", [None, 10 * GIGABYTE])
def test_enough_room_is_silent(monkeypatch, memory):
    usage(monkeypatch, GIGABYTE)
    monkeypatch.setattr(space, "available_memory_bytes", lambda: memory)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_little_room(FitSpace(500, GIGABYTE, 0))


def test_the_memory_of_this_machine():
    found = available_memory_bytes()
    if Path("/proc/meminfo").exists() or sys.platform == "win32":
        assert found > 10**7
    else:
        assert found is None or found > 10**7


def test_it_is_known_without_torch():
    code = "import sys, pellucid._io.space as s; s.estimate_fit_space(1, [(1, 1, 1)]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


GIB = 1 << 30


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 16 * GIB),
        ("0::/\n", {"memory.max": 2 * GIB}, 2 * GIB),
        ("0::/\n", {"memory.max": "max"}, 16 * GIB),
        ("0::/\n", {"memory.max": 64 * GIB}, 16 * GIB),
        ("0::/a/b\n", {"memory.max": 8 * GIB, "a/memory.max": 3 * GIB, "a/b/memory.max": "max"}, 3 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": 1 * GIB}, 1 * GIB),
        ("4:cpu:/x\n3:memory:/docker/1\n", {"memory/docker/1/memory.limit_in_bytes": 5 * GIB}, 5 * GIB),
        ("3:memory:/docker/1\n", {"memory/memory.limit_in_bytes": 6 * GIB}, 6 * GIB),
        ("3:memory:/\n", {"memory/memory.limit_in_bytes": 9223372036854771712}, 16 * GIB),
        ("0::/../../other\n", {"memory.max": "nonsense"}, 16 * GIB),
    ],
)
def test_the_memory_of_a_container_is_its_limit(tmp_path, own, files, expected):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {16 * GIB // 1024} kB\nMemFree: 1 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text(own)
    for name, limit in files.items():
        file = tmp_path / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    assert total_memory_bytes(tmp_path) == expected


def test_this_machine_says_how_much_memory_it_has():
    assert total_memory_bytes() > 100e6
