"""How the line is doing: rejects by the hour, whether scores still are what the limit was chosen from, where defects
lie and what they are."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from pellucid.service.served_model import KnownModel
from pellucid.service.storage.record import Database, Filter
from pellucid.study.results import Shift
from pellucid.study.shift import shift

CHART_GROUP_ROWS = 50  # inspections that make one point of the control chart
MAX_CHART_GROUPS = 60
POSITION_GRID_CELLS = 12  # along each side of the map of positions
MAX_TREND_ROWS = 2_000  # rejected parts whose defects are counted


@dataclass(frozen=True)
class Drift:
    """A control chart of rank sums, oldest group first.

    ``win_rates[k]`` is the share of pairs (a part of group k, a normal image of the calibration) in which the part
    scores higher; a half if they are alike. Between ``low`` and ``high`` lie 99.7 % of groups that are: three standard
    errors of the Mann-Whitney statistic, with the calibration's own size in it.
    """

    win_rates: tuple[float, ...]
    ends: tuple[datetime, ...]  # of each group
    low: float
    high: float
    latest: Shift | None  # of all that is shown, against the calibration

    @property
    def groups_outside(self) -> int:
        """Count the groups that lie outside."""
        return sum(not self.low <= value <= self.high for value in self.win_rates)


@dataclass(frozen=True)
class Trends:
    """Everything the page shows."""

    hours: list[tuple[str, int, int]]  # (hour in UTC, inspected, rejected)
    drift: Drift | None
    types: list[tuple[str, int]]  # as people named them, the commonest first
    positions: tuple[tuple[int, ...], ...]  # (cells, cells): defects by where their centre lies, rows from the top


def read_trends(database: Database, model: KnownModel, *, hours: int = 48) -> Trends:
    """Read what the record says of one model, over the last ``hours``.

    Raises:
        RecordError: the database cannot be read.
    """
    since = datetime.now(UTC) - timedelta(hours=hours)
    by_hour = database.by_hour(model.name, since)
    cells = POSITION_GRID_CELLS
    positions = np.zeros((cells, cells), int)
    types: Counter[str] = Counter()
    rejects = Filter(model=model.name, verdict="reject")
    for defects, width, height in database.values(("defects", "width", "height"), rejects, MAX_TREND_ROWS):
        for defect in defects:
            x, y = defect["centroid"]
            positions[min(int(y / height * cells), cells - 1), min(int(x / width * cells), cells - 1)] += 1
    decided = Filter(model=model.name, decision="any")
    for decision, kind in database.values(("decision", "type"), decided, MAX_TREND_ROWS):
        types[kind or "defect" if decision == "defect" else decision] += 1
    return Trends(
        by_hour, _drift(database, model), types.most_common(10), tuple(tuple(int(n) for n in row) for row in positions)
    )


def control_limits(held_out_count: int) -> tuple[float, float]:
    """Compute the limits between which 99.7 % of groups lie, if their parts are like the calibration's.

    Args:
        held_out_count: normal images of the calibration.
    """
    spread = 3 * math.sqrt((CHART_GROUP_ROWS + held_out_count + 1) / (12 * CHART_GROUP_ROWS * held_out_count))
    return 0.5 - spread, 0.5 + spread


def _drift(database: Database, model: KnownModel) -> Drift | None:
    """Parts that people called defective are left out; those that nobody looked at are in, defective or not."""
    held_out = np.asarray(model.calibrated.scores)
    of_model = Filter(model_sha256=model.sha256)
    newest = database.values(("time", "score", "decision"), of_model, CHART_GROUP_ROWS * MAX_CHART_GROUPS)
    latest = [(time, score) for time, score, decision in reversed(newest) if decision != "defect"]
    groups = [
        latest[k : k + CHART_GROUP_ROWS] for k in range(len(latest) % CHART_GROUP_ROWS, len(latest), CHART_GROUP_ROWS)
    ]
    if not groups or len(held_out) < 2:
        return None
    win_rates = []
    for group in groups:
        scores = np.asarray([score for _, score in group])
        pairs = np.searchsorted(held_out, scores, "left") + np.searchsorted(held_out, scores, "right")
        win_rates.append(float(pairs.mean() / (2 * len(held_out))))
    low, high = control_limits(len(held_out))
    latest_shift = shift(model.calibrated, [score for group in groups for _, score in group])
    ends = tuple(group[-1][0] for group in groups)
    return Drift(tuple(win_rates), ends, low, high, latest_shift)
