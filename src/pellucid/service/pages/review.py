"""*Review*: rejects and near calls as a gallery; a person confirms or overrules by mouse or keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from nicegui import ui
from nicegui.events import KeyEventArguments
from starlette.concurrency import run_in_threadpool

from pellucid.errors import ParameterError
from pellucid.service.decisions_export import export_decisions
from pellucid.service.pages.inspect import decision_label, inspection_facts
from pellucid.service.pages.widgets import (
    PictureViewer,
    Tag,
    Thumbnail,
    Visit,
    definition_list,
    download_link,
    notify_error,
    notify_errors,
    verdict_label,
)
from pellucid.service.storage.record import Filter
from pellucid.service.storage.tables import Decision, InspectionRow
from pellucid.service.training import safe_folder_name

GALLERY_ROWS = 60  # pictures that are added at a time
USUAL_DEFECT_TYPES = ("bubble", "scratch", "stone", "chip", "stain")  # offered after those that people have named
MAX_TYPE_KEYS = 9  # types that have a digit
GALLERY_FILTERS = {
    "open": ("Rejects and near calls, undecided", Filter(near=True, decision="none")),
    "decided": ("Decided", Filter(decision="any")),
    "rejects": ("All rejects", Filter(verdict="reject")),
    "all": ("Everything", Filter()),
}


async def build(visit: Visit) -> None:
    """Build the page's content."""
    types = await run_in_threadpool(visit.service.database.defect_types)
    await _ReviewPage(visit, types).load(visit.inspection)


class _ReviewPage:
    """The gallery, the one that is looked at, and what can be undone."""

    def __init__(self, visit: Visit, types: list[str]) -> None:
        self._visit, self._service, self._t = visit, visit.service, visit.t
        self._rows: list[InspectionRow] = []
        self._thumbs: list[Thumbnail] = []
        self._position = 0
        self._shown_part = ""  # the part whose pictures are shown
        self._undo: list[InspectionRow] = []  # as they were before each decision
        self._order_lock = asyncio.Lock()  # what is pressed quickly is done in order, each on what it was meant for
        t = visit.t
        usual_types = (t(name) for name in USUAL_DEFECT_TYPES)
        self._types = [*types, *(name for name in usual_types if name not in types)][:MAX_TYPE_KEYS]
        with Tag("div", classes="bar"):
            shown = {key: t(title) for key, (title, _) in GALLERY_FILTERS.items()}
            self._show = ui.select(shown, value="open", label=t("Show"), on_change=self._in_order(self.load))
            self._part = ui.input(t("Part number"))
            for event in ("keydown.enter", "blur"):
                self._part.on(event, self._in_order(self._part_named))
            for field in (self._show, self._part):
                field.props("outlined dense")
            if visit.is_engineer:
                ui.button(t("Export decisions"), icon="download", on_click=self._export).props("outline no-caps")
            self._download = download_link(t, "/inspections.csv")
            Tag("a", t("Every decision (CSV)"), "download", href="/decisions.csv", download="")
        self._empty = Tag("p", t("Nothing to review here."), "empty")
        with Tag("div", classes="two") as self._both:
            with Tag("div", classes="panel"):
                self._gallery = Tag("div", classes="gallery", role="group", aria_label=t("Pictures for review"))
                self._more = ui.button(t("Older ones"), on_click=self._in_order(self._older)).props("flat no-caps")
            self._decision_panel()
        self._keyboard = ui.keyboard(self._key, repeating=False, ignore=["input", "select", "textarea"])

    def _decision_panel(self) -> None:
        """The picture, its decision, and the buttons."""
        t = self._t
        with Tag("div", classes="panel"):
            with Tag("div", classes="bar"):
                self._verdict = Tag("span", classes="chip")
                self._decision = Tag("span", classes="chip", role="status", aria_live="polite")
            with Tag("div", classes="bar"):
                self._button("O", t("It is good"), "ok")
                self._button("D", t("Defect"), "defect")
                self._button("N", t("Nuisance"), "nuisance")
                undo = ui.button(t("Undo"), on_click=self._in_order(self._take_back)).props(
                    "flat no-caps dense padding='2px 8px'"
                )
                with undo:
                    Tag("kbd", "U", "q-ml-sm")
            with Tag("div", classes="bar"):
                self._type = ui.input(t("Type of the defect")).props("outlined dense")
                self._type.on("keydown.enter", self._in_order(lambda: self._decide("defect", self._type.value)))
                for number, name in enumerate(self._types, 1):
                    self._button(str(number), name, "defect", name)
            self._picture = PictureViewer(t, height_percent=46)
            self._facts = Tag("div")
            Tag("p", t("Keys: arrows choose, O good, D defect, 1-9 a type, N nuisance, U undo"), "soft small")

    def _button(self, key: str, title: str, decision: Decision, type: str | None = None) -> None:
        def decide() -> Awaitable[None]:
            return self._decide(decision, type or (self._type.value if decision == "defect" else None))

        with ui.button(title, on_click=self._in_order(decide)).props("outline no-caps dense padding='2px 8px'"):
            Tag("kbd", key, "q-ml-sm")

    # --- what is shown ----------------------------------------------------------------------------------------------

    async def load(self, requested: int | None = None) -> None:
        """Fill the gallery, with a requested inspection in front."""
        self._rows, self._thumbs, self._position = [], [], 0
        self._gallery.clear()
        if requested is not None:
            row = await run_in_threadpool(self._service.database.get, requested)
            if row is None:
                notify_error(self._t, f"There is no inspection {requested}.")
            else:
                self._add([row])
        await self._find(self._where())
        self._select(0)

    def _where(self) -> Filter:
        self._shown_part = (self._part.value or "").strip()
        where = replace(GALLERY_FILTERS[self._show.value][1], part_id=self._shown_part or None)
        asked = {name: value for name, value in asdict(where).items() if value is not None}
        self._download.set(href=f"/inspections.csv?{urlencode(asked)}")
        return where

    async def _find(self, where: Filter) -> None:
        rows = await run_in_threadpool(self._service.database.find, where, GALLERY_ROWS)
        shown = {row.id for row in self._rows}
        self._add([row for row in rows if row.id not in shown])
        self._more.set_visibility(len(rows) == GALLERY_ROWS)

    async def _part_named(self) -> None:
        if (self._part.value or "").strip() != self._shown_part:
            await self.load()

    async def _older(self) -> None:
        await self._find(replace(self._where(), before=self._rows[-1].id))

    def _add(self, rows: list[InspectionRow]) -> None:
        with self._gallery:
            for row in rows:
                thumbnail = Thumbnail(row, partial(self._select, len(self._thumbs)))
                self._update_thumbnail(thumbnail, row)
                self._thumbs.append(thumbnail)
                self._rows.append(row)

    def _update_thumbnail(self, thumbnail: Thumbnail, row: InspectionRow) -> None:
        """Write its line: what was decided, or else which part it is."""
        chip = f"chip {row.decision}" if row.decision else ""
        thumbnail.set_caption(decision_label(self._t, row) or row.part_id, chip)

    def _select(self, position: int) -> None:
        """Show one of the gallery."""
        has_rows = bool(self._rows)
        self._both.set_visibility(has_rows)
        self._empty.set_visibility(not has_rows)
        if not has_rows:
            return
        if self._position < len(self._thumbs):
            self._thumbs[self._position].classes(remove="chosen")
        self._position = max(0, min(position, len(self._rows) - 1))
        row = self._rows[self._position]
        chosen = self._thumbs[self._position].classes(add="chosen")
        ui.run_javascript(f"getHtmlElement({chosen.id})?.scrollIntoView({{block: 'nearest'}})")
        self._verdict.classes(replace=f"chip {row.verdict}")
        self._verdict.text = verdict_label(self._t, row)
        self._decision.classes(replace=f"chip {row.decision or ''}")
        self._decision.text = f"{self._t('Decision')}: {decision_label(self._t, row) or self._t('none yet')}"
        self._picture.show(row)
        self._facts.clear()
        with self._facts:
            definition_list(inspection_facts(self._t, row))

    def _in_order(self, act: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        @notify_errors
        async def run() -> None:
            async with self._order_lock:
                await act()

        return run

    # --- decisions --------------------------------------------------------------------------------------------------

    @notify_errors
    async def _key(self, event: KeyEventArguments) -> None:
        modified = event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta
        if event.action.keydown and not modified and self._rows:
            async with self._order_lock:
                await self._pressed(event)

    async def _pressed(self, event: KeyEventArguments) -> None:
        code = event.key.code  # of the key's place: the same on a Persian keyboard
        forward = "ArrowLeft" if self._t.is_rtl else "ArrowRight"
        if code in ("ArrowRight", "ArrowLeft"):
            self._select(self._position + (1 if code == forward else -1))
        elif code == "KeyO":
            await self._decide("ok")
        elif code == "KeyN":
            await self._decide("nuisance")
        elif code == "KeyD":
            await self._decide("defect", self._type.value)
        elif code == "KeyU":
            await self._take_back()
        else:
            digit = code.removeprefix("Digit").removeprefix("Numpad")
            if digit.isdecimal() and 0 < int(digit) <= len(self._types):
                await self._decide("defect", self._types[int(digit) - 1])

    async def _decide(self, decision: Decision, type: str | None = None) -> None:
        before = self._rows[self._position]
        await self._write(before.id, decision, (type or "").strip() or None)
        self._undo.append(before)
        self._select(self._position + 1)

    async def _take_back(self) -> None:
        if not self._undo:
            ui.notify(self._t("Nothing to undo."))
            return
        before = self._undo.pop()
        await self._write(before.id, before.decision, before.type)
        numbers = [row.id for row in self._rows]
        self._select(numbers.index(before.id) if before.id in numbers else self._position)

    async def _write(self, number: int, decision: Decision | None, type: str | None) -> None:
        updated = await run_in_threadpool(
            self._service.database.decide, number, decision, type, self._visit.account.name
        )
        for k, row in enumerate(self._rows):
            if updated is not None and row.id == number:
                self._rows[k] = updated
                self._update_thumbnail(self._thumbs[k], updated)

    # --- export -----------------------------------------------------------------------------------------------------

    def _export(self) -> None:
        t, data = self._t, self._service.settings.data
        with ui.dialog(value=True) as dialog, ui.card():
            self._keyboard.active = False  # letters are for the dialog
            dialog.on_value_change(lambda e: setattr(self._keyboard, "active", not e.value))
            Tag("h2", t("Export decisions"))
            Tag(
                "p",
                t(
                    "What was decided becomes a data set for the next training: good and nuisance as normal, defects"
                    " as abnormal."
                ),
            )
            accepted = ui.number(t("Accepted parts that nobody looked at, as normal"), value=0, min=0, precision=0)
            accepted.classes("full-width").props("outlined dense")
            with Tag("div", classes="bar"):
                download = Tag("a", t("Download"), href="/decisions.zip?accepted=0", download="decisions.zip")
                accepted.on_value_change(lambda e: download.set(href=f"/decisions.zip?accepted={int(e.value or 0)}"))
                if data is not None:
                    name = ui.input(t("Name of the data set")).props("outlined dense")

                    async def put() -> None:
                        await self._put(data, name.value or "", int(accepted.value or 0))
                        dialog.close()

                    ui.button(t("Put it beside the training data"), on_click=notify_errors(put)).props(
                        "no-caps outline"
                    )
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")

    async def _put(self, data: Path, name: str, accepted: int) -> None:
        self._visit.account.require_engineer()
        name = safe_folder_name(name)
        if (data / name).exists():
            raise ParameterError(f"There is a data set '{name}' already: choose another name.")

        def export() -> int:
            return export_decisions(self._service.database, self._service.pictures, data / name, accepted=accepted)

        count = await run_in_threadpool(export)
        ui.notify(self._t("{n} images are now in the data set '{name}'.", n=count, name=name), type="positive")
