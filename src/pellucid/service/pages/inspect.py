"""*Inspect*: drop images, or watch what the line sends; the verdict can be read from two metres."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from functools import partial

from nicegui import ui
from nicegui.events import GenericEventArguments
from starlette.concurrency import run_in_threadpool

from pellucid.errors import PellucidError
from pellucid.service.pages.frame import (
    Picture,
    Tag,
    Thumb,
    Visit,
    address,
    facts,
    telling,
    verdict_words,
)
from pellucid.service.pages.texts import Say
from pellucid.service.registry import newest
from pellucid.service.storage.record import Entry, Filter

LATEST = 16  # inspections in the strip
LOOK = 1.0  # seconds between looks for something new


async def build(visit: Visit) -> None:
    """The page's content."""
    its, say = visit.its, visit.say
    names = list(await run_in_threadpool(its.shelf.paths))
    if not names:
        Tag("p", say("There are no models yet."), "empty")
        Tag("a", say("Train"), href=address(say, "train"))
    _Inspecting(visit, names, await run_in_threadpool(newest, its.shelf))


class _Inspecting:
    """What is shown, and how it follows the line."""

    def __init__(self, visit: Visit, models: list[str], first: str | None) -> None:
        self._its, self._say = visit.its, visit.say
        self._newest = 0
        say, asked = visit.say, visit.inspection
        with Tag("div", classes="bar"):
            if models:
                self._entrance(models, first)
            self._live = ui.switch(say("Follow the line"), value=asked is None)
            self._hour = Tag("span", classes="soft mono small")
        self._verdict = Tag("div", classes="verdict", role="status", aria_live="polite")
        with Tag("div", classes="two") as self._about:
            self._picture = Picture(say)
            self._facts = Tag("div", classes="panel")
        self._empty = Tag(
            "p",
            say("Nothing has been inspected yet: drop an image above, or send one to POST /inspect."),
            "empty",
        )
        Tag("h2", say("Latest"))
        self._strip = Tag("div", classes="strip")
        for element in (self._verdict, self._about):
            element.set_visibility(False)
        if asked is not None:
            ui.timer(0, partial(telling(self._show), asked), once=True)
        ui.timer(LOOK, self._look, immediate=True)

    def _entrance(self, models: list[str], first: str | None) -> None:
        """Where images are dropped, and for which model."""
        say = self._say
        texts = {"drop": say("Drop images here, or choose them"), "away": say("The service does not answer.")}
        model = ui.select(models, value=first, label=say("Model")).props("outlined dense")
        drop = Tag("pellucid-drop", classes="wide", texts=json.dumps(texts, ensure_ascii=False), model=first)
        model.on_value_change(lambda e: drop.set(model=e.value))
        drop.on("inspected", self._dropped, args=["detail"])
        drop.on("refused", lambda e: ui.notify(str(e.args["detail"]), type="negative", multi_line=True), ["detail"])

    async def _look(self) -> None:
        """Whether something new is in the record; while the database is away, the page waits."""
        try:
            latest = await run_in_threadpool(self._its.record.find, Filter(), LATEST)
            if latest and latest[0].id != self._newest:
                self._newest = latest[0].id
                await self._list(latest)
                if self._live.value:
                    await self._show(self._newest)
        except PellucidError as error:
            self._hour.text = str(error)

    @telling
    async def _dropped(self, event: GenericEventArguments) -> None:
        await self._show(int(event.args["detail"]))

    async def _list(self, latest: list[Entry]) -> None:
        since = datetime.now(UTC) - timedelta(hours=1)
        count = self._its.record.count
        inspected = await run_in_threadpool(count, Filter(since=since))
        rejected = await run_in_threadpool(count, Filter(since=since, verdict="reject"))
        self._hour.text = self._say("Last hour: {n} inspected, {bad} rejected", n=inspected, bad=rejected)
        self._empty.set_visibility(False)
        self._strip.clear()
        with self._strip:
            for entry in latest:
                Thumb(entry, partial(self._choose, entry.id)).tell(entry.part_id)

    @telling
    async def _choose(self, number: int) -> None:
        self._live.value = False
        await self._show(number)

    async def _show(self, number: int) -> None:
        entry = await run_in_threadpool(self._its.record.get, number)
        if entry is None:
            ui.notify(self._say("There is no inspection {n}.", n=number), type="warning")
            return
        self._verdict.classes(replace=f"verdict {entry.verdict}")
        self._verdict.clear()
        with self._verdict:
            Tag("span", verdict_words(self._say, entry), "word")
            Tag("span", how_unusual(self._say, entry.p_value), "why")
        self._picture.show(entry)
        self._facts.clear()
        with self._facts:
            facts(about(self._say, entry))
            Tag("a", self._say("Confirm or overrule"), href=address(self._say, "review", inspection=number))
            Tag("a", f"{self._say('Model')}: {entry.model}", href=address(self._say, "models", model=entry.model))
        for element in (self._verdict, self._about):
            element.set_visibility(True)


def how_unusual(say: Say, p_value: float) -> str:
    """A conformal p-value in words."""
    if p_value < 0.01:
        return say("fewer than 1 of 100 good parts scores as high")
    return say("at most {x} of 100 good parts score as high", x=math.ceil(100 * p_value))


def about(say: Say, entry: Entry) -> list[tuple[str, str]]:
    """What the record holds of an inspection."""
    decision = say("none yet")
    if entry.decision is not None:
        decision = " · ".join(filter(None, (said(say, entry), say("by {who}", who=entry.decided_by))))
    return [
        (say("Part"), entry.part_id),
        (say("Score"), f"{entry.score:.4g}"),
        (say("Limit"), f"{entry.limit:.4g}"),
        (say("p-value"), f"{entry.p_value:.3g}"),
        (say("Defects"), str(len(entry.defects))),
        (say("Decision"), decision),
        (say("Time"), say.moment(entry.time)),
        (say("Image"), f"{entry.file} · {entry.width} × {entry.height} px"),
        (say("Runtime"), f"{entry.runtime} · {entry.milliseconds:.1f} ms"),
        (say("Source"), f"{entry.source} · {entry.account}"),
    ]


def said(say: Say, entry: Entry) -> str:
    """What a person decided."""
    words = {"ok": say("good"), "defect": entry.type or say("defect"), "nuisance": say("nuisance")}
    return words[entry.decision] if entry.decision else ""
