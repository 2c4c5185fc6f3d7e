"""The page: an image's way from file to verdict, and a model's way from folder to file."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid import detectors
from pellucid.acquisition.checks import Checked, check, fingerprint, note_duplicates
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.images import ImageBatches, Pixels, Size, as_tensor, parse_size, read_ahead, read_image
from pellucid.acquisition.splits import fold_of, plan_split
from pellucid.detectors._base import Detector
from pellucid.errors import DataError
from pellucid.limits.calibration import calibrate, check_rate, f1_optimal
from pellucid.model_file import Header, LimitHeader, read_model, tensors_sha256, write_model
from pellucid.records import Inspection, Limit, Sample, Samples, Split
from pellucid.regions.defects import cut_of, find_defects

LimitMethod = Literal["conformal", "f1"]


@dataclass(frozen=True)
class Inspector:
    """A fitted detector, its limit, and what it takes to use and to trace them."""

    detector: Detector
    limit: Limit
    image_size: Size
    data_sha256: str
    seed: int
    false_reject: float

    def inspect(self, image: str | Path | Pixels) -> Inspection:
        """Inspect one image: a file, or pixels (H, W, 3) float32 RGB in [0, 1].

        Raises:
            DataError: the file cannot be read, or the pixels are of another kind.
        """
        if isinstance(image, (str, Path)):
            return self._judge(Path(image), pixels := read_image(Path(image)), as_tensor(pixels, self.image_size))
        pixels = image
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.float32 or not np.isfinite(pixels).all():
            raise DataError(f"Pixels have to be finite float32 (H, W, 3); got {pixels.dtype} {pixels.shape}.")
        return self._judge(Path("<array>"), pixels, as_tensor(pixels, self.image_size))

    def inspect_many(self, paths: Iterable[Path]) -> Iterator[Inspection]:
        """Inspect files in order; they are read ahead while the detector computes."""
        paths = list(paths)
        for path, (pixels, tensor) in zip(paths, read_ahead(paths, self.image_size), strict=True):
            yield self._judge(path, pixels, tensor)

    def _judge(self, path: Path, pixels: Pixels, tensor: Tensor) -> Inspection:
        score, anomaly_map = _score_one(self.detector, tensor, (pixels.shape[0], pixels.shape[1]))
        reject = score > self.limit.value
        return Inspection(
            path=path,
            score=score,
            limit=self.limit.value,
            p_value=self.limit.p_value(score),
            verdict="reject" if reject else "ok",
            map=anomaly_map,
            defects=find_defects(anomaly_map, cut_of(anomaly_map, self.limit.pixel)) if reject else (),
        )

    def save(self, path: str | Path) -> None:
        """Write the model, whole or not at all.

        Raises:
            OutputError: the place cannot be written to.
        """
        state = self.detector.state()
        backbone = {k: v for k, v in state.items() if k.startswith("backbone_.")}
        header = Header(
            detector=detectors.name_of(self.detector),
            parameters=self.detector.parameters() | {"weights": None},
            backbone=self.detector.backbone,
            backbone_sha256=tensors_sha256(backbone),
            image_size=self.image_size,
            limit=LimitHeader(**asdict(self.limit)),
            data_sha256=self.data_sha256,
            seed=self.seed,
            false_reject=self.false_reject,
            versions={"pellucid": _version(), "torch": torch.__version__, "python": platform.python_version()},
        )
        write_model(Path(path), header, state)


def load(path: str | Path) -> Inspector:
    """Read a model written by :meth:`Inspector.save`; needs no network.

    Raises:
        ModelFileError: missing, truncated, foreign, newer or changed.
    """
    header, tensors = read_model(Path(path))
    detector = detectors.create(header.detector, **header.parameters).load_state(tensors)
    limit = Limit(**header.limit.model_dump())
    return Inspector(detector, limit, header.image_size, header.data_sha256, header.seed, header.false_reject)


@dataclass(frozen=True)
class Plan:
    """Data ready to be learned from: files checked, roles given, remarks collected."""

    checked: Checked
    split: Split
    notes: tuple[str, ...]

    @classmethod
    def of(cls, data: str | Path | Samples, *, false_reject: float = 0.05, seed: int = 0) -> Self:
        """Read, check and split a data set.

        Raises:
            DataError: nothing usable, an unknown layout, or too few normal images for the rate.
        """
        checked = check(data if isinstance(data, Samples) else read_folder(data))
        split = plan_split(checked.samples, false_reject=check_rate(false_reject), seed=seed)
        notes = (*checked.samples.notes, *split.notes, *note_duplicates(split, checked.hashes))
        return cls(checked, split, notes)

    def data_sha256(self) -> str:
        """Over the contents of the images that are fitted on and calibrated with."""
        return fingerprint((*self.split.fit, *self.split.calibrate), self.checked.hashes)


def fit(
    data: str | Path | Samples | Plan,
    detector: str = "patchcore",
    *,
    image_size: int | str | tuple[int, int] = 256,
    false_reject: float = 0.05,
    limit: LimitMethod = "conformal",
    seed: int = 0,
    checkpoint: Path | None = None,
    **parameters: Any,
) -> Inspector:
    """Fit a detector on the normal training images of a data set and choose its limit.

    Args:
        data: a folder, a CSV file, what :func:`read_folder` returned, or a :class:`Plan` made with the same
            ``false_reject`` and ``seed``.
        detector: one of :func:`pellucid.detectors.names`.
        image_size: N or (H, W) that images are resized to.
        false_reject: share of good images that may be rejected, in (0, 1).
        limit: ``conformal`` from normal images alone; ``f1`` also uses labelled training defects and is optimistic.
        seed: of the split and of the detector.
        checkpoint: folder where gradient-trained detectors keep their progress; a killed fit of the same detector,
            parameters and data goes on from there, any other starts afresh.
        parameters: hyper-parameters of the detector, for example ``backbone="resnet18"``.

    Raises:
        PellucidError: with one sentence that says what to do.
    """
    made = detectors.create(detector, **({"seed": seed} | parameters))
    size = parse_size(image_size)
    plan = data if isinstance(data, Plan) else Plan.of(data, false_reject=false_reject, seed=seed)
    return fit_split(
        made,
        plan.split,
        size,
        data_sha256=plan.data_sha256(),
        false_reject=false_reject,
        limit=limit,
        seed=seed,
        checkpoint=checkpoint,
    )


def fit_split(
    detector: Detector,
    split: Split,
    size: Size,
    *,
    data_sha256: str,
    false_reject: float,
    limit: LimitMethod = "conformal",
    seed: int = 0,
    checkpoint: Path | None = None,
) -> Inspector:
    """Fit and calibrate on data that are planned already; :func:`fit` says what the arguments mean."""
    peaks: list[tuple[float, float]] = []
    name, parameters = detectors.name_of(detector), detector.parameters()
    shaping = (name, parameters, size, data_sha256, seed, [str(s.path) for s in split.fit], split.folds)
    if split.folds is None:
        detector.fit(_batches(split.fit, size), checkpoint=_progress(checkpoint, *shaping))
        peaks = _score_all(detector, split.calibrate, size)
    else:  # few normals: every one is scored by a detector that has not seen it, then all are learned from
        numbers = fold_of(split.fit, split.folds, seed)
        for fold in range(split.folds):
            part = detectors.create(name, **parameters)
            seen = [s for s, n in zip(split.fit, numbers, strict=True) if n != fold]
            part.fit(_batches(seen, size), checkpoint=_progress(checkpoint, *shaping, fold))
            peaks += _score_all(part, [s for s, n in zip(split.fit, numbers, strict=True) if n == fold], size)
        detector.fit(_batches(split.fit, size), checkpoint=_progress(checkpoint, *shaping))
    scores = [score for score, _ in peaks]
    chosen = calibrate(scores, [peak for _, peak in peaks], false_reject, folds=split.folds is not None)
    if limit == "f1":
        chosen = f1_optimal(chosen, [score for score, _ in _score_all(detector, split.select, size)])
    return Inspector(detector, chosen, size, data_sha256, seed, false_reject)


def _progress(folder: Path | None, *shaping: object) -> Path | None:
    """The file for one training: named by all that shapes it, so that the progress of another is never taken up."""
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps(shaping, default=str).encode()).hexdigest()
    return folder / f"{digest[:16]}.pt"


def _batches(samples: Iterable[Sample], size: Size) -> ImageBatches:
    return ImageBatches(tuple(s.path for s in samples), size)


def _score_all(detector: Detector, samples: Iterable[Sample], size: Size) -> list[tuple[float, float]]:
    """(score, highest map value) of every image, maps taken at the image's own size as inspection does."""
    results = []
    for pixels, tensor in read_ahead([s.path for s in samples], size):
        score, anomaly_map = _score_one(detector, tensor, (pixels.shape[0], pixels.shape[1]))
        results.append((score, float(anomaly_map.max())))
    return results


def _score_one(detector: Detector, tensor: Tensor, own_size: Size) -> tuple[float, NDArray[np.float32]]:
    """Score, and map at the image's own size. One image at a time, so that no score depends on its neighbours."""
    maps, scores = detector.score(tensor[None])
    anomaly_map = np.asarray(maps[0].numpy(), np.float32)
    if anomaly_map.shape != own_size:
        height, width = own_size
        anomaly_map = np.asarray(cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return float(scores[0]), anomaly_map


def _version() -> str:
    try:
        return metadata.version("pellucid")
    except metadata.PackageNotFoundError:
        return "unknown"
