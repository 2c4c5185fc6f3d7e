"""Where the work is done: on the CPU, on an NVIDIA GPU or on Apple's; torch is imported only where it has to be."""

from __future__ import annotations

import os
import platform
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid._io.device_names import DEVICE_NAMES, DEVICE_PATTERN
from pellucid.errors import ParameterError

if TYPE_CHECKING:
    import torch

ENVIRONMENT_VARIABLE = "PELLUCID_DEVICE"  # what ``auto`` means, where it is set


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of a name.

    Args:
        name: ``cpu``; ``cuda`` or ``cuda:N``, an NVIDIA GPU; ``mps``, Apple's; or ``auto``, which is the environment
            variable ``PELLUCID_DEVICE`` if that is set, else the first of ``cuda``, ``mps`` and ``cpu`` that is there.

    Raises:
        ParameterError: another name, or a device that this machine does not have.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    import torch

    available = available_devices()
    asked, source = _asked(name)
    if asked == "auto":
        asked = next(kind for kind in ("cuda", "mps", "cpu") if kind in available)
    if not re.fullmatch(DEVICE_PATTERN, asked):
        raise ParameterError(f"{source}={asked} is not allowed: it has to be {DEVICE_NAMES}.")
    if asked not in available:
        raise ParameterError(f"{source}={asked} is not there: this machine has {', '.join(available)}.")
    return torch.device(asked)


def is_cpu(name: str = "auto") -> bool:
    """Return whether a name means the CPU; torch is imported only where there may be a GPU.

    Raises:
        ParameterError: as for :func:`resolve_device`.
    """
    asked, _ = _asked(name)
    if asked == "cpu" or (asked == "auto" and not _has_gpu_driver()):
        return True
    return resolve_device(name).type == "cpu"


def double_precision_device(device: torch.device) -> torch.device:
    """Return where float64 is computed for a device: there, or on the CPU for Apple's GPU, which has no float64."""
    import torch

    return torch.device("cpu") if device.type == "mps" else device


def _asked(name: str) -> tuple[str, str]:
    """What is asked for, and where."""
    variable = os.environ.get(ENVIRONMENT_VARIABLE)
    return (variable, ENVIRONMENT_VARIABLE) if name == "auto" and variable else (name, "device")


def available_devices() -> list[str]:
    """Return the names of the devices that torch can compute on here, ``cpu`` first."""
    import torch

    cuda = [f"cuda:{k}" for k in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *(["cuda"] if cuda else []), *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _has_gpu_driver() -> bool:
    """Whether a GPU that torch may know has its driver here: without one, torch need not be asked, nor imported."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll").exists()
    return any(Path(file).exists() for file in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))  # NVIDIA, WSL, AMD


_lock = threading.Lock()  # the precision is one setting of the whole process
_users = 0  # who is within full_float32
_before: list[str | bool] = []  # what the settings were before the first of them


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 in full within the context, not in TF32, so that a GPU's scores are those of a CPU.

    The process's settings are afterwards what they were, whichever of several threads leaves last. What is cast on
    purpose, as in mixed-precision training, is not affected.
    """
    global _users, _before
    settings = _precision_settings()
    with _lock:
        if _users == 0:
            _before = [getattr(where, name) for where, name, _ in settings]
            for where, name, full in settings:
                setattr(where, name, full)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for (where, name, _), value in zip(settings, _before, strict=True):
                    setattr(where, name, value)


def _precision_settings() -> list[tuple[object, str, str | bool]]:
    """torch's settings, and their value for full precision."""
    from torch.backends import cuda, cudnn

    if hasattr(cudnn, "conv"):  # since torch 2.9; what it replaces warns when it is set
        return [(where, "fp32_precision", "ieee") for where in (cuda.matmul, cudnn.conv, cudnn.rnn)]
    return [(cuda.matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]
