"""The OpenAPI 3.1 document, made from the declared endpoints."""

from typing import Annotated, Any, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from halftone_api.endpoints import all_endpoints
from halftone_api.endpoints.declaration import Answer, Endpoint, Parameter, Tag
from halftone_api.endpoints.views import Ending
from halftone_api.errors import ProblemCode
from halftone_api.openapi.json_schema import Schemas, component
from halftone_api.upload.fields import options_schema
from halftone_api.upload.row_problems import RowError
from halftone_shared.model.json_types import Count
from halftone_shared.model.option_kinds import JsonSchema

_TEXT: JsonSchema = {"type": "string"}
_PROBLEM_RESPONSE: JsonSchema = {"$ref": "#/components/responses/Problem"}
_ENDED: JsonSchema = {
    "operationId": "ended",
    "summary": "What is sent to `webhook_url` when a request has ended",
    "description": (
        "Verify its headers with a library of Standard Webhooks (standardwebhooks.com) and "
        "`webhook_secret`, and answer with 2xx within 15 s. After any other answer, a redirect "
        "included, it is sent again for three days with growing pauses; 410 ends that. It may "
        "arrive more than once, with the same `webhook-id` and body. Another ending, after a "
        "retry, has an ID of its own."
    ),
    "security": [],
    "parameters": [
        {"name": name, "in": "header", "required": True, "schema": _TEXT}
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": component("Ending")}},
    },
    "responses": {
        "2XX": {"description": "Delivered."},
        "410": {"description": "Not wanted any more."},
        "default": {"description": "Sent again later."},
    },
}


class Problem(TypedDict):
    """An RFC 9457 problem."""

    type: Annotated[str, WithJsonSchema({"type": "string", "format": "uri-reference"})]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    instance: str
    code: ProblemCode
    errors: NotRequired[list[RowError]]
    error_count: NotRequired[Count]


def describe_api(version: str, public_url: str) -> JsonSchema:
    """The OpenAPI document of this API."""
    described = [each for each in all_endpoints() if each.described]
    answers = [answer for each in described for answer in each.answers.values() if answer.type]
    schemas = Schemas([*(answer.type for answer in answers), Ending, Problem])
    content = {answer: schemas[number] for number, answer in enumerate(answers)}
    paths: dict[str, JsonSchema] = {}
    for each in described:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, content)
    bodies = {
        each.body.component: each.body.schema()
        for each in described
        if each.body is not None and each.body.component is not None
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "halftone",
            "version": version,
            "summary": "Upload a file of products with image URLs; get every image back smaller.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url}],
        "security": [{"key": []}],
        "tags": [{"name": tag.value} for tag in Tag if any(each.tag is tag for each in described)],
        "paths": paths,
        "webhooks": {"ended": {"post": _ENDED}},
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`halftone keys create NAME` makes one. Not needed where "
                    "HALFTONE_AUTH=off.",
                }
            },
            "responses": {
                "Problem": {
                    "description": "A problem (RFC 9457).",
                    "content": {"application/problem+json": {"schema": component("Problem")}},
                }
            },
            "schemas": dict(sorted((_with_options(schemas.components) | bodies).items())),
        },
    }


def _operation(endpoint: Endpoint, content: dict[Answer, JsonSchema]) -> JsonSchema:
    operation: JsonSchema = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag.value],
        "responses": _responses(endpoint, content),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.parameters:
        operation["parameters"] = [_parameter(each) for each in endpoint.parameters]
    if endpoint.body is not None:
        body = endpoint.body
        schema = component(body.component) if body.component else body.schema()
        operation["requestBody"] = {
            "required": True,
            "content": {body.media_type: {"schema": schema}},
        }
    if endpoint.keyless:
        operation["security"] = []
    return operation


def _responses(endpoint: Endpoint, content: dict[Answer, JsonSchema]) -> JsonSchema:
    """Its answers, then the statuses of its problems; `default` covers any other problem."""
    responses = {
        str(status): _response(answer, content) for status, answer in endpoint.answers.items()
    }
    problems = (*endpoint.problems, *(() if endpoint.keyless else (ProblemCode.UNAUTHORIZED,)))
    statuses = sorted({code.status for code in problems})
    return {
        **responses,
        **{str(status): _PROBLEM_RESPONSE for status in statuses},
        "default": _PROBLEM_RESPONSE,
    }


def _response(answer: Answer, content: dict[Answer, JsonSchema]) -> JsonSchema:
    response: JsonSchema = {"description": answer.description}
    if answer.type is not None:
        response["content"] = {"application/json": {"schema": content[answer]}}
    elif answer.media_types != ("application/json",):
        response["content"] = {
            media_type: {"schema": _TEXT if media_type.startswith("text/") else {}}
            for media_type in answer.media_types
        }
    return response


def _parameter(parameter: Parameter[Any]) -> JsonSchema:
    described: JsonSchema = {
        "name": parameter.name,
        "in": parameter.where,
        "schema": parameter.schema,
        "description": parameter.description,
    }
    if parameter.where == "path":
        described["required"] = True
    return described


# The component of GET /api/presets.
PRESET = "PresetObject"


def _with_options(components: dict[str, JsonSchema]) -> dict[str, JsonSchema]:
    """The status object's `options` are those of the form. A preset has only some of them, so none
    is required there.
    """
    for name, schema in components.items():
        options = schema.get("properties", {}).get("options")
        if options is not None:
            options |= options_schema()
            options.pop("additionalProperties", None)
            if name == PRESET:
                options.pop("required", None)
    return components
