"""The API's description, OpenAPI 3.1, made of the definitions that requests are checked and answered with."""

from typing import Any

from halftone_api.parameters import DEFAULT_LIMIT, MAX_LIMIT
from halftone_api.upload_form import DEFAULT_QUALITY, DEFAULT_RATIO, DEFAULT_SCALE, MAX_QUALITY, MIN_QUALITY
from halftone_shared.image_names import MEDIA_TYPES
from halftone_shared.signing import MIN_SECRET_BYTES
from halftone_shared.states import Action, ImageErrorCode, Mode, Outcome, OutputFormat, Status, WebhookStatus
from halftone_shared.status_object import event_type

Schema = dict[str, Any]

# Every code of a problem, and what to do about it.
PROBLEM_CODES = {
    "missing_file": "The form has no file in its field `file`.",
    "not_csv": "The file is of another kind. Export it as CSV.",
    "empty_csv": "The file is empty.",
    "bad_encoding": "The file is neither UTF-8 nor UTF-16 with a byte order mark; `byte_offset` says where.",
    "malformed_csv": "The quoting or the cells of the row on `line` cannot be read.",
    "missing_columns": "The header lacks the columns in `columns`.",
    "duplicate_columns": "The header has the columns in `columns` more than once.",
    "no_rows": "There is a header, and no row below it.",
    "invalid_option": "The form field in `option` cannot be used.",
    "invalid_webhook_url": "The webhook URL is none, or leads to an address that may not be reached.",
    "malformed_form": "The multipart form cannot be read, or is cut off.",
    "bad_framing": "The body's length is told twice, or unreadably.",
    "invalid_parameter": "The parameter in `parameter` cannot be used.",
    "unauthorized": "The header `Authorization: Bearer KEY` is missing, or its key is not known.",
    "not_found": "There is nothing here, or it is another key's.",
    "method_not_allowed": "The path takes other methods; the Allow header lists them.",
    "upload_timeout": "The body did not arrive in time.",
    "not_ended": "The request still runs.",
    "already_ended": "The request has ended.",
    "nothing_to_retry": "Nothing in the request failed.",
    "no_webhook": "The request was uploaded without a webhook URL.",
    "too_large": "The file is over `limit` bytes. Split it.",
    "too_many_rows": "The file has more than `limit` rows. Split it.",
    "not_multipart": "The body is no multipart/form-data.",
    "range_not_satisfiable": "The range lies behind the image's end.",
    "invalid_rows": "Rows are wrong: `errors` lists the first 100, `error_count` counts all. Nothing was stored.",
    "idempotency_key_reused": "The Idempotency-Key came with another upload within 24 hours.",
    "rate_limited": "Too many uploads. Retry-After says when the next may come.",
    "http_error": "The call cannot be answered.",
    "internal": "Our fault. The answer's X-Request-Id finds it in the log.",
    "database_unavailable": "The database is away, and whether the call took effect is not known; try again.",
    "storage_unavailable": "The images' storage is away, or there is no room for an upload; try again.",
    "not_ready": "The database or the broker cannot be reached; `failing` says which.",
}

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_URL: Schema = {"type": "string", "format": "uri"}
_UUID: Schema = {"type": "string", "format": "uuid"}


def _enum(values: Any) -> Schema:
    return {"type": "string", "enum": [str(value) for value in values]}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _array(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


def _object(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_QUALITY: Schema = {"type": "integer", "minimum": MIN_QUALITY, "maximum": MAX_QUALITY}
_SHARE: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_OPTIONS = _object(
    {
        "mode": _enum(Mode),
        "quality": _QUALITY,
        "scale": _SHARE,
        "ratio": _SHARE,
        "format": _enum(OutputFormat),
    },
    optional=("quality", "scale", "ratio"),
)
_WEBHOOK = _object(
    {
        "url": _TEXT,
        "status": _enum(WebhookStatus),
        "attempts": _COUNT,
        "last_status_code": _or_null({"type": "integer"}),
        "last_error": _or_null(_TEXT),
        "next_attempt_at": _or_null(_TIME),
        "delivered_at": _or_null(_TIME),
    }
)
_STATUS = _object(
    {
        "request_id": _UUID,
        "status": {
            **_enum(Status),
            "description": "`COMPLETED`: ended, and at least one image succeeded. `FAILED`: ended, and none did.",
        },
        "outcome": {
            **_or_null(_enum(Outcome)),
            "description": "How it went: `partial` where some images failed. Null while it runs.",
        },
        "progress": {
            "type": "number",
            "minimum": 0,
            "maximum": 100,
            "description": "The share of products that have ended; 100 exactly when the request has.",
        },
        "csv_filename": _TEXT,
        "total_products": _COUNT,
        "processed_products": {**_COUNT, "description": "At least one image succeeded."},
        "failed_products": {**_COUNT, "description": "No image did."},
        "cancelled_products": _COUNT,
        "total_images": _COUNT,
        "processed_images": _COUNT,
        "failed_images": _COUNT,
        "kept_original_images": {**_COUNT, "description": "Would not have become smaller."},
        "bytes_in": _COUNT,
        "bytes_out": _COUNT,
        "bytes_saved": {"type": "integer"},
        "options": _OPTIONS,
        "created_at": _TIME,
        "started_at": _or_null(_TIME),
        "updated_at": _TIME,
        "completed_at": _or_null(_TIME),
        "expires_at": {
            **_or_null(_TIME),
            "description": "When it is deleted with its images; null: not yet known, or never.",
        },
        "output_csv_url": {**_or_null(_URL), "description": "Set once the output CSV can be downloaded."},
        "webhook": _or_null(_WEBHOOK),
        "links": _object({"self": _URL, "details": _URL, "download": _URL}),
    }
)
_IMAGE = _object(
    {
        "position": {"type": "integer", "minimum": 1},
        "input_url": _TEXT,
        "output_url": _or_null(_URL),
        "status": _enum(Status),
        "action": _or_null(_enum(Action)),
        "format": _or_null(_TEXT),
        "width": _or_null(_COUNT),
        "height": _or_null(_COUNT),
        "bytes_in": _or_null(_COUNT),
        "bytes_out": _or_null(_COUNT),
        "warnings": _array(_TEXT),
        "error": _or_null(
            _object(
                {
                    "code": _enum(ImageErrorCode),
                    "message": _TEXT,
                    "http_status": _or_null({"type": "integer"}),
                    "retryable": {"type": "boolean"},
                }
            )
        ),
    }
)
_PRODUCT = _object(
    {
        "line": {"type": "integer", "minimum": 1},
        "serial_number": {"type": "integer"},
        "product_name": _TEXT,
        "status": _enum(Status),
        "outcome": _or_null(_enum(Outcome)),
        "attempts": _COUNT,
        "input_image_urls": _array(_TEXT),
        "output_image_urls": _array(_or_null(_URL)),
        "images": _array(_ref("Image")),
    }
)
_ROW_ERROR = _object({"line": _COUNT, "column": _TEXT, "code": _TEXT, "message": _TEXT, "value": _TEXT})
_PROBLEM = _object(
    {
        "type": {"type": "string", "format": "uri-reference"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _TEXT,
        "instance": _TEXT,
        "code": _enum(PROBLEM_CODES),
        "errors": _array(_ref("RowError")),
        "error_count": _COUNT,
    },
    optional=("errors", "error_count"),
)
_PAGE = {"products": _array(_ref("Product")), "next_cursor": _or_null(_TEXT)}
_ACCEPTED = _object(
    {
        "message": _TEXT,
        "request_id": _UUID,
        "status": _enum([Status.PENDING]),
        "total_products": _COUNT,
        "total_images": _COUNT,
        "warning_count": _COUNT,
        "warnings": _array(_ref("RowError"), maxItems=100),
        "links": _object({"status": _URL, "details": _URL, "download": _URL}),
    }
)
_ENDING = _object(
    {
        "type": _enum(map(event_type, (Status.COMPLETED, Status.FAILED, Status.CANCELLED))),
        "timestamp": _TIME,
        "data": _ref("Status"),
    },
)
_EVENT = _object(
    {
        "webhook_id": _TEXT,
        "run": _COUNT,
        "status": _enum(WebhookStatus),
        "attempts": _COUNT,
        "last_status_code": _or_null({"type": "integer"}),
        "last_error": _or_null(_TEXT),
        "created_at": _TIME,
        "next_attempt_at": _or_null(_TIME),
        "delivered_at": _or_null(_TIME),
        "log": _array(
            _object(
                {
                    "attempt": _COUNT,
                    "started_at": _TIME,
                    "duration_ms": _COUNT,
                    "status_code": _or_null({"type": "integer"}),
                    "error": _or_null(_TEXT),
                }
            )
        ),
        "body": _or_null(_ref("Ending")),
    }
)
_FORM = _object(
    {
        # `format` is of OpenAPI 3.0, and still what generators of clients tell a file from a text by.
        "file": {
            "type": "string",
            "format": "binary",
            "contentMediaType": "text/csv",
            "description": "The CSV; its name ends in .csv.",
        },
        "mode": {
            **_enum(Mode),
            "default": Mode.QUALITY.value,
            "description": "What is halved: the encoder's quality, both sides, or the bytes.",
        },
        # These have no `default`: who sends it with a mode that does not take it is refused.
        "quality": {
            **_QUALITY,
            "description": f"Of the encoder, not with `mode=bytes`; {DEFAULT_QUALITY[Mode.QUALITY]} if left out, with"
            f" `mode=scale` {DEFAULT_QUALITY[Mode.SCALE]}.",
        },
        "scale": {
            **_SHARE,
            "description": f"With `mode=scale`: what both sides are multiplied by; {DEFAULT_SCALE} if left out.",
        },
        "ratio": {
            **_SHARE,
            "description": f"With `mode=bytes`: the most that stays of an image's bytes; {DEFAULT_RATIO} if left out.",
        },
        "format": {
            **_enum(OutputFormat),
            "default": OutputFormat.KEEP.value,
            "description": "What images become; `keep`: each stays what it was.",
        },
        "strict": {"type": "boolean", "default": False, "description": "A single bad URL refuses the upload."},
        "webhook_url": {**_URL, "description": "Where the request's end is reported to."},
        "webhook_secret": {
            "type": "string",
            "description": f"whsec_ and at least {MIN_SECRET_BYTES} bytes in base64; never shown again.",
        },
    },
    optional=("mode", "quality", "scale", "ratio", "format", "strict", "webhook_url", "webhook_secret"),
)

_REQUEST_ID: Schema = {"name": "request_id", "in": "path", "required": True, "schema": _UUID}
_LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_PAGING = (
    _query("limit", _LIMIT, "How many at most."),
    _query("cursor", _TEXT, "The next_cursor of the page before."),
    _query("status", _enum(Status), "Only those that stand there."),
)
_CSV: Schema = {"text/csv": {"schema": _TEXT}}


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
    """`problems`: the statuses of problem answers that belong to this operation; any may come with `default`."""
    statuses = problems.split() + ([] if keyless else ["401"])
    responses = answers | {status: {"$ref": "#/components/responses/Problem"} for status in sorted(statuses)}
    responses["default"] = {"$ref": "#/components/responses/Problem"}
    operation: Schema = {"operationId": operation_id, "summary": summary, "responses": responses, **further}
    if parameters:
        operation["parameters"] = list(parameters)
    if keyless:
        operation["security"] = []
    return operation


def _paths() -> dict[str, Schema]:
    status = _answer("The status object.", _json(_ref("Status")))
    return {
        "/api/upload": {
            "post": _operation(
                "upload",
                "Upload a CSV of products",
                {"202": _answer("Stored; the images are worked on.", _json(_ref("Accepted")))},
                "400 408 413 415 422 429",
                parameters=(
                    {
                        "name": "Idempotency-Key",
                        "in": "header",
                        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
                        "description": "The same key and upload give the same request, for 24 hours.",
                    },
                ),
                requestBody={"required": True, "content": {"multipart/form-data": {"schema": _ref("Upload")}}},
            )
        },
        "/api/status/{request_id}": {
            "get": _operation(
                "status",
                "How a request is going",
                {"200": status, "304": _answer("Unchanged since the ETag in If-None-Match.")},
                "400 404",
                parameters=(_REQUEST_ID, _query("include", _enum(["products"]), "Adds the first page of products.")),
            )
        },
        "/api/details/{request_id}": {
            "get": _operation(
                "details",
                "Its products and images, page by page",
                {"200": _answer("The status object and a page of products.", _json(_ref("Details")))},
                "400 404",
                parameters=(_REQUEST_ID, *_PAGING),
            )
        },
        "/api/download/{request_id}": {
            "get": _operation(
                "download",
                "The output CSV, once the request has ended",
                {"200": _answer("The uploaded rows and their output URLs, or a row an image.", _CSV)},
                "400 404 409",
                parameters=(
                    _REQUEST_ID,
                    _query("report", _enum(["images"]), "A row an image, with what became of it."),
                    _query("safe", _enum(["spreadsheet"]), "Cells that a spreadsheet takes for formulas get a quote."),
                ),
            )
        },
        "/api/events/{request_id}": {
            "get": _operation(
                "events",
                "Its progress as server-sent events, until it has ended",
                {
                    "200": _answer("`status` events with the status object.", {"text/event-stream": {"schema": _TEXT}}),
                    "204": _answer("It has ended, and Last-Event-ID is its last event's."),
                },
                "404",
                parameters=(
                    _REQUEST_ID,
                    {
                        "name": "Last-Event-ID",
                        "in": "header",
                        "schema": _TEXT,
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
                {"200": _answer("Its events, newest first, with their attempts.", _json(_ref("Webhooks")))},
                "404",
                parameters=(_REQUEST_ID,),
            )
        },
        "/api/webhooks/{request_id}/replay": {
            "post": _operation(
                "replay",
                "Send its newest webhook event again",
                {"202": _answer("The event is due again.", _json(_object({"message": _TEXT, "request_id": _UUID})))},
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
                        _json(_object({"requests": _array(_ref("Status")), "next_cursor": _or_null(_TEXT)})),
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
                        text, {media_type: {"schema": {}} for media_type in sorted(set(MEDIA_TYPES.values()))}
                    )
                    for status, text in (("200", "The image."), ("206", "The part in Range."))
                }
                | {"304": _answer("The ETag in If-None-Match is the image's.")},
                "404 416 503",
                parameters=({"name": "filename", "in": "path", "required": True, "schema": _TEXT},),
                keyless=True,
            )
        },
        "/healthz": {
            "get": _operation(
                "health", "Alive", {"200": _answer("It answers.", _json(_object({"status": _TEXT})))}, keyless=True
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics",
                "For Prometheus",
                {"200": _answer("Its text format.", {"text/plain": {"schema": _TEXT}})},
                keyless=True,
            )
        },
        "/readyz": {
            "get": _operation(
                "ready",
                "Database and broker reached",
                {"200": _answer("Ready.", _json(_object({"status": _TEXT, "checks": {"type": "object"}})))},
                "503",
                keyless=True,
            )
        },
    }


def _webhooks() -> dict[str, Schema]:
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    headers = [{"name": name, "in": "header", "required": True, "schema": _TEXT} for name in names]
    ended = {
        "operationId": "ended",
        "summary": "What is sent to `webhook_url` when a request has ended",
        "description": "Verify its headers by a library of Standard Webhooks (standardwebhooks.com) and"
        " `webhook_secret`, and answer with 2xx within 15 s. Any other answer, a redirect too, has it sent again for"
        " three days with growing pauses; 410 ends that. It may come more than once: `webhook-id` and body are the same"
        " then. Another ending, after a retry, has an ID of its own.",
        "security": [],
        "parameters": headers,
        "requestBody": {"required": True, "content": _json(_ref("Ending"))},
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
                "Problem": _answer("A problem (RFC 9457).", {"application/problem+json": {"schema": _ref("Problem")}})
            },
            "schemas": {
                "Accepted": _ACCEPTED,
                "Details": {"allOf": [_ref("Status"), _object(_PAGE)]},
                "Ending": _ENDING,
                "Event": _EVENT,
                "Image": _IMAGE,
                "Problem": _PROBLEM,
                "Product": _PRODUCT,
                "RowError": _ROW_ERROR,
                "Status": {**_STATUS, "properties": {**_STATUS["properties"], **_PAGE}},
                "Upload": _FORM,
                "Webhooks": _object({"request_id": _UUID, "url": _or_null(_TEXT), "events": _array(_ref("Event"))}),
            },
        },
    }
