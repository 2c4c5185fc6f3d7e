"""How many patches does PatchCore have to keep? Image AUROC by share, on real and drawn sets, 256 px, prism_s.

    python -m benchmarks.coreset_size --data ../shared/data

The paper finds 1 % as good as 10 %. The default is 2 %, and this checks that nothing is lost by it. Greedy k-center
picks one patch after the other, so that a smaller bank is the beginning of a larger one. One row a set and seed goes
to ``coreset_size.csv`` beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import pellucid
from pellucid._io.files import csv_text, write_text
from pellucid.acquisition.images import ImageBatches
from pellucid.acquisition.plan import Plan
from pellucid.detectors._search import neighbours
from pellucid.detectors.patchcore import Patchcore
from pellucid.study import metrics
from pretraining.evaluate import sets

RESULTS = Path(__file__).with_suffix(".csv")
IMAGE_SIZE_PX = (256, 256)
CORESET_SHARES = (0.1, 0.05, 0.02, 0.01, 0.005)


@torch.inference_mode()
def score_with_share(fitted: Patchcore, patches: list[torch.Tensor], share: float) -> list[float]:
    """Score images by their patches (1, h, w, D) against a bank of the first ``share`` of all fitted patches."""
    bank = fitted.bank_[: round(len(fitted.bank_) * share / max(CORESET_SHARES))].clone()
    smaller = Patchcore()
    smaller.bank_, smaller.norms_ = bank, (bank * bank).sum(1)
    smaller.neighbours_ = neighbours(bank, bank, smaller.norms_, fitted.num_neighbors)
    smaller._prepare_scoring()
    found = []
    for one in patches:
        smaller._embed = lambda _, one=one: one  # type: ignore[method-assign]
        found += smaller._score(torch.zeros(1, 3, *IMAGE_SIZE_PX))[1].tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the real data sets.")
    parser.add_argument("--seeds", type=int, default=3, help="Splits of each set.")
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"), help="Where drawn sets are kept.")
    args = parser.parse_args()
    rows = []
    for seed in range(args.seeds):
        for name, read in sets(args.data, args.work).items():
            plan = Plan.from_data(read(), seed=seed)
            fitted = pellucid.fit(plan, "patchcore", seed=seed, coreset_sampling_ratio=max(CORESET_SHARES)).detector
            assert isinstance(fitted, Patchcore)
            paths = tuple(sample.path for sample in plan.split.test)
            with torch.inference_mode():
                patches = [fitted._embed(pixels) for pixels in ImageBatches(paths, IMAGE_SIZE_PX, 1)]
            defective = [sample.label == "abnormal" for sample in plan.split.test]
            found = [
                metrics.auroc(defective, score_with_share(fitted, patches, share)) or 0.0 for share in CORESET_SHARES
            ]
            rows.append((name, seed, *(f"{value:.4f}" for value in found)))
            print(*rows[-1], flush=True)
    means = [sum(float(row[2 + k]) for row in rows) / len(rows) for k in range(len(CORESET_SHARES))]
    rows.append(("mean", "", *(f"{mean:.4f}" for mean in means)))
    write_text(RESULTS, csv_text(("set", "seed", *CORESET_SHARES), rows))


if __name__ == "__main__":
    main()
