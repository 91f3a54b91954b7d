"""Uploads refused by the real server: senders that lie, trickle or never stop."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest

from halftone_api.server.middleware import LINGER_BYTES
from tests.support.api import multipart
from tests.support.csv_files import HEADER
from tests.support.halftone import Service, log_lines, running_separately, wait_for
from tests.support.postgres import TestPostgres

# The start of a form: the file part's header, up to its content.
OPENING = multipart(('name="file"; filename="a.csv"', HEADER.encode()), end=False)[1]
WIRE_LIMIT = 1_000_000
WIRE_TIMEOUT = 1.5


@pytest.fixture(scope="module")
def server(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`halftone-api` alone."""
    with running_separately(
        tmp_path_factory.mktemp("server"),
        postgres.new_database(),
        "in-process",
        workers=0,
        max_upload_bytes=str(WIRE_LIMIT),
        upload_timeout_seconds=str(WIRE_TIMEOUT),
    ) as service:
        yield service
        assert service.http.get("/api/requests").json()["requests"] == [], (
            "something of a refused upload remains"
        )


def connected(server: Service) -> "closing[socket.socket]":
    port = httpx.URL(server.url).port
    return closing(socket.create_connection(("127.0.0.1", port), timeout=20))


def head(*headers: str, path: str = "/api/upload", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
    return "\r\n".join(lines).encode()


FORM = "Content-Type: multipart/form-data; boundary=frontier"


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The status and the problem."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    body = response.read()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-Id"]
    return response.status, json.loads(body)


def test_sender_that_never_stops_is_answered_and_cut_off(server: Service) -> None:
    sent = 0

    def keep_sending() -> None:
        nonlocal sent
        chunk = b"%x\r\n%s\r\n" % (65536, b"\n" * 65536)
        try:
            while sent < 400_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass

    with connected(server) as connection:
        connection.sendall(
            head(FORM, "Transfer-Encoding: chunked") + b"%x\r\n%s\r\n" % (len(OPENING), OPENING)
        )
        sender = threading.Thread(target=keep_sending)
        sender.start()
        status, problem = answer(connection)
        sender.join(30)
        assert not sender.is_alive()
    assert (status, problem["code"], problem["limit"]) == (413, "too_large", WIRE_LIMIT)
    assert sent < LINGER_BYTES + 24 * 1024 * 1024, (
        "what is under way in the kernel's buffers included"
    )


@pytest.mark.parametrize("length", ["honest", "chunked"])
def test_sender_that_reads_only_at_the_end_gets_its_answer(server: Service, length: str) -> None:
    """curl and most clients do that. If the server closed the connection at once, they would see a
    reset and no response.
    """
    body = OPENING + b"\n" * 4_000_000
    with connected(server) as connection:
        if length == "honest":
            connection.sendall(head(FORM, f"Content-Length: {len(body)}") + body)
        else:
            connection.sendall(
                head(FORM, "Transfer-Encoding: chunked")
                + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            )
        status, problem = answer(connection)
    assert (status, problem["code"]) == (413, "too_large")


def test_length_that_lies_is_refused_before_the_body(server: Service) -> None:
    with connected(server) as connection:
        connection.sendall(head(FORM, "Content-Length: 1000000000000") + OPENING)
        status, problem = answer(connection)
    assert (status, problem["code"]) == (413, "too_large")


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5000, "-1", "+1", "1_0", "0x10", "1,1", "١"])
def test_length_that_is_none_is_refused(server: Service, length: str) -> None:
    with connected(server) as connection:
        connection.sendall(head(FORM, f"Content-Length: {length}") + OPENING)
        status, _ = answer(connection)
    assert status in (400, 413)


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 10", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 10"),
        ("Content-Length: 10", "Content-Length: 11"),
        ("Transfer-Encoding: identity, chunked", "Content-Length: 10"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/upload"), ("GET", "/healthz")])
def test_body_with_two_lengths_is_refused(
    server: Service, headers: tuple[str, str], method: str, path: str
) -> None:
    with connected(server) as connection:
        connection.sendall(
            head(FORM, *headers, method=method, path=path) + b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        )
        status, _ = answer(connection)
    assert status == 400


def test_connection_is_kept_behind_a_post_without_a_body(server: Service) -> None:
    """Browsers, Node and Python's requests send `Content-Length: 0` for that."""
    with connected(server) as connection:
        for _ in range(2):
            connection.sendall(head("Content-Length: 0", path="/api/cancel/none"))
            assert answer(connection)[0] == 404


def test_body_that_never_arrives_is_timed_out(server: Service) -> None:
    """The sender stops before the body, within a header, or within the file."""
    started = time.monotonic()
    with connected(server) as first, connected(server) as second, connected(server) as third:
        for connection, sent in ((first, b""), (second, OPENING[:20]), (third, OPENING)):
            connection.sendall(head(FORM, "Content-Length: 10000") + sent)
        for connection in (first, second, third):
            status, problem = answer(connection)
            assert (status, problem["code"]) == (408, "upload_timeout")
            assert WIRE_TIMEOUT - 0.1 < time.monotonic() - started < WIRE_TIMEOUT + 5


def test_body_that_trickles_is_timed_out(server: Service) -> None:
    started = time.monotonic()
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.1):
            try:
                connection.sendall(b"\n")
            except OSError:
                return

    with connected(server) as connection:
        connection.sendall(head(FORM, "Content-Length: 10000") + OPENING)
        trickling = threading.Thread(target=trickle)
        trickling.start()
        status, problem = answer(connection)
        ended.set()
        trickling.join()
    assert (status, problem["code"]) == (408, "upload_timeout")
    assert time.monotonic() - started < WIRE_TIMEOUT + 5


@pytest.mark.parametrize("length", ["told", "chunked"])
def test_body_behind_an_offer_of_http2_is_read(server: Service, length: str) -> None:
    """Java's HttpClient and `curl --http2` offer it with the first call of a connection."""
    offer = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk",
    )
    body = multipart(('name="file"; filename="a.csv"', HEADER.encode()))[1]
    told = f"Content-Length: {len(body)}" if length == "told" else "Transfer-Encoding: chunked"
    pieces = [body[:50], body[50:]]
    if length == "chunked":
        pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
    with connected(server) as connection:
        for piece in (head(FORM, told, *offer), *pieces):
            connection.sendall(piece)
            time.sleep(0.05)  # so that each arrives as a separate segment
        status, problem = answer(connection)
        assert (status, problem["code"]) == (400, "no_rows")
        connection.sendall(head("Connection: close", path="/api/status/none", method="GET"))
        assert answer(connection)[0] == 404


@pytest.mark.parametrize(
    "call",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
        "GET /api/status/ü HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
        head(FORM, "Transfer-Encoding: chunked") + b"zz\r\n",
        head(FORM, "Transfer-Encoding: gzip") + b"zz\r\n",
        b"CONNECT halftone.example:443 HTTP/1.1\r\nHost: halftone.example:443\r\n\r\n",
    ],
    ids=[
        "no HTTP",
        "a space in a name",
        "bare UTF-8",
        "a chunk without a size",
        "another encoding",
        "to a proxy",
    ],
)
def test_call_that_cannot_be_read_is_a_problem_too(server: Service, call: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(call)
        status, problem = answer(connection)
        assert connection.recv(1) == b""
    assert (status, problem["code"]) == (400, "http_error")


def test_call_that_turns_unreadable_behind_its_answer_is_cut_off(server: Service) -> None:
    with connected(server) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        assert answer(connection)[0] == 415
        connection.sendall(b"zz\r\n")
        assert connection.recv(1) == b""
    assert [line for line in log_lines(server) if line.get("logger") == "asyncio"] == []


@pytest.mark.parametrize(
    "path", ["http://halftone.example/healthz", "http://halftone.example:8000/healthz/?a=b"]
)
def test_call_as_a_proxy_is_asked_is_answered(server: Service, path: str) -> None:
    with connected(server) as connection:
        connection.sendall(head("Connection: close", method="GET", path=path))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_sender_that_hangs_up_is_no_error_of_ours(server: Service) -> None:
    with connected(server) as connection:
        connection.sendall(head(FORM, "Content-Length: 10000", "X-Request-Id: hung-up") + OPENING)
        time.sleep(0.2)
    wait_for(lambda: server.http.get("/healthz").status_code == 200)
    time.sleep(0.3)
    errors = [line for line in log_lines(server) if line["level"] in ("error", "critical")]
    assert [line for line in errors if line.get("x_request_id") == "hung-up"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/image/../../../../etc/passwd",
        "/api/image/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/api/image/%2e%2e/%2e%2e/etc/passwd",
        "/api/image/%252e%252e%252fetc%252fpasswd",
        "/api/image//etc/passwd",
        "/api/image/%2fetc%2fpasswd",
        "/api/image/..\\..\\etc\\passwd",
        "/api/image/..;/etc/passwd",
        "/api/image/%c0%ae%c0%ae/etc/passwd",
        "/api/image/etc/passwd%00.jpg",
        "/../../etc/passwd",
    ],
)
def test_path_that_climbs_leads_nowhere(server: Service, path: str) -> None:
    with connected(server) as connection:
        connection.sendall(head("Connection: close", method="GET", path=path))
        status, problem = answer(connection)
    assert (status, problem.get("code")) == (404, "not_found")


def test_head_without_an_end_is_431_before_it_costs_anything(server: Service) -> None:
    """httptools alone takes 8 s of processor time for a header of 100 MB."""
    with connected(server) as connection:
        connection.sendall(b"GET /api/requests HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
        sent = 0
        with suppress(OSError):
            while sent < 100_000_000:
                sent += connection.send(b"a" * 65536)
        status, problem = answer(connection)
    assert (status, problem["code"]) == (431, "headers_too_large")
    assert server.http.get("/healthz").status_code == 200


@pytest.mark.parametrize(("header_bytes", "status"), [(60_000, 200), (70_000, 431)])
def test_head_is_refused_beyond_64_kib(server: Service, header_bytes: int, status: int) -> None:
    response = server.http.get("/api/requests", headers={"X-Long": "a" * header_bytes})
    assert response.status_code == status


def test_call_with_two_hosts_is_refused(server: Service) -> None:
    with connected(server) as connection:
        connection.sendall(head("Host: evil.example", path="/api/requests", method="GET"))
        status, problem = answer(connection)
    assert (status, problem["code"]) == (400, "bad_framing")
