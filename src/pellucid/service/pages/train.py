"""*Train*: a folder, detectors, a size; progress with the time remaining, the log, and a way to stop."""

from __future__ import annotations

from datetime import datetime

from nicegui import ui
from starlette.concurrency import run_in_threadpool

from pellucid import detectors
from pellucid.service.pages.frame import Tag, Visit, address, telling
from pellucid.service.training import Training

SIZES = (128, 192, 256, 320, 384, 512)
USUAL = ("patchcore", "padim")  # need no epochs: minutes
LOOK = 1.0  # seconds


async def build(visit: Visit) -> None:
    """The page's content."""
    its, say = visit.its, visit.say
    if its.settings.data is None:
        told = "Start the service with --data FOLDER to train on the data sets in that folder."
        Tag("p", say(told), "empty")
        return
    sets = await run_in_threadpool(its.trainings.data_sets)
    if not visit.is_engineer:
        Tag("p", say("An engineer can do this."), "soft")
    elif sets:
        _form(visit, sets)
    else:
        Tag("p", say("There is no data set in '{folder}'.", folder=its.settings.data), "empty")
    _Progress(visit)


def _form(visit: Visit, sets: list[str]) -> None:
    say = visit.say
    with Tag("div", classes="panel"):
        with Tag("div", classes="grid"):
            data = ui.select(sets, value=sets[0], label=say("Data set"))
            name = ui.input(say("Name of the result"), value=_proposed(sets[0]))
            size = ui.select(list(SIZES), value=256, label=say("Image size (px)"))
            allowed = ui.number(say("False rejects allowed (%)"), value=5, min=0.1, max=50, step=0.5)
            for field in (data, name, size, allowed):
                field.props("outlined dense")
        data.on_value_change(lambda e: name.set_value(_proposed(e.value)))
        with Tag("fieldset", classes="bar").style("border: 0; padding: 0; margin: 0"):
            Tag("legend", say("Detectors"), "soft")
            boxes = {each: ui.checkbox(each, value=each in USUAL) for each in detectors.names()}

        async def start() -> None:
            chosen = [each for each, box in boxes.items() if box.value]
            false_reject = float(allowed.value or 5) / 100
            begin = visit.its.trainings.start
            await run_in_threadpool(begin, data.value, name.value or "", chosen, int(size.value), false_reject)
            ui.notify(say("'{name}' has been started.", name=name.value))
            name.set_value(_proposed(data.value))

        with Tag("div", classes="bar"):
            ui.button(say("Start"), icon="play_arrow", on_click=telling(start)).props("no-caps")


def _proposed(data: str) -> str:
    """A name that is not taken yet."""
    return f"{data.rpartition('/')[2].removesuffix('.csv')}-{datetime.now():%m%d-%H%M%S}"


class _Progress:
    """How the training is doing."""

    def __init__(self, visit: Visit) -> None:
        self._visit, self._say = visit, visit.say
        self._had = ""  # the log that is shown
        say = visit.say
        with Tag("div", classes="panel") as self._panel:
            with Tag("div", classes="bar"):
                self._name = Tag("h2")
                self._state = Tag("span", classes="chip", role="status")
                self._told = Tag("span", classes="soft mono")
            self._bar = ui.linear_progress(value=0, show_value=False, size="14px").props("rounded instant-feedback")
            with Tag("div", classes="bar"):
                self._cancel = ui.button(say("Cancel"), icon="stop", color="negative", on_click=self._stop)
                self._cancel.props("no-caps outline")
                self._result = Tag("a", say("See it in Models"), href=address(say, "models"))
            Tag("h2", say("Log"))
            self._log = Tag("pre", classes="log", tabindex="0", aria_label=say("Log"))
        self._panel.set_visibility(False)
        ui.timer(LOOK, self._look, immediate=True)

    @telling
    async def _stop(self) -> None:
        await run_in_threadpool(self._visit.its.trainings.cancel)

    async def _look(self) -> None:
        training = await run_in_threadpool(self._visit.its.trainings.now)
        self._panel.set_visibility(training is not None)
        if training is None:
            return
        running = training.state == "running"
        self._name.text = training.name
        self._state.text = self._say(training.state)
        self._state.classes(replace=f"chip {({'done': 'ok', 'failed': 'reject'}).get(training.state, '')}")
        self._told.text = self._words(training)
        self._bar.value = _done(training)
        self._cancel.set_visibility(running and self._visit.is_engineer)
        self._result.set_visibility(training.state == "done")
        if training.log != self._had:
            self._had = self._log.text = training.log
            ui.run_javascript(f"const log = getHtmlElement({self._log.id}); if (log) log.scrollTop = log.scrollHeight")

    def _words(self, training: Training) -> str:
        say = self._say
        words = [say("{k} of {n} detectors", k=training.done, n=training.of)]
        if training.step is not None:
            count = "" if training.step.total is None else f" {training.step.completed:g}/{training.step.total:g}"
            words.append(f"{training.step.description}{count}")
        words.append(say("after {t}", t=say.seconds(training.seconds)))
        if training.remaining is not None:
            words.append(say("about {t} to go", t=say.seconds(training.remaining)))
        return " · ".join(words)


def _done(training: Training) -> float:
    """Share of the work: finished detectors, and of the one that is under way what its step has counted."""
    step = training.step
    part = step.completed / step.total if step is not None and step.total else 0.0
    return min(1.0, (training.done + 0.9 * part * (training.done < training.of)) / max(training.of, 1))
