"""*Review*: rejects and near calls as a gallery; a person confirms or overrules by mouse or keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from nicegui import ui
from nicegui.events import KeyEventArguments
from starlette.concurrency import run_in_threadpool

from pellucid.errors import ParameterError
from pellucid.service.decisions_export import export_decisions
from pellucid.service.pages.frame import Picture, Tag, Thumb, Visit, facts, telling, verdict_words
from pellucid.service.pages.inspect import about, said
from pellucid.service.registry import safe_name
from pellucid.service.storage.record import Decision, Entry, Filter

COUNT = 60  # pictures that are added at a time
TYPES = ("bubble", "scratch", "stone", "chip", "stain")  # offered after those that people have named
KEYS = 9  # types that have a digit
SHOW = {
    "open": ("Rejects and near calls, undecided", Filter(near=True, decision="none")),
    "decided": ("Decided", Filter(decision="any")),
    "rejects": ("All rejects", Filter(verdict="reject")),
    "all": ("Everything", Filter()),
}


async def build(visit: Visit) -> None:
    """The page's content."""
    types = await run_in_threadpool(visit.its.record.types)
    await _Reviewing(visit, types).load(visit.inspection)


class _Reviewing:
    """The gallery, the one that is looked at, and what can be undone."""

    def __init__(self, visit: Visit, types: list[str]) -> None:
        self._visit, self._its, self._say = visit, visit.its, visit.say
        self._entries: list[Entry] = []
        self._thumbs: list[Thumb] = []
        self._at = 0
        self._asked = ""  # the part whose pictures are shown
        self._undo: list[Entry] = []  # as they were before each decision
        self._turn = asyncio.Lock()  # what is pressed quickly is done in order, each on what it was meant for
        say = visit.say
        usual = (say(name) for name in TYPES)
        self._types = [*types, *(name for name in usual if name not in types)][:KEYS]
        with Tag("div", classes="bar"):
            shown = {key: say(title) for key, (title, _) in SHOW.items()}
            self._show = ui.select(shown, value="open", label=say("Show"), on_change=self._in_turn(self.load))
            self._part = ui.input(say("Part number"))
            for event in ("keydown.enter", "blur"):
                self._part.on(event, self._in_turn(self._part_named))
            for field in (self._show, self._part):
                field.props("outlined dense")
            ui.button(say("Export decisions"), icon="download", on_click=self._export).props("outline no-caps")
        self._empty = Tag("p", say("Nothing to review here."), "empty")
        with Tag("div", classes="two") as self._both:
            with Tag("div", classes="panel"):
                self._gallery = Tag("div", classes="gallery", role="group", aria_label=say("Pictures for review"))
                self._more = ui.button(say("Older ones"), on_click=self._in_turn(self._older)).props("flat no-caps")
            self._desk()
        self._keyboard = ui.keyboard(self._key, repeating=False, ignore=["input", "select", "textarea"])

    def _desk(self) -> None:
        """The picture, its decision, and the buttons."""
        say = self._say
        with Tag("div", classes="panel"):
            with Tag("div", classes="bar"):
                self._verdict = Tag("span", classes="chip")
                self._decision = Tag("span", classes="chip", role="status", aria_live="polite")
            with Tag("div", classes="bar"):
                self._button("O", say("It is good"), "ok")
                self._button("D", say("Defect"), "defect")
                self._button("N", say("Nuisance"), "nuisance")
                undo = ui.button(say("Undo"), on_click=self._in_turn(self._take_back)).props(
                    "flat no-caps dense padding='2px 8px'"
                )
                with undo:
                    Tag("kbd", "U", "q-ml-sm")
            with Tag("div", classes="bar"):
                self._type = ui.input(say("Type of the defect")).props("outlined dense")
                self._type.on("keydown.enter", self._in_turn(lambda: self._decide("defect", self._type.value)))
                for number, name in enumerate(self._types, 1):
                    self._button(str(number), name, "defect", name)
            self._picture = Picture(say, tall=46)
            self._facts = Tag("div")
            Tag("p", say("Keys: arrows choose, O good, D defect, 1-9 a type, N nuisance, U undo"), "soft small")

    def _button(self, key: str, title: str, decision: Decision, type: str | None = None) -> None:
        def act() -> Awaitable[None]:
            return self._decide(decision, type or (self._type.value if decision == "defect" else None))

        with ui.button(title, on_click=self._in_turn(act)).props("outline no-caps dense padding='2px 8px'"):
            Tag("kbd", key, "q-ml-sm")

    # --- what is shown ----------------------------------------------------------------------------------------------

    async def load(self, asked: int | None = None) -> None:
        """Fill the gallery, with the inspection that was asked for in front."""
        self._entries, self._thumbs, self._at = [], [], 0
        self._gallery.clear()
        if asked is not None and (entry := await run_in_threadpool(self._its.record.get, asked)) is not None:
            self._add([entry])
        await self._find(self._where())
        self._look(0)

    def _where(self) -> Filter:
        self._asked = (self._part.value or "").strip()
        return replace(SHOW[self._show.value][1], part_id=self._asked or None)

    async def _find(self, where: Filter) -> None:
        found = await run_in_threadpool(self._its.record.find, where, COUNT)
        there = {entry.id for entry in self._entries}
        self._add([entry for entry in found if entry.id not in there])
        self._more.set_visibility(len(found) == COUNT)

    async def _part_named(self) -> None:
        if (self._part.value or "").strip() != self._asked:
            await self.load()

    async def _older(self) -> None:
        await self._find(replace(self._where(), before=self._entries[-1].id))

    def _add(self, entries: list[Entry]) -> None:
        with self._gallery:
            for entry in entries:
                made = Thumb(entry, partial(self._look, len(self._thumbs)))
                self._tell(made, entry)
                self._thumbs.append(made)
                self._entries.append(entry)

    def _tell(self, small: Thumb, entry: Entry) -> None:
        """Its line: what was decided, or else which part it is."""
        chip = f"chip {entry.decision}" if entry.decision else ""
        small.tell(said(self._say, entry) or entry.part_id, chip)

    def _look(self, at: int) -> None:
        """Show one of the gallery."""
        there = bool(self._entries)
        self._both.set_visibility(there)
        self._empty.set_visibility(not there)
        if not there:
            return
        if self._at < len(self._thumbs):
            self._thumbs[self._at].classes(remove="chosen")
        self._at = max(0, min(at, len(self._entries) - 1))
        entry = self._entries[self._at]
        chosen = self._thumbs[self._at].classes(add="chosen")
        ui.run_javascript(f"getHtmlElement({chosen.id})?.scrollIntoView({{block: 'nearest'}})")
        self._verdict.classes(replace=f"chip {entry.verdict}")
        self._verdict.text = verdict_words(self._say, entry)
        self._decision.classes(replace=f"chip {entry.decision or ''}")
        self._decision.text = f"{self._say('Decision')}: {said(self._say, entry) or self._say('none yet')}"
        self._picture.show(entry)
        self._facts.clear()
        with self._facts:
            facts(about(self._say, entry))

    def _in_turn(self, act: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        @telling
        async def done() -> None:
            async with self._turn:
                await act()

        return done

    # --- decisions --------------------------------------------------------------------------------------------------

    @telling
    async def _key(self, event: KeyEventArguments) -> None:
        modified = event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta
        if event.action.keydown and not modified and self._entries:
            async with self._turn:
                await self._pressed(event)

    async def _pressed(self, event: KeyEventArguments) -> None:
        code = event.key.code  # of the key's place: the same on a Persian keyboard
        forward = "ArrowLeft" if self._say.is_rtl else "ArrowRight"
        if code in ("ArrowRight", "ArrowLeft"):
            self._look(self._at + (1 if code == forward else -1))
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
        before = self._entries[self._at]
        await self._write(before.id, decision, (type or "").strip() or None)
        self._undo.append(before)
        self._look(self._at + 1)

    async def _take_back(self) -> None:
        if not self._undo:
            ui.notify(self._say("Nothing to undo."))
            return
        before = self._undo.pop()
        await self._write(before.id, before.decision, before.type)
        numbers = [entry.id for entry in self._entries]
        self._look(numbers.index(before.id) if before.id in numbers else self._at)

    async def _write(self, number: int, decision: Decision | None, type: str | None) -> None:
        now = await run_in_threadpool(self._its.record.decide, number, decision, type, self._visit.who.name)
        for k, entry in enumerate(self._entries):
            if now is not None and entry.id == number:
                self._entries[k] = now
                self._tell(self._thumbs[k], now)

    # --- export -----------------------------------------------------------------------------------------------------

    def _export(self) -> None:
        say, data = self._say, self._its.settings.data
        with ui.dialog(value=True) as dialog, ui.card():
            self._keyboard.active = False  # letters are for the dialog
            dialog.on_value_change(lambda e: setattr(self._keyboard, "active", not e.value))
            Tag("h2", say("Export decisions"))
            Tag(
                "p",
                say(
                    "What was decided becomes a data set for the next training: good and nuisance as normal, defects"
                    " as abnormal."
                ),
            )
            accepted = ui.number(say("Accepted parts that nobody looked at, as normal"), value=0, min=0, precision=0)
            accepted.classes("full-width").props("outlined dense")
            with Tag("div", classes="bar"):
                download = Tag("a", say("Download"), href="/decisions.zip?accepted=0", download="decisions.zip")
                accepted.on_value_change(lambda e: download.set(href=f"/decisions.zip?accepted={int(e.value or 0)}"))
                if data is not None and self._visit.is_engineer:
                    name = ui.input(say("Name of the data set")).props("outlined dense")

                    async def put() -> None:
                        await self._put(data, name.value or "", int(accepted.value or 0))
                        dialog.close()

                    ui.button(say("Put it beside the training data"), on_click=telling(put)).props("no-caps outline")
                ui.button(say("Cancel"), on_click=dialog.close).props("flat no-caps")

    async def _put(self, data: Path, name: str, accepted: int) -> None:
        name = safe_name(name)
        if (data / name).exists():
            raise ParameterError(self._say("There is a data set '{name}' already: choose another name.", name=name))

        def export() -> int:
            return export_decisions(self._its.record, self._its.store, data / name, accepted=accepted)

        count = await run_in_threadpool(export)
        ui.notify(self._say("{n} images are now in the data set '{name}'.", n=count, name=name), type="positive")
