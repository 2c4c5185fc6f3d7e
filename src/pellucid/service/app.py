"""The service put together: what it is made of, how it starts, and how it stops without losing anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from pellucid import __name__ as PACKAGE_NAME
from pellucid import __version__
from pellucid._io.files import check_writable, make_folder, make_private
from pellucid.errors import DataError, ParameterError
from pellucid.service.access.answers import STATIC_FOLDER
from pellucid.service.access.deadlines import BodyDeadline, ConnectionLimit, GuardedConnection, max_connections
from pellucid.service.access.logins import Logins
from pellucid.service.access.middleware import (
    BodyLimitMiddleware,
    HostMiddleware,
    LoginMiddleware,
    OriginMiddleware,
    SecurityHeadersMiddleware,
)
from pellucid.service.access.sessions import Sessions
from pellucid.service.api import decisions, downloads, inspections, models, sheets, system, trainings, trends
from pellucid.service.api.errors import explain_errors
from pellucid.service.decisions_export import ExportLease
from pellucid.service.loading import ModelLoader
from pellucid.service.logs import begin_log
from pellucid.service.memory import limit_arenas, trim_memory
from pellucid.service.metrics import Metrics
from pellucid.service.newest import newest_model
from pellucid.service.queue import InspectionQueue
from pellucid.service.registry import ModelRegistry
from pellucid.service.settings import Settings
from pellucid.service.state import Service
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database
from pellucid.service.storage.retention import Retention
from pellucid.service.supervise import Supervisor, Worker
from pellucid.service.training import TrainingRunner
from pellucid.service.unforeseen import UnforeseenErrorMiddleware
from pellucid.service.watch import FolderWatcher

log = logging.getLogger("pellucid.service")
FOLLOW_PERIOD_S = 1.0  # until another process's changes are done here
MAX_SOCKET_MESSAGE_BYTES = 1_000_000  # that a page sends
MAX_BYTES_PER_PIXEL = 16  # of a watched file: four channels of 32 bits
STOP_MARGIN_S = 5  # beyond a request's timeout, until a stop no longer waits for it
CLOSE_TIMEOUT_S = 45  # after that, until the process ends though something does not


@dataclass(frozen=True)
class Threads:
    """Holds the threads of a service beside those that answer; all run under its supervisor."""

    loader: ModelLoader
    follower: Worker
    retention: Retention
    trimmer: Worker
    watcher: FolderWatcher | None

    def start(self) -> None:
        """Begin."""
        self.loader.start()
        self.follower.start()
        self.retention.start()
        self.trimmer.start()
        if self.watcher is not None:
            self.watcher.start()

    def close(self) -> None:
        """Let each finish what it is at, within its time; nothing new is begun."""
        if self.watcher is not None:
            self.watcher.close()
        self.loader.close()
        self.follower.close()
        self.retention.close()
        self.trimmer.close()


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
    accounts = settings.live_accounts()
    make_folder(settings.models)
    make_private(settings.record, folder=True)
    check_writable(settings.record / "record")
    metrics = Metrics(lambda: queue.under_way)
    supervisor = Supervisor(lambda thread: metrics.thread_failures.labels(thread).inc())
    database = Database(settings.database_url(), supervisor)
    pictures = PictureStore(settings.record / "pictures")
    models = (settings.runtime, settings.device, settings.max_models, settings.grading())
    registry = ModelRegistry(settings.models, database, *models)
    queue = InspectionQueue(
        registry,
        database,
        pictures,
        metrics,
        supervisor,
        max_requests=settings.max_requests,
        max_queued_bytes=settings.max_queued_mb * 1_000_000,
        megapixels=settings.megapixels,
        memory_bytes=settings.memory_bytes(),
        key_hours=settings.key_hours,
    )
    return Service(
        settings=settings,
        logins=Logins(accounts, Sessions(settings.record)),
        supervisor=supervisor,
        metrics=metrics,
        database=database,
        pictures=pictures,
        registry=registry,
        queue=queue,
        trainings=TrainingRunner(settings.models, settings.data),
        exports=ExportLease(),
        loader=ModelLoader(registry, supervisor),
        watcher=_watcher(settings, registry, queue, database, supervisor),
    )


def _watcher(
    settings: Settings, registry: ModelRegistry, queue: InspectionQueue, database: Database, supervisor: Supervisor
) -> FolderWatcher | None:
    def model() -> str:
        return registry.pin(registry.choose(settings.watch_model or newest_model(registry)))

    if settings.watch is None:
        return None
    return FolderWatcher(
        settings.watch,
        queue,
        model,
        supervisor,
        database.watched_files,
        settle_s=settings.watch_settle,
        patience_s=settings.watch_patience,
        max_bytes=int(settings.megapixels * 1e6 * MAX_BYTES_PER_PIXEL),
        done=settings.watch_done,
    )


def create_threads(service: Service) -> Threads:
    """Make the threads of a service; :meth:`Threads.start` begins them."""
    settings, supervisor, registry = service.settings, service.supervisor, service.registry

    def follow() -> float:
        registry.follow()
        return FOLLOW_PERIOD_S

    return Threads(
        loader=service.loader,
        follower=Worker(supervisor, "follow", follow, is_vital=False),
        retention=Retention(
            service.database,
            service.pictures,
            settings.record,
            supervisor,
            keep_ok=settings.keep_ok,
            keep_reject=settings.keep_reject,
        ),
        trimmer=Worker(supervisor, "memory", trim_memory, is_vital=False),
        watcher=service.watcher,
    )


def create_app(service: Service) -> FastAPI:
    """Make the ASGI application of a service."""
    settings = service.settings
    threads = create_threads(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threads.start()
        log.info("serving on http://%s:%s; Ctrl+C stops it", settings.host, settings.port)
        log.info("images may take %.0f MB of memory together (--memory-mb)", settings.memory_bytes() / 1e6)
        yield
        await run_in_threadpool(_stop, service, threads)
        log.info("stopped: all that was taken in is in the record")

    app = FastAPI(
        title=PACKAGE_NAME,
        description="Finds the flaw in the glass.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
    )
    app.state.service = service
    routers = (
        inspections.router,
        sheets.router,
        decisions.router,
        models.router,
        trends.router,
        downloads.router,
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
    # the last one added is the first to see a request
    app.add_middleware(BodyDeadline, seconds=settings.timeout)
    app.add_middleware(BodyLimitMiddleware, max_body_bytes=settings.request_mb * 1_000_000)
    app.add_middleware(LoginMiddleware, logins=service.logins)
    app.add_middleware(OriginMiddleware)
    app.add_middleware(HostMiddleware, local_only=not service.logins.required)
    app.add_middleware(UnforeseenErrorMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)
    return app


def _stop(service: Service, threads: Threads) -> None:
    """Finish and keep what was accepted."""
    threads.close()
    service.queue.close()
    service.trainings.close()
    service.database.close()


class BoundedServer(uvicorn.Server):
    """A server whose stop ends, whatever hangs.

    Args:
        config: of the server.
        stop_timeout_s: from the signal to the end of the process.
    """

    def __init__(self, config: uvicorn.Config, stop_timeout_s: float) -> None:
        super().__init__(config)
        self._stop_timeout_s = stop_timeout_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, as a signal asks for."""
        if not self.should_exit:
            timer = threading.Timer(self._stop_timeout_s, self._give_up)
            timer.daemon = True
            timer.start()
        super().handle_exit(sig, frame)

    def _give_up(self) -> None:
        names = sorted(thread.name for thread in threading.enumerate() if thread is not threading.current_thread())
        log.error(
            "not stopped within %g s: the process ends while these run: %s", self._stop_timeout_s, ", ".join(names)
        )
        logging.shutdown()
        os._exit(1)


def serve(settings: Settings) -> None:
    """Run a service until it is told to stop.

    Raises:
        PellucidError: it cannot start; see :func:`create_service`.
    """
    begin_log()
    limit_arenas()
    listening = _listen(settings.host, settings.port)
    request_timeout_s = int(settings.timeout) + STOP_MARGIN_S
    config = uvicorn.Config(
        create_app(create_service(settings)),
        log_config=None,  # the root's handler is the only one
        http=cast(type[asyncio.Protocol], partial(GuardedConnection, ConnectionLimit(max_connections()))),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=request_timeout_s,
        server_header=False,
        ws_max_size=MAX_SOCKET_MESSAGE_BYTES,
    )
    with listening, contextlib.suppress(KeyboardInterrupt):
        BoundedServer(config, request_timeout_s + CLOSE_TIMEOUT_S).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise ParameterError(
            f"Port {port} of '{host}' cannot be listened on ({reason}): choose another by --port or --host."
        ) from None
