"""One deadline per image, and the waits that do not count against it."""

import asyncio
import socket
import time

import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.errors import FetchFailed
from halftone_workers.http import client as http_client
from tests.support.fetching import BODY, GRACE_SECONDS, code_of, fetch, fetch_all, fetcher_of, run
from tests.support.hostile import (
    HostileServer,
    Script,
    Visitor,
    full_backlog,
    hostile_server,
    replace_look_ups,
)
from tests.support.origin import Answer, Origin

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
    "slow chunks": _trickling(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05
    ),
    "endless 103s, slow": _trickling(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05),
    "endless 100s": _trickling(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    "stops in the body": _stopping,
}


def _assert_times_out(url: str, server: HostileServer | None = None) -> None:
    """The fetch ends at its deadline and closes the connection."""

    async def work() -> None:
        async with fetcher_of(timeout=0.3) as fetcher:
            # The deadline's own clock, which counts milliseconds.
            clock = asyncio.get_running_loop().time
            started = clock()
            with pytest.raises(FetchFailed) as failed:
                await fetch_all(fetcher, [url])
            assert 0.3 <= round(clock() - started, 3) < 0.3 + GRACE_SECONDS
            assert (failed.value.error.code, failed.value.error.retryable) == (
                ImageErrorCode.TIMEOUT,
                True,
            )
            hung_up_by = time.monotonic() + 1
            while server and server.open_now:
                assert time.monotonic() < hung_up_by, "the connection is still open"
                await asyncio.sleep(0.01)

    run(work())


@pytest.mark.parametrize("script", _SLOW.values(), ids=_SLOW.keys())
def test_slow_server_ends_at_the_deadline(script: Script) -> None:
    with hostile_server(script) as server:
        _assert_times_out(server.url, server)


def test_handshake_that_does_not_come_ends_at_the_deadline() -> None:
    with hostile_server(_silent) as server:
        _assert_times_out(server.url.replace("http:", "https:"), server)


@pytest.mark.skipif(
    not hasattr(socket, "SO_DOMAIN"),
    reason="a full backlog keeps connections waiting on Linux only",
)
def test_connection_that_is_never_accepted_ends_at_the_deadline() -> None:
    with full_backlog() as port:
        _assert_times_out(f"http://127.0.0.1:{port}/")


def test_redirects_share_one_deadline(origin: Origin) -> None:
    for number in range(5):
        origin.serve(
            f"/{number}",
            Answer(status=302, headers={"Location": f"/{number + 1}"}, delay_seconds=0.25),
        )
    origin.serve("/5", BODY)
    _assert_times_out(f"{origin.url}/0")


# --- what does not count against the deadline ---


def test_waiting_for_a_free_slot_of_a_host_does_not_count(origin: Origin) -> None:
    origin.serve("/slow", lambda: Answer(BODY, delay_seconds=0.3))

    async def work() -> list[bytes | bytearray]:
        async with fetcher_of(timeout=0.9, per_host=1) as fetcher:
            return await fetch_all(fetcher, [f"{origin.url}/slow"] * 5)

    started = time.monotonic()
    assert run(work()) == [BODY] * 5
    assert time.monotonic() - started > 0.9
    assert origin.most_at_once == 1


def test_waiting_for_memory_does_not_count(origin: Origin) -> None:
    origin.serve("/image", BODY)

    async def work() -> list[bytes | bytearray]:
        async with fetcher_of(timeout=0.5, budget_bytes=len(BODY)) as fetcher:
            return await fetch_all(fetcher, [f"{origin.url}/image"] * 4, hold_seconds=0.3)

    started = time.monotonic()
    assert run(work()) == [BODY] * 4
    assert time.monotonic() - started > 0.9


def test_waiting_for_a_connection_of_our_own_does_not_count(
    monkeypatch: pytest.MonkeyPatch, origin: Origin
) -> None:
    monkeypatch.setattr(http_client, "MAX_CONNECTIONS", 1)
    replace_look_ups(monkeypatch, lambda host, port: ["127.0.0.1"])
    origin.serve("/slow", lambda: Answer(BODY, delay_seconds=0.3))

    async def work() -> list[bytes | bytearray]:
        async with fetcher_of(timeout=0.9) as fetcher:
            urls = [
                origin.url.replace("127.0.0.1", f"shop{number}.test") + "/slow"
                for number in range(5)
            ]
            return await fetch_all(fetcher, urls)

    assert run(work()) == [BODY] * 5


def test_time_that_was_used_before_a_wait_still_counts(origin: Origin) -> None:
    # The redirect takes 0.4 s, then the fetch waits, then the image takes 0.4 s: too long even
    # without the wait.
    origin.serve("/start", Answer(status=302, headers={"Location": "/image"}, delay_seconds=0.4))
    origin.serve("/image", Answer(BODY, delay_seconds=0.4))
    assert code_of(f"{origin.url}/start", timeout=0.6) == (ImageErrorCode.TIMEOUT, True)
    assert fetch(f"{origin.url}/start", timeout=1.5) == BODY
