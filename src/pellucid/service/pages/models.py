"""*Models*: results side by side, reports, and the limit: its consequences are counted before it is moved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
from nicegui import ui
from starlette.concurrency import run_in_threadpool

from pellucid.errors import PellucidError
from pellucid.limits.promise import kept_sentence, promise_sentence
from pellucid.regions.zones import Zones
from pellucid.service.access.accounts import sentence_for
from pellucid.service.language.translator import Translator
from pellucid.service.limit_check import UnconfirmedLimitError
from pellucid.service.limit_preview import Count, ScoreHistory
from pellucid.service.newest import newest_model
from pellucid.service.pages.charts import AXIS_COLOUR, chart
from pellucid.service.pages.updates import update_panel
from pellucid.service.pages.widgets import (
    SHA256_CHARS,
    Sentence,
    Tag,
    Visit,
    definition_list,
    download_link,
    notify_errors,
    page_address,
    table,
)
from pellucid.service.pages.zones import ZonesPanel, zones_text
from pellucid.service.served_model import KnownModel
from pellucid.service.storage.tables import ModelChange

SLIDER_STEPS = 500
HISTOGRAM_BINS = 40
HISTORY_ROWS = 20  # changes of a model that are shown
PREVIEW_TITLES = {  # as they are called in LimitPreview
    "held_out_rejected": "Good images held out from fitting: rejected",
    "tested_rejected": "Good test images: rejected",
    "tested_escaped": "Defective test images: escaped",
    "decided_rejected": "Parts that people called good or nuisance: rejected",
    "decided_escaped": "Parts that people called defective: escaped",
    "latest_rejected": "Latest inspections: rejected",
}
SCORE_KINDS = {"held_out": "held out", "tested_good": "good, test", "tested_bad": "defective, test", "latest": "latest"}


async def build(visit: Visit) -> None:
    """Build the page's content."""
    service, t = visit.service, visit.t
    names = list(await run_in_threadpool(service.registry.paths))
    if names:
        first = visit.requested_model(names) or await run_in_threadpool(newest_model, service.registry)
        with Tag("div", classes="panel"):
            choice = ui.select(names, value=first, label=t("Model")).props("outlined dense")
            page = _ModelPanel(visit)
        choice.on_value_change(lambda e: page.show(e.value))
        await page.show(choice.value)
    else:
        Tag("p", t("There are no models yet."), "empty")
    Tag("h2", t("Comparisons"))
    await _comparisons(visit)


class _ModelPanel:
    """One model: what it is, its limit, its history."""

    def __init__(self, visit: Visit) -> None:
        self._visit, self._service, self._t = visit, visit.service, visit.t
        self._name = ""
        self._body = Tag("div", classes="stack")

    async def show(self, name: str) -> None:
        """Show a model by its name."""
        self._name = name
        try:
            model, scores, changes = await run_in_threadpool(self._read, name)
        except PellucidError as error:
            with self._cleared():
                Sentence(self._t, sentence_for(self._visit.account, str(error)), role="alert")
            return
        if name != self._name:
            return  # another one was chosen in the meantime
        with self._cleared():
            with Tag("div", classes="two"):
                _LimitPanel(self._visit, model, scores, self._refresh)
                with Tag("div"):
                    self._facts(model)
                    self._promise(model)
                    ZonesPanel(self._visit, model, self._refresh)
            await update_panel(self._visit, model)
            Tag("h2", self._t("What was changed"))
            self._history(changes)

    def _cleared(self) -> Tag:
        self._body.clear()
        return self._body

    def _facts(self, model: KnownModel) -> None:
        t, header = self._t, model.header
        definition_list(
            [
                (t("Detector"), header.detector),
                (t("Backbone"), header.backbone),
                (t("Size"), " × ".join(map(t.number, header.image_size)) + " px"),
                (t("Runtime"), model.runtime or t("not loaded")),
                ("SHA-256", model.sha256[:SHA256_CHARS]),
            ]
        )
        Tag("a", t("Inspect with this model"), href=page_address(t, "inspect", model=self._name))
        if self._visit.is_engineer:
            ui.button(t("Read the file again"), icon="refresh", on_click=self._reload).props("outline no-caps")

    def _promise(self, model: KnownModel) -> None:
        t, calibrated = self._t, model.calibrated
        Tag("h2", t("What is promised"))
        Tag("p", promise_sentence(calibrated, model.header.false_reject, t))
        if kept := kept_sentence(calibrated, model.limit.value, t):
            Tag("p", kept)

    def _read(self, name: str) -> tuple[KnownModel, ScoreHistory, list[ModelChange]]:
        model = self._service.registry.known(name)
        return (
            model,
            ScoreHistory(model, self._service.database),
            self._service.database.changes(model=name, count=HISTORY_ROWS),
        )

    async def _refresh(self) -> None:
        await self.show(self._name)

    @notify_errors
    async def _reload(self) -> None:
        await run_in_threadpool(self._service.registry.reload, self._name, self._visit.account)
        ui.notify(self._t("'{name}' was read again.", name=self._name), type="positive")
        await self._refresh()

    def _history(self, changes: list[ModelChange]) -> None:
        t = self._t
        if not changes:
            Tag("p", t("Nothing has been changed yet."), "soft")
            return
        head = [t(word) for word in ("Time", "Who", "What", "Reason", "From", "To")]
        table(
            head,
            [
                (
                    t.moment(c.time),
                    c.who,
                    t(c.kind),
                    c.reason,
                    _short_value(t, c, c.before),
                    _short_value(t, c, c.after),
                )
                for c in changes
            ],
            name=t("What was changed"),
            text_columns=4,
        )
        download_link(t, f"/changes.csv?{urlencode({'model': self._name})}")


class _LimitPanel:
    """The limit in force, one that is tried, and what each does."""

    def __init__(self, visit: Visit, model: KnownModel, scores: ScoreHistory, on_moved: Callable[[], Any]) -> None:
        self._visit, self._t, self._model, self._scores, self._on_moved = visit, visit.t, model, scores, on_moved
        self._now = model.limit.value
        self._preview_now = scores.preview(self._now)
        self._tried: float | None = None
        t = self._t
        low, high = scores.score_range()
        low, high = min(low, self._now), max(high, self._now)
        step = (high - low) / SLIDER_STEPS or 1.0
        with Tag("div"):
            Tag("h2", t("Move the limit"))
            self._chart = chart(t, _histogram(t, scores, self._now, self._now), t("Move the limit"))
            with Tag("div", classes="bar"):
                self._slider = ui.slider(min=low, max=high, step=step, value=self._now, on_change=self._count)
                self._slider.classes("wide").props(f'aria-label="{t("New limit")}"')
                self._exact = ui.number(t("New limit"), value=self._now, format="%.6g").props("outlined dense")
                self._exact.bind_value(self._slider)
            Tag("p", t("Counted again from stored scores"), "soft small")
            self._table = Tag("div", role="status")
            Tag(
                "p",
                t("A limit that was chosen on test or reviewed parts looks better on them than it will on the line."),
                "soft small",
            )
            if visit.is_engineer:
                with Tag("div", classes="bar"):
                    self._reason = ui.input(t("Reason")).props("outlined dense").classes("wide")
                    self._apply = ui.button(t("Apply"), on_click=lambda: self._move(self._tried))
                    self._apply.props("no-caps")
                    back = t("Back to the calibrated limit ({x})", x=t.number(model.calibrated.value, ".4g"))
                    ui.button(back, on_click=lambda: self._move(None)).props("flat no-caps")
            else:
                Tag("p", t("An engineer can do this."), "soft")
        self._count()

    def _count(self) -> None:
        if self._slider.value is None:
            return
        tried = float(self._slider.value)
        if _six_digits(tried) == _six_digits(self._now):
            tried = self._now  # the field rounds when it is left, though nothing was typed
        if tried == self._tried:
            return
        self._tried = tried
        now, tried_preview = self._preview_now, self._scores.preview(tried)
        t = self._t
        self._table.clear()
        with self._table:
            limits = (t("now"), self._now), (t("with the new limit"), tried)
            head = ["", *(f"{words} ({t.number(limit, '.4g')})" for words, limit in limits)]
            rows = [
                (t(title), _share(t, getattr(now, name)), _share(t, getattr(tried_preview, name)))
                for name, title in PREVIEW_TITLES.items()
                if getattr(now, name).of
            ]
            table(head, rows, name=t("Counted again from stored scores"))
            address = f"/models/{quote(self._model.name, safe='')}/limit/preview.csv"
            download_link(t, f"{address}?value={tried!r}")
        self._chart.options["series"][0]["markLine"]["data"] = _lines(t, self._now, tried)
        self._chart.update()
        if self._visit.is_engineer:
            self._apply.set_enabled(tried != self._now)

    @notify_errors
    async def _move(self, value: float | None, confirmed: bool = False) -> None:
        registry, name = self._visit.service.registry, self._model.name
        move = partial(
            registry.set_limit, name, value, self._visit.account, self._reason.value or "", confirmed=confirmed
        )
        try:
            moved = await run_in_threadpool(move)
        except UnconfirmedLimitError:
            self._ask(value)
            return
        value_text = f"{moved.inspector.limit.value:.4g}"
        ui.notify(self._t("The limit of '{name}' is now {x}.", name=name, x=value_text), type="positive")
        await self._on_moved()

    def _ask(self, value: float | None) -> None:
        """Ask whether a limit that rejects all or nothing is meant, with what it would do."""
        t = self._t
        held_out = self._scores.preview(float(value or 0.0)).held_out_rejected
        with ui.dialog(value=True) as dialog, ui.card():
            Tag("h2", t("Is this limit meant?"))
            sentence = "It would reject {n} of {of} good images held out from fitting."
            Tag("p", t(sentence, n=held_out.count, of=held_out.of), role="alert")
            Tag("p", t("It needs a reason, which is kept with your name."), "soft")
            reason = ui.input(t("Your reason")).props("outlined dense").classes("full-width")
            reason.bind_value(self._reason)

            async def confirm() -> None:
                dialog.close()
                await self._move(value, confirmed=True)

            with Tag("div", classes="bar"):
                ui.button(t("Apply it all the same"), color="negative", on_click=confirm).props("no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")


def _six_digits(limit: float) -> str:
    return f"{limit:.6g}"


def _share(t: Translator, count: Count) -> str:
    return t.digits(f"{count.count} / {count.of} ({count.count / count.of:.1%})")


def _short_value(t: Translator, change: ModelChange, value: str) -> str:
    if change.kind == "zones":
        return zones_text(t, Zones.model_validate_json(value))
    return value[:12] if change.kind in ("reload", "update") else t.digits(_six_digits(float(value)))


def _lines(t: Translator, now: float, tried: float) -> list[dict[str, Any]]:
    """The limit in force, thin, and the one that is tried, thick."""
    in_force = {
        "xAxis": now,
        "lineStyle": {"color": AXIS_COLOUR},
        "label": {"show": now != tried, "formatter": t.number(now, ".4g")},
    }
    new = {"color": "#d2495f", "width": 3, "type": "solid"}
    return [in_force, {"xAxis": tried, "lineStyle": new, "label": {"formatter": t.number(tried, ".4g")}}]


def _histogram(t: Translator, scores: ScoreHistory, now: float, tried: float) -> dict[str, Any]:
    """Shares of each kind of image by their scores."""
    edges = np.linspace(*scores.score_range(), HISTOGRAM_BINS + 1)
    series: list[dict[str, Any]] = []
    for kind, title in SCORE_KINDS.items():
        values = getattr(scores, kind)
        if values:
            shares = np.histogram(values, edges)[0] / len(values)
            points = [[float(x), float(y)] for x, y in zip(edges[:-1], shares, strict=True)]
            series.append({"type": "line", "step": "end", "symbol": "none", "name": t(title), "data": points})
    series[0]["markLine"] = {"symbol": "none", "animation": False, "data": _lines(t, now, tried)}
    return {
        "xAxis": {"type": "value", "name": t("Score"), "nameLocation": "middle", "nameGap": 28, "scale": True},
        "yAxis": {"type": "value", "name": t("share of images"), "nameLocation": "middle", "nameGap": 42},
        "series": series,
    }


# --- comparisons ----------------------------------------------------------------------------------------------------


async def _comparisons(visit: Visit) -> None:
    service, t = visit.service, visit.t
    names = await run_in_threadpool(service.registry.comparisons)
    if not names:
        sentence = "There are no comparisons yet: train one, or put a folder of 'pellucid compare' among the models."
        Tag("p", t(sentence), "empty")
        return
    rows = {name: await run_in_threadpool(service.registry.leaderboard, name) for name in names}
    with Tag("div", classes="panel"):
        chosen = ui.select(names, value=names[:2], multiple=True, label=t("Side by side"))
        chosen.props("outlined dense use-chips")
        body = Tag("div")
    with Tag("div", classes="panel"):
        Tag("h2", t("Report"))
        which = ui.select(names, value=names[0], label=t("Comparison")).props("outlined dense")
        report = Tag("iframe", classes="report")

    def side_by_side() -> None:
        body.clear()
        with body:
            measured = ("AUROC", "Shows where", "False rejects", "Escapes", "ms per image", "MB")
            words = ("Comparison", "Detector", "Size", *measured)
            lines = [_leaderboard_row(visit, name, row) for name in chosen.value for row in rows[name]]
            table([t(word) for word in words], lines, name=t("Comparisons"), text_columns=2)
            for name in chosen.value:
                with Tag("p"):
                    Tag("bdi", f"{name}: ")
                    download_link(t, f"/comparisons/{quote(name, safe='')}/leaderboard.csv")

    def embed() -> None:
        report.set(src=f"/comparisons/{quote(which.value)}/report", title=t("Report of '{name}'", name=which.value))

    chosen.on_value_change(side_by_side)
    which.on_value_change(embed)
    side_by_side()
    embed()


def _leaderboard_row(visit: Visit, name: str, row: dict[str, Any]) -> tuple[str, ...]:
    best = f"{row['name']} ★ {visit.t('recommended')}" if row["recommended"] else row["name"]

    def number(key: str, form: str) -> str:
        return "" if row.get(key) is None else visit.t.number(row[key], form)

    return (
        name,
        best,
        visit.t.digits(str(row.get("image_size", ""))),
        number("image_auroc", ".3f"),
        number("localisation", ".2f"),
        number("false_reject_rate", ".1%"),
        number("escape_rate", ".1%"),
        number("ms_per_image_median", ".1f"),
        number("model_mb", ".1f"),
    )
