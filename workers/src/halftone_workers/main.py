"""`halftone-worker`: takes messages until SIGTERM or SIGINT, then finishes its running products
and exits 0.

A worker is one process, without a master whose death would orphan or kill its children. Code that
may crash runs in the codec processes. To use more cores than one process can feed, run more
workers.
"""

import ctypes
import os
import resource
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import structlog
from dramatiq import Broker

from halftone_shared.errors import BadSettings
from halftone_shared.marked_folder import FILES_AT_ONCE
from halftone_shared.runtime.gc_tuning import collect_rarely
from halftone_shared.runtime.logs import configure_logs, warn_of_unknown_variables
from halftone_shared.runtime.settings import (
    IN_PROCESS_QUEUE,
    exit_on_bad_settings,
    load_settings_or_exit,
    take_no_arguments,
)
from halftone_shared.runtime.supervision import end_with_parent, end_within
from halftone_shared.runtime.tracing import configure_traces, end_traces
from halftone_shared.service.backlog_recorder import BacklogRecorder, make_backlog_recorder
from halftone_shared.service.dispatcher import Dispatcher, make_dispatcher
from halftone_shared.service.sweeper import Sweeper, make_sweeper
from halftone_shared.storage import refuse_unusable_storage
from halftone_workers.brokers import InProcessBroker, InProcessQueue, RabbitmqWorkerBroker
from halftone_workers.codec_processes.privileges import forbid_inspection
from halftone_workers.http.client import MAX_CONNECTIONS
from halftone_workers.jobs.actors import declare_actors
from halftone_workers.jobs.admission import MAX_ACTIVE
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.jobs.webhook import WebhookJobs
from halftone_workers.metrics import serve_metrics
from halftone_workers.runtime import Runtime
from halftone_workers.settings import WEBHOOKS_AT_ONCE, WorkerSettings
from halftone_workers.worker import PromptWorker

log = structlog.get_logger(__name__)

# Each connection is an open file, and each product may be storing some. Many systems allow 1,024
# unless a program asks for more.
OPEN_FILES = MAX_CONNECTIONS + MAX_ACTIVE * FILES_AT_ONCE + 1024
# glibc gives each thread its own memory arena and keeps freed memory there. These threads take
# turns, so one arena is enough.
_M_ARENA_MAX, ARENAS = -8, 1
# New objects before the next garbage collection. Images in progress have many: with 10,000, each
# was examined again and again, which took 6 % of a worker's processor time.
NEW_OBJECTS = 50_000
# After the grace period, interrupted products have this long to be handed back.
HAND_BACK_SECONDS = 10
# Then everything must close within this time. A database, queue or store that still hangs is
# abandoned.
CLOSE_SECONDS = 3


def main() -> None:
    take_no_arguments(
        "halftone-worker", "Fetches and compresses images and sends webhooks, until SIGTERM."
    )
    settings = load_settings_or_exit(WorkerSettings)
    configure_logs(settings.log_level, settings.log_format, service="worker")
    warn_of_unknown_variables()
    configure_traces("worker")
    wait_for_signal = _on_signals()
    _work_in_batches()
    end_with_parent()
    _share_free_memory()
    _allow_open_files()
    forbid_inspection()
    with exit_on_bad_settings():
        _serve_metrics(settings)
        refuse_unusable_storage(settings.storage_url)
        runtime = Runtime(settings)
    runtime.start()
    broker, threads = _make_broker(settings)
    products = ProductJobs(runtime)
    webhooks = WebhookJobs(runtime)
    declare_actors(broker, products, webhooks)
    worker = PromptWorker(
        broker,
        threads=settings.product_messages + WEBHOOKS_AT_ONCE,
        prefetch=settings.product_messages,
    )
    collect_rarely(NEW_OBJECTS)
    worker.start()
    for thread in threads:
        thread.start()
    log.info(
        "worker started",
        products_at_once=settings.products_at_once,
        codec_processes=settings.codec_processes,
    )
    wait_for_signal()
    log.info("worker stopping", grace_seconds=settings.shutdown_grace_seconds)
    end_within(settings.shutdown_grace_seconds + HAND_BACK_SECONDS + CLOSE_SECONDS)
    abort = threading.Timer(settings.shutdown_grace_seconds, runtime.abort)
    abort.start()
    products.stop()
    for thread in threads:
        thread.stop()
    worker.stop(timeout=int((settings.shutdown_grace_seconds + HAND_BACK_SECONDS) * 1000))
    products.close()
    webhooks.close()
    abort.cancel()
    runtime.close()
    broker.close()
    end_traces()
    log.info("worker stopped")


def _on_signals() -> Callable[[], object]:
    """Install handlers, and return a function that waits until SIGTERM or SIGINT has arrived.

    A later Ctrl-C ends the process at once. A later SIGTERM does not: a service manager may send it
    to every process of `halftone up`, which forwards it to its children.

    The signal itself writes to a pipe. A handler of Python would come too late: it runs in this
    thread, which may already wait in read().
    """
    came: list[int] = []
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)

    def on_signal(number: int, _: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            os._exit(1)
        came.append(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return lambda: os.read(reading, 1)


def _share_free_memory() -> None:
    with suppress(AttributeError, OSError):  # not glibc's
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def _work_in_batches() -> None:
    """Make woken threads wait for a free processor instead of preempting a codec process.

    Applies to this thread and to threads that it starts later.
    """
    with suppress(AttributeError, OSError):  # not Linux
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _serve_metrics(settings: WorkerSettings) -> None:
    if settings.metrics_port is None:
        return
    try:
        serve_metrics(settings.metrics_host, settings.metrics_port)
    except (OSError, UnicodeError) as error:
        host = f"HALFTONE_METRICS_HOST={settings.metrics_host!r}"
        given = f"{host}, HALFTONE_METRICS_PORT={settings.metrics_port}"
        raise BadSettings([f"{given}: {getattr(error, 'strerror', error)}."]) from None


def _make_broker(
    settings: WorkerSettings,
) -> "tuple[Broker, list[Dispatcher | Sweeper | BacklogRecorder]]":
    """Create the broker. For the in-process broker, also create the threads that feed it, which
    otherwise run in the API.
    """
    if settings.rabbitmq_url != IN_PROCESS_QUEUE:
        return RabbitmqWorkerBroker(settings.rabbitmq_url, settings.queue_type), []
    broker = InProcessBroker(middleware=[])
    return broker, [
        make_dispatcher(settings, InProcessQueue(broker)),
        make_sweeper(settings),
        make_backlog_recorder(settings),
    ]
