"""Trends of the record, against slow references."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from serving import an_inspection_row

from pellucid.records.limits import Limit
from pellucid.service.served_model import LoadedModel
from pellucid.service.storage.record import Database
from pellucid.service.trends import CHART_GROUP_ROWS, POSITION_GRID_CELLS, control_limits, read_trends

SHA = "5" * 64


@pytest.fixture
def database(tmp_path):
    made = Database(f"sqlite:///{tmp_path / 'r.db'}")
    yield made
    made.close()


def _model(scores) -> LoadedModel:
    limit = Limit(9.0, 1.0, 0.05, tuple(sorted(map(float, scores))))
    return LoadedModel("m", Path("m"), SHA, None, None, limit, threading.Semaphore())


def _inspected(database, scores, **more):
    start = datetime.now(UTC) - timedelta(seconds=len(scores))
    moments = (start + timedelta(seconds=k) for k in range(len(scores)))
    return [
        database.add(an_inspection_row(time=moment, score=float(score), model_sha256=SHA, **more))
        for moment, score in zip(moments, scores, strict=True)
    ]


def test_the_control_chart_is_what_a_slow_count_says(database):
    random = np.random.default_rng(0)
    held_out = random.integers(0, 30, 40)  # with ties
    scores = random.integers(0, 30, 2 * CHART_GROUP_ROWS + 7)
    rows = _inspected(database, scores)
    database.decide(rows[-1].id, "defect", None, "ann")  # left out
    database.decide(rows[-2].id, "ok", None, "ann")
    drift = read_trends(database, _model(held_out)).drift
    counted = scores[:-1]
    groups = [counted[-2 * CHART_GROUP_ROWS : -CHART_GROUP_ROWS], counted[-CHART_GROUP_ROWS:]]
    slow = [np.mean([(s > h) + 0.5 * (s == h) for s in group for h in held_out]) for group in groups]
    assert drift.win_rates == pytest.approx(slow)
    assert drift.ends == (rows[-2 - CHART_GROUP_ROWS].time, rows[-2].time)
    assert drift.low + drift.high == pytest.approx(1)
    assert drift.groups_outside == sum(not drift.low <= value <= drift.high for value in slow)


def test_alike_groups_stay_inside_and_shifted_ones_do_not():
    random = np.random.default_rng(1)
    low, high = control_limits(60)
    outside = {0.0: 0, 1.5: 0}
    for move in outside:
        for _ in range(1000):
            held_out, group = np.sort(random.normal(size=60)), random.normal(move, size=CHART_GROUP_ROWS)
            higher = np.searchsorted(held_out, group).mean() / 60
            outside[move] += not low <= higher <= high
    assert outside[0.0] <= 9, "3 of 1000 are expected"
    assert outside[1.5] >= 990


def test_too_few_say_nothing(database):
    _inspected(database, range(CHART_GROUP_ROWS - 1))
    assert read_trends(database, _model(range(40))).drift is None
    _inspected(database, [1])
    assert read_trends(database, _model(range(40))).drift is not None
    assert read_trends(database, _model([1.0])).drift is None


def test_hours_types_and_positions(database):
    now = datetime.now(UTC)
    corner = {"box": [0, 0, 2, 2], "area_px": 4, "peak": 1.0, "centroid": [0.5, 0.5]}
    edge = {"box": [198, 0, 2, 2], "area_px": 4, "peak": 1.0, "centroid": [200.0, 0.0]}  # on the rim itself
    hours = [0, 0, 3, 3, 3, 60]
    for k, back in enumerate(hours):
        bad = k % 2 == 0
        row = database.add(
            an_inspection_row(
                time=now - timedelta(hours=back),
                verdict="reject" if bad else "ok",
                width=200,
                height=100,
                defects=[corner, edge] if bad else [],
            )
        )
        if k < 3:
            decision, kind = (("defect", "stone"), ("nuisance", None), ("defect", None))[k]
            database.decide(row.id, decision, kind, "ann")
    database.add(an_inspection_row(model="other", verdict="reject", defects=[corner]))
    found = read_trends(database, _model(range(40)), hours=48)
    assert {hour: counts for hour, *counts in found.hours} == {
        f"{now:%Y-%m-%dT%H}": [2, 1],
        f"{now - timedelta(hours=3):%Y-%m-%dT%H}": [3, 2],
    }
    assert dict(found.types) == {"stone": 1, "nuisance": 1, "defect": 1}
    assert (found.positions[0][0], found.positions[0][POSITION_GRID_CELLS - 1]) == (3, 3)
    assert sum(map(sum, found.positions)) == 6
