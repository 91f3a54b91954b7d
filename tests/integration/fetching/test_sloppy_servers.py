"""Responses that break RFCs but that browsers and curl accept, and what they cost."""

import asyncio
import time

import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from tests.support.fetching import BODY, code_of, fetch, fetch_all, fetcher_of, run
from tests.support.hostile import Visitor, answering, closing_after, hostile_server, response

_OK = b"HTTP/1.1 200 OK\r\n"
_LENGTH = b"Content-Length: %d\r\n" % len(BODY)
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"


def _chunks(form: bytes, size: int = 1000) -> bytes:
    pieces = [BODY[at : at + size] for at in range(0, len(BODY), size)]
    return b"".join(form % len(piece) + piece + b"\r\n" for piece in pieces)


@pytest.mark.parametrize(
    "answer",
    [
        _OK + b"Content Type: image/jpeg\r\n" + _LENGTH + b"\r\n" + BODY,
        _OK + b"cache/forum.php: userdata not support\r\n" + _LENGTH + b"\r\n" + BODY,
        _OK + b"Server : IIS\r\n" + _LENGTH + b"\r\n" + BODY,
        _OK + b"Content-Length : %d\r\n\r\n" % len(BODY) + BODY,
        _OK + b": nothing\r\n" + _LENGTH + b"\r\n" + BODY,
        _OK + b"no colon\r\n" + _LENGTH + b"\r\n" + BODY,
        _OK + b"X-Folded: a\r\n b\r\n" + _LENGTH + b"\r\n" + BODY,
        _OK + b"X-Latin: \xe9\x01\r\n" + _LENGTH + b"\r\n" + BODY,
        b"HTTP/1.1  200  OK\r\n" + _LENGTH + b"\r\n" + BODY,
        b"HTTP/1.1 200\r\n" + _LENGTH + b"\r\n" + BODY,
        b"\r\n" + _OK + _LENGTH + b"\r\n" + BODY,
        b"HTTP/1.1 200 OK\n" + b"Content-Length: %d\n\n" % len(BODY) + BODY,
        _OK + _LENGTH + _LENGTH + b"\r\n" + BODY,
        _OK + b"Transfer-Encoding: identity\r\n" + _LENGTH + b"\r\n" + BODY,
        _OK + b"Transfer-Encoding: identity\r\n\r\n" + BODY,
        _OK + _LENGTH + _CHUNKED.removeprefix(_OK) + _chunks(b"%x\r\n") + b"0\r\n\r\n",
        _CHUNKED + _chunks(b"%x\n") + b"0\n\n",
        _CHUNKED + _chunks(b"%x\r\n").replace(b"\r\n", b"\r\n", 1) + b"0\r\n\r\n",
        _CHUNKED + _chunks(b"  %X ;a=b\r\n") + b"000;x\r\nX-Trailer: y\r\n\r\n",
        _CHUNKED + _chunks(b"%x\r\n") + b"0\r\n",
    ],
)  # fmt: skip
def test_answer_that_a_browser_takes_is_taken(answer: bytes) -> None:
    with hostile_server(closing_after(answer)) as server:
        assert fetch(server.url) == BODY


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_answer_in_pieces_is_the_same(step: int) -> None:
    answer = _CHUNKED + _chunks(b"%x\r\n", 5000) + b"0\r\nX: y\r\n\r\n"
    pieces = [answer[at : at + step] for at in range(0, 120, step)]

    def slowly(visitor: Visitor) -> None:
        visitor.read_request()
        for piece in pieces:
            visitor.send(piece)
            visitor.pause(0.0005)
        visitor.send(answer[step * len(pieces) :])

    with hostile_server(slowly) as server:
        assert fetch(server.url) == BODY


def test_connection_of_a_sloppy_answer_is_not_used_again() -> None:
    sloppy = _OK + b"Content Type: image/jpeg\r\n" + _LENGTH + b"\r\n" + BODY
    with hostile_server(answering(sloppy)) as server:
        fetch(server.url, server.url)
        assert server.accepts == 2
    with hostile_server(answering(response(body=BODY))) as server:
        fetch(server.url, server.url)
        assert server.accepts == 1


@pytest.mark.parametrize(
    "rest",
    [b"g\r\n", b"-1\r\n", b"0x5\r\nabcde\r\n0\r\n\r\n", b"3\r\nabcd\r\n", b"f" * 5000, b"\r\n\r\n"],
)
def test_chunk_without_a_readable_size_is_bad_http(rest: bytes) -> None:
    with hostile_server(closing_after(_CHUNKED + rest)) as server:
        assert code_of(server.url) == (ImageErrorCode.BAD_HTTP, False)


def _tiny_chunks(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(_CHUNKED)
    while True:
        visitor.send(b"1\r\nx\r\n" * 10_000)


def test_endless_chunks_of_one_byte_hold_nobody_up() -> None:
    async def work(tiny: str, good: str) -> float:
        async with fetcher_of(per_host=30, timeout=20) as fetcher:
            hostile = asyncio.gather(
                *(fetch_all(fetcher, [tiny]) for _ in range(28)), return_exceptions=True
            )
            started = time.monotonic()
            for _ in range(20):
                assert await fetch_all(fetcher, [good]) == [BODY]
            took = time.monotonic() - started
            assert all(isinstance(error, Exception) for error in await hostile)
            return took

    with (
        hostile_server(_tiny_chunks) as tiny,
        hostile_server(answering(response(body=BODY))) as good,
    ):
        assert code_of(tiny.url) == (ImageErrorCode.BAD_HTTP, False)
        assert run(work(tiny.url, good.url)) < 3
