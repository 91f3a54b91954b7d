"""Server responses: which ones count as an image, and the error code of each other one."""

import asyncio
import base64
import gc
import gzip
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.fetching import ImageFetcher
from halftone_workers.http.response_head import Headers
from halftone_workers.http.retry_after import MAX_RETRY_AFTER_SECONDS, retry_after_seconds
from tests.support.fetching import BODY, code_of, failure_of, fetch, fetched, fetcher_of, run
from tests.support.hostile import Visitor, answering, closing_after, hostile_server, response
from tests.support.origin import Answer, Origin

# --- what works ---


def test_image_arrives_as_it_was_sent(origin: Origin) -> None:
    assert fetch(origin.serve("/image.jpg", BODY)) == BODY


def test_fetched_image_leaves_nothing_to_the_garbage_collector(origin: Origin) -> None:
    # An image's task that only the garbage collector can free keeps everything it refers to until
    # then.
    url = origin.serve("/image.jpg", BODY)

    async def fetch(fetcher: ImageFetcher) -> None:
        async with fetched(fetcher, url):
            pass

    async def work() -> int:
        async with fetcher_of() as fetcher:
            for _ in range(3):
                await asyncio.create_task(fetch(fetcher))
            return sum(isinstance(thing, Deadline) for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert run(work()) == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "203 Non-Authoritative Information"])
def test_every_answer_of_success_is_an_image(status: str) -> None:
    with hostile_server(answering(response(status, BODY))) as server:
        assert fetch(server.url) == BODY


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
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        + response(body=BODY),
        response(body=BODY, headers={"Content-Encoding": "identity"}),
        response(body=BODY, headers={"Content-Encoding": ""}),
        response(body=BODY, headers={"Content-Type": "text/html"}),
        response(body=BODY) + b"and more than was told",
    ],
    ids=[
        "until closed",
        "HTTP/1.0",
        "chunked",
        "informational",
        "identity",
        "no encoding",
        "wrong type",
        "more than told",
    ],
)
def test_body_ends_where_the_protocol_says(answer: bytes) -> None:
    with hostile_server(closing_after(answer)) as server:
        assert fetch(server.url) == BODY


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
        assert fetch(server.url.replace("//", f"//{user}", 1)) == BODY
        lines = server.requests[0].decode().split("\r\n")
    told = [line.partition(": ")[2] for line in lines if line.lower().startswith("authorization:")]
    assert told == ([] if sent is None else [f"Basic {base64.b64encode(sent.encode()).decode()}"])


def test_request_asks_for_an_unencoded_image_and_says_who_asks() -> None:
    with hostile_server(answering(response(body=BODY))) as server:
        fetch(server.url + "/a%20b?c=d%2Fe#fragment")
        (head,) = server.requests
    lines = head.decode().lower().split("\r\n")
    assert head.startswith(b"GET /a%20b?c=d%2Fe HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{server.port}" in lines
    assert "accept-encoding: identity" in lines
    assert "user-agent: halftone/7 (+http://halftone.test)" in lines


def test_cookies_of_one_image_are_not_sent_for_another() -> None:
    with hostile_server(
        answering(response(body=BODY, headers={"Set-Cookie": "shopper=anna; Path=/"}))
    ) as server:
        fetch(server.url + "/1", server.url + "/2")
        assert len(server.requests) == 2
        assert b"cookie" not in server.requests[1].lower()


# --- statuses ---

_RETRYABLE = {408, 425, 429, 500, 502, 503, 504}
_FINAL = {
    300,
    304,
    305,
    306,
    399,
    400,
    401,
    402,
    403,
    404,
    405,
    406,
    407,
    409,
    410,
    411,
    413,
    414,
    415,
    416,
    417,
    418,
}
_FINAL |= {
    421,
    422,
    423,
    424,
    426,
    428,
    431,
    451,
    499,
    501,
    505,
    506,
    507,
    508,
    510,
    511,
    520,
    599,
    600,
    999,
}


@pytest.mark.parametrize("status", sorted(_RETRYABLE | _FINAL))
def test_status_is_an_http_error_and_retried_only_where_that_may_help(status: int) -> None:
    with hostile_server(answering(response(f"{status} Something", b"a page"))) as server:
        error = failure_of(server.url).error
    assert (error.code, error.http_status) == (ImageErrorCode.HTTP_ERROR, status)
    assert error.retryable is (status in _RETRYABLE)
    assert error.message == f"The server answered {status}."


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_nowhere_is_an_http_error(origin: Origin, status: int) -> None:
    error = failure_of(origin.serve("/start", Answer(status=status))).error
    assert (error.code, error.http_status, error.retryable) == (
        ImageErrorCode.HTTP_ERROR,
        status,
        False,
    )


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
        assert code_of(server.url) == (ImageErrorCode.EMPTY_BODY, False)


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
def test_retry_after_is_read_as_seconds_and_as_a_date(
    header: str | int, least: float, most: float
) -> None:
    sent = _in(header) if isinstance(header, int) else header
    with hostile_server(answering(response("503 Busy", headers={"Retry-After": sent}))) as server:
        asked = failure_of(server.url).retry_after_seconds
    assert asked is not None
    assert least <= asked <= most


def _headers(headers: dict[str, str]) -> Headers:
    return Headers((name.encode(), value.encode()) for name, value in headers.items())


def test_retry_after_is_read_in_each_form_of_a_date() -> None:
    when = datetime.now(UTC) + timedelta(seconds=300)
    for form in ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"):
        asked = retry_after_seconds(_headers({"Retry-After": when.strftime(form)}))
        assert asked is not None
        assert 200 <= asked <= 300


def test_date_of_retry_after_is_by_the_server_s_clock() -> None:
    """The server's clock may be wrong, or ours: this server is a year behind."""
    headers = {
        "Date": "Thu, 27 Nov 2025 10:00:00 GMT",
        "Retry-After": "Thu, 27 Nov 2025 10:01:30 GMT",
    }
    assert retry_after_seconds(_headers(headers)) == 90


@pytest.mark.parametrize(
    "header", ["", "soon", "-5", "1.5", "0x10", "Mon, 99 Foo 2030 00:00:00 GMT", "²"]
)
def test_retry_after_that_says_nothing_is_passed_over(header: str) -> None:
    with hostile_server(answering(response("503 Busy", headers={"Retry-After": header}))) as server:
        failure = failure_of(server.url)
    assert failure.retry_after_seconds is None
    assert failure.error.retryable


def test_answer_without_retry_after_asks_for_nothing() -> None:
    with hostile_server(answering(response("503 Busy"))) as server:
        assert failure_of(server.url).retry_after_seconds is None


@given(
    st.text(max_size=40)
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,2} (Jan|Feb|Dec) [0-9]{1,6} [0-9]{1,3}:[0-9]{2}:[0-9]{2}"
        r" [+-]?[0-9A-Z]{1,25}"
    )
)
def test_retry_after_is_a_number_within_its_bounds_or_nothing(header: str) -> None:
    asked = retry_after_seconds(_headers({"Retry-After": header}))
    assert asked is None or 0 <= asked <= MAX_RETRY_AFTER_SECONDS


def test_date_in_a_time_zone_that_cannot_be_says_nothing() -> None:
    date = "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"
    assert retry_after_seconds(_headers({"Retry-After": date})) is None


# --- encodings and sizes ---


@pytest.mark.parametrize(
    "encoding", ["UTF-8", "binary", "none", "base64", "image/jpeg", "aws-chunked", "identity,", "*"]
)
def test_encoding_that_is_none_is_passed_over(encoding: str) -> None:
    answer = response(body=BODY, headers={"Content-Encoding": encoding})
    with hostile_server(answering(answer)) as server:
        assert fetch(server.url) == BODY


@pytest.mark.parametrize(
    "encoding", ["gzip", "x-gzip", "GZIP", "identity, gzip", "aws-chunked,gzip"]
)
@pytest.mark.parametrize(
    "packed",
    [gzip.compress(BODY), gzip.compress(BODY[:99]) + gzip.compress(BODY[99:]), BODY],
    ids=["packed", "in two members", "not packed"],
)
def test_gzip_is_undone(encoding: str, packed: bytes) -> None:
    answer = response(body=packed, headers={"Content-Encoding": encoding})
    with hostile_server(answering(answer)) as server:
        assert fetch(server.url) == BODY


@pytest.mark.parametrize("packed", [gzip.compress(BODY)[:-9], gzip.compress(BODY)[:99] + bytes(99)])
def test_damaged_gzip_is_bad_http(packed: bytes) -> None:
    answer = response(body=packed, headers={"Content-Encoding": "gzip"})
    with hostile_server(answering(answer)) as server:
        assert code_of(server.url) == (ImageErrorCode.BAD_HTTP, False)


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "br, gzip"])
def test_encoding_that_is_not_undone_is_refused(encoding: str) -> None:
    answer = response(body=gzip.compress(BODY), headers={"Content-Encoding": encoding})
    with hostile_server(answering(answer)) as server:
        error = failure_of(server.url).error
    assert (error.code, error.retryable) == (ImageErrorCode.HTTP_ERROR, False)
    assert encoding in error.message


@pytest.mark.parametrize("chunked", [True, False])
def test_gzip_bomb_is_cut_off_at_the_size_limit(chunked: bool) -> None:
    bomb = gzip.compress(bytes(150_000_000), 9)
    answer = response(body=bomb, headers={"Content-Encoding": "gzip"})
    if chunked:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(bomb), bomb)
    with hostile_server(answering(answer)) as server:
        tracemalloc.start()
        try:
            assert code_of(server.url, max_bytes=5_000_000) == (ImageErrorCode.TOO_LARGE, False)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


def test_bomb_zipped_twice_is_refused_in_little_memory() -> None:
    bomb = gzip.compress(gzip.compress(bytes(150_000_000), 9), 9)
    assert len(bomb) < 10_000
    with hostile_server(
        answering(response(body=bomb, headers={"Content-Encoding": "gzip, gzip"}))
    ) as server:
        tracemalloc.start()
        try:
            assert code_of(server.url, max_bytes=50_000_000) == (ImageErrorCode.HTTP_ERROR, False)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


def test_told_size_over_the_limit_is_refused_before_the_body() -> None:
    def huge(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n")
        visitor.wait_until_gone()

    with hostile_server(huge) as server:
        assert code_of(server.url, timeout=5) == (ImageErrorCode.TOO_LARGE, False)


@pytest.mark.parametrize("told", [True, False])
def test_size_is_counted_to_the_last_byte(told: bool) -> None:
    for size, fits in ((1000, True), (1001, False)):
        with hostile_server(closing_after(response(body=bytes(size), told=told))) as server:
            if fits:
                assert fetch(server.url, max_bytes=1000) == bytes(size)
            else:
                assert code_of(server.url, max_bytes=1000) == (ImageErrorCode.TOO_LARGE, False)


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
            assert code_of(server.url, max_bytes=2_000_000, timeout=20) == (
                ImageErrorCode.TOO_LARGE,
                False,
            )
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()
        assert server.bytes_sent < 50_000_000
