"""The service put together: what it is made of, how it starts, and how it stops without losing anything."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from pellucid import __name__ as PACKAGE_NAME
from pellucid._io.files import check_writable
from pellucid.errors import DataError, ParameterError
from pellucid.service.access.middleware import AccessMiddleware
from pellucid.service.access.sessions import Sessions
from pellucid.service.api import decisions, inspections, models, system, trainings, trends
from pellucid.service.api.errors import explain_errors
from pellucid.service.api.system import STATIC_FOLDER
from pellucid.service.metrics import Metrics
from pellucid.service.queue import InspectionQueue
from pellucid.service.registry import ModelRegistry, newest_model
from pellucid.service.settings import Settings
from pellucid.service.state import Service
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database
from pellucid.service.storage.retention import Retention
from pellucid.service.supervise import Supervisor, Worker
from pellucid.service.training import TrainingRunner
from pellucid.service.watch import FolderWatcher

log = logging.getLogger("pellucid.service")
FOLLOW_PERIOD_S = 1.0  # until another process's changes are done here
MAX_BYTES_PER_PIXEL = 16  # of a watched file: four channels of 32 bits
STOP_MARGIN_S = 5  # beyond a request's timeout, until a stop no longer waits for it


@dataclass(frozen=True)
class Threads:
    """Holds the threads of a service beside those that answer; all run under its supervisor."""

    loader: Worker
    follower: Worker
    retention: Retention
    watcher: FolderWatcher | None

    def start(self) -> None:
        """Begin."""
        self.loader.start()
        self.follower.start()
        self.retention.start()
        if self.watcher is not None:
            self.watcher.start()


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
    metrics = Metrics(lambda: queue.under_way)
    supervisor = Supervisor(lambda thread: metrics.thread_failures.labels(thread).inc())
    database = Database(settings.database_url(), supervisor)
    pictures = PictureStore(settings.record / "pictures")
    registry = ModelRegistry(settings.models, database, settings.runtime, settings.device)
    queue = InspectionQueue(
        registry,
        database,
        pictures,
        metrics,
        max_requests=settings.max_requests,
        max_queued_bytes=settings.max_queued_mb * 1_000_000,
        megapixels=settings.megapixels,
    )
    return Service(
        settings=settings,
        accounts=settings.read_accounts(),
        sessions=Sessions(settings.record),
        supervisor=supervisor,
        metrics=metrics,
        database=database,
        pictures=pictures,
        registry=registry,
        queue=queue,
        trainings=TrainingRunner(settings.models, settings.data),
        loaded=threading.Event(),
    )


def create_threads(service: Service) -> Threads:
    """Make the threads of a service; :meth:`Threads.start` begins them."""
    settings, supervisor, registry = service.settings, service.supervisor, service.registry

    def follow() -> float:
        registry.follow()
        return FOLLOW_PERIOD_S

    def watched_model() -> str:
        return registry.choose(settings.watch_model or newest_model(registry))

    return Threads(
        loader=Worker(supervisor, "load", partial(_load_models, service)),
        follower=Worker(supervisor, "follow", follow),
        retention=Retention(
            service.database, service.pictures, supervisor, keep_ok=settings.keep_ok, keep_reject=settings.keep_reject
        ),
        watcher=None
        if settings.watch is None
        else FolderWatcher(
            settings.watch,
            service.queue,
            watched_model,
            supervisor,
            service.database.watched_files,
            settle_s=settings.watch_settle,
            patience_s=settings.watch_patience,
            max_bytes=int(settings.megapixels * 1e6 * MAX_BYTES_PER_PIXEL),
            done=settings.watch_done,
        ),
    )


def _load_models(service: Service) -> None:
    """Load the models that lie in the folder itself and the newest comparison's choice; others wait for a need."""
    registry = service.registry

    def load(name: str) -> None:
        registry.get(name)
        log.info("model %s is ready", name)

    try:
        first = newest_model(registry)
        for name, path in registry.paths().items():
            if path.parent == registry.folder or name == first:
                service.supervisor.attempt("load", partial(load, name))
    finally:
        service.loaded.set()


def create_app(service: Service) -> FastAPI:
    """Make the ASGI application of a service."""
    settings = service.settings
    threads = create_threads(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threads.start()
        log.info("serving on http://%s:%s; Ctrl+C stops it", settings.host, settings.port)
        yield
        await run_in_threadpool(_stop, service, threads)
        log.info("stopped: all that was taken in is in the record")

    app = FastAPI(title=PACKAGE_NAME, description="Finds the flaw in the glass.", lifespan=lifespan, docs_url=None)
    app.state.service = service
    routers = (
        inspections.router,
        decisions.router,
        models.router,
        trends.router,
        trainings.router,
        system.router,
    )
    explain_errors(app, routers)
    for router in routers:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER), name="static")
    if settings.pages:
        from pellucid.service.pages.routes import add_pages

        add_pages(app, service)
    app.add_middleware(
        AccessMiddleware,
        accounts=service.accounts,
        sessions=service.sessions,
        max_body_bytes=settings.request_mb * 1_000_000,
    )
    return app


def _stop(service: Service, threads: Threads) -> None:
    """Finish and keep what was accepted."""
    if threads.watcher is not None:
        threads.watcher.close()
    threads.follower.close()
    service.queue.close()
    service.trainings.close()
    threads.retention.close()
    service.database.close()


def serve(settings: Settings) -> None:
    """Run a service until it is told to stop.

    Raises:
        PellucidError: it cannot start; see :func:`create_service`.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger(PACKAGE_NAME).setLevel(logging.INFO)
    listening = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(create_service(settings)),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(settings.timeout) + STOP_MARGIN_S,
        server_header=False,
    )
    with listening, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise ParameterError(
            f"Port {port} of '{host}' cannot be listened on ({reason}): choose another by --port or --host."
        ) from None
