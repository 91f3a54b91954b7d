"""Whether the API is alive, and whether it is ready: database and broker reached."""

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.problems import Problem
from halftone_api.services import Services, services
from halftone_shared.database import DatabaseUnavailable, check_database
from halftone_shared.settings import IN_PROCESS_QUEUE

CHECK_TIMEOUT_SECONDS = 3


async def healthz(request: Request) -> Response:
    """Alive: the process answers."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Ready: what a call needs is there. 503 names what is not."""
    checks = await run_in_threadpool(_check, services(request))
    failing = {name: problem for name, problem in checks.items() if problem}
    if failing:
        detail = " ".join(f"{name}: {problem}" for name, problem in failing.items())
        raise Problem(503, "not_ready", detail, headers={"Retry-After": "5"}, failing=sorted(failing))
    return JSONResponse({"status": "ready", "checks": dict.fromkeys(checks, "ok")})


def _check(found: Services) -> dict[str, str | None]:
    checks = {"database": _database_problem(found)}
    if found.settings.rabbitmq_url != IN_PROCESS_QUEUE:
        checks["broker"] = _broker_problem(found.settings.rabbitmq_url)
    return checks


def _database_problem(found: Services) -> str | None:
    try:
        check_database(found.engine)
    except DatabaseUnavailable as error:
        return str(error)
    return None


def _broker_problem(rabbitmq_url: str) -> str | None:
    parameters = pika.URLParameters(rabbitmq_url)
    parameters.socket_timeout = parameters.stack_timeout = CHECK_TIMEOUT_SECONDS
    parameters.blocked_connection_timeout = CHECK_TIMEOUT_SECONDS
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
        return f"RabbitMQ cannot be reached ({type(error).__name__})."
    return None
