"""Where images wait for their turn: so many requests and bytes at most, a few threads, every answer in the record."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pellucid.acquisition.images import decode_image
from pellucid.errors import PellucidError
from pellucid.service.metrics import Metrics
from pellucid.service.registry import Shelf
from pellucid.service.storage.pictures import Store
from pellucid.service.storage.record import Entry, Record
from pellucid.service.uploads import check_upload

THREADS = (os.cpu_count() or 1) + 3  # more than the runtime computes at a time: some wait for the disk


@dataclass(frozen=True)
class Job:
    """One image to be inspected, and what is kept with the result."""

    content: bytes
    file: str
    part_id: str
    model: str
    source: str
    account: str
    key: str | None = None


class BusyError(Exception):
    """As many requests as may wait do; ``seconds`` until it is worth trying again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"The service is busy: try again in {seconds} s.")
        self.seconds = seconds


class Desk:
    """Takes images in, and answers with entries of the record.

    Args:
        shelf: of models.
        record: that entries are kept in.
        store: for pictures and maps.
        metrics: that count.
        requests: that may be under way.
        waiting_bytes: of all requests that are under way.
        megapixels: of one image.
    """

    def __init__(
        self,
        shelf: Shelf,
        record: Record,
        store: Store,
        metrics: Metrics,
        *,
        requests: int,
        waiting_bytes: int,
        megapixels: float,
    ) -> None:
        self._shelf, self._record, self._store, self._metrics = shelf, record, store, metrics
        self._requests, self._waiting_bytes, self._megapixels = requests, waiting_bytes, megapixels
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="inspect")
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
            full = self.under_way >= self._requests or (self.under_way and self._bytes + size > self._waiting_bytes)
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
                self._seconds += 0.05 * (time.perf_counter() - start - self._seconds)

    def has(self, key: str) -> bool:
        """Whether the record holds what was sent under a key.

        Raises:
            RecordError: the record cannot be read.
        """
        return self._record.with_key(key) is not None

    def submit(self, job: Job) -> Future[Entry]:
        """Begin one image of an admitted request.

        The future raises DataError for an image that cannot be inspected, RecordError and OutputError when the result
        cannot be kept.
        """
        return self._pool.submit(self._counted, job)

    def close(self) -> None:
        """Finish what was taken in; nothing more is."""
        self.closing = True
        self._pool.shutdown(wait=True)

    def _counted(self, job: Job) -> Entry:
        start = time.perf_counter()
        try:
            entry = self._inspect(job)
        except Exception as error:
            self._metrics.failed.labels(type(error).__name__).inc()
            raise
        self._metrics.seconds.observe(time.perf_counter() - start)
        self._metrics.inspected.labels(entry.model, entry.verdict).inc()
        return entry

    def _inspect(self, job: Job) -> Entry:
        if job.key is not None and (there := self._record.with_key(job.key)) is not None:
            return there
        suffix = check_upload(job.content, job.file, self._megapixels)
        model = self._shelf.get(job.model)
        pixels = decode_image(job.content, Path(job.file))
        start = time.perf_counter()
        found = model.inspect(pixels)
        milliseconds = (time.perf_counter() - start) * 1000
        now = datetime.now(UTC)
        height, width = model.inspector.image_size  # features are at a quarter of it or coarser: half loses nothing
        kept = self._store.keep(now, job.content, suffix, found.map, (height // 2, width // 2))
        entry = Entry(
            time=now,
            file=job.file,
            part_id=job.part_id,
            model=model.name,
            model_sha256=model.sha256,
            runtime=model.inspector.runtime.name,
            milliseconds=milliseconds,
            score=found.score,
            limit=found.limit,
            pixel_limit=model.inspector.limit.pixel,
            p_value=found.p_value,
            verdict=found.verdict,
            width=pixels.shape[1],
            height=pixels.shape[0],
            defects=[asdict(defect) for defect in found.defects],
            source=job.source,
            account=job.account,
            key=job.key,
            picture=kept.picture,
            map=kept.map,
            map_low=kept.map_low,
            map_high=kept.map_high,
        )
        try:
            written = self._record.add(entry)
        except PellucidError:
            self._store.remove([kept.picture, kept.map])
            raise
        if written.picture != kept.picture:  # the same key, kept by another thread or process in the meantime
            self._store.remove([kept.picture, kept.map])
        return written
