"""*Models*: results side by side, reports, and the limit: its consequences are counted before it is moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
from nicegui import ui
from starlette.concurrency import run_in_threadpool

from pellucid.errors import PellucidError
from pellucid.service.limit_preview import Count, Scores
from pellucid.service.pages.charts import GREY, chart
from pellucid.service.pages.frame import Tag, Visit, facts, table, telling
from pellucid.service.registry import Loaded, newest
from pellucid.service.storage.record import Change

STEPS = 500  # of the slider
BINS = 40
COUNTED = {  # rows of the recount, as they are called in Recount
    "held_out_rejected": "Good images held out from fitting: rejected",
    "tested_rejected": "Good test images: rejected",
    "tested_escaped": "Defective test images: escaped",
    "decided_rejected": "Parts that people called good or nuisance: rejected",
    "decided_escaped": "Parts that people called defective: escaped",
    "latest_rejected": "Latest inspections: rejected",
}
KINDS = {"held_out": "held out", "tested_good": "good, test", "tested_bad": "defective, test", "latest": "latest"}


async def build(visit: Visit) -> None:
    """The page's content."""
    its, say = visit.its, visit.say
    names = list(await run_in_threadpool(its.shelf.paths))
    if names:
        asked = visit.query.get("model", "")
        first = asked if asked in names else await run_in_threadpool(newest, its.shelf)
        with Tag("div", classes="panel"):
            choice = ui.select(names, value=first, label=say("Model")).props("outlined dense")
            page = _Model(visit)
        choice.on_value_change(lambda e: page.show(e.value))
        await page.show(choice.value)
    else:
        Tag("p", say("There are no models yet."), "empty")
    Tag("h2", say("Comparisons"))
    await _comparisons(visit)


class _Model:
    """One model: what it is, its limit, its history."""

    def __init__(self, visit: Visit) -> None:
        self._visit, self._its, self._say = visit, visit.its, visit.say
        self._name = ""
        self._body = Tag("div", classes="stack")

    async def show(self, name: str) -> None:
        """Show a model by its name."""
        self._name = name
        try:
            model, scores, changes = await run_in_threadpool(self._read, name)
        except PellucidError as error:
            with self._cleared():
                Tag("p", str(error), "trouble", role="alert")
            return
        if name != self._name:
            return  # another one was chosen in the meantime
        with self._cleared():
            with Tag("div", classes="two"):
                _Limit(self._visit, model, scores, self._again)
                with Tag("div"):
                    self._facts(model)
            Tag("h2", self._say("What was changed"))
            self._history(changes)

    def _cleared(self) -> Tag:
        self._body.clear()
        return self._body

    def _facts(self, model: Loaded) -> None:
        say, header = self._say, model.header
        facts(
            [
                (say("Detector"), header.detector),
                (say("Backbone"), header.backbone),
                (say("Size"), " × ".join(map(str, header.image_size)) + " px"),
                (say("Runtime"), model.inspector.runtime.name),
                ("SHA-256", model.sha256[:16]),
            ]
        )
        reload = ui.button(say("Read the file again"), icon="refresh", on_click=self._reload)
        reload.props("outline no-caps").set_enabled(self._visit.is_engineer)

    def _read(self, name: str) -> tuple[Loaded, Scores, list[Change]]:
        model = self._its.shelf.get(name)
        return model, Scores(model, self._its.record), self._its.record.changed(model=name, count=20)

    async def _again(self) -> None:
        await self.show(self._name)

    @telling
    async def _reload(self) -> None:
        await run_in_threadpool(self._its.shelf.reload, self._name, self._visit.who.name)
        ui.notify(self._say("'{name}' was read again.", name=self._name), type="positive")
        await self._again()

    def _history(self, changes: list[Change]) -> None:
        say = self._say
        if not changes:
            Tag("p", say("Nothing has been changed yet."), "soft")
            return
        head = [say(word) for word in ("Time", "Who", "What", "Reason", "From", "To")]
        table(
            head,
            [
                (say.moment(c.time), c.who, say(c.kind), c.reason, _brief(c, c.before), _brief(c, c.after))
                for c in changes
            ],
            texts=4,
        )


class _Limit:
    """The limit in force, one that is tried, and what each does."""

    def __init__(self, visit: Visit, model: Loaded, scores: Scores, done: Callable[[], Any]) -> None:
        self._visit, self._say, self._model, self._scores, self._done = visit, visit.say, model, scores, done
        self._now = model.inspector.limit.value
        self._as_it_is = scores.at(self._now)
        say = self._say
        low, high = scores.extent()
        low, high = min(low, self._now), max(high, self._now)
        step = (high - low) / STEPS or 1.0
        with Tag("div"):
            Tag("h2", say("Move the limit"))
            self._chart = chart(_histogram(say, scores, self._now, self._now), say("Move the limit"))
            with Tag("div", classes="bar"):
                self._slider = ui.slider(min=low, max=high, step=step, value=self._now, on_change=self._count)
                self._slider.classes("wide").props(f'aria-label="{say("New limit")}"')
                self._exact = ui.number(say("New limit"), value=self._now, format="%.6g").props("outlined dense")
                self._exact.bind_value(self._slider)
            Tag("p", say("Counted again from stored scores"), "soft small")
            self._table = Tag("div", role="status")
            Tag(
                "p",
                say("A limit that was chosen on test or reviewed parts looks better on them than it will on the line."),
                "soft small",
            )
            if visit.is_engineer:
                with Tag("div", classes="bar"):
                    self._reason = ui.input(say("Reason")).props("outlined dense").classes("wide")
                    self._apply = ui.button(say("Apply"), on_click=lambda: self._move(self._slider.value))
                    self._apply.props("no-caps")
                    back = say("Back to the calibrated limit ({x})", x=f"{model.calibrated.value:.4g}")
                    ui.button(back, on_click=lambda: self._move(None)).props("flat no-caps")
            else:
                Tag("p", say("An engineer can do this."), "soft")
        self._count()

    def _count(self) -> None:
        tried = self._slider.value
        if tried is None:
            return
        now, then = self._as_it_is, self._scores.at(float(tried))
        say = self._say
        self._table.clear()
        with self._table:
            head = ["", f"{say('now')} ({self._now:.4g})", f"{say('with the new limit')} ({tried:.4g})"]
            rows = [
                (say(title), _share(getattr(now, name)), _share(getattr(then, name)))
                for name, title in COUNTED.items()
                if getattr(now, name).of
            ]
            table(head, rows)
        self._chart.options["series"][0]["markLine"]["data"] = _lines(self._now, float(tried))
        self._chart.update()
        if self._visit.is_engineer:
            self._apply.set_enabled(float(tried) != self._now)

    @telling
    async def _move(self, value: float | None) -> None:
        shelf, name = self._visit.its.shelf, self._model.name
        moved = await run_in_threadpool(shelf.set_limit, name, value, self._visit.who.name, self._reason.value or "")
        told = f"{moved.inspector.limit.value:.4g}"
        ui.notify(self._say("The limit of '{name}' is now {x}.", name=name, x=told), type="positive")
        await self._done()


def _share(count: Count) -> str:
    return f"{count.count} / {count.of} ({count.count / count.of:.1%})"


def _brief(change: Change, value: str) -> str:
    return value[:12] if change.kind == "reload" else f"{float(value):.6g}"


def _lines(now: float, tried: float) -> list[dict[str, Any]]:
    """The limit in force, thin, and the one that is tried, thick."""
    there = {"xAxis": now, "lineStyle": {"color": GREY}, "label": {"show": now != tried, "formatter": f"{now:.4g}"}}
    new = {"color": "#d2495f", "width": 3, "type": "solid"}
    return [there, {"xAxis": tried, "lineStyle": new, "label": {"formatter": f"{tried:.4g}"}}]


def _histogram(say: Any, scores: Scores, now: float, tried: float) -> dict[str, Any]:
    """Shares of each kind of image by their scores."""
    edges = np.linspace(*scores.extent(), BINS + 1)
    series: list[dict[str, Any]] = []
    for kind, title in KINDS.items():
        values = getattr(scores, kind)
        if values:
            shares = np.histogram(values, edges)[0] / len(values)
            points = [[float(x), float(y)] for x, y in zip(edges[:-1], shares, strict=True)]
            series.append({"type": "line", "step": "end", "symbol": "none", "name": say(title), "data": points})
    series[0]["markLine"] = {"symbol": "none", "animation": False, "data": _lines(now, tried)}
    return {
        "xAxis": {"type": "value", "name": say("Score"), "nameLocation": "middle", "nameGap": 28, "scale": True},
        "yAxis": {"type": "value", "name": say("share of images"), "nameLocation": "middle", "nameGap": 42},
        "series": series,
    }


# --- comparisons ----------------------------------------------------------------------------------------------------


async def _comparisons(visit: Visit) -> None:
    its, say = visit.its, visit.say
    names = await run_in_threadpool(its.shelf.comparisons)
    if not names:
        told = "There are no comparisons yet: train one, or put a folder of 'pellucid compare' among the models."
        Tag("p", say(told), "empty")
        return
    rows = {name: await run_in_threadpool(its.shelf.leaderboard, name) for name in names}
    with Tag("div", classes="panel"):
        chosen = ui.select(names, value=names[:2], multiple=True, label=say("Side by side"))
        chosen.props("outlined dense use-chips")
        body = Tag("div")
    with Tag("div", classes="panel"):
        Tag("h2", say("Report"))
        which = ui.select(names, value=names[0], label=say("Comparison")).props("outlined dense")
        report = Tag("iframe", classes="report")

    def side_by_side() -> None:
        body.clear()
        with body:
            words = ("Comparison", "Detector", "Size", "AUROC", "False rejects", "Escapes", "ms per image", "MB")
            lines = [_line(visit, name, row) for name in chosen.value for row in rows[name]]
            table([say(word) for word in words], lines, texts=2)

    def embed() -> None:
        report.set(src=f"/comparisons/{quote(which.value)}/report", title=say("Report of '{name}'", name=which.value))

    chosen.on_value_change(side_by_side)
    which.on_value_change(embed)
    side_by_side()
    embed()


def _line(visit: Visit, name: str, row: dict[str, Any]) -> tuple[str, ...]:
    best = f"{row['name']} ★ {visit.say('recommended')}" if row["recommended"] else row["name"]

    def number(key: str, form: str) -> str:
        return "" if row.get(key) is None else format(row[key], form)

    return (
        name,
        best,
        str(row["image_size"]),
        number("image_auroc", ".3f"),
        number("false_reject_rate", ".1%"),
        number("escape_rate", ".1%"),
        number("ms_per_image_median", ".1f"),
        number("model_mb", ".1f"),
    )
