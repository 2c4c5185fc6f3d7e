"""Over 200 random splits of exchangeable good images: is the share rejected what the limit promises?

    python -m benchmarks.coverage

A detector learns from drawn panes of glass, then scores two thousand fresh ones. Those are split at random into 120
that choose the limit and the rest, 200 times, for each rate. One row a detector and rate goes to ``coverage.csv``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from pellucid import detectors
from pellucid._io.files import csv_text, write_text
from pellucid.limits.conformal import conformal_limit
from pellucid.synthesis.glass import draw_pane, to_uint8

RESULTS = Path(__file__).with_suffix(".csv")
N_FITTED, N_SCORED, N_CALIBRATION, N_SPLITS = 60, 2000, 120, 200
RESULT_COLUMNS = ("detector", "promised", "expected", "realised", "monte_carlo_error", "inside_two_errors")


def draw_panes(start: int, count: int) -> list[torch.Tensor]:
    """Draw panes and return them in batches at half their size."""
    numbers = range(start, start + count)
    drawn = np.stack([to_uint8(draw_pane(np.random.default_rng((5, n))))[::2, ::2] for n in numbers])
    return list((torch.from_numpy(drawn).float() / 255)[:, None].expand(-1, 3, -1, -1).split(20))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = []
    fitted, scored = draw_panes(0, N_FITTED), draw_panes(N_FITTED, N_SCORED)
    rng = np.random.default_rng(0)
    for name in ("dfm", "padim", "patchcore"):
        detector = detectors.create(name).fit(fitted)
        scores = np.concatenate([detector.score(batch)[1].numpy() for batch in scored]).astype(float)
        for promised in (0.01, 0.05, 0.1):
            shares = []
            for _ in range(N_SPLITS):
                mixed = rng.permutation(scores)
                shares.append(float((mixed[N_CALIBRATION:] > conformal_limit(mixed[:N_CALIBRATION], promised)).mean()))
            expected = 1 - np.ceil((N_CALIBRATION + 1) * (1 - promised) - 1e-9) / (N_CALIBRATION + 1)
            error = np.std(shares) / np.sqrt(N_SPLITS)
            inside = bool(abs(np.mean(shares) - expected) <= 2 * error)
            rows.append((name, promised, f"{expected:.5f}", f"{np.mean(shares):.5f}", f"{error:.5f}", inside))
            print(*rows[-1], flush=True)
    write_text(RESULTS, csv_text(RESULT_COLUMNS, rows))


if __name__ == "__main__":
    main()
