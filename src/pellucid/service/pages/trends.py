"""*Trends*: rejects per hour, scores against the calibration, what the defects are and where they lie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from nicegui import ui
from starlette.concurrency import run_in_threadpool

from pellucid.service.pages.charts import GREY, chart
from pellucid.service.pages.frame import Tag, Visit, telling
from pellucid.service.pages.texts import Say
from pellucid.service.registry import newest
from pellucid.service.trends import GRID, GROUP, Drift, Trends, trends
from pellucid.study.shift import ALPHA

HOURS = (8, 24, 48, 168)
FRESH = 30.0  # seconds until the page looks again


async def build(visit: Visit) -> None:
    """The page's content."""
    its, say = visit.its, visit.say
    names = list(await run_in_threadpool(its.shelf.paths))
    if not names:
        Tag("p", say("There are no models yet."), "empty")
        return
    first = await run_in_threadpool(newest, its.shelf)
    with Tag("div", classes="bar"):
        model = ui.select(names, value=first, label=say("Model")).props("outlined dense")
        hours = ui.select(list(HOURS), value=24, label=say("Hours")).props("outlined dense")
    body = Tag("div", classes="grid")

    @telling
    async def show() -> None:
        asked = model.value, hours.value
        loaded = await run_in_threadpool(its.shelf.get, asked[0])
        found = await run_in_threadpool(lambda: trends(its.record, loaded, hours=asked[1]))
        if asked != (model.value, hours.value):
            return  # others were chosen in the meantime
        body.clear()
        with body:
            _by_hour(say, found, hours.value)
            _drift(say, found.drift, loaded.calibrated.false_reject_rate)
            _types(say, found)
            _positions(say, found)

    model.on_value_change(show)
    hours.on_value_change(show)
    await show()
    ui.timer(FRESH, show, immediate=False)


def _by_hour(say: Say, found: Trends, hours: int) -> None:
    counted = {hour: (total, bad) for hour, total, bad in found.hours}
    now = datetime.now(UTC)
    every = [now - timedelta(hours=back) for back in range(hours, -1, -1)]
    pairs = [counted.get(f"{hour:%Y-%m-%dT%H}", (0, 0)) for hour in every]
    bar: dict[str, Any] = {"type": "bar", "stack": "all"}
    with Tag("section", classes="panel"):
        Tag("h2", say("Rejects per hour"))
        chart(
            {
                "xAxis": {"type": "category", "data": [f"{hour.astimezone():%d. %H h}" for hour in every]},
                "yAxis": {"type": "value", "minInterval": 1},
                "color": ["#d2495f", "#8fb8b2"],
                "series": [
                    {**bar, "name": say("rejected"), "data": [bad for _, bad in pairs]},
                    {**bar, "name": say("OK"), "data": [total - bad for total, bad in pairs]},
                ],
            },
            say("Rejects per hour"),
        )


def _drift(say: Say, drift: Drift | None, promised: float) -> None:
    with Tag("section", classes="panel"):
        Tag("h2", say("Scores against the calibration"))
        if drift is None:
            told = "Fewer than {n} parts were inspected with this model file: there is nothing to compare yet."
            Tag("p", say(told, n=GROUP), "empty")
            return
        for sentence in _shift(say, drift, promised):
            Tag("p", sentence)
        lines = [{"yAxis": drift.low}, {"yAxis": 0.5, "lineStyle": {"type": "dotted"}}, {"yAxis": drift.high}]
        points = [
            {"value": value, "itemStyle": {"color": "#4a8fc7" if drift.low <= value <= drift.high else "#d2495f"}}
            for value in drift.higher
        ]
        chart(
            {
                "xAxis": {"type": "category", "data": [f"{end.astimezone():%d. %H:%M}" for end in drift.ends]},
                "yAxis": {"type": "value", "min": 0, "max": 1},
                "legend": {"show": False},
                "series": [
                    {
                        "type": "line",
                        "name": say("share of pairs in which a part scores higher"),
                        "data": points,
                        "symbol": "circle",
                        "symbolSize": 8,
                        "markLine": {
                            "symbol": "none",
                            "lineStyle": {"color": GREY, "type": "dashed"},
                            "label": {"formatter": "{c}", "position": "insideEndTop"},
                            "precision": 2,
                            "data": lines,
                        },
                    }
                ],
            },
            say("Scores against the calibration"),
        )
        Tag("p", say("Parts that people called defective are left out."), "soft small")


def _shift(say: Say, drift: Drift, promised: float) -> list[str]:
    """What the chart and the test for exchangeability say."""
    told = say(
        "{k} of {n} groups of {size} parts lie outside the control limits.",
        k=drift.out,
        n=len(drift.higher),
        size=GROUP,
    )
    latest = drift.latest
    if latest is None:
        return [told]
    p = f"{latest.p_value:.2g}"
    pairs = f"{max(latest.win_rate, 1 - latest.win_rate):.0%}"
    if latest.p_value >= ALPHA:
        first = say("Parts score like the good images that the limit was chosen from (p = {p}).", p=p)
    elif latest.win_rate > 0.5:
        first = say(
            "Parts score higher than the good images that the limit was chosen from in {x} of pairs (p = {p}).",
            x=pairs,
            p=p,
        )
    else:
        first = say(
            "Parts score lower than the good images that the limit was chosen from in {x} of pairs (p = {p}).",
            x=pairs,
            p=p,
        )
    more = []
    if latest.excess_p_value < ALPHA:
        more = [
            say(
                "More are rejected than the promised {rate} allows (p = {p}): more defects, or a changed line.",
                rate=f"{promised:.1%}",
                p=f"{latest.excess_p_value:.2g}",
            )
        ]
    return [first, *more, told]


def _types(say: Say, found: Trends) -> None:
    words = {"ok": say("good"), "nuisance": say("nuisance"), "defect": say("defect")}
    with Tag("section", classes="panel"):
        Tag("h2", say("Types, as people named them"))
        if not found.types:
            Tag("p", say("Nobody has decided on a part of this model yet."), "empty")
            return
        names = [words.get(name, name) for name, _ in found.types]
        chart(
            {
                "xAxis": {"type": "value", "minInterval": 1},
                "yAxis": {"type": "category", "data": names, "inverse": True},
                "legend": {"show": False},
                "grid": {"left": 110, "right": 24, "top": 10, "bottom": 30},
                "series": [{"type": "bar", "data": [count for _, count in found.types], "barMaxWidth": 26}],
            },
            say("Types, as people named them"),
        )


def _positions(say: Say, found: Trends) -> None:
    most = max(max(row) for row in found.positions)
    with Tag("section", classes="panel"):
        Tag("h2", say("Where defects lie"))
        if not most:
            Tag("p", say("No defect has been found yet."), "empty")
            return
        axis: dict[str, Any] = {"type": "category", "data": list(range(GRID)), "show": False}
        cells = [[x, y, count] for y, row in enumerate(found.positions) for x, count in enumerate(row)]
        chart(
            {
                "xAxis": axis,
                "yAxis": {**axis, "inverse": True},
                "legend": {"show": False},
                "tooltip": {"trigger": "item"},
                "grid": {"left": 10, "right": 70, "top": 10, "bottom": 10},
                "visualMap": {
                    "min": 0,
                    "max": most,
                    "precision": 0,
                    "right": 0,
                    "top": "middle",
                    "inRange": {"color": ["#8a97a120", "#e0a33a", "#c2304a"]},
                },
                "series": [{"type": "heatmap", "name": say("Defects"), "data": cells}],
            },
            say("Where defects lie"),
        )
