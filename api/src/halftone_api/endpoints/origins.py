"""An owner's settings for image hosts: credentials, rate, connections."""

import json
from uuid import UUID

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.declaration import Answer, Body, Tag, endpoint
from halftone_api.endpoints.parameters import HOST
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.origins import (
    OriginRow,
    get_origin,
    list_origins,
    remove_origin,
    set_origin,
)
from halftone_shared.model.json_types import Time
from halftone_shared.model.option_kinds import JsonSchema
from halftone_shared.model.origins import (
    MAX_CONNECTIONS,
    MAX_RATE,
    BadOrigin,
    OriginSettings,
    parse_origin,
)
from halftone_shared.model.status_object import timestamp

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024


class Origin(TypedDict):
    """The settings of a host. Header values, user name and password are never shown."""

    host: str
    header_names: list[str]
    has_password: bool
    requests_per_second: float | None
    connections: int | None
    updated_at: Time


class Origins(TypedDict):
    origins: list[Origin]


def _body_schema() -> JsonSchema:
    return {
        "type": "object",
        "properties": {
            "headers": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Sent with each request for an image.",
            },
            "username": {"type": "string", "description": "The user name for HTTP Basic."},
            "password": {"type": "string", "description": "The password for HTTP Basic."},
            "requests_per_second": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": MAX_RATE,
                "description": "The most requests a second of all workers together.",
            },
            "connections": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_CONNECTIONS,
                "description": "The most connections of all workers together.",
            },
        },
        "additionalProperties": False,
    }


@endpoint(
    "GET",
    "/api/origins",
    name="origins",
    tag=Tag.UPLOAD,
    summary="The hosts for which you have settings",
    answers={200: Answer("The settings by host, without secrets.", Origins)},
)
def get_origins(request: Request) -> Response:
    caller = find_caller(request)
    with services(request).engine.connect() as connection:
        rows = list_origins(connection, caller.owner_id)
    return JSONResponse({"origins": [_view(row) for row in rows]})


@endpoint(
    "GET",
    "/api/origins/{host}",
    name="origin",
    tag=Tag.UPLOAD,
    summary="The settings for a host",
    parameters=(HOST,),
    answers={200: Answer("The settings, without secrets.", Origin)},
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.NOT_FOUND),
)
def get_one(request: Request) -> Response:
    caller = find_caller(request)
    return JSONResponse(_view(_find(request, caller.owner_id, HOST.of(request))))


@endpoint(
    "PUT",
    "/api/origins/{host}",
    name="set_origin",
    tag=Tag.UPLOAD,
    summary="Set credentials, rate and connections for a host",
    description="Replaces earlier settings. Credentials are stored encrypted. They are sent to this"
    " host only, by https unless the operator has allowed its network, and never after a redirect"
    " to another host.",
    parameters=(HOST,),
    body=Body(_body_schema),
    answers={200: Answer("The settings, without secrets.", Origin)},
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.TOO_LARGE),
)
async def put(request: Request) -> Response:
    caller = await run_in_threadpool(find_caller, request)
    host = HOST.of(request)
    settings = await _settings(request)

    def write() -> OriginRow:
        found = services(request)
        with found.engine.connect() as connection:
            set_origin(connection, caller.owner_id, host, settings, found.secret_box)
        return _find(request, caller.owner_id, host)

    row = await run_in_threadpool(write)
    log.info("origin set", host=host)
    return JSONResponse(_view(row))


@endpoint(
    "DELETE",
    "/api/origins/{host}",
    name="remove_origin",
    tag=Tag.UPLOAD,
    summary="Delete the settings for a host",
    parameters=(HOST,),
    answers={204: Answer("The settings are deleted.")},
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.NOT_FOUND),
)
def remove(request: Request) -> Response:
    caller = find_caller(request)
    host = HOST.of(request)
    with services(request).engine.connect() as connection:
        if not remove_origin(connection, caller.owner_id, host):
            raise _not_found(host)
    log.info("origin removed", host=host)
    return Response(status_code=204)


async def _settings(request: Request) -> OriginSettings:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            detail = f"The body is larger than {MAX_BODY_BYTES:,} bytes."
            raise Problem(ProblemCode.TOO_LARGE, detail)
    try:
        return parse_origin(json.loads(body))
    except BadOrigin as error:
        raise Problem(
            ProblemCode.INVALID_PARAMETER,
            f"{error.member} cannot be used: expected {error.expected}.",
            parameter=error.member,
        ) from None
    except (ValueError, RecursionError):
        raise Problem(
            ProblemCode.INVALID_PARAMETER, "The body is not JSON.", parameter="body"
        ) from None


def _find(request: Request, owner_id: UUID | None, host: str) -> OriginRow:
    with services(request).engine.connect() as connection:
        row = get_origin(connection, owner_id, host)
    if row is None:
        raise _not_found(host)
    return row


def _not_found(host: str) -> Problem:
    return Problem(ProblemCode.NOT_FOUND, f"Nothing is set for {host!r}.")


def _view(row: OriginRow) -> Origin:
    return {
        "host": row.host,
        "header_names": row.header_names,
        "has_password": row.has_password,
        "requests_per_second": row.requests_per_second,
        "connections": row.connections,
        "updated_at": timestamp(row.updated_at),
    }
