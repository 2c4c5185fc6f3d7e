"""Post-processing by anomalib's name: where predictions put the limit."""

from __future__ import annotations

from enum import StrEnum

import torch

from pellucid.anomalib._said import without_effect
from pellucid.errors import ParameterError
from pellucid.records.limits import Limit

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths
__all__ = ["NormalizationMethod", "OneClassPostProcessor", "PostProcessor", "ThresholdMethod"]


class NormalizationMethod(StrEnum):
    """How scores are brought to a range; ``min_max`` puts the limit at 0.5, ``none`` leaves them as they are."""

    MIN_MAX = "min_max"
    NONE = "none"


class ThresholdMethod(StrEnum):
    """How anomalib chooses a threshold; here it is the conformal limit of held-out normal images."""

    ADAPTIVE = "adaptive"
    MANUAL = "manual"


class PostProcessor:
    """What is done to a model's scores and maps.

    A prediction holds raw scores, in the detector's own unit, unless a script asks for one of these: then 0 is the
    middle of good images and 0.5 is the limit, on one line, above and below which nothing is clamped. An order or a
    rank metric is the same on both.

    Args:
        enable_normalization: put the limit at 0.5.
        enable_thresholding: taken without effect: labels and masks are always there.
        enable_threshold_matching: taken without effect.
        image_sensitivity: 0.5; another is taken without effect.
        pixel_sensitivity: 0.5; another is taken without effect.

    Attributes:
        image_threshold: above which an image is rejected, in the detector's unit; nan before a fit.
        pixel_threshold: above which a pixel of a rejected image is defective.
        normalized_image_threshold: the same in the unit of the predictions.
        normalized_pixel_threshold: the same in the unit of the maps.
        image_min: the middle of good images, in the detector's unit.
        pixel_min: what a pixel of a good image usually scores.
    """

    def __init__(
        self,
        enable_normalization: bool = True,
        enable_thresholding: bool = True,
        enable_threshold_matching: bool = True,
        image_sensitivity: float | None = 0.5,
        pixel_sensitivity: float | None = 0.5,
    ) -> None:
        self.enable_normalization = enable_normalization
        moved = {"image_sensitivity": image_sensitivity, "pixel_sensitivity": pixel_sensitivity}
        without_effect(
            "PostProcessor",
            [name for name, value in moved.items() if value not in (None, 0.5)],
            "Engine(false_reject=0.05) says where the limit goes",
        )
        switched_off = {
            "enable_thresholding": enable_thresholding,
            "enable_threshold_matching": enable_threshold_matching,
        }
        without_effect(
            "PostProcessor", [name for name, on in switched_off.items() if not on], "labels and masks are always there"
        )
        self.image_sensitivity, self.pixel_sensitivity = image_sensitivity, pixel_sensitivity
        nan = torch.tensor(float("nan"))
        self.image_threshold = self.pixel_threshold = self.image_min = self.pixel_min = nan

    def learn(self, limit: Limit) -> None:
        """Take over the limit of a fitted model."""
        scores = sorted(limit.scores) or [limit.value]
        self.image_threshold, self.pixel_threshold = torch.tensor(limit.value), torch.tensor(limit.pixel)
        self.image_min, self.pixel_min = torch.tensor(scores[len(scores) // 2]), torch.tensor(limit.good_level)

    @property
    def normalized_image_threshold(self) -> torch.Tensor:
        """The limit in the unit of the predictions."""
        return torch.tensor(0.5) if self.enable_normalization else self.image_threshold

    @property
    def normalized_pixel_threshold(self) -> torch.Tensor:
        """The limit of pixels in the unit of the maps."""
        return torch.tensor(0.5) if self.enable_normalization else self.pixel_threshold

    def scores(self, raw: torch.Tensor) -> torch.Tensor:
        """Return scores (B,) in the unit of the predictions."""
        return _scaled(raw, self.image_min, self.image_threshold) if self.enable_normalization else raw

    def maps(self, raw: torch.Tensor) -> torch.Tensor:
        """Return maps of any shape in the unit of the predictions."""
        return _scaled(raw, self.pixel_min, self.pixel_threshold) if self.enable_normalization else raw


OneClassPostProcessor = PostProcessor


def take_post_processor(given: object) -> PostProcessor:
    """Return the post-processing of a model.

    Args:
        given: one, or True, False or None, for none of a script's own.

    Raises:
        ParameterError: it is something else.
    """
    if isinstance(given, PostProcessor):
        return given
    if given is None or isinstance(given, bool):
        return PostProcessor(enable_normalization=False)
    raise ParameterError(
        f"post_processor={given!r} is not allowed: give a PostProcessor, or leave it out; Engine(false_reject=...) says"
        " where the limit goes."
    )


def _scaled(raw: torch.Tensor, low: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """On the line through (low, 0) and (limit, 0.5); where these are one, moved alone."""
    span = 2 * (limit - low)
    return (raw - limit) / (span if span > 0 else torch.ones(())) + 0.5
