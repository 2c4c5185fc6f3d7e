"""What counts, on the page of models: what is in force, and border margin and smallest area to be set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui
from starlette.concurrency import run_in_threadpool

from pellucid.regions.zones import Zones
from pellucid.service.language.translator import Translator
from pellucid.service.pages.widgets import Tag, Visit, notify_errors
from pellucid.service.served_model import KnownModel
from pellucid.service.zone_changes import set_zones


class ZonesPanel:
    """What counts for one model; regions are drawn elsewhere and stay as they are."""

    def __init__(self, visit: Visit, model: KnownModel, on_changed: Callable[[], Awaitable[None]]) -> None:
        self._visit, self._t, self._model, self._on_changed = visit, visit.t, model, on_changed
        t, zones = self._t, model.zones
        Tag("h2", t("What counts"))
        Tag("p", zones_text(t, zones))
        if not visit.is_engineer:
            return
        with Tag("div", classes="bar"):
            self._margin = ui.number(t("Border margin, px"), value=zones.margin, min=0, precision=0)
            self._min_area = ui.number(t("Smallest defect, px"), value=zones.min_area, min=0, precision=0)
            self._reason = ui.input(t("Reason for what counts"))
            for field in (self._margin, self._min_area, self._reason):
                field.props("outlined dense")
            ui.button(t("Set what counts"), on_click=self._set).props("no-caps")
            if zones != model.header.zones:
                ui.button(t("Back to what the file says"), on_click=self._reset).props("flat no-caps")

    @notify_errors
    async def _set(self) -> None:
        sizes = {"margin": int(self._margin.value or 0), "min_area": int(self._min_area.value or 0)}
        await self._apply(self._model.zones.model_copy(update=sizes))

    @notify_errors
    async def _reset(self) -> None:
        await self._apply(None)

    async def _apply(self, zones: Zones | None) -> None:
        service, name = self._visit.service, self._model.name
        account, reason = self._visit.account, self._reason.value or ""
        changed = await run_in_threadpool(set_zones, service.registry, service.database, name, zones, account, reason)
        text = zones_text(self._t, changed.inspector.zones)
        ui.notify(self._t("What counts for '{name}': {zones}.", name=name, zones=text), type="positive")
        await self._on_changed()


def zones_text(t: Translator, zones: Zones) -> str:
    """Spell what counts."""
    parts = [] if zones.share is None else [t("{share} of the image", share=f"{zones.share:.1%}")]
    parts += [t("{px} px from the border on", px=zones.margin)] * bool(zones.margin)
    parts += [t("defects of at least {px} px", px=zones.min_area)] * bool(zones.min_area)
    return ", ".join(parts) or t("everything")
