"""*Inspect*: drop images, or watch what the line sends; the verdict can be read from two metres."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial

from nicegui import ui
from nicegui.events import GenericEventArguments
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from pellucid.errors import PellucidError
from pellucid.records.grades import Grade
from pellucid.service.language.translator import Translator
from pellucid.service.newest import last_used_model
from pellucid.service.pages.widgets import (
    POLL_PERIOD_S,
    SHA256_CHARS,
    PictureViewer,
    Sentence,
    Tag,
    Thumbnail,
    Visit,
    definition_list,
    download_link,
    ignored_sentence,
    notify_error,
    notify_errors,
    page_address,
    set_cookie,
    verdict_label,
)
from pellucid.service.storage.record import Filter
from pellucid.service.storage.tables import InspectionRow, StoredGrade

STRIP_ROWS = 16  # latest inspections


async def build(visit: Visit) -> None:
    """Build the page's content."""
    service, t = visit.service, visit.t
    names = list(await run_in_threadpool(service.registry.paths))
    if visit.is_first:
        _welcome(t)
    if not names:
        Tag("p", t("There are no models yet."), "empty")
        Tag("a", t("Train"), href=page_address(t, "train"))
    asked = visit.requested_model(names)
    _InspectPage(visit, names, asked or await run_in_threadpool(last_used_model, service.registry, service.database))


def _welcome(t: Translator) -> None:
    """Say in three sentences what this is, until somebody has read it."""
    with Tag("section", classes="panel", aria_label=t("What this is"), id="welcome"):
        Tag("p", t("Each image that you drop here, or that the line sends, is compared with good ones."))
        Tag("p", t("A score above the limit rejects the part; on Review people confirm or overrule it."))
        Tag("p", t("Train makes a model of your own good images, Models moves its limit, Trends watches the line."))
        understood = Tag("button", t("Understood"), "plain", type="button")
        hide = "document.getElementById('welcome').remove()"
        understood.on("click", js_handler=f"() => {{ {set_cookie('welcomed', '1')}; {hide} }}")


class _InspectPage:
    """What is shown, and how it follows the line."""

    def __init__(self, visit: Visit, models: list[str], first: str | None) -> None:
        self._service, self._t = visit.service, visit.t
        self._newest = 0
        t, requested = visit.t, visit.inspection
        with Tag("div", classes="bar"):
            if models:
                self._drop_zone(models, first)
            self._follow = ui.switch(t("Follow the line"), value=requested is None)
            self._last_hour = Tag("span", classes="soft mono small")
        self._verdict = Tag("div", classes="verdict", role="status", aria_live="polite")
        with Tag("div", classes="two") as self._details:
            self._picture = PictureViewer(t)
            self._facts = Tag("div", classes="panel")
        self._empty = Tag(
            "p",
            t("Nothing has been inspected yet: drop an image above, or send one to POST /inspect."),
            "empty",
        )
        Tag("h2", t("Latest"))
        self._strip = Tag("div", classes="strip", role="group", aria_label=t("Latest"))
        download_link(t, "/inspections.csv")
        for element in (self._verdict, self._details):
            element.set_visibility(False)
        if requested is not None:
            ui.timer(0, partial(notify_errors(self._show), requested), once=True)
        ui.timer(POLL_PERIOD_S, self._poll, immediate=True)

    def _drop_zone(self, models: list[str], first: str | None) -> None:
        """Show where images are dropped, and for which model."""
        t = self._t
        texts = {"drop": t("Drop images here, or choose them"), "away": t("The service does not answer.")}
        model = ui.select(models, value=first, label=t("Model")).props("outlined dense")
        drop = Tag("pellucid-drop", classes="wide", texts=json.dumps(texts, ensure_ascii=False), model=first)
        model.on_value_change(lambda e: drop.set(model=e.value))
        drop.on("inspected", self._dropped, args=["detail"])
        drop.on("refused", lambda e: notify_error(t, str(e.args["detail"])), ["detail"])

    async def _poll(self) -> None:
        """Look whether something new is in the record; while the database is away, the page waits."""
        try:
            latest = await run_in_threadpool(self._service.database.find, Filter(), STRIP_ROWS)
            if latest and latest[0].id != self._newest:
                self._newest = latest[0].id
                await self._list(latest)
                if self._follow.value:
                    await self._show(self._newest)
        except PellucidError as error:
            self._last_hour.text = self._t.sentence(str(error)).text

    @notify_errors
    async def _dropped(self, event: GenericEventArguments) -> None:
        await self._show(int(event.args["detail"]))

    async def _list(self, latest: list[InspectionRow]) -> None:
        since = datetime.now(UTC) - timedelta(hours=1)
        count = self._service.database.count
        inspected = await run_in_threadpool(count, Filter(since=since))
        rejected = await run_in_threadpool(count, Filter(since=since, verdict="reject"))
        self._last_hour.text = self._t("Last hour: {n} inspected, {bad} rejected", n=inspected, bad=rejected)
        self._empty.set_visibility(False)
        self._strip.clear()
        with self._strip:
            for row in latest:
                Thumbnail(row, partial(self._choose, row.id)).set_caption(row.part_id)

    @notify_errors
    async def _choose(self, number: int) -> None:
        self._follow.value = False
        await self._show(number)

    async def _show(self, number: int) -> None:
        row = await run_in_threadpool(self._service.database.get, number)
        if row is None:
            notify_error(self._t, f"There is no inspection {number}.")
            return
        self._verdict.classes(replace=f"verdict {row.verdict}")
        self._verdict.clear()
        with self._verdict:
            Tag("span", verdict_label(self._t, row), "word")
            if row.reason:
                Sentence(self._t, row.reason, "span", "why")
            else:
                Tag("span", p_value_sentence(self._t, row.p_value), "why")
            for warning in row.warnings:
                Sentence(self._t, warning, "span", "why")
        self._picture.show(row)
        self._facts.clear()
        with self._facts:
            definition_list(inspection_facts(self._t, row))
            Tag("a", self._t("Confirm or overrule"), href=page_address(self._t, "review", inspection=number))
            Tag("a", f"{self._t('Model')}: {row.model}", href=page_address(self._t, "models", model=row.model))
        for element in (self._verdict, self._details):
            element.set_visibility(True)


def p_value_sentence(t: Translator, p_value: float) -> str:
    """Spell a conformal p-value in words."""
    if p_value < 0.01:
        return t("fewer than 1 of 100 good parts scores as high")
    return t("at most {x} of 100 good parts score as high", x=math.ceil(100 * p_value))


def inspection_facts(t: Translator, row: InspectionRow) -> list[tuple[str, str]]:
    """List what the record holds of an inspection."""
    decision = t("none yet")
    if row.decision is not None:
        decision = " · ".join(filter(None, (decision_label(t, row), t("by {who}", who=row.decided_by))))
    return [
        (t("Part"), row.part_id),
        (t("Score"), t("not judged") if row.reason else t.number(row.score, ".4g")),
        (t("Limit"), t.number(row.limit, ".4g")),
        (t("p-value"), t.number(row.p_value, ".3g")),
        (t("Defects"), defect_counts(t, row)),
        *([(t("Grade"), grade_sentence(t, row.grade))] if row.grade else []),
        *([(t("Ignored"), ignored_sentence(t, row))] if row.ignored else []),
        (t("Decision"), decision),
        (t("Time"), t.moment(row.time)),
        (t("Image"), f"{row.file} · {t.number(row.width)} × {t.number(row.height)} px"),
        (t("Model"), f"{row.model} · {row.model_sha256[:SHA256_CHARS]}"),
        (t("Runtime"), f"{row.runtime} · {t.number(row.milliseconds, '.1f')} ms"),
        (t("Source"), f"{row.source} · {row.account}"),
    ]


def defect_counts(t: Translator, row: InspectionRow) -> str:
    """Say how many defects there are, and how many of each kind where that is known."""
    kinds = Counter(defect.get("kind", "") for defect in row.defects)
    known = ", ".join(f"{t.number(count)} {t(kind)}" for kind, count in kinds.most_common() if kind)
    total = t.number(len(row.defects))
    return f"{total}: {known}" if known else total


def grade_sentence(t: Translator, grade: StoredGrade) -> str:
    """Say what a rule says, with the clauses that decided, and of a cut plan what it says of each pane."""
    found = TypeAdapter(Grade).validate_python(grade)
    words = {"ok": t("ok by {rules}"), "look": t("a person has to look, by {rules}"), "reject": t("reject by {rules}")}
    said = words[found.verdict].format(rules=found.rules)
    panes = ", ".join(f"{one.pane} {one.verdict}" for one in found.by_pane)
    return " · ".join(filter(None, (said, found.clauses, panes)))


def decision_label(t: Translator, row: InspectionRow) -> str:
    """Spell what a person decided; empty if nobody did."""
    words = {"ok": t("good"), "defect": row.type or t("defect"), "nuisance": t("nuisance")}
    return words[row.decision] if row.decision else ""
