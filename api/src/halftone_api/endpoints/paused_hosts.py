"""Pausing and resuming a host that images come from, for operators."""

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.authentication import find_admin
from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import HOST
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.paused_hosts import PausedHost, list_paused_hosts, pause_host, resume_host
from halftone_shared.model.json_types import Time
from halftone_shared.model.status_object import timestamp

log = structlog.get_logger(__name__)


class PausedHostObject(TypedDict):
    """A host from which no worker fetches images."""

    host: str
    paused_at: Time


class PausedHosts(TypedDict):
    paused_hosts: list[PausedHostObject]


@endpoint(
    "GET",
    "/api/paused-hosts",
    name="paused_hosts",
    tag=Tag.OPERATIONS,
    summary="The hosts that are paused",
    description="For admin keys, or with HALFTONE_AUTH=off.",
    answers={200: Answer("The paused hosts, by name.", PausedHosts)},
    problems=(ProblemCode.FORBIDDEN,),
)
def get_paused_hosts(request: Request) -> Response:
    find_admin(request)
    with services(request).engine.connect() as connection:
        rows = list_paused_hosts(connection)
    return JSONResponse({"paused_hosts": paused_host_objects(rows)})


@endpoint(
    "PUT",
    "/api/paused-hosts/{host}",
    name="pause_host",
    tag=Tag.OPERATIONS,
    summary="Pause a host: no worker fetches images from it",
    description="Takes effect in all workers within seconds; images that are being fetched are"
    " finished. Products with images of the host wait, without counting an attempt, and"
    " `waiting_for` in their request's status says so. For admin keys, or with HALFTONE_AUTH=off.",
    parameters=(HOST,),
    answers={200: Answer("The host is paused.", PausedHostObject)},
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.FORBIDDEN),
)
def put_paused_host(request: Request) -> Response:
    find_admin(request)
    host = HOST.of(request)
    with services(request).engine.connect() as connection:
        row = pause_host(connection, host)
    log.info("host paused", host=host)
    return JSONResponse(paused_host_objects([row])[0])


@endpoint(
    "DELETE",
    "/api/paused-hosts/{host}",
    name="resume_host",
    tag=Tag.OPERATIONS,
    summary="Resume a paused host: its products go on at once",
    description="For admin keys, or with HALFTONE_AUTH=off.",
    parameters=(HOST,),
    answers={204: Answer("The host is no longer paused.")},
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.FORBIDDEN, ProblemCode.NOT_FOUND),
)
def delete_paused_host(request: Request) -> Response:
    find_admin(request)
    host = HOST.of(request)
    if not resume_host(services(request).engine, host):
        raise Problem(ProblemCode.NOT_FOUND, f"The host {host!r} is not paused.")
    log.info("host resumed", host=host)
    return Response(status_code=204)


def paused_host_objects(rows: list[PausedHost]) -> list[PausedHostObject]:
    return [{"host": row.host, "paused_at": timestamp(row.paused_at)} for row in rows]
