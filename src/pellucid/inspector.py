"""The page: an image's way from file to verdict, and a model's way from folder to file."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid import detectors
from pellucid._overlap import HANDS, Stage, overlap
from pellucid.acquisition.checks import Checked, check, fingerprint, note_duplicates
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.images import (
    ImageBatches,
    Pixels,
    Planes,
    Size,
    as_planes,
    parse_size,
    read_ahead,
    read_image,
)
from pellucid.acquisition.splits import fold_of, plan_split
from pellucid.errors import DataError, ExportError, ModelFileError, OutputError, ParameterError, WeightsError
from pellucid.limits.calibration import calibrate, check_rate, f1_optimal
from pellucid.model_file import Header, LimitHeader, read_header, read_model, tensors_sha256, write_model
from pellucid.records import Inspection, Limit, Sample, Samples, Split
from pellucid.regions.defects import cut_of, find_defects
from pellucid.runtimes import Name, Runtime, is_installed
from pellucid.runtimes.torch import Torch

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.detectors._base import Detector
    from pellucid.runtimes.export import ExportHeader, Format, Normals

LimitMethod = Literal["conformal", "f1"]
Map = NDArray[np.float32]  # (H, W)
MANY = 16  # images from which on a runtime is set up for many of them
EXPORT_PAYS = 200  # images from which on a faster runtime makes up for the seconds of exporting to it


@dataclass(frozen=True)
class Inspector:
    """What scores images, its limit, and what it takes to use and to trace them."""

    runtime: Runtime
    limit: Limit
    image_size: Size
    data_sha256: str
    seed: int
    false_reject: float
    held_out: tuple[float, ...] = ()  # the limit's normal scores in the order of the split; none once loaded

    def inspect(self, image: str | Path | Pixels) -> Inspection:
        """Inspect one image: a file, or pixels (H, W, 3) float32 RGB in [0, 1].

        Raises:
            DataError: the file cannot be read, or the pixels are of another kind.
        """
        if isinstance(image, (str, Path)):
            path, pixels = Path(image), read_image(Path(image))
        else:
            path, pixels = Path("<array>"), image
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.float32 or not np.isfinite(pixels).all():
            raise DataError(f"Pixels have to be finite float32 (H, W, 3); got {pixels.dtype} {pixels.shape}.")
        score, anomaly_map = _score_one(self.runtime, as_planes(pixels, self.image_size))
        return self._judge(path, score, _enlarge(anomaly_map, pixels))

    def inspect_many(
        self,
        paths: Iterable[Path],
        *,
        finish: Callable[[int, Pixels, Inspection], None] | None = None,
        skip: Callable[[DataError], None] | None = None,
    ) -> Iterator[Inspection]:
        """Inspect files, in order; reading, computing and finishing overlap, and only a few images are in memory.

        Args:
            paths: image files.
            finish: called in another thread with the number of the file, its pixels and what was found.
            skip: told why a file cannot be read, which is then left out.

        Raises:
            DataError: a file cannot be read, and there is no ``skip``.
        """
        paths = list(paths)
        runtime = self.runtime.many if len(paths) >= MANY else self.runtime

        def read(numbered: tuple[int, Path]) -> tuple[int, Path, Pixels, Planes]:
            pixels = read_image(numbered[1])
            return *numbered, pixels, as_planes(pixels, self.image_size)

        def score(image: tuple[int, Path, Pixels, Planes]) -> tuple[int, Path, Pixels, float, Map]:
            return *image[:3], *_score_one(runtime, image[3])

        def judge(scored: tuple[int, Path, Pixels, float, Map]) -> Inspection:
            number, path, pixels, score, anomaly_map = scored
            found = self._judge(path, score, _enlarge(anomaly_map, pixels))
            if finish is not None:
                finish(number, pixels, found)
            return found

        stages = Stage(read, HANDS), Stage(score, runtime.lanes), Stage(judge, HANDS)
        for inspected in overlap(enumerate(paths), *stages):
            try:
                yield inspected.result()
            except DataError as error:
                if skip is None:
                    raise
                skip(error)

    def _judge(self, path: Path, score: float, anomaly_map: Map) -> Inspection:
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

    @property
    def detector(self) -> Detector:
        """The fitted detector.

        Raises:
            ParameterError: an exported model has none.
        """
        if not isinstance(self.runtime, Torch):
            raise ParameterError("An exported model only inspects: use the model file that it came from for the rest.")
        return self.runtime.detector

    def save(self, path: str | Path) -> None:
        """Write the model, whole or not at all.

        Raises:
            OutputError: the place cannot be written to.
            ParameterError: the model was exported.
        """
        state = self.detector.state()
        write_model(Path(path), self._header(state), state)

    def export(
        self,
        folder: str | Path,
        format: Format = "openvino",
        *,
        images: Iterable[str | Path] = (),
        int8: str | Path | Samples | None = None,
    ) -> ExportHeader:
        """Write the model as one graph that inspects without torch; :func:`load` opens the folder.

        Args:
            folder: made if need be; an earlier export in it is replaced.
            format: ``openvino`` or ``onnx``.
            images: files to compare the graph with torch on; drawn panes of glass when none are given.
            int8: the data set that the model was fitted on: the backbone is then computed in 8-bit integers, and the
                limit chosen anew from the scores that this gives the normal images that were not fitted on.

        Returns:
            What was written beside the graph, the largest difference from torch in it.

        Raises:
            DataError: ``int8`` is another data set, or one of too few normal images.
            ExportError: the graph does not agree with torch, or the one of integers not with float32.
            OutputError: the folder cannot be written to.
            ParameterError: a package is missing, or the model was exported.
        """
        from pellucid.runtimes.export import export

        header = self._header(self.detector.state())
        compared = [as_planes(read_image(Path(image)), self.image_size) for image in images]
        normals = None if int8 is None else self._normals(int8, header)
        return export(self.detector, header, Path(folder), format, compared, normals)

    def _normals(self, data: str | Path | Samples, header: Header) -> Normals:
        """Images that were fitted on and images that were not, as the model's own split has them."""
        from pellucid.runtimes.export import Normals
        from pellucid.runtimes.quantise import LEARNED

        plan = Plan.of(data, false_reject=self.false_reject, seed=self.seed)
        if plan.data_sha256() != self.data_sha256:
            raise DataError(
                "An int8 graph is calibrated with the images that its model was fitted and calibrated on, so that none"
                " that was fitted on decides; these are others."
            )
        split = plan.split
        if split.folds is not None:
            raise DataError(
                f"{len(split.fit)} normal images are too few for an int8 graph: all of them were fitted on, and its"
                " limit needs some that were not."
            )

        def recalibrated(runtime: Runtime) -> Header:
            held_out = _score_all(runtime, split.calibrate, self.image_size)
            f1 = self.limit.method == "f1"
            limit = _calibrate(runtime, split, self.image_size, self.false_reject, held_out, f1=f1)
            return header.model_copy(update={"limit": LimitHeader(**asdict(limit))})

        learn, held_out = (
            [planes for _, planes in read_ahead([s.path for s in samples], self.image_size)]
            for samples in (split.fit[:: -(-len(split.fit) // LEARNED)], split.calibrate)
        )
        return Normals(learn, held_out, recalibrated)

    def _header(self, state: dict[str, Tensor]) -> Header:
        backbone = {k: v for k, v in state.items() if k.startswith("backbone_.")}
        return Header(
            detector=detectors.name_of(self.detector),
            parameters=self.detector.parameters() | {"weights": None},
            backbone=self.detector.backbone,
            backbone_sha256=tensors_sha256(backbone),
            image_size=self.image_size,
            limit=LimitHeader(**asdict(self.limit)),
            data_sha256=self.data_sha256,
            seed=self.seed,
            false_reject=self.false_reject,
            versions={
                "pellucid": _version("pellucid"),
                "torch": _version("torch"),
                "python": platform.python_version(),
            },
        )


def load(path: str | Path, runtime: Name | Literal["auto"] | None = None, *, images: int | None = None) -> Inspector:
    """Read a model written by :meth:`Inspector.save` or :meth:`Inspector.export`; needs no network.

    Args:
        path: a model file, or the folder of an exported model.
        runtime: what computes; by default torch for a model file. For ``openvino`` and ``onnx`` the model is exported
            once into pellucid's cache; ``auto`` takes the fastest that is installed and agrees with torch. The folder
            of an exported model has its own runtime.
        images: how many will be inspected, if that is known: for a few, ``auto`` does not export.

    Raises:
        ModelFileError: missing, truncated, foreign, newer, changed, or of a detector that takes or learns more by now.
        ParameterError: the runtime is not installed, or not the one that the folder was exported for.
        ExportError: the graph does not agree with torch; ``auto`` then takes torch.
    """
    from pellucid.runtimes.export import open_export

    path = Path(path)
    if path.is_dir():
        opened, header = open_export(path)
        if runtime not in (None, "auto", opened.name):
            raise ParameterError(f"'{path}' was exported for {opened.name}: it cannot run on {runtime}.")
        return _inspector(opened, header)
    if runtime == "auto" and (images is None or images >= EXPORT_PAYS):
        for faster in ("openvino", "onnx"):
            with suppress(ExportError, OutputError):  # it does not agree, or the cache cannot be written to
                if is_installed(faster):
                    return load(path, faster)
    if runtime in ("openvino", "onnx"):
        return _inspector(*_exported(path, runtime))
    header, tensors = read_model(path)
    detector = detectors.create(header.detector, **header.parameters)
    new = detector.parameters().keys() - header.parameters.keys()
    if new:  # its default might not be what the model was fitted with
        names = ", ".join(sorted(new))
        raise ModelFileError(f"'{path}' is of an older pellucid, whose {header.detector} had no {names}: fit it again.")
    try:
        detector.load_state(tensors)
    except WeightsError:
        raise ModelFileError(
            f"'{path}' is of another pellucid, whose {header.detector} learned something else: fit it again."
        ) from None
    return _inspector(Torch(detector), header)


def _inspector(runtime: Runtime, header: Header) -> Inspector:
    limit = Limit(**header.limit.model_dump())
    return Inspector(runtime, limit, header.image_size, header.data_sha256, header.seed, header.false_reject)


def _exported(path: Path, format: Format) -> tuple[Runtime, Header]:
    """A model file's graph from the cache, exported into it when it is not there or not whole."""
    from pellucid.runtimes.export import cached, open_export

    header, digest = read_header(path)
    folder = cached(digest, format)
    with suppress(ModelFileError):
        return open_export(folder)[0], header
    load(path).export(folder, format)
    return open_export(folder)[0], header


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
        return cls._of(checked, false_reject, seed)

    def again(self, *, false_reject: float = 0.05, seed: int = 0) -> Self:
        """The same files, split anew."""
        return self._of(self.checked, false_reject, seed)

    @classmethod
    def _of(cls, checked: Checked, false_reject: float, seed: int) -> Self:
        split = plan_split(checked.samples, false_reject=check_rate(false_reject), seed=seed)
        notes = (*checked.samples.notes, *split.notes, *note_duplicates(split, checked))
        return cls(checked, split, notes)

    def data_sha256(self) -> str:
        """Over the contents of the images that are fitted on and calibrated with."""
        return fingerprint((*self.split.fit, *self.split.calibrate), self.checked.hashes)

    def tested_sha256(self) -> str:
        """Over the contents of the images that models are chosen by and tested on."""
        return fingerprint((*self.split.select, *self.split.test), self.checked.hashes)


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
    name, parameters = detectors.name_of(detector), detector.parameters()
    shaping = (name, parameters, size, data_sha256, seed, [str(s.path) for s in split.fit], split.folds)
    if split.folds is None:
        detector.fit(_batches(split.fit, size), checkpoint=_progress(checkpoint, *shaping))
        held_out = _score_all(Torch(detector), split.calibrate, size)
    else:  # few normals: every one is scored by a detector that has not seen it, then all are learned from
        by_sample: dict[Sample, tuple[float, float]] = {}
        numbers = fold_of(split.fit, split.folds, seed)
        for fold in range(split.folds):
            part = detectors.create(name, **parameters)
            seen = [s for s, n in zip(split.fit, numbers, strict=True) if n != fold]
            part.fit(_batches(seen, size), checkpoint=_progress(checkpoint, *shaping, fold))
            left = [s for s, n in zip(split.fit, numbers, strict=True) if n == fold]
            by_sample |= zip(left, _score_all(Torch(part), left, size), strict=True)
        held_out = [by_sample[s] for s in split.fit]
        detector.fit(_batches(split.fit, size), checkpoint=_progress(checkpoint, *shaping))
    chosen = _calibrate(Torch(detector), split, size, false_reject, held_out, f1=limit == "f1")
    in_order = tuple(score for score, _ in held_out)
    return Inspector(Torch(detector), chosen, size, data_sha256, seed, false_reject, in_order)


def _calibrate(
    runtime: Runtime,
    split: Split,
    size: Size,
    false_reject: float,
    held_out: Sequence[tuple[float, float]],
    *,
    f1: bool,
) -> Limit:
    """The limit from the scores and peaks of normal images that were not fitted on."""
    scores = [score for score, _ in held_out]
    limit = calibrate(scores, [peak for _, peak in held_out], false_reject, folds=split.folds is not None)
    return f1_optimal(limit, [score for score, _ in _score_all(runtime, split.select, size)]) if f1 else limit


def _progress(folder: Path | None, *shaping: object) -> Path | None:
    """The file for one training: named by all that shapes it, so that the progress of another is never taken up."""
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps(shaping, default=str).encode()).hexdigest()
    return folder / f"{digest[:16]}.pt"


def _batches(samples: Iterable[Sample], size: Size) -> ImageBatches:
    return ImageBatches(tuple(s.path for s in samples), size)


def _score_all(runtime: Runtime, samples: Iterable[Sample], size: Size) -> list[tuple[float, float]]:
    """(score, highest map value) of every image, maps taken at the image's own size as inspection does."""
    results = []
    for pixels, planes in read_ahead([s.path for s in samples], size):
        score, anomaly_map = _score_one(runtime, planes)
        results.append((score, float(_enlarge(anomaly_map, pixels).max())))
    return results


def _score_one(runtime: Runtime, planes: Planes) -> tuple[float, Map]:
    """Score and map, at the network's size. One image at a time, so that no score depends on its neighbours."""
    maps, scores = runtime.score(planes[None])
    return float(scores[0]), maps[0]


def _enlarge(anomaly_map: Map, pixels: Pixels) -> Map:
    """The map at the image's own size."""
    height, width = pixels.shape[:2]
    if anomaly_map.shape == (height, width):
        return anomaly_map
    return np.asarray(cv2.resize(anomaly_map, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
