"""`/docs`: the OpenAPI document for people."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from halftone_api.errors import ProblemCode
from halftone_api.output.report import REPORT_COLUMNS
from halftone_api.pages.rendering import render
from halftone_shared.model.error_codes import ImageErrorCode


def docs_page(request: Request, document: dict[str, Any]) -> Response:
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
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
