"""How many patches does PatchCore have to keep? Image AUROC by share, on real and drawn sets, 256 px, prism_s.

    python -m benchmarks.coreset_size --data ../shared/data

The paper finds 1 % as good as 10 %. The default is 2 %, and this checks that nothing is lost by it. One row a set and
seed goes to ``coreset_size.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import pellucid
from pellucid.inspector import Plan
from pellucid.study import metrics
from pretraining.evaluate import sets

SHARES = (0.1, 0.05, 0.02, 0.01, 0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"))
    args = parser.parse_args()
    rows = []
    for seed in range(args.seeds):
        for name, read in sets(args.data, args.work).items():
            plan = Plan.of(read(), seed=seed)
            defective = [sample.label == "abnormal" for sample in plan.split.test]
            found = []
            for share in SHARES:
                inspector = pellucid.fit(plan, "patchcore", seed=seed, coreset_sampling_ratio=share)
                scores = [i.score for i in inspector.inspect_many(sample.path for sample in plan.split.test)]
                found.append(metrics.auroc(defective, scores) or 0.0)
            rows.append((name, seed, *(f"{value:.4f}" for value in found)))
            print(*rows[-1], flush=True)
    means = [sum(float(row[2 + k]) for row in rows) / len(rows) for k in range(len(SHARES))]
    rows.append(("mean", "", *(f"{mean:.4f}" for mean in means)))
    with Path(__file__).with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("set", "seed", *SHARES))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
