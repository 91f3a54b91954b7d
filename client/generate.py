"""Writes the generated modules of the client library.

    make generate

`_declared.py` has what the service declares: the shapes of its answers, the options of an upload,
statuses and error codes, all taken from the OpenAPI document and from halftone_shared.
`_client.py` is `_async_client.py` without asyncio. A test fails while either is not current.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, wrap
from typing import Any

from halftone_api.openapi.document import describe_api
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.option_kinds import JsonSchema
from halftone_shared.model.options import IMAGE_OPTIONS
from halftone_shared.model.states import Outcome, Status, WebhookStatus

PACKAGE = Path(__file__).parent / "src" / "halftone"

ENUMERATIONS = (Status, Outcome, WebhookStatus)
# The answers that have a class, and its name where it is not the schema's.
ANSWERS = {
    "Accepted": "Accepted",
    "StatusObject": "RequestStatus",
    "WebhookState": "RequestStatusWebhook",
    "Product": "Product",
    "Image": "Image",
    "ImageErrorObject": "ImageError",
    "VariantObject": "Variant",
    "CheckObject": "RuleCheck",
    "RowError": "RowError",
    "Webhooks": "Webhooks",
    "Event": "WebhookDelivery",
    "Attempt": "WebhookDeliveryLog",
    "Check": "Check",
    "FailureGroups": "FailureGroups",
    "Operations": "Operations",
    "BacklogObject": "Backlog",
    "WorkerObject": "Worker",
    "RunningObject": "RunningRequest",
    "Presets": "Presets",
    "PresetObject": "Preset",
    "Origins": "Origins",
    "Origin": "Origin",
    "Retried": "Retried",
    "RequestTotals": "RequestTotals",
    "PausedHosts": "PausedHosts",
    "PausedHostObject": "PausedHost",
}
# Objects that grow with every feature; they stay mappings.
OPEN_MEMBERS = {"options": "Mapping[str, Any]", "links": "Mapping[str, str]"}
DOCUMENTATION = {
    "Accepted": "The answer to an upload: the request's ID, what was counted, and warnings.",
    "RequestStatus": "How a request is going, or how it went.",
    "RequestStatusWebhook": "How the delivery of a request's webhook is going.",
    "Product": "A row of the file, with its images in the order of its URLs.",
    "Image": "One image: its input URL, and its output or its error.",
    "ImageError": "Why an image failed. ERROR_CODES explains each code.",
    "RowError": "What is wrong with a row of the file, or worth a warning.",
    "Webhooks": "The webhook events of a request, newest first.",
    "WebhookDelivery": "A webhook event: its state and the attempts to deliver it.",
    "WebhookDeliveryLog": "One attempt to deliver a webhook event.",
    "Ending": "The body of a webhook event.",
    "FailureGroups": "Why images of a request failed, by error code.",
    "FailureGroup": "The images of a request that failed with one error code.",
    "FailureCount": "How many images of recent requests failed with one error code.",
    "Operations": "What waits, who works, what runs and what failed.",
    "Backlog": "What waits, and for how long.",
    "Worker": "A worker process that runs.",
    "RunningRequest": "A request that runs.",
    "WaitingFor": "What a running request waits for.",
    "Presets": "The presets that an upload can name.",
    "Preset": "A marketplace: defaults of an upload's options, and rules for its images.",
    "PresetRule": "A rule that each output is checked against.",
    "Origins": "The hosts with settings of the owner's.",
    "Origin": "What is set for a host; values of headers and passwords are never shown.",
    "Retried": "The requests that are tried again.",
    "RequestTotals": "Sums over all requests that a search finds.",
    "PausedHosts": "The hosts that are paused.",
    "PausedHost": "A host from which no worker fetches images.",
    "Variant": "A further output of an image.",
    "RuleCheck": "What a rule of a preset says of an image: pass, warn or fail.",
    "Check": "What the service understands of a file.",
    "Columns": "Which columns of a file mean what.",
    "HostImages": "How many images of a file one host serves.",
    "PreviewedProduct": "A product as it was read from a file.",
    "Sample": "Which part of a file a sample is.",
    "Estimate": "What the whole file would take, judged by a sample.",
}

# Leaves room for the indentation, the name of an argument and the quotes.
PIECE_LENGTH = 78

HEADER = '''"""Answers, options, statuses and error codes, generated from the service's own.

`make generate` writes this file; do not edit it.
"""
'''


def declared_module() -> str:
    """The text of `_declared.py`."""
    schemas = describe_api("0", "http://127.0.0.1:8000")["components"]["schemas"]
    parts = [
        HEADER,
        IMPORTS,
        *map(_enumeration, ENUMERATIONS),
        *_Answers(schemas).classes(),
        _options(schemas["Upload"]),
        _error_codes(),
    ]
    text = "\n\n".join(parts)
    names = sorted(re.findall(r"^(?:class )?([A-Z]\w+)(?:\(|:)", text, re.MULTILINE))
    return _formatted(f"{text}\n__all__ = {names!r}\n")


IMPORTS = dedent("""\
    from __future__ import annotations

    from collections.abc import Mapping, Sequence
    from dataclasses import dataclass, field
    from datetime import datetime
    from enum import StrEnum
    from typing import Any, Literal, TypedDict

    from halftone._json import Word, mapping, moment, number_or_zero, text_or_empty

    Json = Mapping[str, Any]
""")


def _enumeration(enumeration: Any) -> str:
    members = "\n".join(f"    {member.name} = {member.value!r}" for member in enumeration)
    return f'class {enumeration.__name__}(Word):\n    """{enumeration.__doc__}"""\n\n{members}\n'


class _Answers:
    """Frozen dataclasses, one for each schema of an answer and for each object inside it."""

    def __init__(self, schemas: dict[str, JsonSchema]) -> None:
        self._schemas = schemas
        self._written: dict[str, str] = {}

    def classes(self) -> Iterator[str]:
        for schema_name in ANSWERS:
            if schema_name in self._schemas:
                self._class_of(schema_name)
        yield from self._written.values()

    def _class_of(self, schema_name: str) -> str:
        name = ANSWERS.get(schema_name, schema_name)
        if name not in self._written:
            self._write(name, schema_name, self._schemas[schema_name])
        return name

    def _write(self, name: str, schema_name: str, schema: JsonSchema) -> None:
        schema = self._merged(schema)
        required = schema.get("required", [])
        fields, reads = [], []
        for member, described in schema["properties"].items():
            if member in OPEN_MEMBERS:
                fields.append(f"    {member}: {OPEN_MEMBERS[member]}")
                reads.append(f"            {member}=mapping(data.get({member!r})),")
                continue
            if member not in required and described.get("type") != "array":
                described = {"anyOf": [described, {"type": "null"}]} | _notes(described)
            kind, read = self._kind(described, _class_name(name, member), f"data[{member!r}]")
            fields.append(f"    {member}: {kind}")
            if text := described.get("description"):
                fields.append(f'    """{_wrapped(text)}"""')
            reads.append(f"            {member}={read},")
        documentation = (
            DOCUMENTATION.get(name)
            or schema.get("description")
            or f"`{schema_name}` of the OpenAPI document."
        )
        self._written[name] = "\n".join(
            [
                "@dataclass(frozen=True)",
                f"class {name}:",
                f'    """{_wrapped(documentation)}"""',
                "",
                *fields,
                "    raw: Json = field(repr=False, compare=False)",
                '    """The JSON object as the service sent it."""',
                "",
                "    @classmethod",
                f"    def from_json(cls, data: Json) -> {name}:",
                "        return cls(",
                *reads,
                "            raw=data,",
                "        )",
                "",
            ]
        )

    def _merged(self, schema: JsonSchema) -> JsonSchema:
        if "$ref" in schema:
            return self._merged(self._schemas[schema["$ref"].rpartition("/")[2]])
        merged: JsonSchema = {"properties": {}, "required": []}
        for part in schema.get("allOf", []):
            part = self._merged(part)
            merged["properties"] |= part["properties"]
            merged["required"] += part["required"]
        return {
            "description": schema.get("description"),
            "properties": merged["properties"] | schema.get("properties", {}),
            "required": merged["required"] + schema.get("required", []),
        }

    def _kind(self, schema: JsonSchema, class_name: str, value: str) -> tuple[str, str]:
        """The Python type of a schema and the expression that reads it from `value`."""
        schema = _without_annotations(schema)
        if "$ref" in schema:
            target = schema["$ref"].rpartition("/")[2]
            found = self._schemas[target]
            if "properties" not in found and "allOf" not in found:
                return self._kind(found, class_name, value)
            return self._object(self._class_of(target), value)
        if inner := _or_null(schema):
            kind, read = self._kind(inner, class_name, value)
            if kind.endswith("| None"):
                return kind, read
            if read in (value, _number(value), _text(value), f"bool({_optional(value)})"):
                return f"{kind} | None", _optional(value)
            return f"{kind} | None", f"None if {_optional(value)} is None else {read}"
        if "enum" in schema or "const" in schema:
            return self._word(schema, value)
        if "allOf" in schema and len(schema["allOf"]) == 1:
            return self._kind(schema["allOf"][0], class_name, value)
        match schema.get("type"):
            case "array":
                kind, read = self._kind(
                    schema.get("items", {}), class_name.removesuffix("s"), "item"
                )
                items = f"{_optional(value)} or ()"
                if read == "item":
                    return f"tuple[{kind}, ...]", f"tuple({items})"
                return f"tuple[{kind}, ...]", f"tuple({read} for item in {items})"
            case "object" if schema.get("properties"):
                if class_name not in self._written:
                    self._write(class_name, class_name, schema)
                return self._object(class_name, value)
            case "object":
                values = schema.get("additionalProperties", {})
                kind, read = ("Any", "item")
                if isinstance(values, dict) and values:
                    kind, read = self._kind(values, class_name.removesuffix("s"), "item")
                if read == "item":
                    return f"Mapping[str, {kind}]", f"mapping({_optional(value)})"
                return (
                    f"Mapping[str, {kind}]",
                    f"{{key: {read} for key, item in mapping({_optional(value)}).items()}}",
                )
            case "integer":
                return "int", _number(value)
            case "number":
                return "float", _number(value)
            case "boolean":
                return "bool", f"bool({_optional(value)})"
            case "string" if schema.get("format") == "date-time":
                return "datetime", f"moment({value})"
            case "string":
                return "str", _text(value)
        return "Any", _optional(value)

    def _object(self, name: str, value: str) -> tuple[str, str]:
        return name, f"{name}.from_json(mapping({_optional(value)}))"

    def _word(self, schema: JsonSchema, value: str) -> tuple[str, str]:
        """An enumeration where the values are all of one; any text elsewhere."""
        values = set(schema.get("enum", [schema.get("const")]))
        for enumeration in ENUMERATIONS:
            known = {str(member) for member in enumeration}
            if values == known or (enumeration is Status and values and values <= known):
                return enumeration.__name__, f"{enumeration.__name__}({value})"
        if values and all(isinstance(word, int) for word in values):
            return "int", _number(value)
        return "str", _text(value)


def _optional(value: str) -> str:
    """The expression for a member that may be missing."""
    return re.sub(r"^data\[(.+)\]$", r"data.get(\1)", value)


def _number(value: str) -> str:
    return f"number_or_zero({_optional(value)})"


def _text(value: str) -> str:
    """An ID must be there; other texts are empty where an older service does not send them."""
    if value in ("item", "data['request_id']"):
        return value
    return f"text_or_empty({_optional(value)})"


NOTES = ("description", "title", "default", "examples")


def _notes(schema: JsonSchema) -> JsonSchema:
    return {name: value for name, value in schema.items() if name in NOTES}


def _without_annotations(schema: JsonSchema) -> JsonSchema:
    return {name: value for name, value in schema.items() if name not in NOTES}


def _or_null(schema: JsonSchema) -> JsonSchema | None:
    """What a schema is beside null; None where it is never null."""
    choices = schema.get("anyOf") or schema.get("oneOf") or []
    others = [choice for choice in choices if choice.get("type") != "null"]
    if len(others) == 1 and len(choices) == 2:
        return dict(others[0])
    types = schema.get("type")
    if isinstance(types, list) and "null" in types:
        (kind,) = [kind for kind in types if kind != "null"]
        return {**schema, "type": kind}
    return None


def _class_name(owner: str, member: str) -> str:
    return owner + "".join(word.title() for word in member.split("_"))


def _options(form: JsonSchema) -> str:
    """The fields of the upload form: their types for callers, and how each is written."""
    types, table = [], []
    for name, schema in form["properties"].items():
        if name == "file":
            continue
        kind, python_type = _option_kind(schema)
        description = schema.get("description", "")
        types.append(f"    {name}: {python_type}")
        types.append(f'    """{_wrapped(description)}"""')
        given = {
            "description": description,
            "choices": tuple(schema.get("enum", ())),
            "minimum": schema.get("minimum", schema.get("exclusiveMinimum")),
            "maximum": schema.get("maximum"),
            "default": schema.get("default"),
        }
        shown = "".join(
            f", {key}={_literal(value)}" for key, value in given.items() if value or value == 0
        )
        table.append(f"    UploadOption({name!r}, {name in IMAGE_OPTIONS}, {kind!r}{shown}),")
    return "\n".join(
        [
            "class UploadOptions(TypedDict, total=False):",
            '    """What an upload may say beside its file."""',
            "",
            *types,
            "",
            "",
            "@dataclass(frozen=True)",
            "class UploadOption:",
            '    """One option of an upload: its name, how it is written, and what it means."""',
            "",
            "    name: str",
            "    of_images: bool",
            '    """Whether it is an option of images, which a variant may have too."""',
            '    kind: Literal["text", "choice", "integer", "number", "boolean", "list", "json"]',
            '    description: str = ""',
            "    choices: tuple[str, ...] = ()",
            "    minimum: float | None = None",
            "    maximum: float | None = None",
            "    default: Any = None",
            "",
            "",
            "UPLOAD_OPTIONS: tuple[UploadOption, ...] = (",
            *table,
            ")",
            "",
        ]
    )


def _option_kind(schema: JsonSchema) -> tuple[str, str]:
    """How an option is written in the form, and the Python type that callers may give."""
    if "enum" in schema:
        return "choice", f"Literal[{', '.join(map(repr, schema['enum']))}]"
    if schema.get("contentMediaType") == "application/json" or schema.get("type") == "object":
        return "json", "Sequence[Mapping[str, Any]] | Mapping[str, Any] | str"
    match schema.get("type"):
        case "array" if _without_annotations(schema.get("items", {})).get("type") == "object":
            return "json", "Sequence[Mapping[str, Any]] | str"
        case "array":
            return "list", "Sequence[str] | str"
        case "integer":
            return "integer", "int"
        case "number":
            return "number", "float"
        case "boolean":
            return "boolean", "bool"
    return "text", "str"


def _error_codes() -> str:
    rows = [
        f"    {str(code)!r}: ErrorCode("
        f"{_literal(code.meaning)}, {code.retried!r}, {_literal(code.remedy)}),"
        for code in ImageErrorCode
    ]
    return "\n".join(
        [
            "@dataclass(frozen=True)",
            "class ErrorCode:",
            '    """Why an image failed, whether the service tried again by itself, what to do."""',
            "",
            "    meaning: str",
            "    retried: bool",
            "    remedy: str",
            "",
            "",
            "ERROR_CODES: Mapping[str, ErrorCode] = {",
            *rows,
            "}",
            "",
        ]
    )


def _literal(value: object) -> str:
    """A value as Python source. A long text is a sequence of pieces, each of which fits a line."""
    if not isinstance(value, str) or len(value) <= PIECE_LENGTH:
        return repr(value)
    pieces = wrap(value, PIECE_LENGTH, drop_whitespace=False, break_on_hyphens=False)
    return f"({' '.join(map(repr, pieces))})"


def _wrapped(text: str) -> str:
    """Docstring text in lines that fit, however long it is."""
    safe = text.replace("\\", "\\\\").replace('"""', "'''").strip()
    lines = wrap(" ".join(safe.split()), 90, break_long_words=False)
    return "\n    ".join(lines) + (" " if safe.endswith('"') else "")


# Each asyncio form of `_async_client.py` and what it is without asyncio, in this order.
WITHOUT_ASYNCIO = (
    (r"AsyncIterator", "Iterator"),
    (r"AsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]"),
    (r"AsyncGenerator", "Generator"),
    (r"asynccontextmanager", "contextmanager"),
    (r"    import asyncio .*\n\n", ""),
    (r"asyncio\.sleep", "time.sleep"),
    (r"httpx\.AsyncClient", "httpx.Client"),
    (r"AsyncHttp", "Http"),
    (r"AsyncSend", "Send"),
    (r"Awaitable\[([\w.]+)\]", r"\1"),
    (r"AsyncClient", "Client"),
    (r"AsyncRequest", "Request"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\baclose\b", "close"),
    (r"\baiter_(bytes|lines)\b", r"iter_\1"),
    (r"\baread\b", "read"),
    (r"\banext\b", "next"),
    (r"async (def|with|for) ", r"\1 "),
    (r"\bawait ", ""),
    (r"asyncio", "threads"),
)


def sync_module() -> str:
    """The text of `_client.py`."""
    text = (PACKAGE / "_async_client.py").read_text()
    body = text.partition('"""\n')[2]
    for pattern, replacement in WITHOUT_ASYNCIO:
        body = re.sub(pattern, replacement, body)
    header = (
        '"""The client for programs without asyncio, generated from `_async_client.py`.\n\n'
        "`make generate` writes this file; do not edit it.\n"
        '"""\n'
    )
    return _formatted(header + body)


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    commands: tuple[list[str | Path], ...] = (
        [ruff, "check", "--quiet", "--fix-only", "--select", "I,F401,RUF022", "-"],
        [ruff, "format", "--quiet", "-"],
    )
    for command in commands:
        text = subprocess.run(
            command, input=text, capture_output=True, text=True, check=True
        ).stdout
    return text


MODULES = {"_declared.py": declared_module, "_client.py": sync_module}


def main() -> None:
    for name, make in MODULES.items():
        (PACKAGE / name).write_text(make())


if __name__ == "__main__":
    main()
