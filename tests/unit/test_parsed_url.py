"""Parts of a URL: those read off a plain URL are the ones that httpx gives."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftone_workers.http.parsed_url import _PLAIN, parsed_url

_NAMES = st.text("abxnz09.-", min_size=1, max_size=20)
_ADDRESSES = st.tuples(*[st.integers(0, 300)] * 4).map(lambda octets: ".".join(map(str, octets)))
_HOSTS = _NAMES | _ADDRESSES
_PORTS = st.none() | st.integers(1, 65535)
_REST = st.text("abc019./?&=%~-_!$'()*+,;:@ACEF#|^ü ", max_size=20)


@given(st.sampled_from(["http", "https"]), _HOSTS, _PORTS, _REST)
def test_parts_are_those_that_httpx_gives(
    scheme: str, host: str, port: int | None, rest: str
) -> None:
    url = f"{scheme}://{host}{'' if port is None else f':{port}'}/{rest}"
    try:
        whole = httpx.URL(url)
    except httpx.InvalidURL:
        with pytest.raises(httpx.InvalidURL):
            parsed_url(url)
        return
    parts = parsed_url(url)
    assert parts.scheme == whole.scheme
    assert parts.host == whole.raw_host.decode()
    assert parts.port == (whole.port or (443 if scheme == "https" else 80))
    assert parts.netloc == whole.netloc.decode()
    assert parts.target == whole.raw_path


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.shop.example/photos/12/front.jpg?v=3&size=large",
        "http://127.0.0.1:54321/mug-1.jpg?7-19",
        "https://shop.example:8443/a%20b.png",
    ],
)
def test_usual_url_is_read_without_httpx(url: str) -> None:
    assert _PLAIN.fullmatch(url)


def test_redirect_is_joined_to_the_url_that_answered() -> None:
    assert parsed_url("http://shop.example/a/b.jpg?c").join("../d.jpg#e").target == b"/d.jpg"
