"""Seconds and peak memory of all pixel metrics of 200 and of 2,000 maps of 256x256, each in a process of its own.

    python -m benchmarks.pixel_metrics

Every second map is of a defective image; every map has values of its own. Drawing the maps is not timed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np

from pellucid.study.measure import peak_ram_mb
from pellucid.study.pixels import PixelMetrics

MAP_SIDE_PX = 256


def measure(images: int) -> str:
    """Compute all pixel metrics of so many maps and say how long that took and what it needed."""
    rng = np.random.default_rng(0)
    mask = np.zeros((MAP_SIDE_PX, MAP_SIDE_PX), bool)
    mask[50:80, 60:100] = mask[150:160, 20:60] = True
    counted, seconds = PixelMetrics(), 0.0
    for n in range(images):
        anomaly_map = rng.gamma(3, 1, (MAP_SIDE_PX, MAP_SIDE_PX)).astype(np.float32)
        start = time.perf_counter()
        counted.add(anomaly_map, mask if n % 2 else None)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    for metric in (counted.auroc, counted.average_precision, counted.aupro, counted.aupimo):
        metric()
    counted.aupro(0.05)
    seconds += time.perf_counter() - start
    return f"{images} maps of {MAP_SIDE_PX}x{MAP_SIDE_PX}: {seconds:.1f} s, peak memory {peak_ram_mb():.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=int, nargs="?", help="of one run, in this process; without, both are run")
    images = parser.parse_args().images
    if images is not None:
        print(measure(images))
        return
    for count in ("200", "2000"):
        subprocess.run([sys.executable, "-m", "benchmarks.pixel_metrics", count], check=True)


if __name__ == "__main__":
    main()
