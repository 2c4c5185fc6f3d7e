"""Seconds and peak memory of all pixel metrics of 200 and of 2,000 maps of 256x256, each in a process of its own.

    python benchmarks/pixel_metrics.py

Every second map is of a defective image; every map has values of its own. Drawing the maps is not timed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np

from pellucid.study.pixels import PixelMetrics

SIDE = 256


def measure(images: int) -> str:
    rng = np.random.default_rng(0)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[50:80, 60:100] = mask[150:160, 20:60] = True
    counted, seconds = PixelMetrics(), 0.0
    for n in range(images):
        anomaly_map = rng.gamma(3, 1, (SIDE, SIDE)).astype(np.float32)
        start = time.perf_counter()
        counted.add(anomaly_map, mask if n % 2 else None)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    for metric in (counted.auroc, counted.average_precision, counted.aupro, counted.aupimo):
        metric()
    counted.aupro(0.05)
    seconds += time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return f"{images} maps of {SIDE}x{SIDE}: {seconds:.1f} s, peak memory {peak:.0f} MB"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(int(sys.argv[1])))
    else:
        for count in ("200", "2000"):
            subprocess.run([sys.executable, __file__, count], check=True)
