"""What a worker process works with: database, store, and an event loop with HTTP client and codec processes on it.

Actors run in Dramatiq's threads and speak to the database there; what waits for the network or for a codec runs on the
one event loop of the process.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import structlog
import uvloop
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.database import always_by_index, is_unavailable, make_engine
from halftone_shared.storage import ImageStore
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec_pool import CodecPool
from halftone_workers.fetching import ImageFetcher, MemoryBudget
from halftone_workers.heartbeat import Heartbeat
from halftone_workers.leases import LeaseKeeper
from halftone_workers.metrics import IN_HAND
from halftone_workers.outgoing_http import OutgoingHttp
from halftone_workers.settings import WorkerSettings

log = structlog.get_logger(__name__)

# Statements take a millisecond: a few connections serve many products at once.
DATABASE_CONNECTIONS = 6
MAX_DATABASE_PAUSE_SECONDS = 5.0

T = TypeVar("T")


class Stopping(Exception):
    """The worker is stopping and waits for the database no longer; the product's lease runs out."""


class Runtime:
    """Open from start() to close(). `http`, `fetcher` and `codec` belong to the event loop: use them within run()."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.engine = make_engine(settings.database_url, pool_size=DATABASE_CONNECTIONS, pre_ping=False)
        always_by_index(self.engine)
        self.store = ImageStore(settings.storage_url)
        self.leases = LeaseKeeper(self.engine)
        self._heartbeat = Heartbeat(self.engine, self._load)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True)
        self._aborted = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._images: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        self._thread.start()
        self.run(self._open())
        self.leases.start()
        IN_HAND.set_function(lambda: self.leases.held)
        self._heartbeat.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the event loop, and wait for the result here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def start_soon(self, work: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Start these on the event loop, all at once, and wait for none."""
        self._loop.call_soon_threadsafe(lambda: [self._keep(self._loop.create_task(one), self._tasks) for one in work])

    def start_image(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work on an image, which abort() may end. On the event loop."""
        task = self._loop.create_task(work)
        if self._aborted.is_set():
            task.cancel()
        return self._keep(task, self._images)

    @staticmethod
    def _keep(task: asyncio.Task[T], tasks: set[asyncio.Task[Any]]) -> asyncio.Task[T]:
        """The event loop alone would forget a task that nobody holds."""
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def abort(self) -> None:
        """Stop what is under way: images end unfinished, and their products are handed back."""
        self._aborted.set()
        self._loop.call_soon_threadsafe(lambda: [image.cancel() for image in self._images])

    def close(self) -> None:
        self._heartbeat.stop()
        self.leases.stop()
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.engine.dispose()

    def persist(self, write: Callable[[Connection], T]) -> T:
        """Run a write that must not be lost, again and again while the database is away. Raises Stopping."""
        pause = 0.1
        while True:
            try:
                with self.engine.connect() as connection:
                    return write(connection)
            except SQLAlchemyError as error:
                if not is_unavailable(error):
                    raise
                log.warning("database unavailable, trying again", error=str(error).splitlines()[0])
            if self._aborted.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                raise Stopping
            pause = min(pause * 2, MAX_DATABASE_PAUSE_SECONDS)

    def _load(self) -> tuple[int, int, int]:
        return self.leases.held, self.settings.codec_processes, self.codec.busy

    async def _open(self) -> None:
        settings = self.settings
        self.http = OutgoingHttp(settings.fetch_allow, connections_per_host=settings.connections_per_host)
        self.fetcher = ImageFetcher(
            self.http,
            MemoryBudget(settings.fetch_memory_bytes),
            max_image_bytes=settings.max_image_bytes,
            timeout_seconds=settings.download_timeout_seconds,
        )
        self.codec = CodecPool(
            settings.codec_processes,
            CodecLimits(settings.max_image_pixels, settings.max_image_frames),
            timeout_seconds=settings.encode_timeout_seconds,
        )
        await self.codec.start()

    async def _close(self) -> None:
        await self.codec.close()
        await self.http.close()
