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
    "uflow": {"epochs": 20, "batch_size": 4, "flow_steps": 2},
    "cflow": {"epochs": 1, "coupling_blocks": 2},
    "cfa": {"epochs": 3},
    "draem": {"epochs": 60, "batch_size": 4, "width": 16, "textures": 8},
    "efficientad": {"epochs": 1, "batch_size": 4, "penalty_images": 4},
    "dinomaly": {"epochs": 30, "batch_size": 4, "decoder_depth": 2, "layers": ("layer3",)},
    "supersimplenet": {"epochs": 30, "batch_size": 4, "noise_std": 1.0},
    "reverse_distillation": {"epochs": 15, "batch_size": 4},
}
EXACT_CASES: list[tuple[str, dict[str, Any]]] = [  # closed forms without an approximation: PatchCore keeps all patches
    ("padim", {"n_features": 20}),
    ("padim", {"n_features": 5, "epsilon": 1.0, "layers": ("layer2",), "image_score": "peak"}),
    ("dfm", {}),
    ("dfm", {"score_type": "nll", "pca_level": 0.8}),
    ("dfm", {"layers": ("layer1",), "pooling_kernel_size": 16, "pca_level": 1.0}),
    ("dfkde", {}),
    ("dfkde", {"n_components": 3, "layers": ("layer1",)}),
    ("subspace", {}),
    ("subspace", {"rotations": 3, "pca_level": 0.9, "image_score": "peak", "patchsize": 1}),
    ("anomaly_dino", {}),  # which has fewer tokens than its bank may have
    ("anomaly_dino", {"rotations": 2, "masking": "always", "layers": ("layer2",), "coreset_size": 0}),
    ("patchcore", {"coreset_sampling_ratio": 1.0}),
    ("patchcore", {"coreset_sampling_ratio": 1.0, "image_score": "peak"}),
    ("patchcore", {"coreset_sampling_ratio": 1.0, "window": 1}),
    ("patchcore", {"coreset_sampling_ratio": 1.0, "num_neighbors": 1, "layers": ("layer1",), "image_score": "peak"}),
]
