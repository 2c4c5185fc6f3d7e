"""Hyper-parameters that make every detector quick, and where the real images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[2] / "shared"
FAST: dict[str, dict[str, Any]] = {
    "patchcore": {"coreset_size": 200},
    "padim": {"n_features": 20},
    "stfpm": {"epochs": 2},
    "fastflow": {"epochs": 1, "flow_steps": 2},
    "efficientad": {"epochs": 2, "batch_size": 4, "penalty_images": 4},
    "reverse_distillation": {"epochs": 40, "batch_size": 4},
}
