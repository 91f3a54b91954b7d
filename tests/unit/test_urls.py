"""Which texts are http(s) URLs, and the address and port that each names."""

from ipaddress import ip_address

import pytest

from halftone_shared.model.urls import MAX_URL_CHARACTERS, literal_address, url_port, url_problem


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example/1.jpg",
        "https://images.example",
        "https://images.example?size=1",
        "https://images.example#top",
        "HTTPS://IMAGES.EXAMPLE/1.JPG",
        "http://images.example:8080/a",
        "http://images.example:/a",
        "http://images.example./a",
        "http://user:word@images.example/a",
        "http://a_b.example/a",
        "http://xn--bcher-kva.example/a",
        "http://bücher.example/ä/名.jpg",
        "http://localhost/a",
        "http://192.0.2.1/a",
        "http://[2001:db8::1]/a",
        "http://[2001:db8::1]:8080/a",
        "http://images.example/w_200,h_300/a;b|c{d}[e]~!*'()$&+=@:/%20",
        "http://images.example/?a=1,2&b=http://other.example/",
        "http://images.example/".ljust(MAX_URL_CHARACTERS, "a"),
    ],
)
def test_http_url_has_no_problem(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "empty"),
        ("images.example/1.jpg", "http://"),
        ("/1.jpg", "http://"),
        ("//images.example/1.jpg", "http://"),
        ("ftp://images.example/1.jpg", "http://"),
        ("file:///etc/passwd", "http://"),
        ("data:image/png;base64,AAAA", "http://"),
        ("javascript:alert(1)", "http://"),
        ("httpx://images.example/", "http://"),
        ("http:", "host"),
        ("http:images.example", "host"),
        ("http:/images.example", "host"),
        ("http://", "host"),
        ("http:///1.jpg", "host"),
        ("http://:80/1.jpg", "host"),
        ("http://user@/1.jpg", "host"),
        ("http://?a", "host"),
        ("http://images.example:0/", "port"),
        ("http://images.example:65536/", "Port"),
        ("http://images.example:x/", "Port"),
        ("http://images.example:-1/", "Port"),
        ("http://images.example:80:80/", "Port"),
        ("http://images.example:٨٠/", "Port"),
        ("http://images .example/", "' '"),
        (" http://images.example/", "' '"),
        ("http://images.example/a b.jpg", "' '"),
        ("http://images.example/a\tb", r"'\t'"),
        ("http://images.example/a\nb", r"'\n'"),
        ("http://images.example/a\u00a0b", r"'\xa0'"),
        ("http://images.example/a\u200bb", r"'\u200b'"),
        ("http://images.example/\x00", r"'\x00'"),
        ("http://images.example/\x7f", r"'\x7f'"),
        ("http://images.example/\ud800", r"'\ud800'"),
        ("http://images.example\\@other.example/", "backslash"),
        ("http:\\\\images.example/", "backslash"),
        ("http://.example/", "host"),
        ("http://a..example:80/", "host"),
        ("http://a%2eexample/", "host"),
        ("http://<images>.example/", "host"),
        ('http://images".example/', "host"),
        ("http://a^b/", "host"),
        ("http://a℀b/", "read"),
        ("http://[::1/", "read"),
        ("http://::1]/", "read"),
        ("http://[::g]/", "IPv6"),
        ("http://[v1.x]/", "IPv6"),
        ("http://[192.0.2.1]/", ""),
        ("http://[]/", ""),
        ("http://images.example/".ljust(MAX_URL_CHARACTERS + 1, "a"), str(MAX_URL_CHARACTERS)),
        ("x" * (MAX_URL_CHARACTERS + 1), str(MAX_URL_CHARACTERS)),
    ],
)
def test_other_text_has_a_problem_that_says_what(url: str, problem: str) -> None:
    sentence = url_problem(url)
    assert sentence is not None
    assert problem in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 400


@pytest.mark.parametrize("host", ["a..example", "a..", "..a"])
@pytest.mark.parametrize("rest", ["", "/1.jpg", ":8080/1.jpg", "/ä.jpg"])
def test_host_with_an_empty_label_is_none_whatever_follows_it(host: str, rest: str) -> None:
    assert url_problem(f"http://{host}{rest}") is not None


@pytest.mark.parametrize(
    "url", ["http://[::1]images.example/", "http://images.example[::1]/", "http://[::1][::2]/"]
)
def test_brackets_hold_the_whole_host_or_nothing(url: str) -> None:
    """Python 3.11's urlsplit drops the characters around them. Another parser may connect to a host
    that contains them.
    """
    assert url_problem(url) is not None


@pytest.mark.parametrize(
    ("url", "literal"),
    [
        ("http://127.0.0.1/a", ("127.0.0.1", 80)),
        ("https://127.0.0.1/a", ("127.0.0.1", 443)),
        ("HTTPS://127.0.0.1/a", ("127.0.0.1", 443)),
        ("http://127.0.0.1:8080/a", ("127.0.0.1", 8080)),
        ("http://user:word@10.0.0.1/", ("10.0.0.1", 80)),
        ("http://8.8.8.8@10.0.0.1/", ("10.0.0.1", 80)),
        ("http://[::1]/", ("::1", 80)),
        ("https://[2001:0DB8::0001]:444/", ("2001:db8::1", 444)),
        ("http://images.example/10.0.0.1", None),
        ("http://localhost/", None),
        ("http://2130706433/", None),
        ("http://127.1/", None),
        ("http://0x7f000001/", None),
        ("http://0177.0.0.1/", None),
    ],
)
def test_literal_address_is_what_the_url_spells_out(
    url: str, literal: tuple[str, int] | None
) -> None:
    assert literal_address(url) == literal


def test_mapped_address_is_a_literal_one() -> None:
    found = literal_address("http://[::ffff:10.0.0.1]/")
    assert found is not None
    assert ip_address(found[0]) == ip_address("::ffff:10.0.0.1")


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://h/", 80),
        ("https://h/", 443),
        ("https://h:80/", 80),
        ("http://h:/", 80),
        ("http://h:65535", 65535),
    ],
)
def test_port_is_the_schemes_unless_it_is_given(url: str, port: int) -> None:
    assert url_port(url) == port
