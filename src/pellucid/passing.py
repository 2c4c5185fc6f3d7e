"""An image that passes in bands: its defects while it passes, its verdict at its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from pellucid.acquisition.band_appearance import BandAppearance
from pellucid.acquisition.bands import Bands
from pellucid.acquisition.images import Values
from pellucid.acquisition.tiles import Map, Tiling
from pellucid.errors import DataError, ParameterError
from pellucid.inspector import NOT_FINITE, Inspector
from pellucid.records import Ignored, Inspection
from pellucid.regions.band_zones import Finding, SortedDefects, ZonedFinder
from pellucid.regions.bands import DefectFinder
from pellucid.runtimes.bands import score_bands

Tell = Callable[[Finding], None]


def inspect_bands(inspector: Inspector, bands: Bands, tell: Tell | None = None) -> Inspection:
    """Inspect an image that is not in memory, as ``Inspector.inspect`` would if it were.

    What is found is the same, to the last bit, whatever the height of the bands; only some rows are in memory at any
    time. Whether an image can be judged is known at its end.

    Args:
        inspector: of a tiled model.
        bands: the image.
        tell: called with every defect, or ignored defect, as soon as it is complete and the image is sure to be
            rejected; while nobody knows where the image ends, without its distance to the border.

    Returns:
        What was found, without the map and the pixels.

    Raises:
        DataError: the image cannot be read, or there is no place in it for a defect that counts.
        ParameterError: the model sees images whole, or regions were drawn and the image's height is not known.
    """
    tiling = inspector.fitted_images.framing
    if not isinstance(tiling, Tiling):
        raise ParameterError(
            f"'{bands.path}' is inspected band by band, but this model sees images whole: fit one with --tile."
        )
    passing = Passing(inspector, bands, tell or (lambda _: None))
    rows = (band.values for band in bands)
    for scored in score_bands(inspector.runtime.for_throughput(), rows, tiling, inspector.gating):
        passing.add(scored.map, scored.values)
    return passing.conclude()


class Passing:
    """An image of which some rows have passed."""

    def __init__(self, inspector: Inspector, bands: Bands, tell: Tell) -> None:
        self.inspector, self.bands, self.tell = inspector, bands, tell
        width, height, measuring = bands.width, bands.height, inspector.measuring
        make_finder = partial(
            DefectFinder,
            width,
            inspector.limit.pixel,
            outline_by_image=measuring.outline == "image",
            margin_px=inspector.outline_margin_px((width, width)),
            mm_per_px=measuring.mm_per_px,
            usual=measuring.usual,
            height=height,
        )
        self.finder = ZonedFinder(make_finder, width, inspector.zones, height)
        self.appearance = BandAppearance(width)
        self.held: list[Finding] = []  # that are defects only if the image is rejected
        self.score, self.is_finite, self.height = -math.inf, True, 0

    def add(self, anomaly_map: Map, pixels: Values) -> None:
        """Take the next rows, (h, W), with their pixels, (h, W, channels)."""
        self.height += len(anomaly_map)
        self.appearance.add(pixels)
        if not (math.isfinite(anomaly_map.max()) and math.isfinite(anomaly_map.min())):  # what is no number is both
            self.is_finite = False
            anomaly_map = self.inspector.without_holes(anomaly_map)
        self.score = max(self.score, float(anomaly_map.max()))
        self._tell(self.finder.add(anomaly_map, pixels))

    def _tell(self, found: list[Finding]) -> None:
        self.held += found
        if self.is_finite and self.score > self.inspector.limit.value:
            for finding in self.held:
                self.tell(self._placed(finding))
            self.held = []

    def _placed(self, finding: Finding) -> Finding:
        geometry = self.inspector.geometry
        if geometry is None:
            return finding
        if isinstance(finding, Ignored):
            return replace(finding, defect=geometry.placed(finding.defect))
        return geometry.placed(finding)

    def conclude(self) -> Inspection:
        """Decide, as of an image in memory: what cannot be judged is never accepted."""
        if not self.height:
            raise DataError(f"'{self.bands.path}' has no rows.")
        check = self.inspector.fitted_images.check_seen(self.appearance, tuple(self.bands.remarks.warnings))
        reason = check.reason or ("" if self.is_finite else NOT_FINITE)
        score = math.inf if reason else self.score
        found = SortedDefects((), (), ())
        accepted = not reason and score <= self.inspector.limit.value
        if not reason and not accepted:
            self._tell(self.finder.end())
            found = self.finder.finish()
            accepted = bool(found.ignored) and not found.defects
        if accepted and check.doubt:
            accepted, reason, score = False, check.doubt, math.inf
        return self.inspector.conclude(
            (self.height, self.bands.width),
            accepted,
            path=self.bands.path,
            score=score,
            map=np.empty((0, self.bands.width), np.float32),
            defects=found.defects,
            ignored=found.ignored,
            reason=reason,
            warnings=(*check.warnings, *found.notes),
        )
