"""The API's description: for programs and for people."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.endpoints.declaration import Answer, endpoint
from halftone_api.openapi.document import describe_api
from halftone_api.openapi.version import VERSION
from halftone_api.pages.docs import docs_page
from halftone_api.services import services
from halftone_shared.model.option_kinds import JsonSchema


@endpoint(
    "GET",
    "/openapi.json",
    name="openapi",
    summary="This reference for programs: OpenAPI 3.1",
    answers={200: Answer("The OpenAPI document.", dict[str, Any])},
    keyless=True,
)
async def openapi_json(request: Request) -> Response:
    return JSONResponse(_document(request))


@endpoint(
    "GET",
    "/docs",
    name="docs",
    summary="This reference for people",
    answers={200: Answer("A page.", media_types=("text/html",))},
    keyless=True,
)
async def docs(request: Request) -> Response:
    """The `type` of a problem links to its code on this page."""
    return docs_page(request, _document(request))


def _document(request: Request) -> JsonSchema:
    return describe_api(VERSION, services(request).settings.public_url)
