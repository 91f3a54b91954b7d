"""A worker process's resources: database, store, and an event loop with the HTTP client and the
codec processes.

Actors run in Dramatiq's threads and use the database there. Work that waits for the network or for
a codec process runs on the single event loop of the process.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog
import uvloop
from dramatiq.errors import Retry
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.engine import always_by_index, is_unavailable, make_engine, transaction
from halftone_shared.errors import HalftoneError
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.service.storage_check import StorageCheck
from halftone_shared.storage import ImageStore
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec_processes.pool import CodecPool
from halftone_workers.heartbeat import Heartbeat
from halftone_workers.host_counts import HostCounts
from halftone_workers.http.asked_pauses import AskedPauses
from halftone_workers.http.client import OutgoingHttp, tls_context
from halftone_workers.http.fetching import ImageFetcher
from halftone_workers.http.memory import MemoryBudget
from halftone_workers.http.origins import Origins
from halftone_workers.http.paused_hosts import PausedHosts
from halftone_workers.jobs.active_product import ActiveProduct
from halftone_workers.jobs.copies import Copies
from halftone_workers.jobs.watermarks import Watermarks
from halftone_workers.leases import LeaseKeeper
from halftone_workers.metrics import HOSTS_SILENT, PRODUCTS_ACTIVE
from halftone_workers.settings import WEBHOOKS_AT_ONCE, WorkerSettings
from halftone_workers.storage_gate import StorageGate

log = structlog.get_logger(__name__)

# A statement takes 1 ms, so a few connections serve many products at once.
DATABASE_CONNECTIONS = 6
MAX_DATABASE_PAUSE_SECONDS = 5.0
PUTS_AT_ONCE = 32
# Ended images wait this long for others of their product: waking the product's thread for each
# one takes longer than storing a small image.
HAND_OVER_SECONDS = 0.02
# To the external image processing service.
PROCESSOR_CONNECTIONS = 16

Item = TypeVar("Item")
T = TypeVar("T")


class Stopping(HalftoneError, Retry):
    """The worker is stopping: it starts no further product and no longer waits for the database.

    It derives from Dramatiq's Retry, which makes Dramatiq deliver the message again; any other
    exception counts as a failure.
    """


class Runtime:
    """The worker's shared resources, open from start() to close().

    `webhook_http`, `fetcher` and `codec` belong to the event loop: use them only within run().
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.engine = make_engine(
            settings.database_url, pool_size=DATABASE_CONNECTIONS, pre_ping=False
        )
        always_by_index(self.engine)
        self.store = ImageStore(settings.storage_url)
        self.copies = Copies(self.store)
        self.leases = LeaseKeeper(self.engine, self.cancel)
        check = StorageCheck(self.engine, self.store, settings.storage_url)
        self.storage_gate = StorageGate(check)
        self.origins = Origins(
            self.engine,
            self.persist,
            SecretBox(settings.webhook_secret),
            settings.fetch_allow,
            timeout_seconds=settings.download_timeout_seconds,
        )
        self.host_counts = HostCounts()
        self._heartbeat = Heartbeat(self.engine, self._load, self.host_counts)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="event-loop", daemon=True
        )
        self._aborted = threading.Event()
        self._images: set[asyncio.Task[Any]] = set()
        self._storers = ThreadPoolExecutor(PUTS_AT_ONCE, thread_name_prefix="store")

    def start(self) -> None:
        self._thread.start()
        self.run(self._open())
        self.storage_gate.start()
        self.leases.start()
        PRODUCTS_ACTIVE.set_function(lambda: self.leases.count)
        HOSTS_SILENT.set_function(lambda: self._http.hosts.silent)
        self._heartbeat.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the event loop, and wait for the result here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def run_images(
        self, product: ActiveProduct, work: Mapping[int, Coroutine[Any, Any, T]]
    ) -> Iterator[Sequence[tuple[int, asyncio.Task[T]]]]:
        """Run the tasks of a product's images concurrently on the event loop, and yield the ended
        tasks with their keys: all that ended within HAND_OVER_SECONDS at once, and the last ones
        without delay.

        abort() cancels the tasks; so does ActiveProduct.cancel().
        """
        handed_over: SimpleQueue[list[tuple[int, asyncio.Task[T]]]] = SimpleQueue()
        ended: list[tuple[int, asyncio.Task[T]]] = []
        running = len(work)

        def start() -> None:
            tasks = {self._loop.create_task(one): key for key, one in work.items()}
            self._images.update(tasks)
            for task, key in tasks.items():
                task.add_done_callback(partial(end, key))
            product.begin(set(tasks), self.settings.product_timeout_seconds)
            if self._aborted.is_set():
                product.cancel()

        def end(key: int, task: asyncio.Task[T]) -> None:
            self._images.discard(task)
            product.image_ended(task)
            ended.append((key, task))
            nonlocal running
            running -= 1
            if not running:
                hand_over()
            elif len(ended) == 1:
                self._loop.call_later(HAND_OVER_SECONDS, hand_over)

        def hand_over() -> None:
            if ended:
                handed_over.put(ended.copy())
                ended.clear()

        self._loop.call_soon_threadsafe(start)
        left = len(work)
        while left:
            some = handed_over.get()
            left -= len(some)
            yield some

    def cancel(self, product: ActiveProduct) -> None:
        """Cancel a product's running images. Thread-safe."""
        self._loop.call_soon_threadsafe(product.cancel)

    def in_parts(
        self, store: Callable[[Sequence[Item]], Iterable[T]], items: Sequence[Item]
    ) -> Iterable[T]:
        """Call `store` with the items, and return all results: with all items at once in a folder,
        where files that are written together take less time, and with each item alone, all
        concurrently, on a storage server.
        """
        if not self.store.is_remote:
            return store(items)
        parts = [self._storers.submit(copy_context().run, store, [item]) for item in items]
        return (result for part in parts for result in part.result())

    def abort(self) -> None:
        """Cancel all running images. Their products are handed back."""
        self._aborted.set()
        self._loop.call_soon_threadsafe(lambda: [image.cancel() for image in self._images])

    def close(self) -> None:
        self._heartbeat.stop()
        self.storage_gate.stop()
        self.leases.stop()
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._storers.shutdown()
        self.engine.dispose()

    def persist(self, write: Callable[[Connection], T]) -> T:
        """Run a write that must not be lost. Retries while the database is unavailable. Raises
        Stopping.
        """
        return self._persist(self.engine.connect, write)

    def persist_together(self, write: Callable[[Connection], T]) -> T:
        """Like persist, for several statements in one transaction."""
        return self._persist(partial(transaction, self.engine), write)

    def _persist(
        self,
        connected: Callable[[], AbstractContextManager[Connection]],
        write: Callable[[Connection], T],
    ) -> T:
        pause = 0.1
        while True:
            try:
                with connected() as connection:
                    return write(connection)
            except SQLAlchemyError as error:
                if not is_unavailable(error):
                    raise
                log.warning("database unavailable, trying again", error=str(error).splitlines()[0])
            if self._aborted.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                raise Stopping
            pause = min(pause * 2, MAX_DATABASE_PAUSE_SECONDS)

    def _load(self) -> tuple[int, int, int]:
        return self.leases.count, self.settings.codec_processes, self.codec.busy

    async def _open(self) -> None:
        settings = self.settings
        tls = tls_context()
        # Separate places per host for each: a webhook's lease must not run out while it waits for
        # image fetches from the same host.
        self._http = OutgoingHttp(
            settings.fetch_allow,
            connections_per_host=settings.connections_per_host,
            user_agent=settings.sent_user_agent,
            tls=tls,
        )
        self.webhook_http = OutgoingHttp(
            settings.fetch_allow,
            connections_per_host=WEBHOOKS_AT_ONCE,
            user_agent=settings.sent_user_agent,
            tls=tls,
        )
        self.fetcher = ImageFetcher(
            self._http,
            MemoryBudget(settings.fetch_memory_bytes),
            max_image_bytes=settings.max_image_bytes,
            timeout_seconds=settings.download_timeout_seconds,
            origins=self.origins,
            paused_hosts=PausedHosts(self.engine),
            asked_pauses=AskedPauses(self.engine),
            max_redirects=settings.max_redirects,
        )
        self.watermarks = Watermarks(self.fetcher)
        self.processor_http = OutgoingHttp(
            settings.fetch_allow,
            connections_per_host=PROCESSOR_CONNECTIONS,
            user_agent=settings.sent_user_agent,
            tls=tls,
        )
        self.codec = CodecPool(
            settings.codec_processes,
            CodecLimits(settings.max_image_pixels, settings.max_image_frames),
            timeout_seconds=settings.encode_timeout_seconds,
        )
        await self.codec.start()

    async def _close(self) -> None:
        await self.codec.close()
        await self.origins.close()
        await self._http.close()
        await self.webhook_http.close()
        await self.processor_http.close()
