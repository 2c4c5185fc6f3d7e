"""*Train*: a folder, detectors, a size; progress with the time remaining, the log, and a way to stop."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from nicegui import ui
from starlette.concurrency import run_in_threadpool

from pellucid import detectors
from pellucid.limits.area import false_alarms_of
from pellucid.service.pages.widgets import POLL_PERIOD_S, Tag, Visit, notify_errors, page_address
from pellucid.service.training import Training

IMAGE_SIZES_PX = (128, 192, 256, 320, 384, 512)
DEFAULT_DETECTORS = ("patchcore", "padim")  # need no epochs: minutes


async def build(visit: Visit) -> None:
    """Build the page's content."""
    service, t = visit.service, visit.t
    if service.settings.data is None:
        sentence = "Start the service with --data FOLDER to train on the data sets in that folder."
        Tag("p", t(sentence), "empty")
        _ProgressPanel(visit)  # of a model that learns more
        return
    sets = await run_in_threadpool(service.trainings.data_sets)
    if not visit.is_engineer:
        Tag("p", t("An engineer can do this."), "soft")
    elif sets:
        _form(visit, sets)
    else:
        Tag("p", t("There is no data set in '{folder}'.", folder=service.settings.data), "empty")
    _ProgressPanel(visit)


def _form(visit: Visit, sets: list[str]) -> None:
    t = visit.t
    with Tag("div", classes="panel"):
        with Tag("div", classes="grid"):
            data = ui.select(sets, value=sets[0], label=t("Data set"))
            name = ui.input(t("Name of the result"), value=_proposed_name(sets[0]))
            size = ui.select(list(IMAGE_SIZES_PX), value=256, label=t("Shorter side of the images (px)"))
            false_reject_percent = ui.number(t("False rejects allowed (%)"), value=5, min=0.1, max=50, step=0.5)
            per_m2 = ui.number(t("False alarms allowed per m² (in tiles)"), min=0)
            per_mpx = ui.number(t("False alarms allowed per megapixel (in tiles)"), min=0)
            mm_per_px = ui.number(t("Scale (mm per px)"), min=0)
            for field in (data, name, size, false_reject_percent, per_m2, per_mpx, mm_per_px):
                field.props("outlined dense")
        data.on_value_change(lambda e: name.set_value(_proposed_name(e.value)))
        with Tag("fieldset", classes="bar").style("border: 0; padding: 0; margin: 0"):
            Tag("legend", t("Detectors"), "soft")
            boxes = {
                detector: ui.checkbox(detector, value=detector in DEFAULT_DETECTORS) for detector in detectors.names()
            }

        learn_defects = ui.checkbox(t("Learn from labelled defects, as far as that shows a gain"))

        async def start() -> None:
            chosen = [detector for detector, box in boxes.items() if box.value]
            false_reject = float(false_reject_percent.value or 5) / 100
            begin = partial(
                visit.service.trainings.start,
                learn_defects=bool(learn_defects.value),
                false_alarms=false_alarms_of(per_m2.value or None, per_mpx.value or None),
                mm_per_px=mm_per_px.value or None,
            )
            await run_in_threadpool(
                begin, data.value, name.value or "", chosen, int(size.value), false_reject, visit.account
            )
            ui.notify(t("'{name}' has been started.", name=name.value))
            name.set_value(_proposed_name(data.value))

        with Tag("div", classes="bar"):
            ui.button(t("Start"), icon="play_arrow", on_click=notify_errors(start)).props("no-caps")


def _proposed_name(data: str) -> str:
    """Propose a name that is not taken yet."""
    return f"{data.rpartition('/')[2].removesuffix('.csv')}-{datetime.now():%m%d-%H%M%S}"


class _ProgressPanel:
    """How the training is doing."""

    def __init__(self, visit: Visit) -> None:
        self._visit, self._t = visit, visit.t
        self._shown_log = ""  # the log that is shown
        t = visit.t
        with Tag("div", classes="panel") as self._panel:
            with Tag("div", classes="bar"):
                self._name = Tag("h2")
                self._state = Tag("span", classes="chip", role="status")
                self._progress_text = Tag("span", classes="soft mono")
            self._bar = ui.linear_progress(value=0, show_value=False, size="14px").props("rounded instant-feedback")
            with Tag("div", classes="bar"):
                self._cancel: ui.button | None = None
                if visit.is_engineer:
                    self._cancel = ui.button(t("Cancel"), icon="stop", color="negative", on_click=self._stop)
                    self._cancel.props("no-caps outline")
                self._result = Tag("a", t("See it in Models"), href=page_address(t, "models"))
            if visit.is_engineer:
                Tag("h2", t("Log"))
                self._log = Tag("pre", classes="log", tabindex="0", aria_label=t("Log"))
        self._panel.set_visibility(False)
        ui.timer(POLL_PERIOD_S, self._poll, immediate=True)

    @notify_errors
    async def _stop(self) -> None:
        await run_in_threadpool(self._visit.service.trainings.cancel, self._visit.account)

    async def _poll(self) -> None:
        training = await run_in_threadpool(self._visit.service.trainings.current)
        self._panel.set_visibility(training is not None)
        if training is None:
            return
        running = training.state == "running"
        self._name.text = training.name
        self._state.text = self._t(training.state)
        self._state.classes(replace=f"chip {({'done': 'ok', 'failed': 'reject'}).get(training.state, '')}")
        self._progress_text.text = self._progress_sentence(training)
        self._bar.value = _share_done(training)
        if self._cancel is not None:
            self._cancel.set_visibility(running)
        self._result.set_visibility(training.state == "done")
        if training.kind == "update":
            self._result.set(href=page_address(self._t, "models", model=training.name))
        if self._visit.is_engineer and training.log != self._shown_log:
            self._shown_log = self._log.text = training.log
            ui.run_javascript(f"const log = getHtmlElement({self._log.id}); if (log) log.scrollTop = log.scrollHeight")

    def _progress_sentence(self, training: Training) -> str:
        t = self._t
        words = [t("{k} of {n} detectors", k=training.done, n=training.of)] * (training.kind == "training")
        if training.step is not None:
            count = "" if training.step.total is None else f" {training.step.completed:g}/{training.step.total:g}"
            words.append(training.step.description + t.digits(count))
        words.append(t("after {t}", t=t.seconds(training.seconds)))
        if training.remaining is not None:
            words.append(t("about {t} to go", t=t.seconds(training.remaining)))
        return " · ".join(words)


def _share_done(training: Training) -> float:
    """Estimate the share of the work that is done: finished detectors, and what the step under way has counted."""
    step = training.step
    part = step.completed / step.total if step is not None and step.total else 0.0
    return min(1.0, (training.done + 0.9 * part * (training.done < training.of)) / max(training.of, 1))
