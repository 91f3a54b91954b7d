"""Builds the application: every part is put together here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.types import ASGIApp

from halftone_api.callback_batches import CallbackBatches
from halftone_api.endpoints.events import LOOK_EVERY_SECONDS
from halftone_api.errors import EXCEPTION_HANDLERS
from halftone_api.metrics import Measured, ServiceGauges
from halftone_api.pages.browser_answers import BrowserAnswers
from halftone_api.routes import make_routes
from halftone_api.server.middleware import BoundedBodies, RequestIds, TrailingSlashes
from halftone_api.server.rabbitmq_publisher import RabbitmqPublisher
from halftone_api.server.site_guard import SiteGuard
from halftone_api.services import Services
from halftone_api.settings import ApiSettings
from halftone_api.status_watch import StatusWatch
from halftone_api.upload.form import FORM_OVERHEAD_BYTES, too_large
from halftone_api.upload.intake_turns import UPLOADS_AT_ONCE, IntakeTurns
from halftone_api.upload.space import UploadSpace
from halftone_shared.db.engine import always_by_index, make_engine
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.runtime.settings import IN_PROCESS_QUEUE
from halftone_shared.service.backlog_recorder import BacklogRecorder, make_backlog_recorder
from halftone_shared.service.dispatcher import Dispatcher, make_dispatcher
from halftone_shared.service.storage_check import StorageCheck
from halftone_shared.service.sweeper import Sweeper, make_sweeper
from halftone_shared.storage import ImageStore


def create_app(settings: ApiSettings) -> ASGIApp:
    """The API as an ASGI application. With RabbitMQ, its lifespan runs the dispatcher, the
    sweeper and the backlog recorder; with an in-process queue, the worker runs them.
    """
    engine = make_engine(settings.database_url, pool_size=settings.database_pool_size)
    store = ImageStore(settings.storage_url)
    max_body_bytes = settings.max_upload_bytes + FORM_OVERHEAD_BYTES
    watch_engine = make_engine(settings.database_url, pool_size=2)
    intake_engine = make_engine(settings.database_url, pool_size=UPLOADS_AT_ONCE)
    callback_engine = make_engine(settings.database_url, pool_size=1)
    always_by_index(callback_engine)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        threads = _make_threads(settings)
        for thread in threads:
            thread.start()
        yield
        # In threads: to stop one may take seconds, and the publisher runs an event loop to close.
        for thread in threads:
            await asyncio.to_thread(thread.stop)
        for one in (watch_engine, intake_engine, callback_engine, engine):
            one.dispose()

    app = Starlette(routes=make_routes(), exception_handlers=EXCEPTION_HANDLERS, lifespan=lifespan)
    app.state.services = Services(
        settings,
        engine,
        watch_engine,
        intake_engine,
        store,
        SecretBox(settings.webhook_secret),
        StorageCheck(watch_engine, store, settings.storage_url),
        StatusWatch(engine, LOOK_EVERY_SECONDS),
        IntakeTurns(),
        UploadSpace(max(settings.upload_space_bytes, 2 * max_body_bytes)),
        CallbackBatches(callback_engine),
    )
    app.state.service_gauges = ServiceGauges(watch_engine, engine)
    bounded = BoundedBodies(
        app,
        max_body_bytes=max_body_bytes,
        timeout_seconds=settings.upload_timeout_seconds,
        idle_seconds=settings.upload_idle_seconds,
        too_large=too_large(settings.max_upload_bytes),
    )
    guarded = SiteGuard(bounded, _known_hosts(settings))
    return RequestIds(TrailingSlashes(BrowserAnswers(app, Measured(guarded))))


def _known_hosts(settings: ApiSettings) -> set[str] | None:
    """The hosts that calls without a key may name; None allows any host (API keys are on)."""
    if settings.auth == "keys":
        return None
    return {urlsplit(settings.public_url).hostname or "", *settings.allowed_hosts}


def _make_threads(settings: ApiSettings) -> "list[Dispatcher | Sweeper | BacklogRecorder]":
    if settings.rabbitmq_url == IN_PROCESS_QUEUE:
        return []
    queue = RabbitmqPublisher(settings.rabbitmq_url, settings.queue_type)
    return [
        make_dispatcher(settings, queue),
        make_sweeper(settings),
        make_backlog_recorder(settings),
    ]
