"""The service put together: what it is made of, how it starts, and how it stops without losing anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from pellucid import __name__ as NAME
from pellucid._io.files import check_writable
from pellucid.errors import DataError, ParameterError, PellucidError
from pellucid.service import api
from pellucid.service.access import Guard, Sessions
from pellucid.service.metrics import Metrics
from pellucid.service.queue import Desk
from pellucid.service.registry import Shelf, newest
from pellucid.service.settings import Settings
from pellucid.service.storage.pictures import Store
from pellucid.service.storage.record import Record
from pellucid.service.storage.retention import Retention
from pellucid.service.training import Trainings
from pellucid.service.watch import Watch

log = logging.getLogger("pellucid.service")
FOLLOW = 1.0  # seconds until another process's changes are done here


@dataclass(frozen=True)
class Service:
    """All parts of a running service."""

    settings: Settings
    record: Record
    store: Store
    shelf: Shelf
    desk: Desk
    metrics: Metrics
    sessions: Sessions
    trainings: Trainings
    retention: Retention
    watch: Watch | None
    loaded: threading.Event  # once the models that were there at the start are in memory

    def not_ready(self) -> list[str]:
        """Why an image would not be inspected now; nothing if it would."""
        reasons = []
        if self.desk.closing:
            reasons.append("The service is stopping.")
        if not self.loaded.is_set():
            reasons.append("Models are being loaded.")
        elif not self.shelf.paths():
            reasons.append(f"There are no models in '{self.settings.models}'.")
        try:
            self.record.check()
        except PellucidError as error:
            reasons.append(str(error))
        return reasons

    def load_all(self) -> None:
        """Load the models that lie on the shelf itself and the newest comparison's choice; others wait for a need."""
        first = newest(self.shelf)
        for name, path in self.shelf.paths().items():
            if path.parent == self.shelf.folder or name == first:
                try:
                    self.shelf.get(name)
                    log.info("model %s is ready", name)
                except PellucidError as error:
                    log.error("model %s cannot be used: %s", name, error)
        self.loaded.set()

    def watched_model(self) -> str:
        """The model for the watched folder."""
        return self.shelf.chosen(self.settings.watch_model or newest(self.shelf))


def create_service(settings: Settings) -> Service:
    """Make the parts; the database is reached and brought up to date.

    Raises:
        DataError: the watched folder does not exist.
        OutputError: the record's folder cannot be written to.
        ParameterError: the database's URL is none.
        RecordError: the database cannot be used.
    """
    for folder in (settings.watch, settings.data):
        if folder is not None and not folder.is_dir():
            raise DataError(f"'{folder}' is not a folder.")
    settings.models.mkdir(parents=True, exist_ok=True)
    check_writable(settings.record / "record")
    record = Record(settings.database_url())
    store = Store(settings.record / "pictures")
    shelf = Shelf(settings.models, record, settings.runtime)
    metrics = Metrics(lambda: desk.under_way)
    desk = Desk(
        shelf,
        record,
        store,
        metrics,
        requests=settings.waiting,
        waiting_bytes=settings.waiting_mb * 1_000_000,
        megapixels=settings.megapixels,
    )
    service = Service(
        settings=settings,
        record=record,
        store=store,
        shelf=shelf,
        desk=desk,
        metrics=metrics,
        sessions=Sessions(settings.record),
        trainings=Trainings(settings.models, settings.data),
        retention=Retention(record, store, keep_ok=settings.keep_ok, keep_reject=settings.keep_reject),
        watch=None if settings.watch is None else Watch(settings.watch, desk, lambda: service.watched_model()),
        loaded=threading.Event(),
    )
    return service


def create_app(service: Service) -> FastAPI:
    """The ASGI application of a service."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=service.load_all, name="load", daemon=True).start()
        service.retention.start()
        if service.watch is not None:
            service.watch.start()
        following = asyncio.create_task(_follow(service))
        log.info("serving on http://%s:%s; Ctrl+C stops it", service.settings.host, service.settings.port)
        yield
        following.cancel()
        await run_in_threadpool(_stop, service)
        log.info("stopped: all that was taken in is in the record")

    app = FastAPI(title=NAME, description="Finds the flaw in the glass.", lifespan=lifespan, docs_url=None)
    app.state.service = service
    api.explain_errors(app)
    app.include_router(api.router)
    app.mount("/static", StaticFiles(directory=api.STATIC), name="static")
    if service.settings.pages:
        from pellucid.service.pages import add_pages

        add_pages(app, service)
    settings = service.settings
    app.add_middleware(
        Guard, accounts=settings.accounts, sessions=service.sessions, body=settings.request_mb * 1_000_000
    )
    return app


async def _follow(service: Service) -> None:
    """Do what other processes on the same record do to models."""
    while True:
        await asyncio.sleep(FOLLOW)
        try:
            await run_in_threadpool(service.shelf.follow)
        except PellucidError as error:
            log.warning("changes of other processes are not seen: %s", error)


def _stop(service: Service) -> None:
    """What was accepted is finished and kept."""
    if service.watch is not None:
        service.watch.close()
    service.desk.close()
    service.trainings.close()
    service.retention.close()
    service.record.close()


def serve(settings: Settings) -> None:
    """Run a service until it is told to stop.

    Raises:
        PellucidError: it cannot start; see :func:`create_service`.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger(NAME).setLevel(logging.INFO)
    listening = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(create_service(settings)),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(settings.timeout) + 5,
        server_header=False,
    )
    with listening, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (")[0]
        raise ParameterError(
            f"Port {port} of '{host}' cannot be listened on ({why}): choose another by --port or --host."
        ) from None
