"""What a gate loses and saves."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pellucid._io.files import csv_text

GATE_COLUMNS = ("kind", "size_px", "contrast", "planted", "found", "passed")


@dataclass(frozen=True)
class GatedFlaws:
    """Flaws of one kind, size and contrast.

    Attributes:
        kind: of flaw.
        size_px: width of lines and outer diameter of the others, px of the image as tiles see it.
        contrast: to the light around, a share of it.
        planted: how many.
        found: how many of them the detector finds.
        passed: how many of those that it finds the gate lets it see.
    """

    kind: str
    size_px: float
    contrast: float
    planted: int
    found: int
    passed: int


@dataclass(frozen=True)
class GateReport:
    """What a gate loses and saves.

    Attributes:
        loss: share of the flaws that the detector finds, that may be lost.
        threshold: of the gate; None: it is off, and every tile is seen.
        found: flaws that the detector finds.
        lost: how many of them the gate passes over.
        lost_at_most: share of such flaws, with 95 % confidence.
        good_tiles: tiles of good glass that were looked at.
        good_passed: how many of them the detector sees nevertheless, all or something of them.
        cells: every kind, size and contrast.
        prices: for several losses, the share of its work on good glass that the detector would be left; of losses that
            there are enough flaws for.
        good_work: share of the detector's work on good glass that is left, margins of what it computes included; less
            than the share of tiles where it sees only what lies around candidates.
    """

    loss: float
    threshold: float | None
    found: int
    lost: int
    lost_at_most: float
    good_tiles: int
    good_passed: int
    cells: tuple[GatedFlaws, ...]
    prices: tuple[tuple[float, float], ...] = ()
    good_work: float = 1.0

    @property
    def good_share(self) -> float:
        """Share of good tiles that the detector sees, in [0, 1]."""
        return self.good_passed / self.good_tiles if self.good_tiles else 1.0

    @property
    def sentence(self) -> str:
        """What the gate does, in one sentence."""
        if self.threshold is None:
            if self.loss == 0:
                return "The gate is off: the detector sees every tile."
            need = math.ceil(1 / self.loss) - 1
            return (
                f"The gate is off: to lose at most {self.loss:.2%} of the flaws, it needs {need} planted flaws that the"
                f" detector finds, and there were {self.found}."
            )
        return (
            f"The gate leaves the detector {self.good_work:.1%} of its work on good glass, in {self.good_share:.1%} of"
            f" the tiles, and loses {self.lost} of {self.found} planted flaws that it finds (at most"
            f" {self.lost_at_most:.2%} of such flaws)."
        )

    @property
    def prices_sentence(self) -> str:
        """What other losses would leave of the work; empty where nothing is known of others."""
        others = [f"{left:.1%} at {loss:.1%}" for loss, left in self.prices if loss != self.loss]
        return f"At other losses the detector would be left: {', '.join(others)}." if others else ""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``gate.json`` holds."""
        return asdict(self) | {"good_share": self.good_share, "sentence": self.sentence}

    def to_csv(self) -> str:
        """Return what ``gate.csv`` holds: recall by kind, size and contrast."""
        return csv_text(GATE_COLUMNS, ([getattr(one, column) for column in GATE_COLUMNS] for one in self.cells))
