"""The fields of the upload form: their names, and their description in OpenAPI and `/docs`.

The image options are declared in halftone_shared.model.options; the others here.
"""

from dataclasses import dataclass

from halftone_api.upload.column_choice import AUTO
from halftone_api.upload.layout import NATIVE
from halftone_api.upload.profiles import PROFILES
from halftone_api.upload.text_rows import ENCODINGS
from halftone_shared.model.option_kinds import JsonSchema
from halftone_shared.model.options import IMAGE_OPTIONS, default_of, default_text
from halftone_shared.model.signing import MIN_SECRET_BYTES


@dataclass(frozen=True)
class FormField:
    """A form field that is not an image option. `schema` is the JSON schema of its value."""

    name: str
    schema: JsonSchema
    description: str


FILE = FormField(
    "file",
    # `format` belongs to OpenAPI 3.0; client generators still use it to tell a file from a text.
    {"type": "string", "format": "binary", "contentMediaType": "text/csv"},
    "The table: CSV, TSV, text or .xlsx, whatever its name.",
)

MAX_SAMPLE = 500
PROFILE_CHOICES = (AUTO, NATIVE, *PROFILES)

UPLOAD_FIELDS = (
    FormField(
        "profile",
        {"type": "string", "enum": list(PROFILE_CHOICES), "default": AUTO},
        "The system that exported the file; `auto` recognises it by the header.",
    ),
    FormField(
        "columns",
        {"type": "string", "contentMediaType": "application/json"},
        'The columns to read, by name or by number from 1: `{"key": "SKU", "name": "Title", '
        '"images": ["Main image", "More images"]}`.',
    ),
    FormField(
        "base_url",
        {"type": "string", "format": "uri"},
        "The URL that paths in image cells are relative to.",
    ),
    FormField(
        "encoding",
        {"type": "string"},
        f"The encoding of a text file that is not UTF-8: {', '.join(ENCODINGS)}.",
    ),
    FormField(
        "sheet",
        {"type": "string"},
        "The sheet of a workbook. Default: the first one with a known header.",
    ),
    FormField(
        "on_error",
        {"type": "string", "enum": ["refuse", "skip"], "default": "refuse"},
        "`skip` accepts the valid rows; invalid ones come back with an empty output.",
    ),
    FormField(
        "sample",
        {"type": "integer", "minimum": 1, "maximum": MAX_SAMPLE},
        "Process only this many products, spread evenly over the file.",
    ),
    FormField(
        "strict",
        {"type": "boolean", "default": False},
        "Refuse the upload if any URL is invalid.",
    ),
    FormField(
        "fresh",
        {"type": "boolean", "default": False},
        "Process every image. Without it, images that have not changed since an earlier upload of"
        " yours with the same options keep their earlier outputs.",
    ),
    FormField(
        "webhook_url",
        {"type": "string", "format": "uri"},
        "The URL that is called when the request has ended.",
    ),
    FormField(
        "webhook_secret",
        {"type": "string"},
        f"The secret that signs the webhook: `whsec_` and at least {MIN_SECRET_BYTES} bytes in"
        " base64. It is never shown.",
    ),
)

# The names that a form may have beside `file`.
FIELDS = (*(field.name for field in UPLOAD_FIELDS), *IMAGE_OPTIONS)


def form_schema() -> JsonSchema:
    """The form as a JSON schema."""
    return {
        "type": "object",
        "properties": {
            FILE.name: _described(FILE),
            **{name: _image_option(name) for name in IMAGE_OPTIONS},
            **{field.name: _described(field) for field in UPLOAD_FIELDS},
        },
        "required": [FILE.name],
    }


def options_schema() -> JsonSchema:
    """The image options as the status object shows them."""
    properties = {name: option.schema for name, option in IMAGE_OPTIONS.items()}
    return {"type": "object", "properties": properties, "required": ["mode", "format"]}


def _described(field: FormField) -> JsonSchema:
    return {**field.schema, "description": field.description}


def _image_option(name: str) -> JsonSchema:
    """An image option as a form field.

    Clients fill in a `default`. Where sending it may be refused, the description has it instead.
    """
    option, default = IMAGE_OPTIONS[name], default_of(name)
    if default is None:
        return option.schema
    if option.modes or option.needs:
        description = f"{option.meaning} Default: {default_text(name)}."
        return option.schema | {"description": description}
    return option.schema | {"default": default}
