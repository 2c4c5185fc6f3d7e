"""How the line is doing: rejects by the hour, whether scores still are what the limit was chosen from, where defects
lie and what they are."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from pellucid.service.registry import Loaded
from pellucid.service.storage.record import Filter, Record
from pellucid.study.results import Shift
from pellucid.study.shift import shift

GROUP = 50  # inspections that make one point of the control chart
POINTS = 60
GRID = 12  # cells along each side of the map of positions
LATELY = 2_000  # rejected parts whose defects are counted


@dataclass(frozen=True)
class Drift:
    """A control chart of rank sums, oldest group first.

    ``higher[k]`` is the share of pairs (a part of group k, a normal image of the calibration) in which the part scores
    higher; a half if they are alike. Between ``low`` and ``high`` lie 99.7 % of groups that are: three standard errors
    of the Mann-Whitney statistic, with the calibration's own size in it.
    """

    higher: tuple[float, ...]
    ends: tuple[datetime, ...]  # of each group
    low: float
    high: float
    latest: Shift | None  # of all that is shown, against the calibration

    @property
    def out(self) -> int:
        """Groups that lie outside."""
        return sum(not self.low <= value <= self.high for value in self.higher)


@dataclass(frozen=True)
class Trends:
    """Everything the page shows."""

    hours: list[tuple[str, int, int]]  # (hour in UTC, inspected, rejected)
    drift: Drift | None
    types: list[tuple[str, int]]  # as people named them, the commonest first
    positions: tuple[tuple[int, ...], ...]  # (GRID, GRID): defects by where their centre lies, rows from the top


def trends(record: Record, model: Loaded, *, hours: int = 48) -> Trends:
    """What the record says of one model.

    Raises:
        RecordError: the database cannot be read.
    """
    since = datetime.now(UTC) - timedelta(hours=hours)
    by_hour = record.by_hour(Filter(since=since, model=model.name))
    positions = np.zeros((GRID, GRID), int)
    types: Counter[str] = Counter()
    for entry in record.find(Filter(model=model.name, verdict="reject"), LATELY):
        for defect in entry.defects:
            x, y = defect["centroid"]
            positions[min(int(y / entry.height * GRID), GRID - 1), min(int(x / entry.width * GRID), GRID - 1)] += 1
    for entry in record.find(Filter(model=model.name, decision="any"), LATELY):
        types[entry.type or "defect" if entry.decision == "defect" else str(entry.decision)] += 1
    return Trends(
        by_hour, _drift(record, model), types.most_common(10), tuple(tuple(int(n) for n in row) for row in positions)
    )


def control_limits(held_out: int) -> tuple[float, float]:
    """Between which a group of :data:`GROUP` alike parts lies, 99.7 % of the time, for so many normal images."""
    spread = 3 * math.sqrt((GROUP + held_out + 1) / (12 * GROUP * held_out))
    return 0.5 - spread, 0.5 + spread


def _drift(record: Record, model: Loaded) -> Drift | None:
    """Parts that people called defective are left out; those that nobody looked at are in, defective or not."""
    held_out = np.asarray(model.calibrated.scores)
    mine = Filter(model_sha256=model.sha256)
    latest = [e for e in record.find(mine, GROUP * POINTS) if e.decision != "defect"][::-1]
    groups = [latest[k : k + GROUP] for k in range(len(latest) % GROUP, len(latest), GROUP)]
    if not groups or len(held_out) < 2:
        return None
    higher = []
    for group in groups:
        scores = np.asarray([entry.score for entry in group])
        pairs = np.searchsorted(held_out, scores, "left") + np.searchsorted(held_out, scores, "right")
        higher.append(float(pairs.mean() / (2 * len(held_out))))
    low, high = control_limits(len(held_out))
    found = shift(model.calibrated, [entry.score for group in groups for entry in group])
    ends = tuple(group[-1].time for group in groups)
    return Drift(tuple(higher), ends, low, high, found)
