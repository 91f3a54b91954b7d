"""Connections, names and certificates that fail. The environment's proxy settings have no
effect.
"""

import asyncio
import random
import socket
import ssl
import threading
import time

import httpx
import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.http import pool
from tests.support.fetching import BODY, code_of, fetch, fetch_all, fetcher_of, run
from tests.support.hostile import (
    Authority,
    Script,
    StubResolver,
    Visitor,
    answering,
    closing_after,
    full_backlog,
    hostile_server,
    new_authority,
    replace_look_ups,
    response,
)
from tests.support.origin import Origin

# --- kept connections ---


@pytest.mark.parametrize("how", ["hangs up", "resets"])
def test_kept_connection_that_ends_as_it_is_used_again_is_replaced(how: str) -> None:
    visits: list[int] = []

    def ending(visitor: Visitor) -> None:
        visits.append(1)
        visitor.read_request()
        visitor.send(response(body=BODY))
        visitor.read_request()
        if how == "resets":
            visitor.reset()

    with hostile_server(ending) as server:
        assert fetch(*[server.url] * 4) == BODY
        assert len(visits) == 4


def test_kept_connection_that_ends_after_its_answer_has_begun_is_a_failure() -> None:
    def script(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(response(body=BODY))
        visitor.read_request()
        visitor.send(b"HTTP/1.1 200")

    with hostile_server(script) as server:
        assert code_of(server.url, server.url) == (ImageErrorCode.CONNECT_FAILED, True)


def test_kept_connections_are_closed_when_nothing_else_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "KEEPALIVE_SECONDS", 0.2)
    gone = threading.Semaphore(0)

    def keeping(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(response(body=BODY))
        visitor.wait_until_gone()
        gone.release()

    async def work() -> None:
        async with fetcher_of() as fetcher:
            await fetch_all(fetcher, [server.url] * 3)
            for _ in range(3):
                assert await asyncio.to_thread(gone.acquire, timeout=30)

    with hostile_server(keeping) as server:
        run(work())


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


def _trickling_banner(visitor: Visitor) -> None:
    visitor.send(b"220 mail.test ESMTP\r\n")
    visitor.wait_until_gone()


def _preliminary(visitor: Visitor) -> None:
    visitor.read_request()
    while True:
        visitor.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500)


_BROKEN: dict[str, Script] = {
    "hangs up": _hang_up,
    "resets": _reset_at_once,
    "resets in the body": _reset_in_the_body,
    "short body": closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(10)),
    "no body": closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    "chunk without end": closing_after(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc"
    ),
    "no last chunk": closing_after(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    ),
    "half a header": closing_after(b"HTTP/1.1 200 OK\r\nContent-Le"),
}
_NO_HTTP: dict[str, Script] = {
    "chunk of no size": closing_after(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"
    ),
    "no HTTP": closing_after(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a page without a header": closing_after(b"<html>hello</html>\r\n\r\n"),
    "status of no number": closing_after(b"HTTP/1.1 OK\r\n\r\n"),
    "two lengths": closing_after(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"
    ),
    "negative length": closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc"),
    "unknown transfer encoding": closing_after(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc"
    ),
    "nothing but zeros": closing_after(bytes(2000)),
    "a banner, then silence": _trickling_banner,
    "only preliminary answers": _preliminary,
}


@pytest.mark.parametrize("script", _BROKEN.values(), ids=_BROKEN.keys())
def test_broken_answer_is_a_failed_connection_and_retried(script: Script) -> None:
    with hostile_server(script) as server:
        assert code_of(server.url) == (ImageErrorCode.CONNECT_FAILED, True)


@pytest.mark.parametrize("script", _NO_HTTP.values(), ids=_NO_HTTP.keys())
def test_answer_that_is_no_http_is_not_asked_for_again(script: Script) -> None:
    with hostile_server(script) as server:
        assert code_of(server.url, timeout=20) == (ImageErrorCode.BAD_HTTP, False)


def test_endless_header_ends_soon() -> None:
    def endless(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            visitor.send(b"X-More: " + b"x" * 8000 + b"\r\n")

    with hostile_server(endless) as server:
        assert code_of(server.url, timeout=20) == (ImageErrorCode.BAD_HTTP, False)
        assert server.bytes_sent < 20_000_000


def test_port_that_nobody_listens_on_is_a_failed_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert code_of(f"http://127.0.0.1:{port}/") == (ImageErrorCode.CONNECT_FAILED, True)


def test_second_address_is_tried_when_the_first_refuses(
    resolver: StubResolver, origin: Origin
) -> None:
    resolver.names["shop.test"] = ["::1", "127.0.0.1"]
    url = origin.serve("/image", BODY).replace("127.0.0.1", "shop.test")
    assert fetch(url) == BODY


def test_second_address_is_tried_when_the_first_is_silent(
    resolver: StubResolver, origin: Origin
) -> None:
    resolver.names["shop.test"] = ["::1", "127.0.0.1"]
    url = origin.serve("/image", BODY).replace("127.0.0.1", "shop.test")
    with full_backlog("::1", int(origin.url.rpartition(":")[2])):
        assert fetch(url) == BODY


# --- names ---


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
    ],
    ids=["no such name", "resolver says never", "resolver is down"],
)
def test_name_that_does_not_resolve_is_retried_only_when_the_resolver_failed(
    monkeypatch: pytest.MonkeyPatch, error: Exception, retryable: bool
) -> None:
    def failing(host: str, port: int) -> list[str]:
        raise error

    replace_look_ups(monkeypatch, failing)
    assert code_of("http://shop.test/") == (ImageErrorCode.DNS_FAILED, retryable)


def test_name_that_only_older_rules_allow_is_fetched_from(
    resolver: StubResolver, origin: Origin
) -> None:
    # A heart in the encoding of browsers and name servers. IDNA 2008 does not allow it.
    resolver.names["xn--i-7iq.test"] = ["127.0.0.1"]
    origin.serve("/image.jpg", BODY)
    port = origin.url.rpartition(":")[2]
    assert fetch(f"http://xn--i-7iq.test:{port}/image.jpg") == BODY
    assert code_of("http://xn--a.test/") == (ImageErrorCode.DNS_FAILED, False)


def test_name_without_an_address_is_a_failed_look_up(resolver: StubResolver) -> None:
    resolver.names["shop.test"] = []
    assert code_of("http://shop.test/") == (ImageErrorCode.DNS_FAILED, False)


# --- TLS ---


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("host", ["shop.test", "shop.test."])
def test_certificate_of_a_known_authority_and_the_right_name_is_good(
    resolver: StubResolver, authority: Authority, host: str
) -> None:
    resolver.names["shop.test"] = ["127.0.0.1"]
    with hostile_server(
        answering(response(body=BODY)), tls=authority.server_context("shop.test")
    ) as server:
        assert fetch(f"https://{host}:{server.port}/", tls=authority.client_context()) == BODY


@pytest.mark.parametrize("size", [100_000, 300_000, 1_000_000])
@pytest.mark.parametrize("how", ["told", "chunked", "until closed"])
def test_tls_that_ends_with_the_body_and_says_no_goodbye_loses_nothing(
    resolver: StubResolver, authority: Authority, how: str, size: int
) -> None:
    resolver.names["shop.test"] = ["127.0.0.1"]
    body = random.Random(size).randbytes(size)
    answer = response(body=body, told=how == "told")
    if how == "chunked":
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        answer = response(body=chunk, headers={"Transfer-Encoding": "chunked"}, told=False)
    with hostile_server(closing_after(answer), tls=authority.server_context("shop.test")) as server:
        for _ in range(5):
            assert (
                fetch(f"https://shop.test:{server.port}/", tls=authority.client_context()) == body
            )


@pytest.mark.parametrize(("told", "size"), [(True, 200_000), (False, 200_000), (False, 66_000)])
def test_tls_that_ends_while_its_image_waits_for_memory_loses_nothing(
    resolver: StubResolver, authority: Authority, told: bool, size: int
) -> None:
    resolver.names["shop.test"] = ["127.0.0.1"]
    body = random.Random(size).randbytes(size)
    answer = response(body=body, told=told)

    def in_odd_records(visitor: Visitor) -> None:
        visitor.read_request()
        for at in range(0, len(answer), 7001):
            visitor.send(answer[at : at + 7001])

    async def work(url: str) -> list[bytes | bytearray]:
        async with fetcher_of(budget_bytes=size + 2000, tls=authority.client_context()) as fetcher:
            return await fetch_all(fetcher, [url] * 3, hold_seconds=0.2)

    with hostile_server(in_odd_records, tls=authority.server_context("shop.test")) as server:
        assert run(work(f"https://shop.test:{server.port}/")) == [body] * 3


@pytest.mark.parametrize(
    ("host", "names", "days", "known"),
    [
        ("shop.test", ["other.test"], 1, True),
        ("a.b.shop.test", ["*.shop.test"], 1, True),
        ("127.0.0.1", ["shop.test"], 1, True),
        ("shop.test", ["shop.test"], 1, False),
        ("shop.test", ["shop.test"], 0, True),
    ],
    ids=[
        "wrong name",
        "wildcard too far",
        "address instead of name",
        "unknown authority",
        "expired",
    ],
)
def test_certificate_that_proves_nothing_is_refused_for_good(
    resolver: StubResolver,
    authority: Authority,
    host: str,
    names: list[str],
    days: int,
    known: bool,
) -> None:
    resolver.names[host] = ["127.0.0.1"]
    with hostile_server(
        answering(response(body=BODY)), tls=authority.server_context(*names, days=days)
    ) as server:
        time.sleep(1.1 if days == 0 else 0)
        tls = authority.client_context() if known else None  # None: a worker's default authorities
        assert code_of(f"https://{host}:{server.port}/", tls=tls) == (
            ImageErrorCode.TLS_FAILED,
            False,
        )
        assert server.requests == []


def test_server_that_speaks_no_tls_is_a_failed_tls() -> None:
    with hostile_server(lambda visitor: visitor.send(response(body=BODY))) as server:
        assert code_of(server.url.replace("http:", "https:"))[0] is ImageErrorCode.TLS_FAILED


def test_server_that_hangs_up_during_the_handshake_may_do_better_another_time() -> None:
    with hostile_server(lambda visitor: visitor.pause(0.05)) as server:
        assert code_of(server.url.replace("http:", "https:")) == (
            ImageErrorCode.CONNECT_FAILED,
            True,
        )


@pytest.mark.parametrize(
    "sent", [b"", response(body=BODY)[:200]], ids=["before the header", "in the body"]
)
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
        code, _ = code_of(f"https://shop.test:{server.port}/", tls=authority.client_context())
    assert code in (ImageErrorCode.TLS_FAILED, ImageErrorCode.CONNECT_FAILED)


def test_server_that_wants_a_certificate_of_ours_has_a_public_code(
    resolver: StubResolver, authority: Authority
) -> None:
    resolver.names["shop.test"] = ["127.0.0.1"]
    context = authority.server_context("shop.test")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    with hostile_server(answering(response(body=BODY)), tls=context) as server:
        code, _ = code_of(f"https://shop.test:{server.port}/", tls=authority.client_context())
    assert code in (ImageErrorCode.TLS_FAILED, ImageErrorCode.CONNECT_FAILED)


# --- the environment ---


def test_proxy_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, origin: Origin
) -> None:
    url = origin.serve("/image", BODY)
    with hostile_server(closing_after(response(body=b"from the proxy"))) as victim:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, victim.url)
            monkeypatch.setenv(name.lower(), victim.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetch(url) == BODY
        assert code_of("https://127.0.0.1:1/") == (ImageErrorCode.CONNECT_FAILED, True)
        assert victim.accepts == 0
        # A client that trusts the environment does use the proxy, so this test can fail.
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
        fetch(server.url)
        assert b"authorization" not in server.requests[0].lower()
