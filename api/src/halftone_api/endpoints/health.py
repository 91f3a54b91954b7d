"""Whether the API is alive, and whether it is ready: it can reach database, broker and storage."""

import asyncio
from collections.abc import Callable
from typing import Literal

import pika
import structlog
from anyio import CapacityLimiter, to_thread
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.declaration import Answer, endpoint
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import Services, services
from halftone_shared.db.engine import check_database
from halftone_shared.errors import DatabaseUnavailable
from halftone_shared.runtime.settings import IN_PROCESS_QUEUE

log = structlog.get_logger(__name__)

CHECK_TIMEOUT_SECONDS = 3
# A stalled server keeps its connections open, and a check on one waits for ever without this limit.
ANSWER_SECONDS = 6.0
# The checks have threads of their own: calls that keep all others busy must not delay them.
_THREADS = CapacityLimiter(4)


class Alive(TypedDict):
    status: Literal["ok"]


class Ready(TypedDict):
    status: Literal["ready"]
    checks: dict[str, Literal["ok"]]


@endpoint(
    "GET",
    "/healthz",
    name="health",
    summary="Whether the process is alive",
    answers={200: Answer("The process answers.", Alive)},
    keyless=True,
)
async def healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


@endpoint(
    "GET",
    "/readyz",
    name="ready",
    summary="Whether database, broker and storage can be reached",
    answers={200: Answer("Ready.", Ready)},
    problems=(ProblemCode.NOT_READY,),
    keyless=True,
)
async def readyz(request: Request) -> Response:
    checks = await _check(services(request))
    failing = {name: problem for name, problem in checks.items() if problem}
    if failing:
        detail = " ".join(f"{name}: {problem}" for name, problem in failing.items())
        raise Problem(
            ProblemCode.NOT_READY, detail, headers={"Retry-After": "5"}, failing=sorted(failing)
        )
    return JSONResponse({"status": "ready", "checks": dict.fromkeys(checks, "ok")})


async def _check(found: Services) -> dict[str, str | None]:
    checks = {"database": _in_time(lambda: _database_problem(found))}
    if found.settings.rabbitmq_url != IN_PROCESS_QUEUE:
        checks["broker"] = _in_time(lambda: _broker_problem(found.settings.rabbitmq_url))
    problems = dict(zip(checks, await asyncio.gather(*checks.values()), strict=True))
    # Last: the database records which storage belongs to it.
    has_database = problems["database"] is None
    storage = await _in_time(lambda: _storage_problem(found, has_database=has_database))
    return problems | {"storage": storage}


async def _in_time(check: Callable[[], str | None]) -> str | None:
    """The problem that the check found. After ANSWER_SECONDS its thread is abandoned."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await to_thread.run_sync(check, abandon_on_cancel=True, limiter=_THREADS)
    except TimeoutError:
        return f"There was no answer within {ANSWER_SECONDS:g} s."


def _database_problem(found: Services) -> str | None:
    try:
        check_database(found.watch_engine)
    except DatabaseUnavailable as error:
        log.warning("database not ready", error=str(error))
        return error.public
    return None


def _storage_problem(found: Services, *, has_database: bool) -> str | None:
    if (problem := found.storage_check.problem(has_database=has_database)) is None:
        return None
    # The storage's place and error message are for the operator only.
    log.warning("storage not ready", error=problem)
    return "The storage of the images cannot be written now."


def _broker_problem(rabbitmq_url: str) -> str | None:
    parameters = pika.URLParameters(rabbitmq_url)
    parameters.socket_timeout = parameters.stack_timeout = CHECK_TIMEOUT_SECONDS
    parameters.blocked_connection_timeout = CHECK_TIMEOUT_SECONDS
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
        return f"RabbitMQ cannot be reached ({type(error).__name__})."
    return None
