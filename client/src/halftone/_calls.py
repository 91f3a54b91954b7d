"""The calls of the API without any I/O: what to send, and how to read the answer.

Each function returns a Call. The clients send it; nothing here knows httpx or asyncio.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from halftone._declared import (
    Accepted,
    Check,
    FailureGroup,
    FailureGroups,
    Json,
    Operations,
    Origin,
    Origins,
    PausedHost,
    PausedHosts,
    Preset,
    Presets,
    Product,
    RequestStatus,
    RequestTotals,
    Retried,
    Webhooks,
)
from halftone._json import mapping

T = TypeVar("T")
Parameters = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call: method, path, query, body, and `read`, which makes the result of the JSON answer.

    `repeatable`: sending it twice does no more than sending it once, so a lost answer is asked for
    again. `keyless`: the API key is not sent, since the URL may be another server's.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    query: Parameters = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    repeatable: bool = True
    keyless: bool = False


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of a list, and the cursor of the next one."""

    items: tuple[T, ...]
    next_cursor: str | None


def status(request_id: str) -> Call[RequestStatus]:
    return Call("GET", _path("/api/status/{}", request_id), RequestStatus.from_json)


def products(
    request_id: str,
    *,
    cursor: str | None,
    limit: int,
    status: str | None,
    error_code: str | None,
) -> Call[Page[Product]]:
    query = _given(cursor=cursor, limit=limit, status=status, error_code=error_code)
    read = _page_of("products", Product.from_json)
    return Call("GET", _path("/api/details/{}", request_id), read, query)


def requests(
    *,
    cursor: str | None,
    limit: int,
    status: str | None,
    error_code: str | None,
    search: str | None,
) -> Call[Page[RequestStatus]]:
    query = _given(cursor=cursor, limit=limit, status=status, error_code=error_code, q=search)
    return Call("GET", "/api/requests", _page_of("requests", RequestStatus.from_json), query)


def request_totals(
    *, status: str | None, error_code: str | None, search: str | None
) -> Call[RequestTotals]:
    def read(data: Json) -> RequestTotals:
        return RequestTotals.from_json(mapping(mapping(data)["totals"]))

    query = _given(limit=1, include="totals", status=status, error_code=error_code, q=search)
    return Call("GET", "/api/requests", read, query)


def upload(idempotency_key: str) -> Call[Accepted]:
    headers = {"Idempotency-Key": idempotency_key}
    return Call("POST", "/api/upload", Accepted.from_json, headers=headers)


def failures(request_id: str) -> Call[tuple[FailureGroup, ...]]:
    def read(data: Json) -> tuple[FailureGroup, ...]:
        return FailureGroups.from_json(data).failures

    return Call("GET", _path("/api/failures/{}", request_id), read)


def cancel(request_id: str) -> Call[RequestStatus]:
    return _change("/api/cancel/{}", request_id)


def retry(request_id: str) -> Call[RequestStatus]:
    return _change("/api/retry/{}", request_id)


def retry_all(*, error_code: str | None, since_seconds: float | None) -> Call[Retried]:
    query = _given(error_code=error_code, since_seconds=since_seconds)
    return Call("POST", "/api/retry", Retried.from_json, query, repeatable=False)


def delete(request_id: str) -> Call[None]:
    return Call("DELETE", _path("/api/requests/{}", request_id), _nothing)


def webhooks(request_id: str) -> Call[Webhooks]:
    return Call("GET", _path("/api/webhooks/{}", request_id), Webhooks.from_json)


def replay(request_id: str) -> Call[None]:
    return Call("POST", _path("/api/webhooks/{}/replay", request_id), _nothing, repeatable=False)


def events(request_id: str, last_event_id: str | None) -> Call[None]:
    headers = {"Accept": "text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    return Call("GET", _path("/api/events/{}", request_id), _nothing, headers=headers)


def download(
    request_id: str,
    *,
    report: str | None = None,
    safe: str | None = None,
    images: str | None = None,
    as_: str | None = None,
) -> Call[None]:
    query = _given(report=report, safe=safe, images=images) | _given(**{"as": as_})
    return Call("GET", _path("/api/download/{}", request_id), _nothing, query)


def archive(request_id: str, *, variant: str | None) -> Call[None]:
    query = _given(variant=variant)
    return Call("GET", _path("/api/archive/{}", request_id), _nothing, query)


def image(output_url: str) -> Call[None]:
    return Call("GET", output_url, _nothing, keyless=True)


def check() -> Call[Check]:
    return Call("POST", "/api/check", Check.from_json)


def presets() -> Call[tuple[Preset, ...]]:
    def read(data: Json) -> tuple[Preset, ...]:
        return Presets.from_json(data).presets

    return Call("GET", "/api/presets", read)


def origins() -> Call[tuple[Origin, ...]]:
    def read(data: Json) -> tuple[Origin, ...]:
        return Origins.from_json(data).origins

    return Call("GET", "/api/origins", read)


def origin(host: str) -> Call[Origin]:
    return Call("GET", _path("/api/origins/{}", host), Origin.from_json)


def set_origin(host: str, **members: Any) -> Call[Origin]:
    body = {name: value for name, value in members.items() if value is not None}
    return Call("PUT", _path("/api/origins/{}", host), Origin.from_json, json=body)


def remove_origin(host: str) -> Call[None]:
    return Call("DELETE", _path("/api/origins/{}", host), _nothing)


def paused_hosts() -> Call[tuple[PausedHost, ...]]:
    def read(data: Json) -> tuple[PausedHost, ...]:
        return PausedHosts.from_json(data).paused_hosts

    return Call("GET", "/api/paused-hosts", read)


def pause_host(host: str) -> Call[PausedHost]:
    return Call("PUT", _path("/api/paused-hosts/{}", host), PausedHost.from_json)


def resume_host(host: str) -> Call[None]:
    return Call("DELETE", _path("/api/paused-hosts/{}", host), _nothing)


def service() -> Call[Json]:
    return Call("GET", "/", mapping, headers={"Accept": "application/json"})


def operations() -> Call[Operations]:
    return Call("GET", "/api/operations", Operations.from_json)


def ready() -> Call[Json]:
    return Call("GET", "/readyz", mapping)


def form_fields(options: Mapping[str, Any]) -> dict[str, str]:
    """The options of an upload as the form writes them; None is left out.

    >>> form_fields({"quality": 70, "strict": True, "filters": ["sharpen", "blur:2"]})
    {'quality': '70', 'strict': 'true', 'filters': 'sharpen,blur:2'}
    >>> form_fields({"variants": [{"name": "thumb", "width": 200}], "format": None})
    {'variants': '[{"name": "thumb", "width": 200}]'}
    """
    return {name: _written(value) for name, value in options.items() if value is not None}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return json.dumps(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if all(isinstance(item, str) for item in value):
            return ",".join(value)
        return json.dumps(value)
    return str(value)


def _change(template: str, request_id: str) -> Call[RequestStatus]:
    return Call("POST", _path(template, request_id), RequestStatus.from_json, repeatable=False)


def _path(template: str, *names: str) -> str:
    return template.format(*(quote(name, safe="", errors="surrogateescape") for name in names))


def _given(**parameters: str | float | None) -> dict[str, str | int | float]:
    return {name: value for name, value in parameters.items() if value is not None}


def _page_of(member: str, read: Callable[[Json], T]) -> Callable[[Any], Page[T]]:
    def read_page(data: Json) -> Page[T]:
        return Page(tuple(map(read, data[member])), data.get("next_cursor"))

    return read_page


def _nothing(_: Any) -> None:
    return None
