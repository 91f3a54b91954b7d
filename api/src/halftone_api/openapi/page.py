"""`/docs` and the index as pages that load nothing else."""

import json
from collections.abc import Iterable
from html import escape
from http import HTTPStatus
from typing import Any

from halftone_api.endpoints.declaration import Endpoint
from halftone_api.errors import ProblemCode
from halftone_api.openapi.version import VERSION
from halftone_shared.model.error_codes import ImageErrorCode


def index_page(endpoints: Iterable[Endpoint], public_url: str) -> str:
    """Every endpoint with its summary."""
    rows = "\n".join(
        f"<tr><td>{each.method}</td><td><code>{escape(each.path)}</code></td>"
        f"<td>{escape(each.summary)}</td></tr>"
        for each in endpoints
        if each.described
    )
    return page(
        f"halftone {VERSION}",
        f"""
<p>Upload a file of products with image URLs; get every image back smaller.</p>
<pre>curl -F file=@products.csv {escape(public_url)}/api/upload</pre>
<p><a href="/docs">The API in detail</a></p>
<table>
{rows}
</table>
""",
    )


def docs_page(document: dict[str, Any]) -> str:
    """The OpenAPI document as a page."""
    form = document["components"]["schemas"]["Upload"]
    members = "\n".join(
        f"<tr><td><code>{name}</code></td><td>{_text(member.get('description', ''))}</td></tr>"
        for name, member in document["components"]["schemas"]["StatusObject"]["properties"].items()
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
    images = "\n".join(
        f'<tr id="image-{code}"><td><code>{code}</code></td><td>{_text(code.meaning)}</td>'
        f"<td>{'retried' if code.retried else ''}</td><td>{_text(code.remedy)}</td></tr>"
        for code in ImageErrorCode
    )
    return page(
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
<h2 id="image-errors">Codes of images that failed</h2>
<table>
{images}
</table>
""",
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
    kind = escape(schema.get("format") or schema.get("type", ""))
    return ", ".join([kind, *bounds, *default])


def _code(value: object) -> str:
    return f"<code>{escape(value if isinstance(value, str) else json.dumps(value))}</code>"


def _text(text: str) -> str:
    """Text with `code` in it, as HTML."""
    parts = escape(text).split("`")
    return "".join(
        f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)
    )


def page(title: str, content: str) -> str:
    """A page in the service's style, which loads nothing."""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; }}
  code, pre {{ font-family: ui-monospace, monospace; background: #f4f4f2; }}
  pre {{ padding: .8rem 1rem; overflow-x: auto; }}
  h2 {{ margin-top: 2.5rem; font-size: 1.1rem; }}
  table {{ border-collapse: collapse; width: 100%; margin-bottom: 1rem; }}
  td {{ padding: .35rem .6rem .35rem 0; border-top: 1px solid #ddd; vertical-align: top; }}
</style>
<h1>{escape(title)}</h1>
{content}
</html>
"""
