"""A sheet of 481 million pixels, from its file to its defects: memory is that of some rows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEIGHT, WIDTH = 30_000, 16_050  # 6.0 x 3.21 m at 0.2 mm
WRITE = """
import sys, cv2, numpy as np, tifffile
height, width, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = np.random.default_rng(0)
noise = rng.integers(118, 139, (256, width + 4096), dtype=np.uint8)
def strips():
    for top in range(0, height, 256):
        start = int(rng.integers(0, 4096))
        strip = noise[: min(256, height - top), start : start + width].copy()
        for _ in range(3):
            place = int(rng.integers(50, width - 50)), int(rng.integers(5, len(strip) - 5))
            cv2.circle(strip, place, int(rng.integers(1, 6)), 60, -1)
        strip[:, width // 2 : width // 2 + 3] = 70  # a scratch from the first row to the last
        yield strip
tifffile.imwrite(path, strips(), shape=(height, width), dtype=np.uint8, rowsperstrip=256, bigtiff=True)
"""
FIND = """
import json, sys
import cv2, numpy as np
from pathlib import Path
from pellucid.acquisition.band_files import open_bands
from pellucid.regions.bands import DefectFinder
from pellucid.study.measure import peak_ram_mb
bands = open_bands(Path(sys.argv[1]), 256)
finder = DefectFinder(bands.width, 1.0, outline_by_image=True, mm_per_px=0.2, height=bands.height)
told = 0
for band in bands:
    anomaly_map = cv2.blur(np.abs(band.pixels[..., 0] - np.float32(0.5)), (7, 7)) * np.float32(30)
    told += len(finder.add(anomaly_map, band.values))
found = finder.finish()
longest = max(found, key=lambda one: one.box[3])
print(json.dumps({"peak_mb": peak_ram_mb(), "found": len(found), "told": told, "longest_mm": longest.length_mm}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in another unit, or not at all")
def test_a_jumbo_sheet_takes_the_memory_of_its_rows(tmp_path):
    path = tmp_path / "sheet.tif"
    subprocess.run([sys.executable, "-c", WRITE, str(HEIGHT), str(WIDTH), str(path)], check=True)
    done = subprocess.run([sys.executable, "-c", FIND, str(path)], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["peak_mb"] < 700  # all of it would be 1.9 GB as one plane of floats
    assert 340 <= result["found"] <= 360
    assert result["told"] >= result["found"] - 5
    assert result["longest_mm"] == pytest.approx(6000, rel=0.02)
