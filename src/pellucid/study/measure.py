"""Fit one model, time it, weigh it and test it, in a process of its own; :mod:`pellucid.study.compare` runs it.

python -m pellucid.study.measure FOLDER [TRACKER ...]

FOLDER holds ``config.toml``; ``splits.csv`` lies beside the folder.
"""

from __future__ import annotations

import json
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pellucid import detectors
from pellucid._io.files import csv_text, write_bytes, write_text
from pellucid._io.names import fitting_file_name, named_path
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import Pixels, read_image
from pellucid.acquisition.splits import path_in_data, read_splits_csv
from pellucid.detectors._base import Detector
from pellucid.detectors._networks import count_parameters, summarise_networks
from pellucid.errors import PellucidError
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.limits.costs import Costs
from pellucid.limits.gap import PLANTED_FLAWS, TRAINING_DEFECTS, propose_move
from pellucid.limits.promise import promise_sentence
from pellucid.records import Sample, Split
from pellucid.records.limits import FalseAlarms, Limit
from pellucid.reports import curves
from pellucid.study import metrics
from pellucid.study.evaluate import evaluate_scored
from pellucid.study.intervals import areas, auroc_bounds, resamples
from pellucid.study.localisation import LocatedFlaw, localisation, locate_defects, locate_planted
from pellucid.study.reference import Reference, processor_seconds
from pellucid.study.results import Evaluation, ScoredSample
from pellucid.study.scores import by_label, finite_scores, score_samples, scores_csv
from pellucid.tracking import Run, log_run

MAX_TIMED_IMAGES = 60  # one by one
PICTURES_PER_KIND = 6  # of right and wrong calls
DESCRIBED_DEFECTS = 3  # of one picture, those of the highest peaks
ERROR_FILE = "error.txt"  # the reason of a failure, for the process that compares
CONFIG_FILE = "config.toml"
FITTED_IMAGES_FILE = "fitted_images.json"  # beside splits.csv: what the models remember of them
COST_FILE = "cost.json"  # written last: its model is finished


def measure(folder: Path, trackers: Sequence[str] = ()) -> None:
    """Do everything for one model and write it to its folder; ``cost.json`` comes last and means done.

    Args:
        folder: with the model's ``config.toml``.
        trackers: names of trackers that take the results.

    Raises:
        PellucidError: with the reason in one sentence.
    """
    config = tomllib.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    root = named_path(config["data"])
    split = read_splits_csv((folder.parent / "splits.csv").read_text(encoding="utf-8"), root, config.get("folds"))
    detector = detectors.create(config["detector"], **config["parameters"])
    known = FittedImages.model_validate_json((folder.parent / FITTED_IMAGES_FILE).read_bytes())
    inspector, cost = _fit(folder, config, detector, split, known)
    located = _located(inspector, split, f"{folder.name}: selection")
    defects = finite_scores(flaw.score for flaw in located)
    result = evaluate_scored(
        score_samples(inspector, split.test, f"{folder.name}: testing"),
        inspector.limit,
        selection=defects,
        costs=Costs(**config["costs"]),
    )
    write_text(folder / "scores.csv", scores_csv(result.scored, root))
    held_out = _held_out(inspector, split)
    write_text(folder / "selection.csv", _selection_csv(held_out, split, defects, root))
    _draw(folder, inspector, result, root)
    planted = [] if localisation(located, TRAINING_DEFECTS) else locate_planted(inspector, split)
    selection = _selection(held_out, split, defects, result.metrics) | _localisation(located, planted)
    result = replace(result, promise=promise_sentence(inspector.limit, inspector.false_reject))
    more = {"selection": selection, "limit_move": _limit_move(inspector.limit, located, planted, config)}
    more |= {"taught": None if inspector.taught is None else inspector.taught.to_dict()}
    write_text(folder / "metrics.json", json.dumps(result.to_dict() | more, indent=2) + "\n")
    run = Run(
        name=folder.name,
        group=root.stem if root.is_file() else root.name,
        folder=folder,
        parameters={"detector": config["detector"], "image_size": inspector.image_size, **detector.parameters()},
        metrics={**result.metrics, **_numbers(cost)},
        scores=by_label(result.scored),
    )
    log_run(run, trackers)
    write_text(folder / COST_FILE, json.dumps(cost, indent=2) + "\n")


def _fit(
    folder: Path, config: dict[str, Any], detector: Detector, split: Split, fitted_images: FittedImages
) -> tuple[Inspector, dict[str, Any]]:
    """Fit, save and time a model; returns it and what it costs."""
    reference = Reference(detector.device)
    by_area, scale = config.get("false_alarms"), config.get("mm_per_px")

    def fit() -> tuple[float, Inspector]:
        start = time.perf_counter()
        fitted = fit_split(
            detector,
            split,
            config["image_size"],
            tile=config.get("tile"),
            reduce=config.get("reduce", 1),
            fitted_images=fitted_images,
            false_reject=config["false_reject"],
            confidence=config.get("confidence"),
            false_alarms=by_area and FalseAlarms(**by_area),
            mm_per_px=scale if scale is None or isinstance(scale, float | int) else (scale[0], scale[1]),
            limit=config["limit"],
            costs=Costs(**config["costs"]),
            learn_defects=config.get("learn_defects", False),
            seed=config["seed"],
        )
        return time.perf_counter() - start, fitted

    fit_cost, (seconds, inspector) = reference.cost_of(fit)
    inspector.save(folder / "model.pellucid")
    timed = (split.test or split.fit)[:MAX_TIMED_IMAGES]
    images = [read_image(sample.path, inspector.fitted_images.bits) for sample in timed]
    milliseconds, image_cost = time_images(inspector, images, reference)
    total, trained = count_parameters(detector)
    return inspector, {
        "fit_seconds": seconds,
        "fit_cost": fit_cost,
        "ms_per_image_median": float(np.median(milliseconds)),
        "ms_per_image_p95": float(np.percentile(milliseconds, 95)),
        "image_cost": image_cost,
        "model_mb": (folder / "model.pellucid").stat().st_size / 1e6,
        "params_total": total,
        "params_trained": trained,
        "peak_ram_mb": peak_ram_mb(),
        "parts": summarise_networks(detector),
    }


def _located(inspector: Inspector, split: Split, description: str) -> list[LocatedFlaw]:
    """Labelled training defects as the model sees them; as if each had not been learned from, where they taught it."""
    located = locate_defects(score_samples(inspector, split.select, description))
    if inspector.taught is None or not inspector.taught.weight:
        return located
    scores = inspector.held_out_defects
    return [LocatedFlaw(score, None, flaw.group) for score, flaw in zip(scores, located, strict=True)]


def _numbers(cost: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in cost.items() if isinstance(v, (int, float))}


def time_images(inspector: Inspector, images: Sequence[Pixels], reference: Reference) -> tuple[list[float], float]:
    """Measure inspections, one at a time, from decoded pixels: milliseconds of each, and what one costs in passes.

    Args:
        inspector: fitted and calibrated.
        images: (H, W, 3) in [0, 1].
        reference: takes turns with the images.
    """
    for pixels in images[:3]:
        inspector.inspect(pixels)
    times, worked, passes = [], 0.0, 0.0
    for pixels in images:  # the two take turns: what else the machine does meets both
        passes += reference.processor_seconds(1)
        start = time.perf_counter()
        worked += processor_seconds(partial(inspector.inspect, pixels))[0]
        times.append((time.perf_counter() - start) * 1000)
    return times, worked / passes


def _selection(
    held_out: Sequence[tuple[Sample, float]], split: Split, defects: Sequence[float], tested: Mapping[str, Any]
) -> dict[str, Any]:
    """What the choice between models may look at: labelled training defects, or else, and said so, the test."""
    if defects:
        normals = [sample for sample, _ in held_out]
        labels = [False] * len(normals) + [True] * len(defects)
        scores = [*(score for _, score in held_out), *defects]
        drawn = areas(labels, scores, resamples(labels, [s.group for s in (*normals, *split.select)]))[0]
        auroc = metrics.auroc(labels, scores) or 0.0  # both classes are there
        low, high = auroc_bounds(auroc, drawn, labels)
        on, positives, negatives = TRAINING_DEFECTS, len(defects), len(normals)
    else:
        auroc, low, high = (tested[f"image_auroc{end}"] for end in ("", "_low", "_high"))
        on, positives, negatives = "test images", tested["defectives"], tested["normals"]
    selection = {"selection_auroc": auroc, "selection_auroc_low": low, "selection_auroc_high": high}
    return selection | {"selection_on": on, "selection_positives": positives, "selection_negatives": negatives}


def _localisation(located: Sequence[LocatedFlaw], planted: Sequence[LocatedFlaw]) -> dict[str, Any]:
    """Whether it shows where the flaw is: on labelled training defects with masks, or else on planted flaws."""
    shown = localisation(located, TRAINING_DEFECTS) or localisation(planted, PLANTED_FLAWS)
    ends = shown.interval() if shown else (None, None)
    found = {"localisation": shown and shown.value, "localisation_low": ends[0], "localisation_high": ends[1]}
    return found | {"localisation_on": shown and shown.on, "localisation_flaws": len(shown.each) if shown else 0}


def _limit_move(
    limit: Limit, located: Sequence[LocatedFlaw], planted: Sequence[LocatedFlaw], config: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Where the limit could go by labelled training defects; without any, how much room planted flaws leave."""
    flaws, on = (located, TRAINING_DEFECTS) if located else (planted, PLANTED_FLAWS)
    move = propose_move(limit, [flaw.score for flaw in flaws], Costs(**config["costs"]))
    if move is None:
        return None
    return asdict(move) | {"on": on, "sentence": move.sentence(on, made=limit.method == "gap")}


def _held_out(inspector: Inspector, split: Split) -> list[tuple[Sample, float]]:
    """Scores of the normal images that every detector's limit is placed by: models are compared on the same images."""
    scores = dict(zip(split.calibrating(inspector.limit.left_out), inspector.held_out, strict=True))
    return [(sample, scores[sample]) for sample in split.calibrating(leaves_out=False)]


def _selection_csv(held_out: Sequence[tuple[Sample, float]], split: Split, defects: Sequence[float], root: Path) -> str:
    """Scores of the held-out normal images and of the labelled training defects."""
    pairs = [*held_out, *zip(split.select, defects, strict=True)]
    rows = ((path_in_data(s.path, root), s.label, s.group or "", repr(score)) for s, score in pairs)
    return csv_text(("path", "label", "group", "score"), rows)


def _draw(folder: Path, inspector: Inspector, result: Evaluation, root: Path) -> None:
    """Curves of all test images; pictures of wrong calls, of those nearest to the limit and of typical ones."""
    labels = [s.sample.label == "abnormal" for s in result.scored]
    scores = finite_scores(s.inspection.score for s in result.scored)
    auroc, ap = result.metrics["image_auroc"], result.metrics["image_ap"]
    if labels:
        write_bytes(folder / "curves/histogram.png", curves.histogram(labels, scores, inspector.limit.value))
    if auroc is not None and ap is not None:
        write_bytes(folder / "curves/roc.png", curves.roc(labels, scores, auroc))
        write_bytes(folder / "curves/precision_recall.png", curves.precision_recall(labels, scores, ap))
    gallery: list[dict[str, Any]] = []
    for kind, scored in worth_seeing(result.scored):
        found = inspector.inspect(scored.sample.path)  # again, for its map
        name = fitting_file_name(f"{kind}_{len(gallery):02d}_{scored.sample.path.stem}", ".png")
        write_bytes(folder / "images" / name, found.png(scored.sample.mask))
        shown: dict[str, Any] = {"file": f"images/{name}", "kind": kind, "path": path_in_data(scored.sample.path, root)}
        shown |= {"label": scored.sample.label, "type": scored.sample.type, "verdict": found.verdict}
        shown |= {"score": found.score, "limit": found.limit, "p_value": found.p_value, "defects": len(found.defects)}
        shown["strongest"] = [str(defect) for defect in found.defects[:DESCRIBED_DEFECTS]]
        gallery.append(shown)
    write_text(folder / "gallery.json", json.dumps(gallery, indent=2) + "\n")


def worth_seeing(scored: Sequence[ScoredSample]) -> list[tuple[str, ScoredSample]]:
    """Choose pictures to look at, each with its kind, no image twice.

    Worst first: false rejects, escapes, the right calls nearest to the limit, and typical ones of either label.
    """
    by_margin = sorted(scored, key=lambda s: abs(s.inspection.score - s.inspection.limit))
    right = [s for s in by_margin if (s.inspection.verdict == "reject") == (s.sample.label == "abnormal")]
    wrong = [s for s in reversed(by_margin) if (s.inspection.verdict == "reject") != (s.sample.label == "abnormal")]
    kinds = {
        "false_reject": [s for s in wrong if s.sample.label == "normal"],
        "escape": [s for s in wrong if s.sample.label == "abnormal"],
        "nearest": right[:PICTURES_PER_KIND],
    }
    rest = right[PICTURES_PER_KIND:]
    kinds["typical"] = [s for label in ("abnormal", "normal") for s in _middle(rest, label, PICTURES_PER_KIND // 2)]
    return [(kind, s) for kind, members in kinds.items() for s in members[:PICTURES_PER_KIND]]


def _middle(scored: Sequence[ScoredSample], label: str, count: int) -> list[ScoredSample]:
    """Those of a label with scores around its median."""
    members = sorted((s for s in scored if s.sample.label == label), key=lambda s: s.inspection.score)
    start = max(0, (len(members) - count) // 2)
    return members[start : start + count]


def peak_ram_mb() -> float:
    """Return the highest resident memory of this process so far, in megabytes."""
    status = Path("/proc/self/status")  # not getrusage on Linux: a child inherits its parent's there
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
        write_text(Path(sys.argv[1]) / ERROR_FILE, str(error))
        sys.exit(1)
