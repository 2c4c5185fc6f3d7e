"""How a device is written, for whoever checks it before torch is imported."""

from __future__ import annotations

DEVICE_NAMES = "auto, cpu, cuda, cuda:N or mps"
DEVICE_PATTERN = r"auto|cpu|cuda(:\d+)?|mps"
