"""The state of the whole service, for operators."""

from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.authentication import find_admin
from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.paused_hosts import PausedHostObject, paused_host_objects
from halftone_api.errors import ProblemCode
from halftone_api.services import services
from halftone_shared.db.backlog import read_backlog, recent_failures, running_requests
from halftone_shared.db.backlog_minutes import BacklogMinute, backlog_minutes
from halftone_shared.db.host_figures import busiest_hosts, throughput
from halftone_shared.db.paused_hosts import list_paused_hosts, paused_name
from halftone_shared.db.workers import live_workers
from halftone_shared.model.json_types import Count, Time, Uuid
from halftone_shared.model.states import Status
from halftone_shared.model.status_object import timestamp

SHOWN_REQUESTS = 20
SHOWN_HOSTS = 20


class BacklogObject(TypedDict):
    """How far behind the service is."""

    waiting_products: Annotated[Count, Field(description="Products that a worker may take now.")]
    postponed_products: Annotated[Count, Field(description="Products that may be taken later.")]
    processing_products: Count
    oldest_waiting_seconds: float
    requests_without_progress: Annotated[
        Count, Field(description="Running requests in which no product has ended for 10 minutes.")
    ]
    pending_events: Annotated[Count, Field(description="Webhook events not delivered yet.")]
    oldest_due_event_seconds: float
    requests: Annotated[
        dict[Status, Count],
        Field(description="By status. Of those that have ended, only the last 24 hours count."),
    ]


class WorkerObject(TypedDict):
    """A worker process that has reported within 30 seconds."""

    id: Uuid
    host: str
    pid: int
    products_active: Count
    codec_processes: Count
    codec_processes_busy: Count
    images: Annotated[Count, Field(description="Attempts that succeeded since it started.")]
    failed: Annotated[Count, Field(description="Attempts that failed since it started.")]
    seconds_per_image: Annotated[float, Field(description="Includes the time that it waited.")]
    started_at: Time
    last_seen_at: Time


class RunningObject(TypedDict):
    """A running request."""

    request_id: Uuid
    csv_filename: str
    status: Status
    created_at: Time
    last_progress_at: Annotated[Time, Field(description="When a product last ended.")]
    total_products: Count
    ended_products: Count
    failed_images: Count


class FailureCount(TypedDict):
    code: str
    images: Count
    requests: Count


class MinuteObject(TypedDict):
    """All images of one minute, failed attempts included."""

    minute: Time
    images: Count
    failed: Count
    bytes_in: Count
    bytes_out: Count


class BacklogMinuteObject(TypedDict):
    """The highest counts of one minute."""

    minute: Time
    waiting_products: Count
    postponed_products: Count
    processing_products: Count
    pending_events: Count
    oldest_waiting_seconds: float


class HostObject(TypedDict):
    """One host in the last hour."""

    host: str
    images: Count
    failed: Annotated[Count, Field(description="Attempts that failed.")]
    bytes_in: Count
    bytes_out: Count
    seconds_per_image: Annotated[float, Field(description="Includes the time that it waited.")]
    paused: Annotated[bool, Field(description="An operator has paused the host.")]


class Operations(TypedDict):
    paused_hosts: list[PausedHostObject]
    backlog: BacklogObject
    history: Annotated[
        list[BacklogMinuteObject],
        Field(description="The backlog of the last hour, oldest first, by minute."),
    ]
    throughput: Annotated[
        list[MinuteObject], Field(description="The last hour, oldest first, without idle minutes.")
    ]
    hosts: Annotated[
        list[HostObject], Field(description="Those with the most failures first, at most 20.")
    ]
    workers: list[WorkerObject]
    running: Annotated[list[RunningObject], Field(description="The oldest first, at most 20.")]
    failures: Annotated[
        list[FailureCount],
        Field(
            description="By error code, counted over the first failures of each of the newest 50"
            " requests."
        ),
    ]


@endpoint(
    "GET",
    "/api/operations",
    name="operations",
    tag=Tag.OPERATIONS,
    summary="Backlog, throughput, hosts, workers, running requests and recent failures",
    description="For admin keys, or with HALFTONE_AUTH=off.",
    answers={200: Answer("The state of the service now.", Operations)},
    problems=(ProblemCode.FORBIDDEN,),
)
def get_operations(request: Request) -> Response:
    find_admin(request)
    return JSONResponse(operations_now(request))


def operations_now(request: Request) -> Operations:
    """The state of the service now, from counters and partial indexes."""
    with services(request).engine.connect() as connection:
        backlog = read_backlog(connection)
        workers = live_workers(connection)
        running = running_requests(connection, SHOWN_REQUESTS)
        failures = recent_failures(connection)
        history = backlog_minutes(connection)
        minutes = throughput(connection)
        hosts = busiest_hosts(connection, SHOWN_HOSTS)
        paused = list_paused_hosts(connection)
    paused_names = {each.host for each in paused}
    return {
        "paused_hosts": paused_host_objects(paused),
        "history": [_minute_object(each) for each in history],
        "throughput": [
            {
                "minute": timestamp(each.minute),
                "images": each.images,
                "failed": each.failed,
                "bytes_in": each.bytes_in,
                "bytes_out": each.bytes_out,
            }
            for each in minutes
        ],
        "hosts": [
            {
                "host": each.host,
                "images": each.images,
                "failed": each.failed,
                "bytes_in": each.bytes_in,
                "bytes_out": each.bytes_out,
                "seconds_per_image": round(each.seconds_per_image, 2),
                "paused": paused_name(paused_names, each.host) is not None,
            }
            for each in hosts
        ],
        "backlog": {
            "waiting_products": backlog.waiting_products,
            "postponed_products": backlog.postponed_products,
            "processing_products": backlog.processing_products,
            "oldest_waiting_seconds": backlog.oldest_waiting_seconds,
            "requests_without_progress": backlog.requests_without_progress,
            "pending_events": backlog.pending_events,
            "oldest_due_event_seconds": backlog.oldest_due_event_seconds,
            "requests": {Status(status): count for status, count in backlog.requests.items()},
        },
        "workers": [
            {
                "id": str(worker.id),
                "host": worker.host,
                "pid": worker.pid,
                "products_active": worker.products_active,
                "codec_processes": worker.codec_processes,
                "codec_processes_busy": worker.codec_processes_busy,
                "images": worker.images,
                "failed": worker.failed_images,
                "seconds_per_image": round(
                    worker.image_seconds / max(worker.images + worker.failed_images, 1), 2
                ),
                "started_at": timestamp(worker.started_at),
                "last_seen_at": timestamp(worker.last_seen_at),
            }
            for worker in workers
        ],
        "running": [
            {
                "request_id": str(each.id),
                "csv_filename": each.csv_filename,
                "status": Status(each.status),
                "created_at": timestamp(each.created_at),
                "last_progress_at": timestamp(each.last_progress_at),
                "total_products": each.total_products,
                "ended_products": each.ended_products,
                "failed_images": each.failed_images,
            }
            for each in running
        ],
        "failures": [
            {"code": each.code, "images": each.images, "requests": each.requests}
            for each in failures
        ],
    }


def _minute_object(each: BacklogMinute) -> BacklogMinuteObject:
    return {
        "minute": timestamp(each.minute),
        "waiting_products": each.waiting_products,
        "postponed_products": each.postponed_products,
        "processing_products": each.processing_products,
        "pending_events": each.pending_events,
        "oldest_waiting_seconds": each.oldest_waiting_seconds,
    }
