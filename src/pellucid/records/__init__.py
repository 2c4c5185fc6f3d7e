"""The values that travel between the stages: frozen, without behaviour beyond what follows from their fields."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from dataclasses import KW_ONLY, asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pellucid._io.names import printable
from pellucid.errors import DataError
from pellucid.records.grades import Grade, Sheet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PilImage

LARGE_PIXELS = 4_000_000  # an image of more has a page that zooms to its own pixels
MAX_DEFECTS_SHOWN = 10  # rows of a notebook's table

Label = Literal["normal", "abnormal"]
Role = Literal["fit", "calibrate", "select", "test"]
Verdict = Literal["ok", "reject"]
IgnoreReason = Literal["region", "margin", "area"]  # lies where nothing counts, too near to the border, is too small
ScoreOf = Literal["peak", "top", "total"]  # what of its map an image's score follows: see ``TOP_SHARE``
TOP_SHARE = 0.01  # of a map's values: "top" is the mean of the highest ones, "peak" the highest one, "total" all


def top_count(count: int) -> int:
    """Return how many of a map's values ``TOP_SHARE`` of them are, at least 1."""
    return max(1, round(count * TOP_SHARE))


@dataclass(frozen=True)
class Sample:
    """One image file and what is known about it.

    Attributes:
        path: of the image.
        label: ``normal`` or ``abnormal``.
        split: ``train`` or ``test`` where the layout of the data says so; None: to be planned.
        type: kind of defect.
        mask: file that says where it is defective: a mask, or annotations in COCO, VOC, YOLO, LabelMe or CVAT's format.
        group: images of one group (photo, pane, session) never sit in two roles.
    """

    path: Path
    label: Label
    split: Literal["train", "test"] | None = None
    type: str | None = None
    mask: Path | None = None
    group: str | None = None


@dataclass(frozen=True)
class Samples:
    """A data set as read from disk: every sample, the layout it was recognised by, and remarks for the reader."""

    root: Path
    layout: str
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        counts = Counter(sample.label for sample in self.samples)
        shown = f"{counts['normal']} normal, {counts['abnormal']} abnormal"
        return f"Samples({str(self.root)!r}, {self.layout} layout, {shown})"


@dataclass(frozen=True)
class Split:
    """Who does what; the four are disjoint.

    Attributes:
        fit: normal images that are learned from.
        calibrate: normal images that place the limit of a detector that has not seen them; empty where ``folds`` is
            set. A detector that can leave images out of what it has learned learns from these as well, and every image
            of :attr:`normals` places its limit.
        select: labelled defects for choosing between detectors.
        test: images of either label.
        folds: number of folds over ``fit`` that calibrate where normal images are few and cannot be left out.
        notes: what is odd about the split, a sentence each.
    """

    fit: tuple[Sample, ...]
    calibrate: tuple[Sample, ...]
    select: tuple[Sample, ...]
    test: tuple[Sample, ...]
    folds: int | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        folds = "" if self.folds is None else f", folds={self.folds}"
        counts = (f"{role}={len(getattr(self, role))}" for role in ("fit", "calibrate", "select", "test"))
        return f"Split({', '.join(counts)}{folds})"

    @property
    def normals(self) -> tuple[Sample, ...]:
        """The normal images that a model is made of: those of ``fit``, then those of ``calibrate``."""
        return (*self.fit, *self.calibrate)

    def calibrating(self, leaves_out: bool) -> tuple[Sample, ...]:
        """Return the normal images that place the limit, in the order of their scores in an inspector.

        Args:
            leaves_out: whether the detector can leave images out of what it has learned, as its ``leaves_out`` says.
        """
        if leaves_out:
            return self.normals
        return self.calibrate if self.folds is None else self.fit

    def roles(self) -> list[tuple[Sample, Role]]:
        """Return every sample with its role, in reading order."""
        pairs: list[tuple[Sample, Role]] = []
        pairs += [(s, "fit") for s in self.fit] + [(s, "calibrate") for s in self.calibrate]
        pairs += [(s, "select") for s in self.select] + [(s, "test") for s in self.test]
        return pairs


Polygon = tuple[tuple[int, int], ...]  # corners, x and y in px


@dataclass(frozen=True)
class Defect:
    """One flaw of an image, in pixels of the image's own size. What was not measured is None.

    Attributes:
        box: x, y, width, height.
        area_px: number of pixels.
        peak: highest value of the map inside.
        centroid: x, y.
        kind: by rule: ``line``, ``point``, ``area`` or ``ring``, after ``bright`` or ``dark`` where that is known, as
            in ``dark line``; empty where it was not measured.
        outline: closed polygons through its outermost pixels; several where it has holes or is interrupted.
        length_px: along its skeleton, from rim to rim; of a compact one, the longer side of ``rectangle``.
        width_px: diameter of the largest disc inside; of a ring, with what it encloses.
        width_mean_px: area by length; of a ring, with what it encloses.
        diameter_px: of the disc of equal area.
        feret_max_px: largest distance of two parallel lines that touch it from both sides.
        feret_min_px: smallest such distance.
        rectangle: the smallest that encloses it: x and y of its centre, longer side, shorter side in px, and the
            direction of the longer side in degrees, in [0, 180), from the x axis to the y axis, which points down.
        border_px: from its box to the nearest border of the image.
        contrast: of its core to the light around it, a share of that light; below zero it is darker.
        sharpness: share of the contrast that its edge rises by in one px; 0.5 is as sharp as pixels can show.
        core_px: number of pixels that have at least half of its contrast.
        halo_px: number of pixels around it that still deviate from the light around it.
        area_mm2: and all that follow: the same in mm, where the scale is known.
        uncertainty_mm: of its lengths and widths, for 19 of 20 outlines: each of two edges lies anywhere in its pixel.
        area_uncertainty_mm2: of its area, were all of the outline that far off.
        centre_mm: of its centroid from where the image begins, x and y, where a scale file corrects the cameras.
        box_mm: left, top, right and bottom of its box, there.
    """

    box: tuple[int, int, int, int]
    area_px: int
    peak: float
    centroid: tuple[float, float]
    _: KW_ONLY
    kind: str = ""
    outline: tuple[Polygon, ...] = field(default=(), repr=False)
    length_px: float | None = None
    width_px: float | None = None
    width_mean_px: float | None = None
    diameter_px: float | None = None
    feret_max_px: float | None = None
    feret_min_px: float | None = None
    rectangle: tuple[float, float, float, float, float] | None = None
    border_px: int | None = None
    contrast: float | None = None
    sharpness: float | None = None
    core_px: int | None = None
    halo_px: int | None = None
    area_mm2: float | None = None
    length_mm: float | None = None
    width_mm: float | None = None
    width_mean_mm: float | None = None
    diameter_mm: float | None = None
    feret_max_mm: float | None = None
    feret_min_mm: float | None = None
    border_mm: float | None = None
    uncertainty_mm: float | None = None
    area_uncertainty_mm2: float | None = None
    centre_mm: tuple[float, float] | None = None
    box_mm: tuple[float, float, float, float] | None = None

    @property
    def size_text(self) -> str:
        """Its length by its width, as in ``24.0 x 3.1 px`` or, where the scale is known, ``1.20 x 0.16 mm``."""
        if self.length_mm is not None and self.width_mm is not None:
            return f"{self.length_mm:.2f} x {self.width_mm:.2f} mm"
        if self.length_px is None or self.width_px is None:
            return f"{self.box[2]} x {self.box[3]} px"
        return f"{self.length_px:.1f} x {self.width_px:.1f} px"

    @property
    def contrast_text(self) -> str:
        """Its contrast in percent, with its sign; empty where that was not measured."""
        return "" if self.contrast is None else f"{self.contrast:+.0%}"

    def __str__(self) -> str:
        """What it is like, as in ``dark line, 24.0 x 3.1 px, -18%, at (30, 41)``."""
        x, y = (round(value) for value in self.centroid)
        return ", ".join(filter(None, (self.kind, self.size_text, self.contrast_text, f"at ({x}, {y})")))


@dataclass(frozen=True)
class Ignored:
    """A defect that does not count.

    Attributes:
        defect: what was found.
        reason: ``region``: it lies in a region that is ignored; ``margin``: it lies too near to the image's border;
            ``area``: it is too small.
    """

    defect: Defect
    reason: IgnoreReason

    def to_dict(self) -> dict[str, Any]:
        """Return the measures of the defect with the reason among them, as JSON and the record have it."""
        return asdict(self.defect) | {"reason": self.reason}


@dataclass(frozen=True)
class Inspection:
    """What was found on one image. In a notebook it shows itself.

    Attributes:
        path: of the image; ``<array>`` for pixels without one.
        score: of the image, in the detector's own unit; higher is more anomalous; infinite where it was not judged.
        limit: above which the image is rejected.
        p_value: share of good images that score as high or higher, in (0, 1].
        verdict: ``ok`` or ``reject``.
        reason: why it was rejected without being judged, a sentence; empty where score and limit decided.
        warnings: what a person should know about the image, a sentence each: it is unlike those that were fitted on, or
            something in its file was left out.
        map: anomaly of every pixel, (H, W) of the image's own size.
        defects: regions of the map above its limit, the highest peak first; none where the image is accepted.
        ignored: such regions that do not count by the model's zones, with the reason, the highest peak first; an image
            whose score is above the limit is accepted where nothing else was found.
        pixel_limit: map value that good images stay below.
        good_level: map value that pixels of good images usually have; between the two lies the scale of colours.
        pixels: what was inspected, (H, W, 3) RGB in [0, 1]; None once they were let go of.
        bits: significant bits of 16-bit values, by which the file is read again for drawing.
        sheet: the pane that the image shows, in mm; None where the scale is not known.
        grade: what a grading rule says of it, whatever the verdict is; None where it was not asked.
        promise: what the limit was placed to keep, as in ``at most 5.0% on average``; empty where that is nothing.
    """

    path: Path
    score: float
    limit: float
    p_value: float
    verdict: Verdict
    map: NDArray[np.float32] = field(repr=False, compare=False)
    defects: tuple[Defect, ...] = ()
    pixel_limit: float = field(default=0.0, repr=False)
    good_level: float = field(default=0.0, kw_only=True, repr=False)
    pixels: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    bits: int = field(default=16, kw_only=True, repr=False)
    reason: str = field(default="", kw_only=True)
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    ignored: tuple[Ignored, ...] = field(default=(), kw_only=True)
    sheet: Sheet | None = field(default=None, kw_only=True, repr=False)
    grade: Grade | None = field(default=None, kw_only=True)
    promise: str = field(default="", kw_only=True, repr=False)

    def __repr__(self) -> str:
        defects = f", {len(self.defects)} defect{'' if len(self.defects) == 1 else 's'}" if self.defects else ""
        defects += f", {len(self.ignored)} ignored" if self.ignored else ""
        numbers = f"score {self.score:.6g}, limit {self.limit:.6g}, p {self.p_value:.3g}"
        more = "".join(f", {text}" for text in (self.grade, self.reason, *self.warnings) if text)
        return f"Inspection({str(self.path)!r}, {self.verdict}, {numbers}{defects}{more})"

    def picture(self, mask: Path | None = None) -> PilImage:
        """Draw the image, its map, its defects and, if given, the mask side by side under the verdict.

        Args:
            mask: file of the image's mask or annotations.

        Returns:
            An 8-bit RGB picture, at least 256 px high.

        Raises:
            DataError: the map was let go of, or the mask, or the image where its pixels were let go of, cannot be read.
        """
        from PIL import Image

        return Image.fromarray(self._drawn(mask)[..., ::-1].copy())

    def png(self, mask: Path | None = None) -> bytes:
        """Return :meth:`picture` as the bytes of a PNG file; what it takes and raises is the same."""
        from pellucid.reports.pictures import png

        return png(self._drawn(mask))

    def _drawn(self, mask: Path | None) -> NDArray[np.uint8]:
        """The picture, (H, W, 3) BGR; drawing is imported when somebody looks."""
        if not self.map.size:
            raise DataError(f"The map of '{self.path}' was let go of: inspect the image again to see it.")
        from pellucid.acquisition.images import read_image
        from pellucid.acquisition.masks import read_mask
        from pellucid.reports.pictures import result_picture

        return result_picture(
            read_image(self.path, self.bits) if self.pixels is None else self.pixels,
            self.map,
            self.good_level,
            self.pixel_limit,
            boxes=[defect.box for defect in self.defects],
            ignored=[one.defect.box for one in self.ignored],
            outlines=[polygon for defect in self.defects for polygon in defect.outline],
            ignored_outlines=[polygon for one in self.ignored for polygon in one.defect.outline],
            caption=f"{self.verdict.upper()}   {self._numbers()}   {self.path.name}",
            rejected=self.verdict == "reject",
            mask=read_mask(mask, self.path, self.map.shape) if mask else None,
        )

    def _numbers(self) -> str:
        numbers = f"score {self.score:.4g}   limit {self.limit:.4g}   p {self.p_value:.3f}"
        return numbers if self.grade is None else f"{numbers}   {self.grade}"

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, or why there is none, and a table of the defects."""
        numbers = escape(f"{self.verdict}, {self._numbers()}")
        try:
            picture = f'<img alt="{numbers}" src="data:image/png;base64,{b64encode(self.png()).decode()}">'
        except DataError as error:
            picture = f"<p>{escape(printable(str(self.path)))}: {numbers}. {escape(str(error))}</p>"
        found = [(defect, "") for defect in self.defects] + [(one.defect, one.reason) for one in self.ignored]
        shown, hidden = found[:MAX_DEFECTS_SHOWN], len(found) - MAX_DEFECTS_SHOWN
        head = "<tr><th>kind</th><th>length x width</th><th>contrast</th><th>x, y, width, height (px)</th>"
        head += f"<th>area (px)</th><th>peak</th>{'<th>ignored by</th>' if self.ignored else ''}</tr>"
        rows = "".join(
            f"<tr><td>{d.kind}</td><td>{d.size_text}</td><td>{d.contrast_text}</td>"
            f"<td>{', '.join(map(str, d.box))}</td><td>{d.area_px}</td><td>{d.peak:.4g}</td>"
            f"{f'<td>{why}</td>' if self.ignored else ''}</tr>"
            for d, why in shown
        )
        table = f"<table>{head}{rows}</table>" if shown else ""
        clauses = map(str, self.grade.broken if self.grade else ())
        remarks = "".join(f"<p>{escape(text)}</p>" for text in (self.reason, *self.warnings, *clauses) if text)
        return picture + remarks + table + (f"<p>and {hidden} more</p>" if hidden > 0 else "")
