"""The count after the last fault: the invariants of everything that was accepted."""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import psutil
from sqlalchemy import Engine, text

from halftone_shared.db.invariants import examine
from halftone_shared.model.messages import PRODUCTS_QUEUE, WEBHOOKS_QUEUE
from halftone_shared.model.signing import webhook_id
from halftone_shared.service.dispatcher import REAP_EVERY_SECONDS
from halftone_workers.jobs.product import FIRST_BACKOFF_SECONDS
from tests.chaos.load import Load
from tests.chaos.processor import TIMEOUT_SECONDS
from tests.chaos.world import (
    DOWNLOAD_TIMEOUT_SECONDS,
    MAX_ATTEMPTS,
    WORKERS,
    World,
    command_of,
)

SETTLE_SECONDS = 60
# For images of hosts that never answer and for the receiver that hangs: pauses double.
SLOW_SETTLE_SECONDS = 240
# For an external processor that loses every job of a product: each attempt then lasts until its
# jobs expire and the reaper comes by, and all pauses are 25 % longer than planned.
PROCESSOR_SETTLE_SECONDS = MAX_ATTEMPTS * (
    DOWNLOAD_TIMEOUT_SECONDS + TIMEOUT_SECONDS + REAP_EVERY_SECONDS
) + 1.25 * FIRST_BACKOFF_SECONDS * (2 ** (MAX_ATTEMPTS - 1) - 1)
# The code is `internal`, with this message: a worker was killed in a product's last attempt.
_WORKER_LOST = "The worker was lost"
# Codes that faults may cause. Others mean that halftone gave up what it should have finished.
EXPECTED_ERRORS = {
    "http_error",
    "timeout",
    "connect_failed",
    "encode_timeout",
    "encode_crashed",
    "processor_failed",
    "processor_timeout",
    _WORKER_LOST,
}


class NotProved(AssertionError):
    """A guarantee was broken. The message says which, and where to look."""


def judge(world: World, load: Load) -> dict[str, Any]:
    """Wait at most SETTLE_SECONDS for everything to end, then count. Raises NotProved."""
    started = time.monotonic()
    engine = world.engine()
    _wait(
        "every request without a silent host to end",
        lambda: not {str(row.id) for row in _rows(engine, _RUNNING)} - load.slow,
        started,
        lambda: _rows(engine, _WAITING),
        PROCESSOR_SETTLE_SECONDS if world.processor else SETTLE_SECONDS,
    )
    seconds = time.monotonic() - started
    _wait(
        "every request to end",
        lambda: not _rows(engine, _RUNNING),
        started,
        lambda: _rows(engine, _WAITING),
        SLOW_SETTLE_SECONDS,
    )
    _wait(
        "every event to reach its receiver",
        lambda: not _unreceived(world, engine),
        started,
        lambda: _unreceived(world, engine),
        SLOW_SETTLE_SECONDS,
    )
    _wait(
        "the queues to be empty",
        lambda: not _messages(world),
        started,
        lambda: _messages(world),
        SLOW_SETTLE_SECONDS,
    )
    all_seconds = time.monotonic() - started

    known = {str(row[0]) for row in _rows(engine, "SELECT id FROM requests")}
    _require(
        known == set(load.accepted),
        "a request for every upload that was answered 202, and no other",
        known,
    )
    broken = [finding for _, finding in examine(engine) if finding is not None]
    _require(not broken, "every invariant of the doctor", broken)
    _require_one_id_an_event(world, engine)
    images = _require_images(world, engine)
    errors = {row.code: row.images for row in _rows(engine, _ERRORS)}
    _require(errors.keys() <= EXPECTED_ERRORS, f"no errors but {sorted(EXPECTED_ERRORS)}", errors)
    if world.volume is not None:
        beneath = world.volume.written_beneath
        _require(not beneath, "nothing beneath the mount point", beneath)
    _require_no_strangers(world)
    (totals,) = _rows(engine, _TOTALS)
    engine.dispose()
    return {
        "seconds_to_settle": round(seconds, 1),
        "seconds_to_settle_with_silent_hosts": round(all_seconds, 1),
        "images_downloaded": images,
        "errors": errors,
        **totals._mapping,
    }


_RUNNING = "SELECT id, status FROM requests WHERE completed_at IS NULL"
# What unfinished products wait for, and for how long.
_WAITING = """
    SELECT products.status, attempts, count(DISTINCT request_id) AS requests, count(*) AS products,
           bool_or(seq > dispatch_cursor AND next_attempt_at IS NULL) AS not_handed_out,
           max(next_attempt_at) - now() AS due_in, max(lease_until) - now() AS leased_for
    FROM products JOIN requests ON requests.id = request_id
    WHERE completed_at IS NULL AND products.status IN ('PENDING', 'PROCESSING')
    GROUP BY products.status, attempts, lease_until IS NULL, next_attempt_at IS NULL
"""
_ERRORS = f"""
    SELECT CASE WHEN image -> 'error' ->> 'message' LIKE '{_WORKER_LOST}%' THEN '{_WORKER_LOST}'
                ELSE image -> 'error' ->> 'code' END AS code, count(*) AS images
    FROM products, LATERAL jsonb_array_elements(images) AS image
    WHERE image -> 'error' ->> 'code' IS NOT NULL GROUP BY 1
"""  # noqa: S608 - a constant
_TOTALS = """
    SELECT (SELECT count(*) FROM requests) AS requests,
           (SELECT count(*) FROM requests WHERE status = 'CANCELLED') AS cancelled_requests,
           (SELECT sum(run - 1)::int FROM requests) AS retries,
           (SELECT count(*) FROM products) AS products,
           (SELECT sum(reused_images)::int FROM requests) AS reused_images,
           (SELECT count(*) FROM processor_jobs) AS processor_jobs,
           (SELECT count(*) FROM products WHERE claims > 1) AS products_claimed_more_than_once,
           (SELECT count(*) FROM webhook_events) AS events,
           (SELECT count(*) FROM webhook_attempts) AS webhook_attempts
"""


def _wait(
    what: str,
    condition: Callable[[], bool],
    started: float,
    seen: Callable[[], object] = lambda: "",
    limit_seconds: float = SETTLE_SECONDS,
) -> None:
    while not condition():
        if time.monotonic() - started > limit_seconds:
            raise NotProved(
                f"{limit_seconds:g} s after the last fault, still waiting for {what}: {seen()}"
            )
        time.sleep(0.3)


def _require(holds: bool, what: str, seen: object) -> None:
    if not holds:
        raise NotProved(f"Expected {what}; seen: {seen}")


def _rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


def _received_ids(world: World) -> set[str]:
    return {headers["webhook-id"] for _, headers, _ in world.posts}


def _unreceived(world: World, engine: Engine) -> set[str]:
    return {
        webhook_id(row.id) for row in _rows(engine, "SELECT id FROM webhook_events")
    } - _received_ids(world)


def _require_one_id_an_event(world: World, engine: Engine) -> None:
    events = {webhook_id(row.id) for row in _rows(engine, "SELECT id FROM webhook_events")}
    _require(_received_ids(world) == events, "the receiver to know each event by one ID", events)
    bodies = Counter((headers["webhook-id"], body) for _, headers, body in world.posts)
    _require(len(bodies) == len(events), "the same body on every attempt", len(bodies))
    endings = {
        (json.loads(body)["data"]["request_id"], json.loads(body)["timestamp"])
        for _, body in bodies
    }
    _require(len(endings) == len(events), "one event an ending", len(endings))


def _messages(world: World) -> dict[str, int]:
    """Messages left in the queues, waiting or unacknowledged."""
    left: dict[str, int] = {}
    for name in (PRODUCTS_QUEUE, WEBHOOKS_QUEUE):
        queue = world.rabbitmq.queue(world.rabbitmq_url, name)
        if queue.get("messages", 1):
            left[name] = queue.get("messages", -1)
    return left


def _require_images(world: World, engine: Engine) -> int:
    """Check that every output of a finished image can be downloaded with exactly the recorded
    number of bytes. Returns how many there are.
    """
    found = _rows(
        engine,
        """
        SELECT file, CAST(image ->> 'bytes_out' AS int) AS size FROM products,
        LATERAL unnest(output_files) WITH ORDINALITY AS file(file, position)
        JOIN LATERAL jsonb_array_elements(images) WITH ORDINALITY AS result(image, number)
            ON number = position
        WHERE file IS NOT NULL
        UNION ALL
        SELECT variant.value ->> 'file', CAST(variant.value ->> 'bytes_out' AS int) FROM products,
        LATERAL jsonb_array_elements(images) AS image,
        LATERAL jsonb_each(image -> 'variants') AS variant
        WHERE jsonb_typeof(image -> 'variants') = 'object'
        """,
    )
    with httpx.Client(base_url=world.url, timeout=20, trust_env=False) as http:
        for row in found:
            answer = http.get(f"/api/image/{row.file}")
            _require(answer.status_code == 200, f"the image {row.file}", answer.status_code)
            _require(
                len(answer.content) == row.size,
                f"{row.size} bytes of {row.file}",
                len(answer.content),
            )
    return len(found)


def _require_no_strangers(world: World) -> None:
    """Check that none from before a restart is running, and that one API, the workers and one codec
    process each remain: a pool that added a process for another owner ends it after some seconds.
    """
    family = {process.pid for process in world.family()}
    ours = [
        process
        for process in psutil.process_iter()
        if {"halftone_api", "halftone_workers", "halftone_workers.codec_processes.child"}
        & set(command_of(process))
    ]
    strangers = [
        process
        for process in ours
        if process.pid not in family and str(world.folder) in _environment(process)
    ]
    _require(not strangers, "no process of an earlier life", strangers)
    wanted = {
        "halftone_api": 1,
        "halftone_workers": WORKERS,
        "halftone_workers.codec_processes.child": WORKERS,
    }

    def running() -> Counter[str]:
        return Counter(module for module in map(_module, world.family()) if module)

    _wait(f"the processes {wanted}", lambda: running() == wanted, time.monotonic(), running)


def _module(process: psutil.Process) -> str | None:
    command = command_of(process)
    return command[command.index("-m") + 1] if "-m" in command else None


def _environment(process: psutil.Process) -> str:
    try:
        return str(process.environ())
    except psutil.Error:
        return ""
