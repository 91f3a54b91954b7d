"""`/docs`: the OpenAPI document for people."""

import re

from starlette.requests import Request
from starlette.responses import Response

from halftone_api.errors import ProblemCode
from halftone_api.output.report import REPORT_COLUMNS
from halftone_api.pages.rendering import render
from halftone_api.services import services
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.option_kinds import JsonSchema


def _example(base: str, operation: JsonSchema, *, signs_in: bool) -> str:
    """The operation as a curl command, with its path's parameters as words in capitals."""
    words = ["curl"]
    if operation["method"] != "GET":
        words.append(f"-X {operation['method']}")
    if signs_in and "security" not in operation:
        words.append('-H "Authorization: Bearer $HALFTONE_API_KEY"')
    for media_type in operation.get("requestBody", {}).get("content", {}):
        is_form = media_type == "multipart/form-data"
        words.append("-F file=@products.csv" if is_form else "--json '{}'")
    path = re.sub(r"\{(\w+)\}", lambda name: name[1].upper(), operation["path"])
    return " ".join([*words, f"{base}{path}"])


def docs_page(request: Request, document: JsonSchema) -> Response:
    settings = services(request).settings
    operations: list[JsonSchema] = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for each in operations:
        signs_in = settings.auth == "keys"
        each["example"] = _example(settings.public_url, each, signs_in=signs_in)
    return render(
        request,
        "docs.html",
        document=document,
        tags=[tag["name"] for tag in document["tags"]],
        operations=operations,
        schemas=document["components"]["schemas"],
        ended=document["webhooks"]["ended"]["post"],
        problems=list(ProblemCode),
        image_errors=list(ImageErrorCode),
        report_columns=REPORT_COLUMNS,
    )
