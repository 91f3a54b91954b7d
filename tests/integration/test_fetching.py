"""Fetching from servers that do everything wrong: what each failure is called, and that nothing outlives its limits."""

import asyncio
import base64
import gc
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import httpx
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from halftone_shared.addresses import FetchRule, parse_networks
from halftone_shared.states import ImageErrorCode
from halftone_workers import outgoing_http
from halftone_workers.fetching import (
    MAX_REDIRECTS,
    MAX_RETRY_AFTER_SECONDS,
    FetchFailed,
    ImageFetcher,
    MemoryBudget,
    retry_after_seconds,
)
from halftone_workers.outgoing_http import Deadline, OutgoingHttp
from tests.support.fetched import fetched
from tests.support.hostile import (
    Authority,
    HostileServer,
    Script,
    StubResolver,
    Visitor,
    answering,
    closing_after,
    full_backlog,
    hostile_server,
    new_authority,
    response,
)
from tests.support.origin import Answer, Origin

T = TypeVar("T")
LOOPBACK = FetchRule(parse_networks(["127.0.0.0/8", "::1/128"]))
BODY = bytes(range(256)) * 40
# What a deadline may be overrun by, on a machine that is busy with other things.
GRACE_SECONDS = 0.5
_NO_AUTHORITIES = ssl.create_default_context()


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> StubResolver:
    """No test looks up a name."""
    stub = StubResolver()
    monkeypatch.setattr(outgoing_http, "_look_up", stub)
    return stub


def _run(work: Coroutine[Any, Any, T]) -> T:
    """On the event loop that workers run on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@asynccontextmanager
async def _fetcher(
    *,
    timeout: float = 5,  # noqa: ASYNC109 - the fetcher's own
    max_bytes: int = 1_000_000,
    per_host: int = 4,
    budget_bytes: int = 100_000_000,
    tls: ssl.SSLContext | None = _NO_AUTHORITIES,
) -> Any:
    http = OutgoingHttp(LOOPBACK, connections_per_host=per_host, tls=tls)
    try:
        yield ImageFetcher(http, MemoryBudget(budget_bytes), max_image_bytes=max_bytes, timeout_seconds=timeout)
    finally:
        await http.close()


def _fetch(*urls: str, **how: Any) -> bytes:
    """The last URL's bytes, after the others were fetched by the same client."""

    async def work() -> bytes:
        body = b""
        async with _fetcher(**how) as fetcher:
            for url in urls:
                async with fetched(fetcher, url) as image:
                    body = bytes(image)
        return body

    return _run(work())


def _failure(*urls: str, **how: Any) -> FetchFailed:
    with pytest.raises(FetchFailed) as failed:
        _fetch(*urls, **how)
    assert failed.value.error.message.endswith(".")
    return failed.value


def _code(*urls: str, **how: Any) -> tuple[ImageErrorCode, bool]:
    error = _failure(*urls, **how).error
    return error.code, error.retryable


async def _all(fetcher: ImageFetcher, urls: list[str], *, hold_seconds: float = 0) -> list[bytes | bytearray]:
    async def one(url: str) -> bytes | bytearray:
        async with fetched(fetcher, url) as body:
            await asyncio.sleep(hold_seconds)
            return body

    return await asyncio.gather(*(one(url) for url in urls))


# --- what works ---


def test_image_arrives_as_it_was_sent(origin: Origin) -> None:
    assert _fetch(origin.serve("/image.jpg", BODY)) == BODY


def test_fetched_image_leaves_nothing_to_the_garbage_collector(origin: Origin) -> None:
    # What only the collector finds lies about until it comes, an image's task and all that hangs on it.
    url = origin.serve("/image.jpg", BODY)

    async def fetch(fetcher: ImageFetcher) -> None:
        async with fetched(fetcher, url):
            pass

    async def work() -> int:
        async with _fetcher() as fetcher:
            for _ in range(3):
                await asyncio.create_task(fetch(fetcher))
            return sum(isinstance(thing, Deadline) for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert _run(work()) == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "203 Non-Authoritative Information"])
def test_every_answer_of_success_is_an_image(status: str) -> None:
    with hostile_server(answering(response(status, BODY))) as server:
        assert _fetch(server.url) == BODY


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n"
        + BODY[:3]
        + b"\r\n%x\r\n" % (len(BODY) - 3)
        + BODY[3:]
        + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + response(body=BODY),
        response(body=BODY, headers={"Content-Encoding": "identity"}),
        response(body=BODY, headers={"Content-Type": "text/html"}),
        response(body=BODY) + b"and more than was told",
    ],
    ids=["until closed", "HTTP/1.0", "chunked", "informational", "identity", "wrong type", "more than told"],
)
def test_body_ends_where_the_protocol_says(answer: bytes) -> None:
    with hostile_server(closing_after(answer)) as server:
        assert _fetch(server.url) == BODY


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("anna:sesame@", "anna:sesame"),
        ("anna@", "anna:"),
        (":sesame@", ":sesame"),
        ("a%40b:%3A@", "a@b::"),
        (":@", None),
    ],
)
def test_credentials_in_a_url_are_sent_as_basic_ones(user: str, sent: str | None) -> None:
    with hostile_server(answering(response(body=BODY))) as server:
        assert _fetch(server.url.replace("//", f"//{user}", 1)) == BODY
        lines = server.requests[0].decode().split("\r\n")
    told = [line.partition(": ")[2] for line in lines if line.lower().startswith("authorization:")]
    assert told == ([] if sent is None else [f"Basic {base64.b64encode(sent.encode()).decode()}"])


def test_request_asks_for_an_unencoded_image_and_says_who_asks() -> None:
    with hostile_server(answering(response(body=BODY))) as server:
        _fetch(server.url + "/a%20b?c=d%2Fe#fragment")
        (head,) = server.requests
    lines = head.decode().lower().split("\r\n")
    assert head.startswith(b"GET /a%20b?c=d%2Fe HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{server.port}" in lines
    assert "accept-encoding: identity" in lines
    assert any(line.startswith("user-agent: halftone/") for line in lines)


def test_cookies_of_one_image_are_not_sent_for_another() -> None:
    with hostile_server(answering(response(body=BODY, headers={"Set-Cookie": "shopper=anna; Path=/"}))) as server:
        _fetch(server.url + "/1", server.url + "/2")
        assert len(server.requests) == 2
        assert b"cookie" not in server.requests[1].lower()


# --- redirects ---


def _redirect(location: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed(origin: Origin, status: int) -> None:
    target = origin.serve("/target", BODY)
    assert _fetch(origin.serve("/start", _redirect(target, status))) == BODY


@pytest.mark.parametrize("location", ["/a/target", "target", "../a/target", "?x=1/../target", "./target#part"])
def test_relative_redirect_is_followed(origin: Origin, location: str) -> None:
    origin.serve("/a/target", BODY)
    origin.serve("/a/start?x=1/../target", BODY)
    assert _fetch(origin.serve("/a/start", _redirect(location))) == BODY


def test_redirect_to_another_host_is_followed_and_asks_it_by_its_name(resolver: StubResolver) -> None:
    resolver.names["photos.shop.test"] = ["127.0.0.1"]
    with hostile_server(answering(response(body=BODY))) as target:
        location = f"http://Photos.Shop.TEST:{target.port}/x"
        with hostile_server(answering(response("302 Found", headers={"Location": location}))) as start:
            assert _fetch(start.url) == BODY
        assert f"host: photos.shop.test:{target.port}".encode() in target.requests[0].lower()


def test_redirect_without_scheme_keeps_it(origin: Origin) -> None:
    target = origin.serve("/target", BODY)
    assert _fetch(origin.serve("/start", _redirect(target.removeprefix("http:")))) == BODY


def test_as_many_redirects_as_allowed_are_followed_and_no_more(origin: Origin) -> None:
    assert MAX_REDIRECTS == 5
    origin.serve("/0", BODY)
    for number in range(1, 8):
        origin.serve(f"/{number}", _redirect(f"/{number - 1}"))
    assert _fetch(f"{origin.url}/5") == BODY
    assert _code(f"{origin.url}/6") == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
    assert origin.hits["/0"] == 1


def test_redirect_to_itself_ends(origin: Origin) -> None:
    assert _code(origin.serve("/loop", _redirect("/loop"))) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
    assert origin.hits["/loop"] == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "location",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "gopher://127.0.0.1:70/x",
        "http://[::1/x",
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1:0/x",
        "http://a b/x",
        "http://127.0.0.1/" + "x" * 5000,
    ],
)
def test_redirect_to_what_is_no_http_url_is_an_invalid_url(origin: Origin, location: str) -> None:
    assert _code(origin.serve("/start", _redirect(location))) == (ImageErrorCode.INVALID_URL, False)


@pytest.mark.parametrize("url", ["", "x", "ftp://127.0.0.1/x", "http://", "http://[::1", "http://a..b/", "https:/x"])
def test_what_is_no_http_url_is_an_invalid_url(url: str) -> None:
    assert _code(url) == (ImageErrorCode.INVALID_URL, False)


def test_endless_body_of_a_redirect_is_not_read(origin: Origin) -> None:
    target = origin.serve("/target", BODY)

    def endless(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(response("302 Found", headers={"Location": target}, told=False))
        while True:
            visitor.send(bytes(65536))

    with hostile_server(endless) as server:
        started = time.monotonic()
        assert _fetch(server.url, timeout=20) == BODY
        assert time.monotonic() - started < 2
        assert server.bytes_sent < 50_000_000


# --- statuses ---

_RETRYABLE = {408, 425, 429, 500, 502, 503, 504}
_FINAL = {300, 304, 305, 306, 399, 400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 413, 414, 415, 416, 417, 418}
_FINAL |= {421, 422, 423, 424, 426, 428, 431, 451, 499, 501, 505, 506, 507, 508, 510, 511, 520, 599, 600, 999}


@pytest.mark.parametrize("status", sorted(_RETRYABLE | _FINAL))
def test_status_is_an_http_error_and_retried_only_where_that_may_help(status: int) -> None:
    with hostile_server(answering(response(f"{status} Something", b"a page"))) as server:
        error = _failure(server.url).error
    assert (error.code, error.http_status) == (ImageErrorCode.HTTP_ERROR, status)
    assert error.retryable is (status in _RETRYABLE)
    assert str(status) in error.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_nowhere_is_an_http_error(origin: Origin, status: int) -> None:
    error = _failure(origin.serve("/start", Answer(status=status))).error
    assert (error.code, error.http_status, error.retryable) == (ImageErrorCode.HTTP_ERROR, status, False)


@pytest.mark.parametrize(
    "answer",
    [
        response(),
        response("204 No Content", told=False),
        response("205 Reset Content"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
    ids=["200", "204", "205", "no chunks", "closed at once"],
)
def test_empty_answer_is_an_empty_body(answer: bytes) -> None:
    with hostile_server(closing_after(answer)) as server:
        assert _code(server.url) == (ImageErrorCode.EMPTY_BODY, False)


# --- Retry-After ---


def _in(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0", 0, 0),
        ("7", 7, 7),
        ("120", 120, 120),
        ("7200", MAX_RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS),
        ("9" * 400, MAX_RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS),
        (300, 200, 300),
        (-300, 0, 0),
        (90_000, MAX_RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after_is_read_as_seconds_and_as_a_date(header: str | int, least: float, most: float) -> None:
    sent = _in(header) if isinstance(header, int) else header
    with hostile_server(answering(response("503 Busy", headers={"Retry-After": sent}))) as server:
        asked = _failure(server.url).retry_after_seconds
    assert asked is not None
    assert least <= asked <= most


@pytest.mark.parametrize("header", ["", "soon", "-5", "1.5", "0x10", "Mon, 99 Foo 2030 00:00:00 GMT", "²"])
def test_retry_after_that_says_nothing_is_passed_over(header: str) -> None:
    with hostile_server(answering(response("503 Busy", headers={"Retry-After": header}))) as server:
        failure = _failure(server.url)
    assert failure.retry_after_seconds is None
    assert failure.error.retryable


def test_answer_without_retry_after_asks_for_nothing() -> None:
    with hostile_server(answering(response("503 Busy"))) as server:
        assert _failure(server.url).retry_after_seconds is None


@given(
    st.text(max_size=40)
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,2} (Jan|Feb|Dec) [0-9]{1,6} [0-9]{1,3}:[0-9]{2}:[0-9]{2} [+-]?[0-9A-Z]{1,25}"
    )
)
def test_retry_after_is_a_number_within_its_bounds_or_nothing(header: str) -> None:
    asked = retry_after_seconds(header)
    assert asked is None or 0 <= asked <= MAX_RETRY_AFTER_SECONDS


def test_date_in_a_time_zone_that_cannot_be_says_nothing() -> None:
    assert retry_after_seconds("Mon, 01 Jan 2024 00:00:00 +99999999999999999999") is None


# --- encodings and sizes ---


@pytest.mark.parametrize(
    "encoding", ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP", "identity, gzip"]
)
def test_encoded_image_is_refused(encoding: str) -> None:
    answer = response(body=gzip.compress(BODY), headers={"Content-Encoding": encoding})
    with hostile_server(answering(answer)) as server:
        error = _failure(server.url).error
    assert (error.code, error.retryable) == (ImageErrorCode.HTTP_ERROR, False)
    assert encoding in error.message


def test_bomb_zipped_twice_is_refused_in_little_memory() -> None:
    bomb = gzip.compress(gzip.compress(bytes(150_000_000), 9), 9)
    assert len(bomb) < 10_000
    with hostile_server(answering(response(body=bomb, headers={"Content-Encoding": "gzip, gzip"}))) as server:
        tracemalloc.start()
        try:
            assert _code(server.url, max_bytes=50_000_000) == (ImageErrorCode.HTTP_ERROR, False)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


def test_told_size_over_the_limit_is_refused_before_the_body() -> None:
    def huge(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n")
        visitor.wait_until_gone()

    with hostile_server(huge) as server:
        assert _code(server.url, timeout=5) == (ImageErrorCode.TOO_LARGE, False)


@pytest.mark.parametrize("told", [True, False])
def test_size_is_counted_to_the_last_byte(told: bool) -> None:
    for size, fits in ((1000, True), (1001, False)):
        with hostile_server(closing_after(response(body=bytes(size), told=told))) as server:
            if fits:
                assert _fetch(server.url, max_bytes=1000) == bytes(size)
            else:
                assert _code(server.url, max_bytes=1000) == (ImageErrorCode.TOO_LARGE, False)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunks", "until closed"])
def test_endless_body_is_cut_off_at_the_limit(chunked: bool) -> None:
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n" if chunked else bytes(0x10000)
    header = "Transfer-Encoding: chunked" if chunked else "Connection: close"

    def endless(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode())
        while True:
            visitor.send(piece)

    with hostile_server(endless) as server:
        tracemalloc.start()
        try:
            assert _code(server.url, max_bytes=2_000_000, timeout=20) == (ImageErrorCode.TOO_LARGE, False)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()
        assert server.bytes_sent < 50_000_000


# --- broken connections ---


def _hang_up(visitor: Visitor) -> None:
    visitor.read_request()


def _reset_at_once(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.reset()


def _reset_in_the_body(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(500))
    visitor.pause(0.05)
    visitor.reset()


_BROKEN: dict[str, Script] = {
    "hangs up": _hang_up,
    "resets": _reset_at_once,
    "resets in the body": _reset_in_the_body,
    "short body": closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(10)),
    "no body": closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    "chunk without end": closing_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc"),
    "no last chunk": closing_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    "chunk of no size": closing_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"),
    "half a header": closing_after(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "no HTTP": closing_after(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a page without a header": closing_after(b"<html>hello</html>\r\n\r\n"),
    "status of no number": closing_after(b"HTTP/1.1 OK\r\n\r\n"),
    "two lengths": closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"),
    "negative length": closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc"),
    "unknown transfer encoding": closing_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
    "nothing but zeros": closing_after(bytes(2000)),
}


@pytest.mark.parametrize("script", _BROKEN.values(), ids=_BROKEN.keys())
def test_broken_answer_is_a_failed_connection_and_retried(script: Script) -> None:
    with hostile_server(script) as server:
        assert _code(server.url) == (ImageErrorCode.CONNECT_FAILED, True)


def test_endless_header_ends_soon() -> None:
    def endless(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            visitor.send(b"X-More: " + b"x" * 8000 + b"\r\n")

    with hostile_server(endless) as server:
        started = time.monotonic()
        assert _code(server.url, timeout=20) == (ImageErrorCode.CONNECT_FAILED, True)
        assert time.monotonic() - started < 5
        assert server.bytes_sent < 20_000_000


def test_port_that_nobody_listens_on_is_a_failed_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert _code(f"http://127.0.0.1:{port}/") == (ImageErrorCode.CONNECT_FAILED, True)


def test_second_address_is_tried_when_the_first_refuses(resolver: StubResolver, origin: Origin) -> None:
    resolver.names["shop.test"] = ["::1", "127.0.0.1"]
    url = origin.serve("/image", BODY).replace("127.0.0.1", "shop.test")
    assert _fetch(url) == BODY


# --- names ---


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (UnicodeError("label empty or too long"), False),
    ],
    ids=["no such name", "resolver says never", "resolver is down", "no name"],
)
def test_name_that_does_not_resolve_is_retried_only_when_the_resolver_failed(
    monkeypatch: pytest.MonkeyPatch, error: Exception, retryable: bool
) -> None:
    def failing(host: str, port: int) -> list[str]:
        raise error

    monkeypatch.setattr(outgoing_http, "_look_up", failing)
    assert _code("http://shop.test/") == (ImageErrorCode.DNS_FAILED, retryable)


def test_name_without_an_address_is_a_failed_look_up(resolver: StubResolver) -> None:
    resolver.names["shop.test"] = []
    assert _code("http://shop.test/") == (ImageErrorCode.DNS_FAILED, False)


# --- TLS ---


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


def test_certificate_of_a_known_authority_and_the_right_name_is_good(
    resolver: StubResolver, authority: Authority
) -> None:
    resolver.names["shop.test"] = ["127.0.0.1"]
    with hostile_server(answering(response(body=BODY)), tls=authority.server_context("shop.test")) as server:
        assert _fetch(f"https://shop.test:{server.port}/", tls=authority.client_context()) == BODY


@pytest.mark.parametrize(
    ("host", "names", "days", "known"),
    [
        ("shop.test", ["other.test"], 1, True),
        ("a.b.shop.test", ["*.shop.test"], 1, True),
        ("127.0.0.1", ["shop.test"], 1, True),
        ("shop.test", ["shop.test"], 1, False),
        ("shop.test", ["shop.test"], 0, True),
    ],
    ids=["wrong name", "wildcard too far", "address instead of name", "unknown authority", "expired"],
)
def test_certificate_that_proves_nothing_is_refused_for_good(
    resolver: StubResolver, authority: Authority, host: str, names: list[str], days: int, known: bool
) -> None:
    resolver.names[host] = ["127.0.0.1"]
    with hostile_server(answering(response(body=BODY)), tls=authority.server_context(*names, days=days)) as server:
        time.sleep(1.1 if days == 0 else 0)
        tls = authority.client_context() if known else None  # None: the authorities that a worker knows
        assert _code(f"https://{host}:{server.port}/", tls=tls) == (ImageErrorCode.TLS_FAILED, False)
        assert server.requests == []


def test_server_that_speaks_no_tls_is_a_failed_tls() -> None:
    with hostile_server(lambda visitor: visitor.send(response(body=BODY))) as server:
        assert _code(server.url.replace("http:", "https:"))[0] is ImageErrorCode.TLS_FAILED


def test_server_that_hangs_up_during_the_handshake_may_do_better_another_time() -> None:
    with hostile_server(lambda visitor: visitor.pause(0.05)) as server:
        assert _code(server.url.replace("http:", "https:")) == (ImageErrorCode.CONNECT_FAILED, True)


@pytest.mark.parametrize("sent", [b"", response(body=BODY)[:200]], ids=["before the header", "in the body"])
def test_tls_that_breaks_after_the_handshake_has_a_public_code(
    resolver: StubResolver, authority: Authority, sent: bytes
) -> None:
    resolver.names["shop.test"] = ["127.0.0.1"]

    def garbling(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(sent)
        visitor.send_below_tls(b"\x17\x03\x03\x00\x20" + bytes(32))
        visitor.wait_until_gone()

    with hostile_server(garbling, tls=authority.server_context("shop.test")) as server:
        code, _ = _code(f"https://shop.test:{server.port}/", tls=authority.client_context())
    assert code in (ImageErrorCode.TLS_FAILED, ImageErrorCode.CONNECT_FAILED)


def test_server_that_wants_a_certificate_of_ours_has_a_public_code(
    resolver: StubResolver, authority: Authority
) -> None:
    resolver.names["shop.test"] = ["127.0.0.1"]
    context = authority.server_context("shop.test")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    with hostile_server(answering(response(body=BODY)), tls=context) as server:
        code, _ = _code(f"https://shop.test:{server.port}/", tls=authority.client_context())
    assert code in (ImageErrorCode.TLS_FAILED, ImageErrorCode.CONNECT_FAILED)


# --- one deadline ---


def _silent(visitor: Visitor) -> None:
    visitor.wait_until_gone()


def _stopping(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    visitor.wait_until_gone()


def _trickling(head: bytes, drop: bytes, seconds: float) -> Script:
    def script(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(head)
        while True:
            visitor.send(drop)
            visitor.pause(seconds)

    return script


_SLOW: dict[str, Script] = {
    "silent": _silent,
    "slow header": _trickling(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", 0.05),
    "slow header lines": _trickling(b"HTTP/1.1 200 OK\r\n", b"X-Slow: x\r\n", 0.05),
    "slow body": _trickling(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", 0.05),
    "slow chunks": _trickling(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05),
    "endless 103s, slow": _trickling(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05),
    "endless 103s, fast": _trickling(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500, 0),
    "endless 100s": _trickling(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    "stops in the body": _stopping,
}


def _assert_times_out(url: str, server: HostileServer | None = None) -> None:
    """The fetch ends at its deadline, and hangs up."""

    async def work() -> None:
        async with _fetcher(timeout=0.3) as fetcher:
            clock = asyncio.get_running_loop().time  # the one that the deadline goes by, which counts milliseconds
            started = clock()
            with pytest.raises(FetchFailed) as failed:
                await _all(fetcher, [url])
            assert 0.3 <= round(clock() - started, 3) < 0.3 + GRACE_SECONDS
            assert (failed.value.error.code, failed.value.error.retryable) == (ImageErrorCode.TIMEOUT, True)
            hung_up_by = time.monotonic() + 1
            while server and server.open_now:
                assert time.monotonic() < hung_up_by, "the connection is still open"
                await asyncio.sleep(0.01)

    _run(work())


@pytest.mark.parametrize("script", _SLOW.values(), ids=_SLOW.keys())
def test_slow_server_ends_at_the_deadline(script: Script) -> None:
    with hostile_server(script) as server:
        _assert_times_out(server.url, server)


def test_handshake_that_does_not_come_ends_at_the_deadline() -> None:
    with hostile_server(_silent) as server:
        _assert_times_out(server.url.replace("http:", "https:"), server)


@pytest.mark.skipif(not hasattr(socket, "SO_DOMAIN"), reason="a full backlog keeps connections waiting on Linux only")
def test_connection_that_is_never_accepted_ends_at_the_deadline() -> None:
    with full_backlog() as port:
        _assert_times_out(f"http://127.0.0.1:{port}/")


def test_redirects_share_one_deadline(origin: Origin) -> None:
    for number in range(5):
        origin.serve(f"/{number}", Answer(status=302, headers={"Location": f"/{number + 1}"}, delay_seconds=0.25))
    origin.serve("/5", BODY)
    _assert_times_out(f"{origin.url}/0")


@pytest.fixture
def stuck_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A resolver that hangs on names under slow.test until the test is over, and answers 127.0.0.1 for all others."""
    released = threading.Event()

    def look_up(host: str, port: int) -> list[str]:
        if host.endswith("slow.test"):
            released.wait(20)
        return ["127.0.0.1"]

    monkeypatch.setattr(outgoing_http, "_look_up", look_up)
    yield released
    released.set()


def test_slow_look_up_ends_at_the_deadline(stuck_resolver: threading.Event) -> None:
    _assert_times_out("http://slow.test/")


def test_waiting_for_a_free_resolver_does_not_count(stuck_resolver: threading.Event, origin: Origin) -> None:
    # As many names as there are resolver threads hang: that is not the fault of the servers of the others.
    url = origin.serve("/image", BODY).replace("127.0.0.1", "shop.test")

    async def work() -> list[bytes | bytearray]:
        async with _fetcher(timeout=0.5) as fetcher:
            hanging = [f"http://{number}.slow.test/" for number in range(outgoing_http.RESOLVER_THREADS)]
            stuck = asyncio.gather(*(_all(fetcher, [name]) for name in hanging), return_exceptions=True)
            await asyncio.sleep(0.1)
            asyncio.get_running_loop().call_later(0.8, stuck_resolver.set)
            try:
                return await _all(fetcher, [url])
            finally:
                await stuck

    assert _run(work()) == [BODY]


# --- what does not count against the deadline ---


def test_waiting_for_a_free_slot_of_a_host_does_not_count(origin: Origin) -> None:
    origin.serve("/slow", lambda: Answer(BODY, delay_seconds=0.3))

    async def work() -> list[bytes | bytearray]:
        async with _fetcher(timeout=0.9, per_host=1) as fetcher:
            return await _all(fetcher, [f"{origin.url}/slow"] * 5)

    started = time.monotonic()
    assert _run(work()) == [BODY] * 5
    assert time.monotonic() - started > 0.9
    assert origin.most_at_once == 1


def test_waiting_for_memory_does_not_count(origin: Origin) -> None:
    origin.serve("/image", BODY)

    async def work() -> list[bytes | bytearray]:
        async with _fetcher(timeout=0.5, budget_bytes=len(BODY)) as fetcher:
            return await _all(fetcher, [f"{origin.url}/image"] * 4, hold_seconds=0.3)

    started = time.monotonic()
    assert _run(work()) == [BODY] * 4
    assert time.monotonic() - started > 0.9


def test_waiting_for_a_connection_of_our_own_does_not_count(monkeypatch: pytest.MonkeyPatch, origin: Origin) -> None:
    monkeypatch.setattr(outgoing_http, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(outgoing_http, "_look_up", lambda host, port: ["127.0.0.1"])
    origin.serve("/slow", lambda: Answer(BODY, delay_seconds=0.3))

    async def work() -> list[bytes | bytearray]:
        async with _fetcher(timeout=0.9) as fetcher:
            urls = [origin.url.replace("127.0.0.1", f"shop{number}.test") + "/slow" for number in range(5)]
            return await _all(fetcher, urls)

    assert _run(work()) == [BODY] * 5


def test_time_that_was_used_before_a_wait_still_counts(origin: Origin) -> None:
    # 0.4 s of the limit go by in the redirect, then a wait, then 0.4 s more: over it, and not by the wait.
    origin.serve("/start", Answer(status=302, headers={"Location": "/image"}, delay_seconds=0.4))
    origin.serve("/image", Answer(BODY, delay_seconds=0.4))
    assert _code(f"{origin.url}/start", timeout=0.6) == (ImageErrorCode.TIMEOUT, True)
    assert _fetch(f"{origin.url}/start", timeout=1.5) == BODY


# --- per host, and in memory ---


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept alive", "closed each time"])
def test_connections_to_a_host_never_exceed_the_cap(keep_alive: bool) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def counting(visitor: Visitor) -> None:
        while True:
            visitor.read_request()
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            visitor.pause(0.02)
            with lock:
                running[0] -= 1
            visitor.send(response(body=BODY, headers={} if keep_alive else {"Connection": "close"}))
            if not keep_alive:
                return

    async def work(url: str) -> list[bytes | bytearray]:
        async with _fetcher(per_host=3) as fetcher:
            return await _all(fetcher, [f"{url}/{number}" for number in range(40)])

    with hostile_server(counting) as server:
        assert _run(work(server.url)) == [BODY] * 40
        assert most[0] == 3
        if keep_alive:
            assert server.most_open == server.accepts == 3


def test_hosts_do_not_wait_for_each_other() -> None:
    async def work(slow: str, quick: str) -> None:
        async with _fetcher(per_host=1, timeout=2) as fetcher:
            stuck = asyncio.ensure_future(_all(fetcher, [slow, slow]))
            await asyncio.sleep(0.05)
            async with asyncio.timeout(1):
                assert await _all(fetcher, [quick]) == [BODY]
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)

    with hostile_server(_silent) as slow, hostile_server(answering(response(body=BODY))) as quick:
        _run(work(slow.url, quick.url))


@pytest.mark.parametrize("broken", ["timeout", "status", "redirect", "too large", "cancelled", "hung up"])
def test_failure_gives_its_slot_and_its_memory_back(broken: str) -> None:
    def script(visitor: Visitor) -> None:
        while True:
            if b"/good" in visitor.read_request():
                visitor.send(response(body=BODY))
            elif broken == "status":
                visitor.send(response("404 Not Found"))
            elif broken == "redirect":
                visitor.send(response("302 Found", headers={"Location": "ftp://x/"}))
            elif broken == "too large":
                visitor.send(response(body=bytes(20_000), headers={"Connection": "close"}, told=False))
                return
            elif broken == "hung up":
                visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                return
            else:
                visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\nabc")
                visitor.wait_until_gone()

    async def work(url: str) -> None:
        async with _fetcher(per_host=1, budget_bytes=len(BODY), max_bytes=len(BODY), timeout=0.3) as fetcher:
            for _ in range(3):
                job = asyncio.ensure_future(_all(fetcher, [f"{url}/bad"]))
                if broken == "cancelled":
                    await asyncio.sleep(0.1)
                    job.cancel()
                (failure,) = await asyncio.gather(job, return_exceptions=True)
                assert isinstance(failure, FetchFailed | asyncio.CancelledError)
            async with asyncio.timeout(2):
                assert await _all(fetcher, [f"{url}/good"]) == [BODY]

    with hostile_server(script) as server:
        _run(work(server.url))


@pytest.mark.parametrize("told", [True, False], ids=["told lengths", "chunked"])
def test_images_in_memory_never_exceed_the_budget(told: bool) -> None:
    body = bytes(9_000_000)
    if told:
        answer = response(body=body)
    else:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    held, most = 0, 0

    async def one(fetcher: ImageFetcher, url: str) -> None:
        nonlocal held, most
        async with fetched(fetcher, url) as image:
            held += len(image)
            most = max(most, held)
            await asyncio.sleep(0.05)
            held -= len(image)

    async def work(url: str) -> None:
        async with _fetcher(max_bytes=10_000_000, budget_bytes=17_000_000) as fetcher:
            await asyncio.gather(*(one(fetcher, url) for _ in range(4)))

    with hostile_server(answering(answer)) as server:
        _run(work(server.url))
    assert most <= 17_000_000


# --- the environment ---


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, origin: Origin) -> None:
    url = origin.serve("/image", BODY)
    with hostile_server(closing_after(response(body=b"from the proxy"))) as victim:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, victim.url)
            monkeypatch.setenv(name.lower(), victim.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert _fetch(url) == BODY
        assert _code("https://127.0.0.1:1/") == (ImageErrorCode.CONNECT_FAILED, True)
        assert victim.accepts == 0
        # A client that trusts the environment goes there: the test would see it.
        assert httpx.get(url).content == b"from the proxy"
        assert victim.accepts == 1


def test_netrc_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / ".netrc"
    netrc.write_text("machine 127.0.0.1 login anna password sesame\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with hostile_server(answering(response(body=BODY))) as server:
        _fetch(server.url)
        assert b"authorization" not in server.requests[0].lower()
