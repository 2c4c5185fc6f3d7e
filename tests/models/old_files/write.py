"""Write small model files with an old pellucid, and what it makes of one picture; README.md says how to call it."""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import pellucid

HERE = Path(__file__).parent
PICTURE = HERE / "picture.png"
SMALL: dict[str, dict[str, Any]] = {
    "dfm": {"layers": ("layer1",)},
    "fastflow": {"layers": ("layer1",), "epochs": 1, "flow_steps": 1, "hidden_ratio": 0.25},
    "padim": {"layers": ("layer1",), "n_features": 8},
    "patchcore": {"layers": ("layer1",), "coreset_size": 20},
    "reverse_distillation": {"layers": ("layer1", "layer2"), "epochs": 1},
    "stfpm": {"layers": ("layer1",), "epochs": 1},
}


def pane(seed: int) -> NDArray[np.uint8]:
    """A woven pattern with noise, (40, 56, 3), 8 bit."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :56]
    grey = 120 + 20 * np.sin(x / 3 + rng.uniform(0, 6)) * np.cos(y / 4) + rng.normal(0, 3, (40, 56))
    return np.clip(grey[..., None] + [6, 0, -9], 0, 255).astype(np.uint8)


def write(name: str, detector: str, folder: Path, *, export: bool = False, **more: Any) -> None:
    """Fit on twelve panes below ``folder``, save as ``name``, and score the picture with what was saved."""
    inspector = pellucid.fit(folder, detector, image_size=32, false_reject=0.2, **{**SMALL[detector], **more})
    path = HERE / name
    inspector.save(path)
    found = pellucid.load(path).inspect(PICTURE)
    expected = {
        "detector": detector,
        "score": found.score,
        "map_mean": float(found.map.mean()),
        "map_max": float(found.map.max()),
        "limit": found.limit,
        "verdict": found.verdict,
    }
    (HERE / f"{path.stem}.json").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
    if export:
        inspector.export(HERE / f"{path.stem}_openvino", "openvino", images=[PICTURE])
    path.with_suffix(".pellucid.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
    path.unlink()


def main() -> None:
    commit, folder = sys.argv[1], Path(sys.argv[2])
    (folder / "normal").mkdir(parents=True, exist_ok=True)
    for seed in range(12):
        cv2.imwrite(str(folder / f"normal/{seed:02}.png"), pane(seed))
    if not PICTURE.exists():
        picture = pane(99)
        picture[12:20, 20:36] = 230
        cv2.imwrite(str(PICTURE), picture)
    if commit == "9e3577b":
        for detector in SMALL:
            write(f"v1_{detector}.pellucid", detector, folder, export=detector == "patchcore")
    elif commit == "a604b40":
        write(f"v1_{commit}_prism_m.pellucid", "padim", folder, backbone="prism_m")
    elif commit == "6c313a1":
        write(f"v1_{commit}_prism_s.pellucid", "padim", folder, layers=("layer1", "layer2"))
    elif commit == "dbddabd":
        write("v2_padim.pellucid", "padim", folder)
        write("v2_patchcore.pellucid", "patchcore", folder, export=True)
    elif commit == "c92d78b":
        write("v3_padim.pellucid", "padim", folder)
        write("v3_patchcore.pellucid", "patchcore", folder, export=True)
    elif commit == "5bed4b0":
        write("v4_padim.pellucid", "padim", folder)
        write("v4_patchcore.pellucid", "patchcore", folder, export=True)
    elif commit == "c9af27b":
        write("v5_padim.pellucid", "padim", folder)
        write("v5_patchcore.pellucid", "patchcore", folder, export=True)
    else:
        write(f"v1_{commit}_prism_s.pellucid", "padim", folder)


if __name__ == "__main__":
    main()
