"""What a model learns on top, on the page of models: good images of a new lot, or false alarms that people passed."""

from __future__ import annotations

from nicegui import ui
from starlette.concurrency import run_in_threadpool

from pellucid.service.pages.widgets import Tag, Thumbnail, Visit, notify_errors, page_address
from pellucid.service.served_model import KnownModel
from pellucid.service.storage.tables import InspectionRow
from pellucid.service.updates import MAX_LEARNED, ImagesToLearn, Source, rows_to_learn, start_update

SOURCES: dict[Source, str] = {
    "latest": "The latest images, whatever the model said, but for those that people called defective",
    "passed": "Rejected parts that people called good or nuisance",
    "data set": "A data set",
}


async def update_panel(visit: Visit, model: KnownModel) -> None:
    """Build the panel; exported models have none, and operators see none."""
    if visit.is_engineer and model.path.is_file():
        _UpdatePanel(visit, model, await run_in_threadpool(visit.service.trainings.data_sets))


class _UpdatePanel:
    """Which images are learned, a look at them, a reason, and the start."""

    def __init__(self, visit: Visit, model: KnownModel, data_sets: list[str]) -> None:
        self._visit, self._t, self._model = visit, visit.t, model
        t = self._t
        sources = {source: t(words) for source, words in SOURCES.items() if data_sets or source != "data set"}
        Tag("h2", t("Learn more good images"))
        sentence = "A new model beside this one learns them without a training from scratch; this one stays as it is."
        Tag("p", t(sentence), "soft")
        with Tag("div", classes="bar"):
            self._source = ui.select(sources, value="latest", label=t("Images to learn"), on_change=self._choose)
            self._source.classes("wide")
            self._count = ui.number(t("How many"), value=8, min=1, max=MAX_LEARNED, precision=0)
            self._data = ui.select(data_sets, value=next(iter(data_sets), None), label=t("Data set to learn"))
            self._reason = ui.input(t("Reason for learning"))
            for field in (self._source, self._count, self._data, self._reason):
                field.props("outlined dense")
        self._note = Tag("p", classes="soft small", role="note")
        self._shown = Tag("div", classes="gallery")
        with Tag("div", classes="bar"):
            self._show = ui.button(t("Show these images"), icon="photo_library", on_click=self._show_images)
            self._show.props("outline no-caps")
            ui.button(t("Learn them"), icon="school", on_click=self._start).props("no-caps")
            self._progress = Tag("a", t("See how it is doing"), href=page_address(t, "train"))
            self._progress.set_visibility(False)
        self._choose()

    def _images(self) -> ImagesToLearn:
        return ImagesToLearn(self._source.value, int(self._count.value or 0), self._data.value or "")

    def _choose(self) -> None:
        source = self._source.value
        in_record = source != "data set"
        self._count.set_visibility(in_record)
        self._show.set_visibility(in_record)
        self._data.set_visibility(not in_record)
        self._shown.clear()
        self._note.text = self._t(
            "They were picked because they were rejected, and say nothing about where the limit should be: it stays."
            if source == "passed"
            else "All of them have to be good, and none picked by its score: the limit moves to where they score."
        )

    @notify_errors
    async def _show_images(self) -> None:
        database, name = self._visit.service.database, self._model.name
        rows = await run_in_threadpool(rows_to_learn, database, name, self._images())
        self._shown.clear()
        with self._shown:
            for row in rows:
                self._thumbnail(row)
            if not rows:
                Tag("p", self._t("There are no such images."), "soft")

    def _thumbnail(self, row: InspectionRow) -> None:
        address = page_address(self._t, "inspect", inspection=row.id)
        Thumbnail(row, lambda: ui.navigate.to(address)).set_caption(row.part_id)

    @notify_errors
    async def _start(self) -> None:
        service, images = self._visit.service, self._images()
        parts = (service.trainings, service.registry, service.database, service.pictures)
        account, reason = self._visit.account, self._reason.value or ""
        name = await run_in_threadpool(start_update, *parts, self._model.name, images, account, reason)
        ui.notify(self._t("'{name}' has been started.", name=name))
        self._progress.set_visibility(True)
