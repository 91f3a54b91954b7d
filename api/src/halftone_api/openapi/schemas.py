"""The shapes of what is sent and answered, as JSON schemas: OpenAPI's components."""

from typing import Any

from halftone_api.errors import ProblemCode
from halftone_api.upload.form import FIELDS
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import IMAGE_OPTIONS, default_of
from halftone_shared.model.signing import MIN_SECRET_BYTES
from halftone_shared.model.states import Action, Outcome, Status, WebhookStatus
from halftone_shared.model.status_object import event_type

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_URL: Schema = {"type": "string", "format": "uri"}
UUID: Schema = {"type": "string", "format": "uuid"}


def enum_of(values: Any) -> Schema:
    return {"type": "string", "enum": [str(value) for value in values]}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def array_of(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


def object_of(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_OPTIONS = object_of(
    {name: option.schema for name, option in IMAGE_OPTIONS.items()},
    optional=tuple(name for name in IMAGE_OPTIONS if name not in ("mode", "format")),
)
_WEBHOOK = object_of(
    {
        "url": TEXT,
        "status": enum_of(WebhookStatus),
        "attempts": _COUNT,
        "last_status_code": or_null({"type": "integer"}),
        "last_error": or_null(TEXT),
        "next_attempt_at": or_null(_TIME),
        "delivered_at": or_null(_TIME),
    }
)
_STATUS = object_of(
    {
        "request_id": UUID,
        "status": {
            **enum_of(Status),
            "description": "`COMPLETED`: ended, and at least one image succeeded. `FAILED`: ended, and none did.",
        },
        "outcome": {
            **or_null(enum_of(Outcome)),
            "description": "How it went: `partial` where some images failed. Null while it runs.",
        },
        "progress": {
            "type": "number",
            "minimum": 0,
            "maximum": 100,
            "description": "The share of products that have ended; 100 exactly when the request has.",
        },
        "csv_filename": TEXT,
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
        "started_at": or_null(_TIME),
        "updated_at": _TIME,
        "completed_at": or_null(_TIME),
        "expires_at": {
            **or_null(_TIME),
            "description": "When it is deleted with its images; null: not yet known, or never.",
        },
        "output_csv_url": {
            **or_null(_URL),
            "description": "Set once the output CSV can be downloaded.",
        },
        "webhook": or_null(_WEBHOOK),
        "links": object_of({"self": _URL, "details": _URL, "download": _URL}),
    }
)
_IMAGE = object_of(
    {
        "position": {"type": "integer", "minimum": 1},
        "input_url": TEXT,
        "output_url": or_null(_URL),
        "status": enum_of(Status),
        "action": or_null(enum_of(Action)),
        "format": or_null(TEXT),
        "width": or_null(_COUNT),
        "height": or_null(_COUNT),
        "bytes_in": or_null(_COUNT),
        "bytes_out": or_null(_COUNT),
        "warnings": array_of(TEXT),
        "error": or_null(
            object_of(
                {
                    "code": enum_of(ImageErrorCode),
                    "message": TEXT,
                    "http_status": or_null({"type": "integer"}),
                    "retryable": {"type": "boolean"},
                }
            )
        ),
    }
)
_PRODUCT = object_of(
    {
        "line": {"type": "integer", "minimum": 1},
        "serial_number": {"type": "integer"},
        "product_name": TEXT,
        "status": enum_of(Status),
        "outcome": or_null(enum_of(Outcome)),
        "attempts": _COUNT,
        "input_image_urls": array_of(TEXT),
        "output_image_urls": array_of(or_null(_URL)),
        "images": array_of(ref("Image")),
    }
)
_ROW_ERROR = object_of(
    {"line": _COUNT, "column": TEXT, "code": TEXT, "message": TEXT, "value": TEXT}
)
_PROBLEM = object_of(
    {
        "type": {"type": "string", "format": "uri-reference"},
        "title": TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": TEXT,
        "instance": TEXT,
        "code": enum_of(ProblemCode),
        "errors": array_of(ref("RowError")),
        "error_count": _COUNT,
    },
    optional=("errors", "error_count"),
)
_PAGE = {"products": array_of(ref("Product")), "next_cursor": or_null(TEXT)}
_ACCEPTED = object_of(
    {
        "message": TEXT,
        "request_id": UUID,
        "status": enum_of([Status.PENDING]),
        "total_products": _COUNT,
        "total_images": _COUNT,
        "warning_count": _COUNT,
        "warnings": array_of(ref("RowError"), maxItems=100),
        "links": object_of({"status": _URL, "details": _URL, "download": _URL}),
    }
)
_ENDING = object_of(
    {
        "type": enum_of(map(event_type, (Status.COMPLETED, Status.FAILED, Status.CANCELLED))),
        "timestamp": _TIME,
        "data": ref("Status"),
    },
)
_EVENT = object_of(
    {
        "webhook_id": TEXT,
        "run": _COUNT,
        "status": enum_of(WebhookStatus),
        "attempts": _COUNT,
        "last_status_code": or_null({"type": "integer"}),
        "last_error": or_null(TEXT),
        "created_at": _TIME,
        "next_attempt_at": or_null(_TIME),
        "delivered_at": or_null(_TIME),
        "log": array_of(
            object_of(
                {
                    "attempt": _COUNT,
                    "started_at": _TIME,
                    "duration_ms": _COUNT,
                    "status_code": or_null({"type": "integer"}),
                    "error": or_null(TEXT),
                }
            )
        ),
        "body": or_null(ref("Ending")),
    }
)


def _form_field(name: str) -> Schema:
    """An image option as a form field.

    A default is given only where sending it is never refused: clients fill defaults in.
    """
    option, default = IMAGE_OPTIONS[name], default_of(name)
    if default in (None, ()) or option.modes or option.needs:
        return option.schema
    return option.schema | {"default": option.kind.write(default)}


_FORM = object_of(
    {
        # `format` is of OpenAPI 3.0, and still what generators of clients tell a file from a text
        # by.
        "file": {
            "type": "string",
            "format": "binary",
            "contentMediaType": "text/csv",
            "description": "The CSV; its name ends in .csv.",
        },
        **{name: _form_field(name) for name in IMAGE_OPTIONS},
        "strict": {
            "type": "boolean",
            "default": False,
            "description": "A single bad URL refuses the upload.",
        },
        "webhook_url": {**_URL, "description": "Where the request's end is reported to."},
        "webhook_secret": {
            "type": "string",
            "description": f"whsec_ and at least {MIN_SECRET_BYTES} bytes in base64; never shown again.",
        },
    },
    optional=FIELDS,
)

# Every schema that has a name.
SCHEMAS: dict[str, Schema] = {
    "Accepted": _ACCEPTED,
    "Details": {"allOf": [ref("Status"), object_of(_PAGE)]},
    "Ending": _ENDING,
    "Event": _EVENT,
    "Image": _IMAGE,
    "Problem": _PROBLEM,
    "Product": _PRODUCT,
    "RowError": _ROW_ERROR,
    "Status": {**_STATUS, "properties": {**_STATUS["properties"], **_PAGE}},
    "Upload": _FORM,
    "Webhooks": object_of(
        {"request_id": UUID, "url": or_null(TEXT), "events": array_of(ref("Event"))}
    ),
}
