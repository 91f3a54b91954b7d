"""The API's description, OpenAPI 3.1, made of the definitions that requests are checked and
answered with.
"""

from typing import Any

from halftone_api.endpoints.parameters import DEFAULT_LIMIT, MAX_LIMIT
from halftone_api.openapi.schemas import (
    SCHEMAS,
    TEXT,
    UUID,
    Schema,
    array_of,
    enum_of,
    object_of,
    or_null,
    ref,
)
from halftone_shared.model.image_names import MEDIA_TYPES
from halftone_shared.model.states import Status

_REQUEST_ID: Schema = {"name": "request_id", "in": "path", "required": True, "schema": UUID}
_LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_PAGING = (
    _query("limit", _LIMIT, "How many at most."),
    _query("cursor", TEXT, "The next_cursor of the page before."),
    _query("status", enum_of(Status), "Only those that stand there."),
)
_CSV: Schema = {"text/csv": {"schema": TEXT}}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _answer(description: str, content: Schema | None = None) -> Schema:
    return {"description": description} | ({"content": content} if content else {})


def _operation(
    operation_id: str,
    summary: str,
    answers: dict[str, Schema],
    problems: str = "",
    *,
    parameters: tuple[Schema, ...] = (),
    keyless: bool = False,
    **further: Any,
) -> Schema:
    """`problems`: the statuses of problem answers that belong to this operation; any may come with
    `default`.
    """
    statuses = problems.split() + ([] if keyless else ["401"])
    responses = answers | {
        status: {"$ref": "#/components/responses/Problem"} for status in sorted(statuses)
    }
    responses["default"] = {"$ref": "#/components/responses/Problem"}
    operation: Schema = {
        "operationId": operation_id,
        "summary": summary,
        "responses": responses,
        **further,
    }
    if parameters:
        operation["parameters"] = list(parameters)
    if keyless:
        operation["security"] = []
    return operation


def _paths() -> dict[str, Schema]:
    status = _answer("The status object.", _json(ref("Status")))
    return {
        "/api/upload": {
            "post": _operation(
                "upload",
                "Upload a CSV of products",
                {"202": _answer("Stored; the images are worked on.", _json(ref("Accepted")))},
                "400 408 413 415 422 429",
                parameters=(
                    {
                        "name": "Idempotency-Key",
                        "in": "header",
                        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
                        "description": "The same key and upload give the same request, for 24 hours.",
                    },
                ),
                requestBody={
                    "required": True,
                    "content": {"multipart/form-data": {"schema": ref("Upload")}},
                },
            )
        },
        "/api/status/{request_id}": {
            "get": _operation(
                "status",
                "How a request is going",
                {"200": status, "304": _answer("Unchanged since the ETag in If-None-Match.")},
                "400 404",
                parameters=(
                    _REQUEST_ID,
                    _query("include", enum_of(["products"]), "Adds the first page of products."),
                ),
            )
        },
        "/api/details/{request_id}": {
            "get": _operation(
                "details",
                "Its products and images, page by page",
                {
                    "200": _answer(
                        "The status object and a page of products.", _json(ref("Details"))
                    )
                },
                "400 404",
                parameters=(_REQUEST_ID, *_PAGING),
            )
        },
        "/api/download/{request_id}": {
            "get": _operation(
                "download",
                "The output CSV, once the request has ended",
                {
                    "200": _answer(
                        "The uploaded rows and their output URLs, or a row an image.", _CSV
                    )
                },
                "400 404 409",
                parameters=(
                    _REQUEST_ID,
                    _query(
                        "report", enum_of(["images"]), "A row an image, with what became of it."
                    ),
                    _query(
                        "safe",
                        enum_of(["spreadsheet"]),
                        "Cells that a spreadsheet takes for formulas get a quote.",
                    ),
                ),
            )
        },
        "/api/events/{request_id}": {
            "get": _operation(
                "events",
                "Its progress as server-sent events, until it has ended",
                {
                    "200": _answer(
                        "`status` events with the status object.",
                        {"text/event-stream": {"schema": TEXT}},
                    ),
                    "204": _answer("It has ended, and Last-Event-ID is its last event's."),
                },
                "404",
                parameters=(
                    _REQUEST_ID,
                    {
                        "name": "Last-Event-ID",
                        "in": "header",
                        "schema": TEXT,
                        "description": "The `id` of the last event seen: what is still so is not told again.",
                    },
                ),
            )
        },
        "/api/cancel/{request_id}": {
            "post": _operation(
                "cancel",
                "End what has not ended yet",
                {"202": status},
                "404 409",
                parameters=(_REQUEST_ID,),
            )
        },
        "/api/retry/{request_id}": {
            "post": _operation(
                "retry",
                "Try again what failed, under the same ID",
                {"202": status},
                "404 409",
                parameters=(_REQUEST_ID,),
            )
        },
        "/api/webhooks/{request_id}": {
            "get": _operation(
                "webhooks",
                "How its webhook was delivered",
                {
                    "200": _answer(
                        "Its events, newest first, with their attempts.", _json(ref("Webhooks"))
                    )
                },
                "404",
                parameters=(_REQUEST_ID,),
            )
        },
        "/api/webhooks/{request_id}/replay": {
            "post": _operation(
                "replay",
                "Send its newest webhook event again",
                {
                    "202": _answer(
                        "The event is due again.",
                        _json(object_of({"message": TEXT, "request_id": UUID})),
                    )
                },
                "404 409",
                parameters=(_REQUEST_ID,),
            )
        },
        "/api/requests": {
            "get": _operation(
                "requests",
                "Requests, newest first",
                {
                    "200": _answer(
                        "A page of status objects.",
                        _json(
                            object_of(
                                {"requests": array_of(ref("Status")), "next_cursor": or_null(TEXT)}
                            )
                        ),
                    )
                },
                "400",
                parameters=_PAGING,
            )
        },
        "/api/image/{filename}": {
            "get": _operation(
                "image",
                "An output image; its name is its key",
                {
                    status: _answer(
                        text,
                        {
                            media_type: {"schema": {}}
                            for media_type in sorted(set(MEDIA_TYPES.values()))
                        },
                    )
                    for status, text in (("200", "The image."), ("206", "The part in Range."))
                }
                | {"304": _answer("The ETag in If-None-Match is the image's.")},
                "404 416 503",
                parameters=({"name": "filename", "in": "path", "required": True, "schema": TEXT},),
                keyless=True,
            )
        },
        "/healthz": {
            "get": _operation(
                "health",
                "Alive",
                {"200": _answer("It answers.", _json(object_of({"status": TEXT})))},
                keyless=True,
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics",
                "For Prometheus",
                {"200": _answer("Its text format.", {"text/plain": {"schema": TEXT}})},
                keyless=True,
            )
        },
        "/readyz": {
            "get": _operation(
                "ready",
                "Database and broker reached",
                {
                    "200": _answer(
                        "Ready.", _json(object_of({"status": TEXT, "checks": {"type": "object"}}))
                    )
                },
                "503",
                keyless=True,
            )
        },
    }


def _webhooks() -> dict[str, Schema]:
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    headers = [{"name": name, "in": "header", "required": True, "schema": TEXT} for name in names]
    ended = {
        "operationId": "ended",
        "summary": "What is sent to `webhook_url` when a request has ended",
        "description": "Verify its headers by a library of Standard Webhooks (standardwebhooks.com) and"
        " `webhook_secret`, and answer with 2xx within 15 s. Any other answer, a redirect too, has it sent again for"
        " three days with growing pauses; 410 ends that. It may come more than once: `webhook-id` and body are the same"
        " then. Another ending, after a retry, has an ID of its own.",
        "security": [],
        "parameters": headers,
        "requestBody": {"required": True, "content": _json(ref("Ending"))},
        "responses": {
            "2XX": _answer("Delivered."),
            "410": _answer("Not wanted any more."),
            "default": _answer("Sent again later."),
        },
    }
    return {"ended": {"post": ended}}


def describe_api(version: str, public_url: str) -> Schema:
    """The OpenAPI document of this API."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "halftone",
            "version": version,
            "summary": "Upload a CSV of products with image URLs; get every image back smaller.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url}],
        "security": [{"key": []}],
        "paths": _paths(),
        "webhooks": _webhooks(),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`halftone keys create NAME` makes one. Not wanted where HALFTONE_AUTH=off.",
                }
            },
            "responses": {
                "Problem": _answer(
                    "A problem (RFC 9457).",
                    {"application/problem+json": {"schema": ref("Problem")}},
                )
            },
            "schemas": SCHEMAS,
        },
    }
