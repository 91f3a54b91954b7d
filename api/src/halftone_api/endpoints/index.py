"""The index: what this service is, and the links to its parts."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints import all_endpoints
from halftone_api.endpoints.declaration import Answer, endpoint
from halftone_api.openapi.version import VERSION
from halftone_api.pages.rendering import accepts_html
from halftone_api.pages.start import start_page
from halftone_api.services import services


class Index(TypedDict):
    name: str
    version: str
    links: dict[str, str]


@endpoint(
    "GET",
    "/",
    name="index",
    summary="The routes; for browsers, the start page",
    answers={200: Answer("Name, version, and the URL of every route.", Index)},
    keyless=True,
)
async def index(request: Request) -> Response:
    """JSON, or HTML if the caller accepts it."""
    public_url = services(request).settings.public_url
    headers = {"Vary": "Accept"}
    if accepts_html(request):
        page = await start_page(request)
        page.headers.update(headers)
        return page
    links = {each.name: public_url + each.path for each in all_endpoints() if each.described}
    return JSONResponse({"name": "halftone", "version": VERSION, "links": links}, headers=headers)
