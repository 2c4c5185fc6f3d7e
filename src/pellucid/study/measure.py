"""One detector in its own fresh process: fit, time, weigh, test, write down. Run by :mod:`pellucid.study.compare`.

python -m pellucid.study.measure OUTPUT DETECTOR
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid import detectors
from pellucid._files import write_bytes, write_text
from pellucid.acquisition.images import read_image
from pellucid.acquisition.splits import read_splits_csv
from pellucid.errors import PellucidError
from pellucid.inspector import Inspector, fit_split
from pellucid.records import Sample
from pellucid.reports import curves
from pellucid.reports.pictures import picture_of
from pellucid.study import metrics
from pellucid.study.evaluate import evaluate
from pellucid.study.scores import Judged, by_label, judge, scores_csv
from pellucid.trackers import to_tensorboard

TIMED = 60  # images that are timed one by one
SHOWN = 12  # result pictures
ERROR = "error.txt"  # the reason of a failure, for the process that compares


def measure(output: Path, name: str) -> None:
    """Do everything for one detector and write it below ``output/name``; ``cost.json`` comes last and means done."""
    config = tomllib.loads((output / "config.toml").read_text(encoding="utf-8"))
    root, folder = Path(config["data"]), output / name
    split = read_splits_csv((output / "splits.csv").read_text(encoding="utf-8"), root, config.get("folds"))
    detector = detectors.create(name, **config["parameters"][name])
    start = time.perf_counter()
    inspector = fit_split(
        detector,
        split,
        (config["image_size"][0], config["image_size"][1]),
        data_sha256=config["data_sha256"],
        false_reject=config["false_reject"],
        seed=config["seed"],
    )
    seconds = time.perf_counter() - start
    inspector.save(folder / "model.pellucid")
    milliseconds = _time(inspector, split.test or split.fit)
    total, trained = detector.count_parameters()
    cost = {
        "fit_seconds": seconds,
        "ms_per_image_median": float(np.median(milliseconds)),
        "ms_per_image_p95": float(np.percentile(milliseconds, 95)),
        "model_mb": (folder / "model.pellucid").stat().st_size / 1e6,
        "params_total": total,
        "params_trained": trained,
        "peak_ram_mb": peak_ram_mb(),
        "parts": detector.parts(),
    }
    judged = judge(inspector, split.test, f"{name}: testing")
    result = evaluate(judged)
    selection = _selection(inspector, split.select, result.metrics)
    write_text(folder / "scores.csv", scores_csv(judged, root))
    _draw(folder, inspector, judged, result.metrics)
    written = {"metrics": result.metrics, "by_type": result.by_type, "notes": result.notes, "selection": selection}
    write_text(folder / "metrics.json", json.dumps(written, indent=2) + "\n")
    shown = [*sorted((folder / "curves").glob("*.png")), *sorted((folder / "images").glob("*.png"))]
    to_tensorboard(
        folder / "tensorboard", detector.parameters(), {**result.metrics, **_numbers(cost)}, by_label(judged), shown
    )
    write_text(folder / "cost.json", json.dumps(cost, indent=2) + "\n")


def _numbers(cost: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in cost.items() if isinstance(v, (int, float))}


def _time(inspector: Inspector, samples: Sequence[Sample]) -> list[float]:
    """Milliseconds from decoded pixels to an inspection, one image at a time."""
    images = [read_image(s.path) for s in samples[:TIMED]]
    for pixels in images[:3]:
        inspector.inspect(pixels)
    times = []
    for pixels in images:
        start = time.perf_counter()
        inspector.inspect(pixels)
        times.append((time.perf_counter() - start) * 1000)
    return times


def _selection(inspector: Inspector, select: Sequence[Sample], tested: Any) -> dict[str, Any]:
    """What the choice between detectors may look at: labelled training defects, or else, and said so, the test."""
    normal = list(inspector.limit.scores)
    if select:
        defects = [j.inspection.score for j in judge(inspector, select, "selection")]
        labels = [False] * len(normal) + [True] * len(defects)
        auroc, on = metrics.auroc(labels, normal + defects), "labelled training defects"
        positives, negatives = len(defects), len(normal)
    else:
        auroc, on = tested["image_auroc"], "test images"
        positives, negatives = tested["defectives"], tested["normals"]
    return {
        "selection_auroc": auroc,
        "selection_on": on,
        "selection_positives": positives,
        "selection_negatives": negatives,
    }


def _draw(folder: Path, inspector: Inspector, judged: Sequence[Judged], tested: Mapping[str, Any]) -> None:
    """Curves of all test images; pictures of the calls nearest to the limit, wrong ones first."""
    for kind in ("curves", "images"):
        shutil.rmtree(folder / kind, ignore_errors=True)
    labels = [j.sample.label == "abnormal" for j in judged]
    scores = [j.inspection.score for j in judged]
    if judged:
        write_bytes(folder / "curves/histogram.png", curves.histogram(labels, scores, inspector.limit.value))
    if tested["image_auroc"] is not None:
        write_bytes(folder / "curves/roc.png", curves.roc(labels, scores, tested["image_auroc"]))
        curve = curves.precision_recall(labels, scores, tested["image_ap"])
        write_bytes(folder / "curves/precision_recall.png", curve)
    for kind, chosen in _worth_seeing(judged):
        picture = picture_of(
            read_image(chosen.sample.path), chosen.inspection, inspector.limit.pixel, chosen.sample.mask
        )
        write_bytes(folder / "images" / f"{kind}_{chosen.sample.path.stem}.png", picture)


def _worth_seeing(judged: Sequence[Judged]) -> list[tuple[str, Judged]]:
    kinds: dict[str, list[Judged]] = {"false_reject": [], "escape": [], "found": [], "passed": []}
    for j in judged:
        rejected = j.inspection.verdict == "reject"
        defective = j.sample.label == "abnormal"
        kinds[("found" if rejected else "escape") if defective else ("false_reject" if rejected else "passed")].append(
            j
        )
    shown = []
    for kind, members in kinds.items():
        nearest = sorted(members, key=lambda j: abs(j.inspection.score - j.inspection.limit))
        shown += [(kind, j) for j in nearest[: SHOWN // len(kinds)]]
    return shown


def peak_ram_mb() -> float:
    """Highest resident memory of this process so far. Not getrusage on Linux: a child inherits its parent's there."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    try:
        measure(Path(sys.argv[1]), sys.argv[2])
    except PellucidError as error:
        write_text(Path(sys.argv[1]) / sys.argv[2] / ERROR, str(error))
        sys.exit(1)
