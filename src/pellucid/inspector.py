"""The page: an image's way from file to verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid._io.pipeline import IO_THREADS, Operation, run_pipeline
from pellucid.acquisition.arrays import read_or_convert
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.gate import Gate, Gating
from pellucid.acquisition.geometry import Geometry
from pellucid.acquisition.images import Size, open_image, read_image
from pellucid.acquisition.tiles import Tiling
from pellucid.acquisition.views import lay_out, views_of
from pellucid.detectors._taught import Taught
from pellucid.errors import DataError, ParameterError
from pellucid.limits.promise import short_promise
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.models.file import gate_tensors, header_of, write_model
from pellucid.records import Defect, Ignored, Inspection, Samples
from pellucid.records.gates import GateReport
from pellucid.records.limits import Limit
from pellucid.regions.cut_plan import CutPlan, read_cut_plan
from pellucid.regions.defects import Measuring, find_measured, margin_at, margin_of
from pellucid.regions.grading import Grading
from pellucid.regions.rules import Rules, read_rules
from pellucid.regions.scale import Scale, check_scale
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.runtimes import Runtime
from pellucid.runtimes.scoring import OpenFile, ScoredFile, enlarge, read_and_score, score_file
from pellucid.runtimes.torch import Torch

if TYPE_CHECKING:
    from pellucid.acquisition.arrays import ImageLike
    from pellucid.detectors._base import Detector
    from pellucid.models.export import ExportHeader, Format
    from pellucid.models.file import Ancestor, Header

NOT_FINITE = "Not judged: the detector's score or map is not a finite number."
MIN_IMAGES_FOR_THROUGHPUT = 16  # from which on a runtime is set up to compute several at the same time


@dataclass(frozen=True, repr=False)
class Inspector:
    """Scores images, shows where they are anomalous, and decides.

    :func:`pellucid.fit` makes one from a data set, :func:`pellucid.load` from a file.

    Attributes:
        runtime: what computes scores and maps.
        limit: where normal ends, with the normal scores that it was chosen from.
        image_size: height and width of what the network sees, px: all of an image of the shape that was fitted on; of
            another one all of it with padding, or a tile.
        fitted_images: what is remembered of the images that were fitted on and calibrated with; others are compared
            with them.
        seed: of the split and the detector.
        false_reject: promised share of good images that are rejected, in (0, 1).
        held_out: the limit's normal scores in the order of ``Split.calibrating``; empty once the model was loaded from
            a file.
        zones: where and from what size on a defect counts; an image is rejected only for what does.
        measuring: how defects are outlined and measured.
        grading: rule that every inspection is graded by; None: by none. A model file does not hold it.
        geometry: corrects places and sizes in mm for lens, perspective and seams; None: one scale holds everywhere. A
            model file does not hold it.
        ancestry: the models that it was updated from, the oldest first.
        taught: what labelled defects taught the detector; None: nobody asked for that.
        gate: passes over tiles of good glass; None: all are computed.
        gate_report: what that loses and saves; None: nobody asked for a gate.
        held_out_defects: scores of these defects, in order, each as if it had not been learned from; empty once the
            model was loaded from a file, and where nobody asked.
    """

    runtime: Runtime
    limit: Limit
    image_size: Size
    fitted_images: FittedImages
    seed: int
    false_reject: float
    held_out: tuple[float, ...] = ()
    zones: Zones = EVERYTHING
    measuring: Measuring = field(default=Measuring(), kw_only=True)
    grading: Grading | None = field(default=None, kw_only=True)
    geometry: Geometry | None = field(default=None, kw_only=True)
    ancestry: tuple[Ancestor, ...] = field(default=(), kw_only=True)
    taught: Taught | None = field(default=None, kw_only=True)
    held_out_defects: tuple[float, ...] = field(default=(), kw_only=True)
    gate: Gate | None = field(default=None, kw_only=True)
    gate_report: GateReport | None = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        model: str = self.runtime.name
        if isinstance(self.runtime, Torch):
            detector = self.runtime.detector
            model = f"{type(detector).__name__} on {detector.backbone}, {model}"
        return f"Inspector({model}, {self.image_size[0]}x{self.image_size[1]} px, {self.limit!r})"

    def inspect(self, image: ImageLike) -> Inspection:
        """Inspect one image.

        Args:
            image: a file's path; a PIL image; or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in RGB order, whose
                alpha is dropped: uint8, uint16, or float in [0, 1].

        Raises:
            DataError: the file cannot be read, or the array is of another kind.

        Example:
            >>> inspector = pellucid.load("glass.pellucid")
            >>> inspector.inspect("pane_0412.png").verdict
            'ok'
        """
        path, read = read_or_convert(image, self.fitted_images.bits)
        file = score_file(self.runtime, path, read, self.image_size, self.fitted_images, self.gating)
        return replace(self._judge(file, lambda: read.pixels), pixels=read.pixels)

    def inspect_many(
        self,
        paths: Iterable[Path],
        *,
        finish: Callable[[int, Inspection], None] | None = None,
        skip: Callable[[DataError], None] | None = None,
        open_file: OpenFile = open_image,
    ) -> Iterator[Inspection]:
        """Inspect files, in order; reading, computing and finishing overlap, and only a few images are in memory.

        A GPU computes several images at a time, which moves a score by less than a thousandth.

        Args:
            paths: image files.
            finish: called in another thread with the number of the file, from 0, and what was found on it.
            skip: told why a file cannot be read, which is then left out.
            open_file: reads a file, given its path and the significant bits of 16-bit values.

        Yields:
            Inspections without pixels; drawing one reads its file again.

        Raises:
            DataError: a file cannot be read, and there is no ``skip``.
        """
        paths = list(paths)
        runtime = self.runtime.for_throughput() if len(paths) >= MIN_IMAGES_FOR_THROUGHPUT else self.runtime

        def judge(numbered: tuple[int, Future[ScoredFile]]) -> Inspection:
            number, file = numbered
            scored_file = file.result()
            found = self._judge(scored_file, lambda: open_file(scored_file.path, self.fitted_images.bits).pixels)
            if finish is not None:
                finish(number, found)
            return found

        scored = read_and_score(runtime, paths, self.image_size, self.fitted_images, open_file, self.gating)
        for inspected in run_pipeline(enumerate(scored), Operation(judge, IO_THREADS)):
            try:
                yield inspected.result()
            except DataError as error:
                if skip is None:
                    raise
                skip(error)

    def _judge(self, file: ScoredFile, read: Callable[[], NDArray[np.float32]]) -> Inspection:
        """Decide; what is no number, or was not recorded as the fitted images were, is never accepted.

        The pixels are read once more only where there are defects to be outlined.
        """
        score, reason = file.score, file.check.reason
        anomaly_map = enlarge(file.map, file.size)
        if not (math.isfinite(score) and np.isfinite(anomaly_map).all()):
            reason = reason or NOT_FINITE
            anomaly_map = self.without_holes(anomaly_map)
        score = math.inf if reason else score
        defects: tuple[Defect, ...] = ()
        ignored: tuple[Ignored, ...] = ()
        accepted = not reason and score <= self.limit.value
        notes: list[str] = []
        if not reason:
            self.zones.counted(file.size)  # that they fit is found out with the first image, not with the first defect
        if not reason and not accepted:
            threshold = segmentation_threshold(anomaly_map, self.limit.pixel, self.fitted_images.are_tiled)

            pixels = cache(read)

            def find(place: NDArray[np.bool_]) -> tuple[Defect, ...]:
                margin_px, tiled = self.outline_margin_px(file.size), self.fitted_images.are_tiled
                found = find_measured(anomaly_map, threshold, pixels, self.measuring, margin_px, place, tiled=tiled)
                notes.extend(found.notes)
                return found.defects

            defects, ignored = self.zones.sort(file.size, find)
            accepted = bool(ignored) and not defects
        if accepted and file.check.doubt:
            accepted, reason, score = False, file.check.doubt, math.inf
        return self.conclude(
            file.size,
            accepted,
            path=file.path,
            score=score,
            map=anomaly_map,
            defects=defects,
            ignored=ignored,
            reason=reason,
            warnings=(*file.check.warnings, *dict.fromkeys(notes)),
        )

    def conclude(self, size: Size, accepted: bool, **found: Any) -> Inspection:
        """Return an inspection with all that the model adds to what was found, graded if that is asked for.

        Args:
            size: of the image, height and width, px.
            accepted: whether it is.
            found: the other fields of :class:`Inspection`, the score among them.
        """
        if self.geometry is not None:
            self.geometry.check_width(size[1])
            ignored = [replace(one, defect=self.geometry.placed(one.defect)) for one in found["ignored"]]
            found |= {"defects": tuple(map(self.geometry.placed, found["defects"])), "ignored": tuple(ignored)}
        inspection = Inspection(
            limit=self.limit.value,
            p_value=self.limit.p_value(found["score"]),
            verdict="ok" if accepted else "reject",
            pixel_limit=self.limit.pixel,
            good_level=self.limit.good_level,
            bits=self.fitted_images.bits,
            sheet=self.measuring.sheet(size),
            promise=self.promise,
            **found,
        )
        return inspection if self.grading is None else self.grading.apply(inspection)

    def without_holes(self, anomaly_map: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a map, of any part of an image, whose values that are no finite numbers were replaced."""
        return np.nan_to_num(anomaly_map, nan=self.limit.pixel, posinf=self.limit.pixel, neginf=0)

    def with_scale(self, mm_per_px: Scale | None) -> Inspector:
        """Return one that also measures in mm; with None, this one.

        Args:
            mm_per_px: along both axes, or along x and along y.

        Raises:
            ParameterError: the scale is not a number above 0, or the two differ too much.
        """
        if mm_per_px is None:
            return self
        check_scale(mm_per_px)
        return replace(self, measuring=self.measuring.model_copy(update={"mm_per_px": mm_per_px}))

    def with_geometry(self, geometry: Geometry) -> Inspector:
        """Return one whose places and sizes in mm are corrected for lens, perspective and seams.

        Raises:
            ParameterError: its scales along x and y differ too much.
        """
        return replace(self.with_scale(geometry.mm_per_px), geometry=geometry)

    def with_grading(
        self, rules: str | Path | Rules, panes: int | None = None, cut_plan: Path | CutPlan | None = None
    ) -> Inspector:
        """Return one that also grades what it finds.

        Args:
            rules: the name of a rule of ``pellucid rules``, the path of one's own, or one that was read.
            panes: of glass that the unit has, laminated ones included; None: as many as the rule is written for.
            cut_plan: what the sheet is cut into, or the path of such a plan; None: the image is one pane.

        Raises:
            DataError: the file cannot be read.
            ParameterError: there is no such rule, it cannot be understood or does not count panes, or the scale of the
                images is not known.
        """
        plan = read_cut_plan(cut_plan) if isinstance(cut_plan, Path) else cut_plan
        grading = Grading(rules if isinstance(rules, Rules) else read_rules(rules), panes, plan)
        if self.measuring.mm_per_px is None:
            raise ParameterError("Grading needs a scale: give --mm-per-px, as pellucid calibrate measures it.")
        return replace(self, grading=grading)

    def seen_size(self, size: tuple[int, ...]) -> Size:
        """Return the height and width, px, that an image of such a height and width is brought to before it is seen."""
        return lay_out((size[0], size[1]), self.image_size, self.fitted_images.framing).content

    def outline_margin_px(self, size: tuple[int, ...]) -> int:
        """Return how far a defect may reach beyond its region of the map, px of an image of such a height and width."""
        framing = self.fitted_images.framing
        return margin_at(framing.reduce) if isinstance(framing, Tiling) else margin_of(size, self.seen_size(size))

    @cached_property
    def promise(self) -> str:
        """What the limit promises, in a few words; empty where that is nothing."""
        return short_promise(self.limit)

    @property
    def gating(self) -> Gating | None:
        """What passes over tiles of good glass, and the level of their maps."""
        return None if self.gate is None else Gating(self.gate, self.limit.good_level)

    @property
    def detector(self) -> Detector:
        """The fitted detector.

        Raises:
            ParameterError: an exported model has none.
        """
        if not isinstance(self.runtime, Torch):
            raise ParameterError("An exported model only inspects: use the model file that it came from for the rest.")
        return self.runtime.detector

    def header(self) -> Header:
        """Return everything about the model that is not a tensor, as its file holds it."""
        return header_of(
            self.detector,
            self.limit,
            image_size=self.image_size,
            fitted_images=self.fitted_images,
            seed=self.seed,
            false_reject=self.false_reject,
            zones=self.zones,
            measuring=self.measuring,
            ancestry=self.ancestry,
            taught=self.taught,
            gate=self.gate_report,
        )

    def save(self, path: str | Path) -> None:
        """Write the model, whole or not at all.

        Raises:
            OutputError: the place cannot be written to.
            ParameterError: the model was exported.
        """
        gate = {} if self.gate is None else gate_tensors(self.gate)
        write_model(Path(path), self.header(), self.detector.state() | gate)

    def export(
        self,
        folder: str | Path,
        format: Format = "openvino",
        *,
        images: Iterable[str | Path] = (),
        int8: str | Path | Samples | None = None,
    ) -> ExportHeader:
        """Write the model as one graph that inspects without torch; :func:`pellucid.load` opens the folder.

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
        from pellucid.models.export import export

        read = (read_image(Path(image), self.fitted_images.bits) for image in images)
        compared = [view for one in read for view in views_of(one, self.image_size, self.fitted_images.framing)]
        return export(self.detector, self.header(), Path(folder), format, compared, int8, self.gate)
