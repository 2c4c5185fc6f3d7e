"""A data set ready to be learned from: read, verified, split, with what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pellucid.acquisition.duplicates import note_duplicates
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.splits import plan_split
from pellucid.acquisition.verify import VerifiedData, note_odd_images, remember, samples_sha256, verify
from pellucid.acquisition.views import note_shapes
from pellucid.records import Samples, Split


@dataclass(frozen=True)
class Plan:
    """Data ready to be learned from: every file verified, every sample with its role.

    Attributes:
        verified: samples whose files can all be read, with the SHA-256 of each.
        split: who is fitted on, who calibrates, who selects and who tests.
        notes: what is odd about the data, a sentence each.
    """

    verified: VerifiedData
    split: Split
    notes: tuple[str, ...]

    @classmethod
    def from_data(
        cls,
        data: str | Path | Samples,
        *,
        false_reject: float = 0.05,
        confidence: float | None = None,
        folds: int | None = None,
        seed: int = 0,
    ) -> Self:
        """Read, verify and split a data set.

        Args:
            data: a folder, a CSV file, or what :func:`pellucid.read_folder` returned.
            false_reject: share of good images that may be rejected, in (0, 1); it says how many have to calibrate.
            confidence: share of models that keep it, in (0, 1); None: they keep it on average.
            folds: calibrate by so many folds, at least 2; None: only where normal images are few.
            seed: seed of the split, at least 0.

        Raises:
            DataError: nothing usable, an unknown layout, or too few normal images for the rate.
            ParameterError: more folds than independent images, or a rate or a confidence that is not allowed.
        """
        verified = verify(data if isinstance(data, Samples) else read_folder(data))
        return cls._split(verified, false_reject, confidence, folds, seed)

    def resplit(
        self,
        *,
        false_reject: float = 0.05,
        confidence: float | None = None,
        folds: int | None = None,
        seed: int = 0,
    ) -> Self:
        """Split the same files anew, without reading them; the arguments are those of :meth:`from_data`."""
        return self._split(self.verified, false_reject, confidence, folds, seed)

    @classmethod
    def _split(
        cls, verified: VerifiedData, false_reject: float, confidence: float | None, folds: int | None, seed: int
    ) -> Self:
        split = plan_split(verified.samples, false_reject=false_reject, confidence=confidence, folds=folds, seed=seed)
        odd = note_odd_images(split.normals, verified, remember(split.normals, verified))
        seen = [verified.appearances[sample.path] for sample in split.normals]
        shapes = note_shapes([(one.height, one.width) for one in seen])
        notes = (*verified.samples.notes, *split.notes, *note_duplicates(split, verified), *odd, *shapes)
        return cls(verified, split, notes)

    def __repr__(self) -> str:
        return f"Plan({str(self.verified.samples.root)!r}, {self.split!r}, {len(self.notes)} notes)"

    def data_sha256(self) -> str:
        """Return the SHA-256 over the contents of the images that are fitted on and calibrated with."""
        return samples_sha256(self.split.normals, self.verified.hashes)

    def fitted_images(self) -> FittedImages:
        """Return what a model is to remember of the images that it is fitted on and calibrated with."""
        return remember(self.split.normals, self.verified)

    def tested_sha256(self) -> str:
        """Return the SHA-256 over the contents of the images that models are chosen by and tested on."""
        return samples_sha256((*self.split.select, *self.split.test), self.verified.hashes)
