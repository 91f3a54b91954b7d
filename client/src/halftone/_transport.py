"""What the clients need of httpx. Imported when a client is made: httpx takes its time."""

from __future__ import annotations

import ipaddress
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any, TypedDict

import httpx

from halftone._retrying import retry_after_seconds
from halftone.errors import (
    ApiError,
    HalftoneError,
    InvalidSetting,
    UnexpectedAnswer,
    Unreachable,
    api_error,
)

URL_VARIABLE, KEY_VARIABLE = "HALFTONE_URL", "HALFTONE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_TIMEOUT_SECONDS = 10.0
NO_CONTENT = 204

Http, AsyncHttp = httpx.Client, httpx.AsyncClient
# Failures of a connection that cannot have carried the call out.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
FAILURES = (httpx.TransportError,)
# A URL or a header that cannot be sent at all.
UNUSABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError)


class ClientOptions(TypedDict):
    """The arguments of an httpx client that depend on the service."""

    base_url: str
    headers: dict[str, str]
    timeout: httpx.Timeout
    trust_env: bool


def client_options(url: str | None, key: str | None, timeout_seconds: float) -> ClientOptions:
    """The arguments of an httpx client for a halftone at `url`. Raises InvalidSetting."""
    base = (url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
    try:
        parsed = httpx.URL(base)
    except UNUSABLE as error:
        raise InvalidSetting(f"{base!a} is not a URL: {error}.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidSetting(f"{base!a} is not the URL of a service: expected http://HOST:PORT.")
    return {
        "base_url": base,
        "headers": _headers(key if key is not None else os.environ.get(KEY_VARIABLE, "")),
        "timeout": httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
        # The environment's proxies serve the way out of this machine, not calls within it.
        "trust_env": not _is_loopback(parsed.host),
    }


def _headers(key: str) -> dict[str, str]:
    headers = {
        "User-Agent": f"halftone-client/{version('halftone-client')}"
        f" python/{platform.python_version()}",
        "Accept": "application/json",
    }
    key = key.strip()  # read from a file, it ends in a line break
    if not (key.isascii() and key.isprintable()):
        raise InvalidSetting(
            f"{KEY_VARIABLE} is not an API key: it has characters that no key has."
        )
    return headers | ({"Authorization": f"Bearer {key}"} if key else {})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def unreachable(error: Exception, url: str) -> HalftoneError:
    """A failed connection as an error for people."""
    if isinstance(error, UNUSABLE):
        return InvalidSetting(f"{url!a} cannot be called: {error}.")
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"No halftone answers at {url}.")
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(f"{url} did not answer in time ({type(error).__name__}).")
    return Unreachable(f"The connection to {url} broke ({type(error).__name__}).")


def problem_of(response: httpx.Response) -> HalftoneError | None:
    """The error that an answer stands for; None for a success. Its body must have been read."""
    if response.is_success:
        return None
    problem = _json_of(response)
    media_type = response.headers.get("content-type", "")
    if media_type.startswith("application/problem+json") and isinstance(problem, Mapping):
        return _api_error(problem, response)
    text = (
        f"{response.url} answered {response.status_code}, and not as halftone does."
        " Is the URL right?"
    )
    if response.is_error:
        return _api_error({"detail": text, "code": "http_error"}, response)
    return UnexpectedAnswer(text)


def json_of(response: httpx.Response) -> Any:
    """The JSON of an answer; None where it has no content. Raises UnexpectedAnswer."""
    if not response.content:
        return None
    answer = _json_of(response)
    if answer is None:
        raise not_halftone(response)
    return answer


def not_halftone(response: httpx.Response) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"{response.url} does not answer as halftone does. Is the URL right?")


def retry_after_of(response: httpx.Response) -> float | None:
    return retry_after_seconds(response.headers.get("retry-after"))


def _json_of(response: httpx.Response) -> Any:
    with suppress(ValueError):
        return response.json()
    return None


def _api_error(problem: Mapping[str, Any], response: httpx.Response) -> ApiError:
    return api_error(
        problem,
        response.status_code,
        retry_after=retry_after_of(response),
        call_id=response.headers.get("x-request-id"),
    )
