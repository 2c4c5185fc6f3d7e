"""What moving the limit into the gap does on real images: false rejects and escapes before and after.

    python -m benchmarks.gap --data ../shared/data --work runs/gap

Three sets, three seeds, 256 px, all defaults. The limit is chosen from training labels alone: where a set labels no
training defects, half of its defective groups are drawn for that. Scores are kept in the working folder, so that a
run that was stopped goes on. A row a set, detector and seed goes to ``gap.csv`` beside this file, then the means where
defects and good parts lie apart and where they overlap, which only the training images decide.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import pellucid
from benchmarks._timing import write_rows
from pellucid._io.files import write_text
from pellucid.acquisition.plan import Plan
from pellucid.limits.costs import Costs
from pellucid.limits.gap import propose_move
from pellucid.records import Samples
from pellucid.records.limits import Limit
from pretraining.evaluate import sets

RESULTS = Path(__file__).with_suffix(".csv")
SETS = ("flatglass_line", "glass_defect", "magnetic_tile")
DETECTORS = ("patchcore", "padim", "dfm")
RATES = tuple(f"{wrong}_{when}" for wrong in ("false_rejects", "escapes") for when in ("before", "after"))
Scores = dict[str, list[float]]


def with_labelled_defects(samples: Samples, seed: int) -> Samples:
    """Return a data set that labels training defects: its own, or half of its groups of defects, drawn at random."""
    defects = [s for s in samples.samples if s.label == "abnormal"]
    if any(s.split == "train" for s in defects):
        return samples
    groups = sorted({s.group or str(s.path) for s in defects})
    drawn = set(np.random.default_rng(seed).permutation(groups)[: len(groups) // 2])
    parted = {s: replace(s, split="train" if (s.group or str(s.path)) in drawn else "test") for s in defects}
    return replace(samples, samples=tuple(parted.get(s, s) for s in samples.samples))


def score(samples: Samples, detector: str, seed: int) -> Scores:
    """Fit, and return the scores of labelled training defects and of test images, and the limit's own."""
    plan = Plan.from_data(with_labelled_defects(samples, seed), seed=seed)
    inspector = pellucid.fit(plan, detector, seed=seed)
    split = plan.split
    parts = {
        "defects": split.select,
        "good": [s for s in split.test if s.label == "normal"],
        "bad": [s for s in split.test if s.label == "abnormal"],
    }
    found = {part: [i.score for i in inspector.inspect_many(s.path for s in s_)] for part, s_ in parts.items()}
    return found | {"held_out": list(inspector.limit.scores), "limit": [inspector.limit.value]}


def judge(found: Scores) -> dict[str, Any]:
    """Move a limit by training scores, and count what it does to the test images before and after."""
    scores = sorted(found["held_out"])
    limit = Limit(found["limit"][0], 0.0, 0.05, tuple(scores))
    move = propose_move(limit, found["defects"], Costs())
    assert move is not None  # every set has enough
    good, bad = np.asarray(found["good"]), np.asarray(found["bad"])
    counts: dict[str, Any] = {
        "held_out": move.normals,
        "defects": move.defects,
        "overlapping": move.overlapping,
        "moved": move.moves,
    }
    for when, value in (("before", move.limit), ("after", move.proposed)):
        counts[f"false_rejects_{when}"] = round(float((good > value).mean()), 4)
        counts[f"escapes_{when}"] = round(float((bad <= value).mean()), 4)
    return counts | {"good": len(good), "bad": len(bad)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the real data sets.")
    parser.add_argument("--work", type=Path, default=Path("runs/gap"), help="Where scores are kept.")
    parser.add_argument("--seeds", type=int, default=3, help="Splits of each set.")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, help="Which sets to score; all by default.")
    args = parser.parse_args()
    readers = sets(args.data, args.work)
    for seed in range(args.seeds):
        for name in args.sets:
            samples = None
            for detector in DETECTORS:
                kept = args.work / f"{name}-{detector}-{seed}.json"
                if not kept.exists():
                    samples = samples or readers[name]()
                    write_text(kept, json.dumps(score(samples, detector, seed)))
                    print(kept, flush=True)
    rows = []
    for kept in sorted(args.work.glob("*.json")):
        name, detector, seed = kept.stem.rsplit("-", 2)
        rows.append({"set": name, "detector": detector, "seed": seed, **judge(json.loads(kept.read_text("utf-8")))})
    write_rows(RESULTS, list(rows[0]), rows)
    for moved in (True, False):
        mine = [row for row in rows if row["moved"] == moved]
        means = {key: fmean(row[key] for row in mine) if mine else float("nan") for key in RATES}
        print(f"{'apart' if moved else 'overlapping'}: {len(mine)} cases", *(f"{k} {v:.2%}" for k, v in means.items()))


if __name__ == "__main__":
    main()
