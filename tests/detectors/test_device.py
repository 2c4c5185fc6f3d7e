"""Which device is meant, what stays as it was, and what a GPU is given; a machine without one runs all of it."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from torch.backends import cuda, cudnn

import pellucid
from pellucid import detectors
from pellucid.detectors import _coreset, _device
from pellucid.detectors._baseline import fit_baseline
from pellucid.detectors._tiles import Tile
from pellucid.errors import ParameterError


@pytest.fixture
def has(monkeypatch):
    """Pretend that this machine has other devices."""
    monkeypatch.delenv("PELLUCID_DEVICE", raising=False)

    def pretend(gpus: int = 0, apple: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
        monkeypatch.setattr(_device, "_has_gpu_driver", lambda: gpus > 0 or apple)

    return pretend


@pytest.mark.parametrize(
    ("gpus", "apple", "name", "expected"),
    [
        (0, False, "auto", "cpu"),
        (2, False, "auto", "cuda"),
        (0, True, "auto", "mps"),
        (1, True, "auto", "cuda"),
        (2, True, "cpu", "cpu"),
        (2, False, "cuda:1", "cuda:1"),
        (1, False, "cuda", "cuda"),
        (0, True, "mps", "mps"),
    ],
)
def test_the_device_of_a_name(has, gpus, apple, name, expected):
    has(gpus, apple)
    assert _device.resolve_device(name) == torch.device(expected)
    assert _device.is_cpu(name) == (expected == "cpu")


@pytest.mark.parametrize(
    ("gpus", "apple", "name", "message"),
    [
        (0, False, "gpu", r"device=gpu is not allowed: it has to be auto, cpu, cuda, cuda:N or mps\."),
        (0, False, "cuda:one", r"device=cuda:one is not allowed"),
        (0, False, "", r"device= is not allowed"),
        (0, False, "cuda", r"device=cuda is not there: this machine has cpu\."),
        (0, True, "cuda", r"device=cuda is not there: this machine has cpu, mps\."),
        (2, False, "cuda:2", r"device=cuda:2 is not there: this machine has cpu, cuda, cuda:0, cuda:1\."),
        (1, False, "mps", r"device=mps is not there: this machine has cpu, cuda, cuda:0\."),
    ],
)
def test_a_device_that_is_not_allowed_or_not_there(has, gpus, apple, name, message):
    has(gpus, apple)
    for ask in (_device.resolve_device, _device.is_cpu):
        with pytest.raises(ParameterError, match=message):
            ask(name)


def test_the_environment_says_what_auto_means(has, monkeypatch):
    has(2)
    monkeypatch.setenv("PELLUCID_DEVICE", "cpu")
    assert _device.resolve_device("auto") == torch.device("cpu")
    assert _device.is_cpu()
    assert _device.resolve_device("cuda:1") == torch.device("cuda:1")
    monkeypatch.setenv("PELLUCID_DEVICE", "auto")
    assert _device.resolve_device() == torch.device("cuda")
    monkeypatch.setenv("PELLUCID_DEVICE", "mps")
    with pytest.raises(ParameterError, match="PELLUCID_DEVICE=mps is not there: this machine has cpu, cuda, cuda:0"):
        _device.resolve_device()


def test_a_machine_without_a_gpus_driver_is_told_without_importing_torch():
    code = """
import sys
from pellucid.detectors import _device
_device._has_gpu_driver = lambda: False
assert _device.is_cpu() and _device.is_cpu("cpu")
assert "torch" not in sys.modules
assert isinstance(_device._has_gpu_driver(), bool)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("system", "machine", "expected"), [("darwin", "arm64", True), ("darwin", "x86_64", False)])
def test_apple_silicon_has_a_gpu(monkeypatch, system, machine, expected):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(_device.platform, "machine", lambda: machine)
    assert _device._has_gpu_driver() is expected


def test_windows_has_a_gpu_where_its_driver_is(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    assert not _device._has_gpu_driver()
    (tmp_path / "System32").mkdir()
    (tmp_path / "System32" / "nvcuda.dll").touch()
    assert _device._has_gpu_driver()


def test_double_precision_is_computed_where_there_is_any():
    assert _device.double_precision_device(torch.device("mps")) == torch.device("cpu")
    assert _device.double_precision_device(torch.device("cuda:1")) == torch.device("cuda:1")


def _settings():
    return cuda.matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()


def test_full_float32_leaves_the_process_as_it_was():
    before = _settings()

    def fail() -> None:
        with _device.full_float32(), _device.full_float32():
            assert all(getattr(where, name) == full for where, name, full in _device._precision_settings())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert _settings() == before


def test_full_float32_holds_until_the_last_thread_leaves():
    before, inside, leave = _settings(), threading.Event(), threading.Event()

    def stay() -> None:
        with _device.full_float32():
            inside.set()
            leave.wait(10)

    with _device.full_float32():
        thread = threading.Thread(target=stay)
        thread.start()
        inside.wait(10)
    still = all(getattr(where, name) == full for where, name, full in _device._precision_settings())
    leave.set()
    thread.join()
    assert still
    assert _settings() == before


def test_fit_and_score_compute_in_full_precision(batches, make, monkeypatch):
    seen = []
    detector = make("dfm")

    def spied(function):
        def spy(*arguments):
            seen.append([getattr(where, name) == full for where, name, full in _device._precision_settings()])
            return function(*arguments)

        return spy

    monkeypatch.setattr(detector, "_fit", spied(detector._fit))
    monkeypatch.setattr(detector, "_score", spied(detector._score))
    before = _settings()
    detector.fit(batches).score(batches[0])
    assert len(seen) == 2
    assert all(all(settings) for settings in seen)
    assert _settings() == before


def test_a_device_is_chosen_before_the_work_begins(glass, has, monkeypatch):
    has()
    with pytest.raises(ParameterError, match="device=cuda is not there"):
        detectors.create("padim").to("cuda")
    with pytest.raises(ParameterError, match="device=cuda:3 is not there"):
        pellucid.fit(glass / "absent", "padim", device="cuda:3")
    monkeypatch.setenv("PELLUCID_DEVICE", "tpu")
    with pytest.raises(ParameterError, match="PELLUCID_DEVICE=tpu is not allowed"):
        pellucid.fit(glass / "absent", "padim")


def test_the_device_is_resolved_when_it_is_first_needed(has):
    has(1)
    detector = detectors.create("padim")
    has()
    assert detector.device == torch.device("cpu")
    has(1)
    assert detector.device == torch.device("cpu")


def test_k_center_on_a_gpu_chooses_the_same(monkeypatch):
    points = torch.randn(400, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = _coreset.k_center_greedy(points, 90, 3)
    for name in ("WORKING_SET", "UPDATE_BLOCK"):
        monkeypatch.setattr(_coreset, name, getattr(_coreset, f"GPU_{name}"))
    assert _coreset.k_center_greedy(points, 90, 3).equal(expected)


def test_the_baseline_needs_no_float64_where_there_is_none(batches, monkeypatch):
    """Apple's GPU: what leaves ``levels`` goes to the CPU before it becomes float64."""
    moved = []
    monkeypatch.setattr("pellucid.detectors._baseline.double_precision_device", lambda d: moved.append(d) or d)
    mean, scale = fit_baseline(lambda pixels: pixels.mean(1)[None], batches, torch.device("cpu"), Tile(8, 8, None))
    assert moved == [torch.device("cpu")] * len(batches)
    assert mean.dtype == scale.dtype == torch.float32
