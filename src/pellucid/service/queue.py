"""Where images wait for their turn: so many requests and bytes at most, a few threads, every answer in the record."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from pellucid.acquisition.images import decode_image
from pellucid.errors import PellucidError
from pellucid.service.metrics import Metrics
from pellucid.service.registry import ModelRegistry
from pellucid.service.storage.pictures import PictureStore, StoredPicture
from pellucid.service.storage.record import Database
from pellucid.service.storage.tables import INSPECTION_COLUMNS, InspectionRow, StoredDefect
from pellucid.service.uploads import RefusedError, check_upload

INSPECTION_THREADS = (os.cpu_count() or 1) + 3  # more than the runtime computes at a time: some wait for the disk
LATENCY_SMOOTHING = 0.05  # share of the newest request in the running mean of seconds


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


class BusyError(Exception):
    """As many requests as may wait do; ``seconds`` until it is worth trying again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"The service is busy: try again in {seconds} s.")
        self.seconds = seconds


class InspectionQueue:
    """Takes images in, and answers with rows of the record.

    Args:
        registry: of models.
        database: that inspections are kept in.
        pictures: that keeps pictures and maps.
        metrics: that count.
        max_requests: that may be under way.
        max_queued_bytes: of all requests that are under way.
        megapixels: that one image may have.
        key_hours: that the key of a request stands for its answer.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        database: Database,
        pictures: PictureStore,
        metrics: Metrics,
        *,
        max_requests: int,
        max_queued_bytes: int,
        megapixels: float,
        key_hours: float = 24.0,
    ) -> None:
        self._registry, self._database, self._pictures, self._metrics = registry, database, pictures, metrics
        self._max_requests, self._max_queued_bytes, self._megapixels = max_requests, max_queued_bytes, megapixels
        self._key_lifetime = timedelta(hours=key_hours)
        self._pool = ThreadPoolExecutor(INSPECTION_THREADS, thread_name_prefix="inspect")
        self._lock = threading.Lock()
        self._bytes = 0
        self._seconds = 0.1  # that a request took lately, from in to out
        self.under_way = 0  # requests
        self.closing = False

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Count a request of ``size`` bytes in, and out when it has been answered.

        Raises:
            BusyError: too much is under way.
        """
        with self._lock:
            full = self.under_way >= self._max_requests or (
                self.under_way and self._bytes + size > self._max_queued_bytes
            )
            if full or self.closing:
                raise BusyError(max(1, math.ceil(self._seconds)))
            self.under_way += 1
            self._bytes += size
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.under_way -= 1
                self._bytes -= size
                self._seconds += LATENCY_SMOOTHING * (time.perf_counter() - start - self._seconds)

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

    def submit(self, job: InspectionJob) -> Future[InspectionRow]:
        """Begin one image of an admitted request; returns what it will become.

        The future raises DataError for an image that cannot be inspected, RecordError and OutputError when the result
        cannot be stored.
        """
        return self._pool.submit(self._counted, job)

    def close(self) -> None:
        """Finish what was taken in; nothing more is."""
        self.closing = True
        self._pool.shutdown(wait=True)

    def _counted(self, job: InspectionJob) -> InspectionRow:
        start = time.perf_counter()
        try:
            row = self._inspect(job)
        except Exception as error:
            self._metrics.failed.labels(type(error).__name__).inc()
            raise
        self._metrics.seconds.observe(time.perf_counter() - start)
        self._metrics.count(row)
        return row

    def _inspect(self, job: InspectionJob) -> InspectionRow:
        if (earlier := self.answered(job)) is not None:
            return earlier
        suffix = check_upload(job.content, job.file, self._megapixels)
        model = self._registry.get(job.model)
        image = decode_image(job.content, Path(job.file), model.inspector.fitted_images.bits)
        start = time.perf_counter()
        inspection = model.inspect(image.pixels)
        milliseconds = (time.perf_counter() - start) * 1000
        now = datetime.now(UTC)
        height, width = model.inspector.image_size  # features are at a quarter of it or coarser: half loses nothing
        stored = self._pictures.save(now, job.content, suffix, inspection.map, (height // 2, width // 2))
        row = InspectionRow(
            **_columns_of(job),
            **_columns_of(stored),
            time=now,
            model_sha256=model.sha256,
            runtime=model.inspector.runtime.name,
            milliseconds=milliseconds,
            score=inspection.score,
            limit=inspection.limit,
            pixel_limit=model.inspector.limit.pixel,
            p_value=inspection.p_value,
            verdict=inspection.verdict,
            width=image.pixels.shape[1],
            height=image.pixels.shape[0],
            reason=inspection.reason,
            warnings=list(dict.fromkeys((*image.warnings, *inspection.warnings))),
            defects=[cast(StoredDefect, asdict(defect)) for defect in inspection.defects],
        )
        try:
            written = self._database.add(row)
        except PellucidError:
            self._pictures.remove([stored.picture, stored.map])
            raise
        if written.picture != stored.picture:  # the same key, kept by another thread or process in the meantime
            self._pictures.remove([stored.picture, stored.map])
            _check_same_request(job, written)
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
