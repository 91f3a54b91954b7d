"""Reads the forms of the web pages, and passes their fields on as query parameters."""

from collections.abc import Mapping
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request

from halftone_api.errors import Problem, ProblemCode

_MAX_FORM_BYTES = 4096


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a short form. Raises Problem if it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            raise Problem(ProblemCode.MALFORMED_FORM, "The form is too long.")
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def with_parameters(request: Request, parameters: Mapping[str, str]) -> Request:
    """The call with these query parameters in place of its own."""
    return Request({**request.scope, "query_string": urlencode(parameters).encode()})


def without_blanks(request: Request, **further: str) -> Request:
    """The call without empty parameters: a form sends all its fields, empty ones too. `further`:
    parameters to add.
    """
    given = {**dict(request.query_params.multi_items()), **further}
    return with_parameters(request, {name: value for name, value in given.items() if value})
