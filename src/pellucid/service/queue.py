"""Where images wait for their turn: so much at a time, within a budget of memory, and every answer in the record."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import clear_frames
from typing import Any, cast

from pellucid.acquisition.images import decode_image
from pellucid.errors import PellucidError
from pellucid.service.admission import Admission, AdmittedRequest
from pellucid.service.metrics import Metrics
from pellucid.service.registry import ModelRegistry
from pellucid.service.storage.pictures import PictureStore, StoredPicture
from pellucid.service.storage.record import Database
from pellucid.service.storage.tables import (
    INSPECTION_COLUMNS,
    InspectionRow,
    StoredDefect,
    StoredGrade,
    StoredIgnored,
    StoredSheet,
)
from pellucid.service.supervise import Supervisor, Worker
from pellucid.service.turns import Turn, TurnQueue
from pellucid.service.uploads import RefusedError, UploadHead, check_upload

INSPECTION_THREADS = (os.cpu_count() or 1) + 3  # more than the runtime computes at a time: some wait for the disk
WORKING_BYTES_PER_PIXEL = 80  # of float copies of an image, its map, and what outlines its defects, beside its values
DRAWING_SLOTS = 2  # pictures that are drawn at a time
MAX_DRAWINGS = 8  # that are drawn or wait for it: what one browser asks for at a time, and two more
DRAWING_TIMEOUT_S = 20.0  # that one waits


@dataclass(frozen=True)
class InspectionJob:
    """One image to be inspected; its fields, but the content, are columns of the result."""

    content: bytes
    file: str
    part_id: str
    model: str
    source: str
    account: str
    key: str | None = None
    request_sha256: str | None = None  # what the key stands for; without it, the key says all, and for good


@dataclass(frozen=True)
class PendingInspection:
    """One image that waits for its turn, and who waits for what becomes of it."""

    job: InspectionJob
    suffix: str  # of a file of its kind
    done: Future[InspectionRow]


class InspectionQueue:
    """Takes images in, and answers with rows of the record.

    Uploads and the watched folder are counted apart, and take turns: neither waits for the other.

    Args:
        registry: of models.
        database: that inspections are kept in.
        pictures: that keeps pictures and maps.
        metrics: that count.
        supervisor: that the threads run under.
        max_requests: that may be worked on.
        max_queued_bytes: of all requests that are under way.
        megapixels: that one image may have.
        memory_bytes: that all images may take together while they are decoded.
        key_hours: that the key of a request stands for its answer.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        database: Database,
        pictures: PictureStore,
        metrics: Metrics,
        supervisor: Supervisor,
        *,
        max_requests: int,
        max_queued_bytes: int,
        megapixels: float,
        memory_bytes: int,
        key_hours: float = 24.0,
    ) -> None:
        self._registry, self._database, self._pictures, self._metrics = registry, database, pictures, metrics
        self._megapixels = megapixels
        self._key_lifetime = timedelta(hours=key_hours)
        self._turns: TurnQueue[PendingInspection] = TurnQueue(memory_bytes)
        self._uploads = Admission(max_requests, max_queued_bytes)
        self._watched = Admission(max_requests, max_queued_bytes)
        self._drawings = Admission(MAX_DRAWINGS, 0)
        self._drawing_slots = threading.Semaphore(DRAWING_SLOTS)
        self._workers = [Worker(supervisor, "inspect", self._work) for _ in range(INSPECTION_THREADS)]
        for worker in self._workers:
            worker.start()
        self.closing = False

    @property
    def under_way(self) -> int:
        """Count the requests that are worked on."""
        return self._uploads.under_way + self._watched.under_way

    @contextmanager
    def admitted(self) -> Iterator[AdmittedRequest]:
        """Take an upload in, before its body is read; it counts until the last of its images is done with.

        Raises:
            BusyError: too much is under way.
        """
        if self.closing:
            raise self._uploads.busy()
        with self._uploads.request() as request:
            yield request

    @contextmanager
    def drawing(self, memory_bytes: int) -> Iterator[None]:
        """Wait for the turn to draw a kept picture, a few at a time, in the memory that images share.

        Args:
            memory_bytes: that it takes.

        Raises:
            BusyError: as many wait as may, or it took too long.
        """
        with self._drawings.request() as request:
            request.begin()
            if not self._drawing_slots.acquire(timeout=DRAWING_TIMEOUT_S):
                raise self._drawings.busy()
            try:
                with self._turns.memory(memory_bytes, DRAWING_TIMEOUT_S) as is_taken:
                    if not is_taken:
                        raise self._drawings.busy()
                    yield
            finally:
                self._drawing_slots.release()

    def has(self, key: str) -> bool:
        """Find out whether the record holds what was sent under a key.

        Raises:
            RecordError: the record cannot be read.
        """
        return self._database.with_key(key) is not None

    def answered(self, job: InspectionJob) -> InspectionRow | None:
        """Find what was answered under an image's key; one whose time is over is free again.

        Raises:
            RecordError: the record cannot be used.
            RefusedError: the key stands for another request.
        """
        earlier = None if job.key is None else self._database.with_key(job.key)
        if job.key is None or earlier is None:
            return None
        oldest = datetime.now(UTC) - self._key_lifetime
        if job.request_sha256 is not None and earlier.time < oldest:
            self._database.release_key(job.key, oldest)
            return None
        _check_same_request(job, earlier)
        return earlier

    def submit(self, job: InspectionJob, request: AdmittedRequest | None = None) -> Future[InspectionRow]:
        """Begin one image; returns what it will become. Cancelling that lets go of it, if its turn has not come.

        The future raises DataError for an image that cannot be inspected, RecordError and OutputError when the result
        cannot be stored.

        Args:
            job: the image.
            request: that it came by; without one it is taken in by itself, as the watched folder's are.

        Raises:
            BusyError: it came by no request, and too much is under way.
        """
        if request is None:
            with self._watched.request() as own:
                own.add_bytes(len(job.content))
                own.begin()
                return self.submit(job, own)
        done: Future[InspectionRow] = Future()
        try:
            head = check_upload(job.content, job.file, self._megapixels)
            memory_bytes = self._memory_for(job, head)
        except RefusedError as error:
            self._metrics.failed.labels(type(error).__name__).inc()
            done.set_exception(error)
            return done
        lane = "watch" if job.source == "watch" else "upload"
        turn = Turn(PendingInspection(job, head.suffix, done), lane, memory_bytes)
        request.hold()
        self._turns.put(turn)
        done.add_done_callback(lambda _: self._let_go(turn, request))
        return done

    def close(self) -> None:
        """Finish what was taken in; nothing more is."""
        self.closing = True
        self._turns.close()
        for worker in self._workers:
            worker.join()

    def _memory_for(self, job: InspectionJob, head: UploadHead) -> int:
        """Estimate what an image takes while it is inspected.

        Raises:
            RefusedError: more than there may ever be.
        """
        memory_bytes = head.width * head.height * WORKING_BYTES_PER_PIXEL + head.decoded_bytes
        if memory_bytes > self._turns.budget_bytes:
            raise RefusedError(
                f"'{job.file}' is {head.width} x {head.height} pixels and takes {memory_bytes / 1e6:.0f} MB of memory"
                f" to inspect; {self._turns.budget_bytes / 1e6:.0f} MB are allowed: send a smaller one, or start the"
                " service with a larger --memory-mb.",
                413,
            )
        return memory_bytes

    def _let_go(self, turn: Turn[PendingInspection], request: AdmittedRequest) -> None:
        self._turns.drop(turn)
        request.release()

    def _work(self) -> float | None:
        """Do the next image; None when there will be none."""
        turn = self._turns.take()
        if turn is None:
            return None
        done = turn.item.done
        if not done.set_running_or_notify_cancel():
            self._turns.give_back(turn.memory_bytes)
            return 0.0
        start = time.perf_counter()
        try:
            row = self._process(turn)
        except BaseException as error:
            self._metrics.failed.labels(type(error).__name__).inc()
            clear_frames(error.__traceback__)  # or it holds the pixels
            done.set_exception(error)
        else:
            self._metrics.seconds.observe(time.perf_counter() - start)
            self._metrics.count(row)
            done.set_result(row)
        return 0.0

    def _process(self, turn: Turn[PendingInspection]) -> InspectionRow:
        job = turn.item.job
        try:
            if (earlier := self.answered(job)) is not None:
                return earlier
            row = self._inspect(job, turn.item.suffix)
        finally:
            self._turns.give_back(turn.memory_bytes)
        written = self._keep(row)
        _check_same_request(job, written)
        return written

    def _inspect(self, job: InspectionJob, suffix: str) -> InspectionRow:
        """Inspect an image and write its pictures; what is large ends with this."""
        with self._registry.using(job.model) as model:
            image = decode_image(job.content, Path(job.file), model.inspector.fitted_images.bits)
            start = time.perf_counter()
            inspection = model.inspect(image)
            milliseconds = (time.perf_counter() - start) * 1000
        now = datetime.now(UTC)
        height, width = model.inspector.seen_size(inspection.map.shape)
        half = max(1, height // 2), max(1, width // 2)  # features are at a quarter or coarser: nothing is lost
        stored = self._pictures.save(now, job.content, suffix, inspection.map, half)
        self._pictures.save_thumbnail(stored.picture, image.pixels)
        return InspectionRow(
            **_columns_of(job),
            **_columns_of(stored),
            time=now,
            model_sha256=model.sha256,
            runtime=model.inspector.runtime.name,
            milliseconds=milliseconds,
            score=inspection.score,
            limit=inspection.limit,
            pixel_limit=inspection.pixel_limit,
            good_level=inspection.good_level,
            p_value=inspection.p_value,
            verdict=inspection.verdict,
            width=image.pixels.shape[1],
            height=image.pixels.shape[0],
            reason=inspection.reason,
            warnings=list(dict.fromkeys((*image.warnings, *inspection.warnings))),
            defects=[cast(StoredDefect, asdict(defect)) for defect in inspection.defects],
            ignored=[cast(StoredIgnored, one.to_dict()) for one in inspection.ignored],
            sheet=None if inspection.sheet is None else cast(StoredSheet, asdict(inspection.sheet)),
            grade=None if inspection.grade is None else cast(StoredGrade, asdict(inspection.grade)),
        )

    def _keep(self, row: InspectionRow) -> InspectionRow:
        """Write a row whose pictures are written."""
        pictures = [file for file in (row.picture, row.map) if file is not None]
        try:
            written = self._database.add(row)
        except PellucidError:
            self._pictures.remove(pictures)
            raise
        if written.picture != row.picture:  # the same key, kept by another thread or process in the meantime
            self._pictures.remove(pictures)
        return written


def _check_same_request(job: InspectionJob, earlier: InspectionRow) -> None:
    """Refuse to answer for what was not sent: a camera whose counter begins anew repeats its keys."""
    if earlier.request_sha256 != job.request_sha256:
        raise RefusedError(
            f"'{job.file}' was sent under an Idempotency-Key that stands for another request (its images, model or"
            f" part_id differ; it was answered as inspection {earlier.id}): send a key that was not used before."
        )


def _columns_of(part: InspectionJob | StoredPicture) -> dict[str, Any]:
    """Take what of a part is a column of an inspection."""
    names = {column.name for column in INSPECTION_COLUMNS} & {field.name for field in fields(part)}
    return {name: getattr(part, name) for name in names}
