"""*Trends*: rejects per hour, scores against the calibration, what the defects are and where they lie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from nicegui import ui
from starlette.concurrency import run_in_threadpool

from pellucid.service.language.translator import Translator
from pellucid.service.newest import last_used_model
from pellucid.service.pages.charts import AXIS_COLOUR, chart
from pellucid.service.pages.widgets import Tag, Visit, download_link, notify_errors
from pellucid.service.trends import CHART_GROUP_ROWS, POSITION_GRID_CELLS, Drift, Trends, read_trends
from pellucid.study.shift import ALPHA

PERIODS_H = (8, 24, 48, 168)
REFRESH_PERIOD_S = 30.0


async def build(visit: Visit) -> None:
    """Build the page's content."""
    service, t = visit.service, visit.t
    names = list(await run_in_threadpool(service.registry.paths))
    if not names:
        Tag("p", t("There are no models yet."), "empty")
        return
    asked = visit.requested_model(names)
    first = asked or await run_in_threadpool(last_used_model, service.registry, service.database)
    with Tag("div", classes="bar"):
        model = ui.select(names, value=first, label=t("Model")).props("outlined dense")
        hours = ui.select(list(PERIODS_H), value=24, label=t("Hours")).props("outlined dense")
    body = Tag("div", classes="grid")

    @notify_errors
    async def show() -> None:
        requested = model.value, hours.value
        known = await run_in_threadpool(service.registry.known, requested[0])
        trends = await run_in_threadpool(lambda: read_trends(service.database, known, hours=requested[1]))
        if requested != (model.value, hours.value):
            return  # others were chosen in the meantime
        body.clear()
        with body:
            query = urlencode({"model": requested[0], "hours": requested[1]})
            _by_hour(t, trends, hours.value)
            _drift(t, trends.drift, known.calibrated.false_reject_rate)
            _types(t, trends)
            _positions(t, trends)
            for section, table in zip(body, ("hours", "scores", "types", "positions"), strict=True):
                with section:
                    download_link(t, f"/trends.csv?{query}&table={table}")

    model.on_value_change(show)
    hours.on_value_change(show)
    await show()
    ui.timer(REFRESH_PERIOD_S, show, immediate=False)


def _by_hour(t: Translator, trends: Trends, hours: int) -> None:
    counted = {hour: (total, bad) for hour, total, bad in trends.hours}
    now = datetime.now(UTC)
    moments = [now - timedelta(hours=back) for back in range(hours, -1, -1)]
    pairs = [counted.get(f"{hour:%Y-%m-%dT%H}", (0, 0)) for hour in moments]
    bar: dict[str, Any] = {"type": "bar", "stack": "all"}
    with Tag("section", classes="panel"):
        Tag("h2", t("Rejects per hour"))
        chart(
            t,
            {
                "xAxis": {"type": "category", "data": [t.moment(hour, "%d. %H:00") for hour in moments]},
                "yAxis": {"type": "value", "minInterval": 1},
                "color": ["#d2495f", "#8fb8b2"],
                "series": [
                    {**bar, "name": t("rejected"), "data": [bad for _, bad in pairs]},
                    {**bar, "name": t("OK"), "data": [total - bad for total, bad in pairs]},
                ],
            },
            t("Rejects per hour"),
        )


def _drift(t: Translator, drift: Drift | None, promised: float) -> None:
    with Tag("section", classes="panel"):
        Tag("h2", t("Scores against the calibration"))
        if drift is None:
            sentence = "Fewer than {n} parts were inspected with this model file: there is nothing to compare yet."
            Tag("p", t(sentence, n=CHART_GROUP_ROWS), "empty")
            return
        for sentence in _shift_sentences(t, drift, promised):
            Tag("p", sentence)
        lines = [
            {"yAxis": y, "lineStyle": {"type": line}, "label": {"formatter": t.number(y, ".2f")}}
            for y, line in ((drift.low, "dashed"), (0.5, "dotted"), (drift.high, "dashed"))
        ]
        points = [
            {"value": value, "itemStyle": {"color": "#4a8fc7" if drift.low <= value <= drift.high else "#d2495f"}}
            for value in drift.win_rates
        ]
        chart(
            t,
            {
                "xAxis": {"type": "category", "data": [t.moment(end, "%d. %H:%M") for end in drift.ends]},
                "yAxis": {"type": "value", "min": 0, "max": 1},
                "legend": {"show": False},
                "series": [
                    {
                        "type": "line",
                        "name": t("share of pairs in which a part scores higher"),
                        "data": points,
                        "symbol": "circle",
                        "symbolSize": 8,
                        "markLine": {
                            "symbol": "none",
                            "lineStyle": {"color": AXIS_COLOUR},
                            "label": {"position": "insideEndTop"},
                            "data": lines,
                        },
                    }
                ],
            },
            t("Scores against the calibration"),
        )
        Tag("p", t("Parts that people called defective are left out."), "soft small")


def _shift_sentences(t: Translator, drift: Drift, promised: float) -> list[str]:
    """Say what the chart and the test for exchangeability tell."""
    outside = t(
        "{k} of {n} groups of {size} parts lie outside the control limits.",
        k=drift.groups_outside,
        n=len(drift.win_rates),
        size=CHART_GROUP_ROWS,
    )
    latest = drift.latest
    if latest is None:
        return [outside]
    p = f"{latest.p_value:.2g}"
    pairs = f"{max(latest.win_rate, 1 - latest.win_rate):.0%}"
    if latest.p_value >= ALPHA:
        first = t("Parts score like the good images that the limit was chosen from (p = {p}).", p=p)
    elif latest.win_rate > 0.5:
        first = t(
            "Parts score higher than the good images that the limit was chosen from in {x} of pairs (p = {p}).",
            x=pairs,
            p=p,
        )
    else:
        first = t(
            "Parts score lower than the good images that the limit was chosen from in {x} of pairs (p = {p}).",
            x=pairs,
            p=p,
        )
    more = []
    if latest.excess_p_value < ALPHA:
        more = [
            t(
                "More are rejected than the rate of {rate} allows (p = {p}): more defects, or a changed line.",
                rate=f"{promised:.1%}",
                p=f"{latest.excess_p_value:.2g}",
            )
        ]
    return [first, *more, outside]


def _types(t: Translator, trends: Trends) -> None:
    words = {"ok": t("good"), "nuisance": t("nuisance"), "defect": t("defect")}
    with Tag("section", classes="panel"):
        Tag("h2", t("Types, as people named them"))
        if not trends.types:
            Tag("p", t("Nobody has decided on a part of this model yet."), "empty")
            return
        names = [words.get(name, name) for name, _ in trends.types]
        chart(
            t,
            {
                "xAxis": {"type": "value", "minInterval": 1},
                "yAxis": {"type": "category", "data": names, "inverse": True},
                "legend": {"show": False},
                "grid": {"left": 110, "right": 24, "top": 10, "bottom": 30},
                "series": [{"type": "bar", "data": [count for _, count in trends.types], "barMaxWidth": 26}],
            },
            t("Types, as people named them"),
        )


def _positions(t: Translator, trends: Trends) -> None:
    highest = max(max(row) for row in trends.positions)
    with Tag("section", classes="panel"):
        Tag("h2", t("Where defects lie"))
        if not highest:
            Tag("p", t("No defect has been found yet."), "empty")
            return
        axis: dict[str, Any] = {"type": "category", "data": list(range(POSITION_GRID_CELLS)), "show": False}
        cells = [[x, y, count] for y, row in enumerate(trends.positions) for x, count in enumerate(row)]
        chart(
            t,
            {
                "xAxis": axis,
                "yAxis": {**axis, "inverse": True},
                "legend": {"show": False},
                "tooltip": {"trigger": "item"},
                "grid": {"left": 10, "right": 70, "top": 10, "bottom": 10},
                "visualMap": {
                    "min": 0,
                    "max": highest,
                    "precision": 0,
                    "right": 0,
                    "top": "middle",
                    "inRange": {"color": ["#8a97a120", "#e0a33a", "#c2304a"]},
                },
                "series": [{"type": "heatmap", "name": t("Defects"), "data": cells}],
            },
            t("Where defects lie"),
        )
