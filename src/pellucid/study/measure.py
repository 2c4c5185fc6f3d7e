"""One model in its own fresh process: fit, time, weigh, test, write down. Run by :mod:`pellucid.study.compare`.

python -m pellucid.study.measure FOLDER [TRACKER ...]

FOLDER holds ``config.toml``; ``splits.csv`` lies beside the folder.
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
from pellucid._io.files import csv_text, write_bytes, write_text
from pellucid.acquisition.images import read_image
from pellucid.acquisition.splits import path_in_data, read_splits_csv
from pellucid.errors import PellucidError
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.records import Sample, Split
from pellucid.reports import curves
from pellucid.study import metrics
from pellucid.study.evaluate import evaluate
from pellucid.study.operating import SELECTION, Costs
from pellucid.study.results import Evaluation, ScoredSample
from pellucid.study.scores import by_label, score_samples, scores_csv
from pellucid.tracking import Run, track

TIMED = 60  # images that are timed one by one
SHOWN = 6  # result pictures of a kind
ERROR = "error.txt"  # the reason of a failure, for the process that compares
CONFIG = "config.toml"
DONE = "cost.json"  # written last


def measure(folder: Path, trackers: Sequence[str] = ()) -> None:
    """Do everything for one model and write it to its folder; ``cost.json`` comes last and means done."""
    config = tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
    root = Path(config["data"])
    split = read_splits_csv((folder.parent / "splits.csv").read_text(encoding="utf-8"), root, config.get("folds"))
    detector = detectors.create(config["detector"], **config["parameters"])
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
        "parts": detector.module_summary(),
    }
    selected = list(score_samples(inspector, split.select, f"{folder.name}: selection"))
    defects = [j.inspection.score for j in selected]
    result = evaluate(
        score_samples(inspector, split.test, f"{folder.name}: testing"),
        inspector.limit,
        selection=defects,
        costs=Costs(**config["costs"]),
    )
    write_text(folder / "scores.csv", scores_csv(result.judged, root))
    write_text(folder / "selection.csv", _selection_csv(inspector, split, defects, root))
    _draw(folder, inspector, result, root)
    selection = _selection(inspector.limit.scores, defects, result.metrics)
    write_text(folder / "metrics.json", json.dumps({**result.to_dict(), "selection": selection}, indent=2) + "\n")
    run = Run(
        name=folder.name,
        group=root.stem if root.is_file() else root.name,
        folder=folder,
        parameters={"detector": config["detector"], "image_size": config["image_size"], **detector.parameters()},
        metrics={**result.metrics, **_numbers(cost)},
        scores=by_label(result.judged),
    )
    track(run, ["tensorboard", *trackers])
    write_text(folder / DONE, json.dumps(cost, indent=2) + "\n")


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


def _selection(normal: Sequence[float], defects: Sequence[float], tested: Mapping[str, Any]) -> dict[str, Any]:
    """What the choice between models may look at: labelled training defects, or else, and said so, the test."""
    if defects:
        labels = [False] * len(normal) + [True] * len(defects)
        auroc, on = metrics.auroc(labels, [*normal, *defects]), SELECTION
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


def _selection_csv(inspector: Inspector, split: Split, defects: Sequence[float], root: Path) -> str:
    """Scores of the held-out normal images and of the labelled training defects."""
    normal = split.calibrate if split.folds is None else split.fit
    pairs = [*zip(normal, inspector.held_out, strict=True), *zip(split.select, defects, strict=True)]
    rows = ((path_in_data(s.path, root), s.label, s.group or "", repr(score)) for s, score in pairs)
    return csv_text(("path", "label", "group", "score"), rows)


def _draw(folder: Path, inspector: Inspector, result: Evaluation, root: Path) -> None:
    """Curves of all test images; pictures of wrong calls, of those nearest to the limit and of typical ones."""
    for kind in ("curves", "images"):
        shutil.rmtree(folder / kind, ignore_errors=True)
    labels = [j.sample.label == "abnormal" for j in result.judged]
    scores = [j.inspection.score for j in result.judged]
    auroc, ap = result.metrics["image_auroc"], result.metrics["image_ap"]
    if labels:
        write_bytes(folder / "curves/histogram.png", curves.histogram(labels, scores, inspector.limit.value))
    if auroc is not None and ap is not None:
        write_bytes(folder / "curves/roc.png", curves.roc(labels, scores, auroc))
        write_bytes(folder / "curves/precision_recall.png", curves.precision_recall(labels, scores, ap))
    gallery: list[dict[str, Any]] = []
    for kind, judged in worth_seeing(result.judged):
        found = inspector.inspect(judged.sample.path)  # again, for its map
        name = f"{kind}_{len(gallery):02d}_{judged.sample.path.stem}.png"
        write_bytes(folder / "images" / name, found.png(judged.sample.mask))
        shown: dict[str, Any] = {"file": f"images/{name}", "kind": kind, "path": path_in_data(judged.sample.path, root)}
        shown |= {"label": judged.sample.label, "type": judged.sample.type, "verdict": found.verdict}
        shown |= {"score": found.score, "limit": found.limit, "p_value": found.p_value, "defects": len(found.defects)}
        gallery.append(shown)
    write_text(folder / "gallery.json", json.dumps(gallery, indent=2) + "\n")


def worth_seeing(judged: Sequence[ScoredSample]) -> list[tuple[str, ScoredSample]]:
    """Worst first: false rejects, escapes, the right calls nearest to the limit, and typical ones of either label.

    No image is shown twice.
    """
    by_margin = sorted(judged, key=lambda j: abs(j.inspection.score - j.inspection.limit))
    right = [j for j in by_margin if (j.inspection.verdict == "reject") == (j.sample.label == "abnormal")]
    wrong = [j for j in reversed(by_margin) if (j.inspection.verdict == "reject") != (j.sample.label == "abnormal")]
    kinds = {
        "false_reject": [j for j in wrong if j.sample.label == "normal"],
        "escape": [j for j in wrong if j.sample.label == "abnormal"],
        "nearest": right[:SHOWN],
    }
    rest = right[SHOWN:]
    kinds["typical"] = [j for label in ("abnormal", "normal") for j in _middle(rest, label, SHOWN // 2)]
    return [(kind, j) for kind, members in kinds.items() for j in members[:SHOWN]]


def _middle(judged: Sequence[ScoredSample], label: str, count: int) -> list[ScoredSample]:
    """Those of a label with scores around its median."""
    members = sorted((j for j in judged if j.sample.label == label), key=lambda j: j.inspection.score)
    start = max(0, (len(members) - count) // 2)
    return members[start : start + count]


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
        measure(Path(sys.argv[1]), sys.argv[2:])
    except PellucidError as error:
        write_text(Path(sys.argv[1]) / ERROR, str(error))
        sys.exit(1)
