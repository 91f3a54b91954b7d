"""The API's description for programs and for people: /openapi.json, and a page of it that loads
nothing else.
"""

import json
from html import escape
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from halftone_api.endpoints.index import VERSION, page
from halftone_api.errors import ProblemCode
from halftone_api.openapi.document import describe_api
from halftone_api.services import services


async def openapi_json(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(describe_api(VERSION, services(request).settings.public_url))


async def docs(request: Request) -> Response:
    """The OpenAPI document as a page. A problem's `type` leads to its code here."""
    document = describe_api(VERSION, services(request).settings.public_url)
    form = document["components"]["schemas"]["Upload"]
    members = "\n".join(
        f"<tr><td><code>{name}</code></td><td>{_text(member.get('description', ''))}</td></tr>"
        for name, member in document["components"]["schemas"]["Status"]["properties"].items()
    )
    webhook = document["webhooks"]["ended"]["post"]
    ending = document["components"]["schemas"]["Ending"]["properties"]
    operations = "\n".join(
        _operation(method, path, operation, form)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    problems = "\n".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{code.status}</td>'
        f"<td>{_text(code.meaning)} {_text(code.remedy)}</td></tr>"
        for code in ProblemCode
    )
    return HTMLResponse(
        page(
            "halftone: the API",
            f"""
<p>For programs: <a href="/openapi.json">/openapi.json</a>. A trailing slash is accepted everywhere; every answer has an
<code>X-Request-Id</code>; errors are <code>application/problem+json</code>, each with a <a href="#codes">code</a>.</p>
{operations}
<h2 id="status-object">The status object</h2>
<table>
{members}
</table>
<h2 id="ended"><code>POST</code> to your <code>webhook_url</code></h2>
<p>{_text(webhook["summary"])}: <code>type</code> ({_values(ending["type"])}), <code>timestamp</code>, and
<code>data</code>, the status object.</p>
<p>{_text(webhook["description"])}</p>
<h2 id="codes">Codes of problems</h2>
<table>
{problems}
</table>
""",
        )
    )


def _operation(method: str, path: str, operation: dict[str, Any], form: dict[str, Any]) -> str:
    """`form`: the schema of the only body there is, the upload's."""
    rows = [
        (parameter["name"], parameter["in"], parameter)
        for parameter in operation.get("parameters", ())
    ]
    if "requestBody" in operation:
        rows += [(name, "form", {"schema": schema}) for name, schema in form["properties"].items()]
    parameters = "\n".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{where}</td><td>{_values(found['schema'])}</td>"
        f"<td>{_text(found.get('description') or found['schema'].get('description', ''))}</td></tr>"
        for name, where, found in rows
    )
    answers = "\n".join(
        f"<tr><td>{status}</td><td>{_text(answer.get('description') or HTTPStatus(int(status)).phrase)}</td></tr>"
        for status, answer in operation["responses"].items()
        if status != "default"
    )
    return f"""<h2 id="{operation["operationId"]}"><code>{method.upper()} {escape(path)}</code></h2>
<p>{_text(operation["summary"])}.</p>
<table>{parameters}</table>
<table>{answers}</table>"""


def _values(schema: dict[str, Any]) -> str:
    default = [f"default {_code(schema['default'])}"] if "default" in schema else []
    if "enum" in schema:
        return ", ".join([*map(_code, schema["enum"]), *default])
    bounds = [
        f"{sign} {schema[name]}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", "&gt;"), ("maximum", "≤"))
        if name in schema
    ]
    return ", ".join([escape(schema.get("format", schema["type"])), *bounds, *default])


def _code(value: object) -> str:
    return f"<code>{escape(value if isinstance(value, str) else json.dumps(value))}</code>"


def _text(text: str) -> str:
    """Text with `code` in it, as HTML."""
    parts = escape(text).split("`")
    return "".join(
        f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)
    )
