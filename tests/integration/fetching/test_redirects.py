"""Redirects: which are followed, how many, and to which targets."""

import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from tests.support.fetching import BODY, code_of, failure_of, fetch
from tests.support.hostile import (
    Script,
    StubResolver,
    Visitor,
    answering,
    hostile_server,
    response,
)
from tests.support.origin import Answer, Origin


def _redirect(location: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed(origin: Origin, status: int) -> None:
    target = origin.serve("/target", BODY)
    assert fetch(origin.serve("/start", _redirect(target, status))) == BODY


@pytest.mark.parametrize(
    "location", ["/a/target", "target", "../a/target", "?x=1/../target", "./target#part"]
)
def test_relative_redirect_is_followed(origin: Origin, location: str) -> None:
    origin.serve("/a/target", BODY)
    origin.serve("/a/start?x=1/../target", BODY)
    assert fetch(origin.serve("/a/start", _redirect(location))) == BODY


def test_redirect_to_another_host_is_followed_and_asks_it_by_its_name(
    resolver: StubResolver,
) -> None:
    resolver.names["photos.shop.test"] = ["127.0.0.1"]
    with hostile_server(answering(response(body=BODY))) as target:
        location = f"http://Photos.Shop.TEST:{target.port}/x"
        with hostile_server(
            answering(response("302 Found", headers={"Location": location}))
        ) as start:
            assert fetch(start.url) == BODY
        assert f"host: photos.shop.test:{target.port}".encode() in target.requests[0].lower()


def test_redirect_without_scheme_keeps_it(origin: Origin) -> None:
    target = origin.serve("/target", BODY)
    assert fetch(origin.serve("/start", _redirect(target.removeprefix("http:")))) == BODY


def test_as_many_redirects_as_allowed_are_followed_and_no_more(origin: Origin) -> None:
    origin.serve("/0", BODY)
    for number in range(1, 8):
        origin.serve(f"/{number}", _redirect(f"/{number - 1}"))
    assert fetch(f"{origin.url}/5") == BODY
    assert code_of(f"{origin.url}/6") == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
    assert origin.hits["/0"] == 1


def test_redirect_to_itself_ends(origin: Origin) -> None:
    assert code_of(origin.serve("/loop", _redirect("/loop"))) == (
        ImageErrorCode.TOO_MANY_REDIRECTS,
        False,
    )
    assert origin.hits["/loop"] == 6


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
    assert code_of(origin.serve("/start", _redirect(location))) == (
        ImageErrorCode.INVALID_URL,
        False,
    )


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://127.0.0.1/x", "http://", "http://[::1", "http://a..b/", "https:/x"]
)
def test_what_is_no_http_url_is_an_invalid_url(url: str) -> None:
    assert code_of(url) == (ImageErrorCode.INVALID_URL, False)


def test_endless_body_of_a_redirect_is_not_read(origin: Origin) -> None:
    target = origin.serve("/target", BODY)

    def endless(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(response("302 Found", headers={"Location": target}, told=False))
        while True:
            visitor.send(bytes(65536))

    with hostile_server(endless) as server:
        assert fetch(server.url, timeout=20) == BODY
        assert server.bytes_sent < 50_000_000


def test_number_of_redirects_is_a_setting(origin: Origin) -> None:
    origin.serve("/0", BODY)
    for number in range(1, 9):
        origin.serve(f"/{number}", _redirect(f"/{number - 1}"))
    assert fetch(f"{origin.url}/8", max_redirects=8) == BODY
    assert code_of(f"{origin.url}/1", max_redirects=0) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)


# --- cookies ---


def _wanting_a_cookie(*set_cookie: str) -> Script:
    """A shop that redirects to itself until the client sends its cookie back."""

    def script(visitor: Visitor) -> None:
        while True:
            if b"cookie:" in visitor.read_request().lower():
                visitor.send(response(body=BODY))
            else:
                lines = "".join(f"Set-Cookie: {cookie}\r\n" for cookie in set_cookie)
                visitor.send(
                    b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\nContent-Length: 0\r\n"
                    + lines.encode()
                    + b"\r\n"
                )

    return script


def _cookie_sent(head: bytes) -> str | None:
    lines = head.decode().split("\r\n")
    return next((line[8:] for line in lines if line.lower().startswith("cookie:")), None)


def test_cookie_of_a_redirect_to_itself_is_sent_back() -> None:
    with hostile_server(_wanting_a_cookie("ok=1; Path=/; HttpOnly", "b=x y; Max-Age=60")) as server:
        assert fetch(server.url) == BODY
        assert [_cookie_sent(head) for head in server.requests] == [None, "ok=1; b=x y"]


@pytest.mark.parametrize(
    "cookie",
    ["ok=1; Max-Age=0", "ok=1; Secure", "=1", "ok", "o k=1", "ok=" + "x" * 5000, "ok=\x01"],
)
def test_cookie_that_is_not_to_be_sent_is_not(cookie: str) -> None:
    with hostile_server(_wanting_a_cookie(cookie)) as server:
        assert code_of(server.url) == (ImageErrorCode.TOO_MANY_REDIRECTS, False)
        assert {_cookie_sent(head) for head in server.requests} == {None}


def test_cookie_goes_to_the_host_alone_that_set_it(resolver: StubResolver) -> None:
    resolver.names["other.test"] = ["127.0.0.1"]
    with hostile_server(answering(response(body=BODY))) as server:
        location = f"http://other.test:{server.port}/"
        headers = {"Location": location, "Set-Cookie": "ok=1; Domain=test"}
        with hostile_server(answering(response("302 Found", headers=headers))) as start:
            assert fetch(start.url) == BODY
        assert _cookie_sent(server.requests[0]) is None


# --- share links ---


def test_share_link_that_gives_a_page_says_what_to_do(resolver: StubResolver) -> None:
    resolver.names |= {"www.dropbox.com": ["127.0.0.1"], "shop.test": ["127.0.0.1"]}
    page = response(body=b"<html>Sign in</html>", headers={"Content-Type": "text/html; charset=x"})
    with hostile_server(answering(page)) as server:
        error = failure_of(f"http://www.dropbox.com:{server.port}/s/1/a.jpg?dl=1").error
        assert error.code is ImageErrorCode.NOT_AN_IMAGE
        assert "not shared with everybody" in error.message
        assert fetch(f"http://shop.test:{server.port}/a.jpg") == b"<html>Sign in</html>"
