"""What an 8-bit backbone does to decisions: image AUROC, false rejects and escapes of float32 beside those of int8.

    python -m benchmarks.int8 --data ../shared/data

Real sets and drawn panes with faint flaws, prism_s at 256 px. One row a set and detector goes to ``int8.csv`` beside
this file.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pellucid
from pellucid._io.files import csv_text, write_text
from pellucid.acquisition.plan import Plan
from pellucid.errors import ExportError
from pellucid.inspector import Inspector
from pellucid.records import Sample
from pellucid.study import metrics
from pretraining.evaluate import sets

RESULTS = Path(__file__).with_suffix(".csv")
METRICS = ("image_auroc", "false_reject_rate", "escape_rate")
RESULT_COLUMNS = (
    "set",
    "detector",
    "agreement",
    *(f"{kind}_{figure}" for figure in METRICS for kind in ("float32", "int8")),
)


def compute_metrics(inspector: Inspector, samples: tuple[Sample, ...]) -> tuple[float, float, float]:
    """Compute image AUROC, false-reject rate and escape rate on labelled samples."""
    found = list(inspector.inspect_many(sample.path for sample in samples))
    defective = [sample.label == "abnormal" for sample in samples]
    rejected = [
        [inspection.verdict == "reject" for inspection, bad in zip(found, defective, strict=True) if bad == kind]
        for kind in (False, True)
    ]
    auroc = metrics.auroc(defective, [inspection.score for inspection in found]) or 0.0
    return auroc, sum(rejected[0]) / len(rejected[0]), 1 - sum(rejected[1]) / len(rejected[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the real data sets.")
    parser.add_argument("--detectors", nargs="+", default=["patchcore", "padim", "dfm"])
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"), help="Where drawn sets are kept.")
    args = parser.parse_args()
    rows = []
    for name, read in sets(args.data, args.work).items():
        data = read()
        tested = Plan.from_data(data).split.test
        for detector in args.detectors:
            inspector = pellucid.fit(data, detector)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    agreement = inspector.export(folder, int8=data).rank_correlation
                    integers = compute_metrics(pellucid.load(folder), tested)
                except ExportError as error:
                    print(name, detector, error, flush=True)
                    continue
            pairs = zip(compute_metrics(inspector, tested), integers, strict=True)
            rows.append((name, detector, f"{agreement:.3f}", *(f"{value:.4f}" for pair in pairs for value in pair)))
            print(*rows[-1], flush=True)
    write_text(RESULTS, csv_text(RESULT_COLUMNS, rows))


if __name__ == "__main__":
    main()
