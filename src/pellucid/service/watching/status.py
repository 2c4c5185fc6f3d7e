"""How a watched folder is doing, for ``/ready``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

STALE_S = 60.0  # without a look, after which something is wrong
STALE_FACTOR = 10  # times as long as listing the folder takes, if that is more


@dataclass(frozen=True)
class WatchStatus:
    """Tells how a watched folder is doing.

    Attributes:
        folder: its name.
        looked_at: when the last look ended; None before the first.
        look_age_s: seconds since then, or since the start.
        listing_s: seconds that listing the whole folder took last.
        away: why the folder cannot be listed now; empty when it can.
        waiting: files that were seen and are not inspected yet.
        held: sentences about files that do not look finished, the first few.
        refused: files that could not be inspected and have not changed since.
        passed_over: entries that are no images to be inspected, by why.
    """

    folder: str
    looked_at: datetime | None
    look_age_s: float
    listing_s: float
    away: str
    waiting: int
    held: tuple[str, ...]
    refused: int
    passed_over: dict[str, int]

    def unready_reasons(self) -> list[str]:
        """Tell why a new file would not be inspected now; nothing if it would."""
        if self.away:
            return [f"The watched folder '{self.folder}' cannot be listed ({self.away})."]
        if self.look_age_s > max(STALE_S, STALE_FACTOR * self.listing_s):
            return [f"The watched folder '{self.folder}' was last looked into {self.look_age_s:.0f} s ago."]
        return []

    def warnings(self) -> list[str]:
        """Tell what a person should look at."""
        sentences = list(self.held)
        if self.refused:
            sentences.append(f"{self.refused} files in '{self.folder}' cannot be inspected; the log names them.")
        return sentences
