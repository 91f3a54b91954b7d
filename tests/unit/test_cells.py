"""Image cells: the URLs in them, their positions, and what is fetched for each."""

import re
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halftone_api.upload.cells import CellRules, find_urls, is_path, read_urls, replace_urls
from halftone_shared.model.urls import image_url_problem

A, B = "http://images.example/a.jpg", "https://images.example/b.jpg"

quick = settings(max_examples=300, deadline=None)


@pytest.mark.parametrize(
    "separator",
    [",", ", ", "|", " | ", ";", "; ", " ", "  ", "\n", "\r\n", "\t", ",,", "\u00a0", ",\u200b"],
)
def test_urls_are_separated_by_any_usual_sign(separator: str) -> None:
    assert read_urls(f"{A}{separator}{B}") == [A, B]


@pytest.mark.parametrize("second", ["ftp://f.example/x", "HTTPS://C.example/", "s3://bucket/x"])
def test_any_scheme_begins_a_url(second: str) -> None:
    assert read_urls(f"{A}|{second}") == [A, second]


@pytest.mark.parametrize("around", ["", " ", "\u200b", "\ufeff", "\u00a0", "\u200e", ",", "|;"])
def test_what_nobody_sees_around_a_url_is_dropped(around: str) -> None:
    assert read_urls(f"{around}{A}{around}") == [A]


@pytest.mark.parametrize(
    ("cell", "url"),
    [
        ("http://h.example/my shoe.jpg", "http://h.example/my%20shoe.jpg"),
        ("http://h.example/größe.jpg", "http://h.example/gr%C3%B6%C3%9Fe.jpg"),
        ("http://h.example/a.jpg?q=ü b", "http://h.example/a.jpg?q=%C3%BC%20b"),
        ('http://h.example/"a"<b>`{c}', "http://h.example/%22a%22%3Cb%3E%60%7Bc%7D"),
        ("http://h.example/a\r\nb.jpg", "http://h.example/ab.jpg"),
        ("http://h.example/100%.jpg", "http://h.example/100%.jpg"),
        ("http://h.example/a%20b.jpg", "http://h.example/a%20b.jpg"),
        ("http://h.example/w_2,h_3;x|y.jpg", "http://h.example/w_2,h_3;x|y.jpg"),
        ("http://h.example/?ids=1,2,3&u=a:b", "http://h.example/?ids=1,2,3&u=a:b"),
        ("http://h.example/?a=1&amp;b=2", "http://h.example/?a=1&b=2"),
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("http://münchen.example/a.jpg", "http://münchen.example/a.jpg"),
        ("http://web.example/http://old.example/a", "http://web.example/http://old.example/a"),
    ],
)
def test_url_is_the_one_that_a_browser_asks_for(cell: str, url: str) -> None:
    assert read_urls(cell) == [url]


@pytest.mark.parametrize("cell", ["", " ", ",", " , ;|", "\u200b", "\n"])
def test_cell_without_anything_has_no_url(cell: str) -> None:
    assert read_urls(cell) == []


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("/m/a.jpg", ["https://s.example/media/m/a.jpg"]),
        ("m/a b#1.jpg", ["https://s.example/media/m/a%20b%231.jpg"]),
        ("a.jpg;b.png", ["https://s.example/media/a.jpg", "https://s.example/media/b.png"]),
        ("img\\a.jpg", ["https://s.example/media/img/a.jpg"]),
        (f"a.jpg,{A}", ["https://s.example/media/a.jpg", A]),
        ("Red; blue", ["https://s.example/media/Red;%20blue"]),
    ],
)
def test_path_is_below_the_base_url(cell: str, urls: list[str]) -> None:
    assert read_urls(cell, CellRules(base_url="https://s.example/media/")) == urls


def test_system_that_separates_paths_by_commas_has_them_separated() -> None:
    rules = CellRules(base_url="https://s.example", path_separator=",")
    assert read_urls("/m/a,/m/b", rules) == ["https://s.example/m/a", "https://s.example/m/b"]


def test_escaped_comma_of_woocommerce_is_part_of_its_url() -> None:
    cell = r"http://h.example/w_2\,h_3/a.jpg, http://h.example/b.jpg"
    expected = ["http://h.example/w_2,h_3/a.jpg", "http://h.example/b.jpg"]
    assert read_urls(cell, CellRules(escaped_commas=True)) == expected


def test_what_a_system_writes_around_urls_is_left_out() -> None:
    named = f"ITEMIMAGEURL1={A},ITEMIMAGEURL2={B}"
    assert read_urls(named, CellRules(prefix=r"(?:ITEMIMAGEURL\d+=)?")) == [A, B]
    described = f"{A} ! alt : front ! title : x|{B} ! alt : "
    assert read_urls(described, CellRules(suffix=r"\s*! alt :.*")) == [A, B]


def test_word_for_no_image_is_none() -> None:
    assert read_urls(" No_Selection ", CellRules(empty=frozenset({"no_selection"}))) == []


@pytest.mark.parametrize(
    ("link", "direct"),
    [
        (
            "https://www.dropbox.com/scl/fi/ab/x.jpg?rlkey=k&dl=0",
            "https://www.dropbox.com/scl/fi/ab/x.jpg?rlkey=k&dl=1",
        ),
        ("https://www.dropbox.com/s/ab/x.jpg", "https://www.dropbox.com/s/ab/x.jpg?dl=1"),
        ("https://www.dropbox.com/s/ab/x.jpg?raw=1", "https://www.dropbox.com/s/ab/x.jpg?raw=1"),
        (
            "https://drive.google.com/file/d/1a-B_c/view?usp=sharing",
            "https://drive.google.com/uc?export=download&id=1a-B_c",
        ),
        (
            "https://drive.google.com/file/u/0/d/1a/edit?resourcekey=0-x",
            "https://drive.google.com/uc?export=download&id=1a&resourcekey=0-x",
        ),
        (
            "https://drive.google.com/open?id=1a",
            "https://drive.google.com/uc?export=download&id=1a",
        ),
        (
            "https://x.sharepoint.com/:i:/s/site/Eab?e=1",
            "https://x.sharepoint.com/:i:/s/site/Eab?e=1&download=1",
        ),
        ("https://drive.google.com/drive/folders/1a", "https://drive.google.com/drive/folders/1a"),
        ("https://dropbox.com.example/s/x", "https://dropbox.com.example/s/x"),
    ],
)
def test_share_link_becomes_the_link_of_its_file(link: str, direct: str) -> None:
    assert read_urls(link) == [direct]


@pytest.mark.parametrize("link", ["https://1drv.ms/i/s!Ab", "https://onedrive.live.com/?id=1"])
def test_link_of_a_personal_onedrive_is_refused_with_a_reason(link: str) -> None:
    assert "personal OneDrive" in (image_url_problem(link) or "")
    assert image_url_problem("https://shop.example/1drv.ms/a.jpg") is None


def test_replaced_urls_leave_the_rest_of_the_cell_alone() -> None:
    cell = f" {A} ;\n{B},"
    assert replace_urls(cell, ["x", None]) == f" x ;\n{B},"
    with pytest.raises(ValueError, match="zip"):
        replace_urls(cell, ["x"])


@pytest.mark.parametrize("sign", [",", "\u200b", " ", "\\,", "//", ";x", "%"])
def test_long_cell_is_read_in_linear_time(sign: str) -> None:
    cell = f"{A}{sign * 500_000}x"
    started = time.process_time()
    read_urls(cell, CellRules(escaped_commas=True, base_url="http://b.example"))
    assert time.process_time() - started < 3


def test_paths_are_told_from_other_text() -> None:
    assert is_path("/m/u/mug.jpg,/m/u/mug_2.jpg")
    assert not is_path("Red, blue")
    assert not is_path("")


# --- properties ---

LEGAL = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/?%"
legal_path = st.text(st.sampled_from(LEGAL), max_size=25).map(
    # Remove what the parser takes for the start of another URL, or strips at a URL's end.
    lambda text: re.sub(r"&amp;|[,;]+(?=(?:[a-z][a-z0-9+.-]*:)?//)", "", text, flags=re.I)
)
url = st.builds(
    lambda scheme, path: f"{scheme}://images.example/{path}".rstrip(",;"),
    st.sampled_from(["http", "https", "HTTP"]),
    legal_path,
)
separator = st.sampled_from([",", ", ", "|", ";", " ", "\n", "\r\n", " | ", "; ", ",\t"])


@quick
@given(st.lists(st.tuples(url, separator), min_size=1, max_size=6))
def test_urls_of_legal_characters_come_back_in_order(pairs: list[tuple[str, str]]) -> None:
    cell = "".join(url + separator for url, separator in pairs)
    assert read_urls(cell) == [url for url, _ in pairs]


@quick
@given(st.text(st.sampled_from("ab/:,;| \\\n\u200b\u00a0#?&") | st.characters(), max_size=60))
def test_any_cell_can_be_taken_apart_and_put_together(cell: str) -> None:
    for rules in (CellRules(), CellRules(base_url="http://b.example/x", escaped_commas=True)):
        found = find_urls(cell, rules)
        assert [each.url for each in found] == read_urls(cell, rules)
        assert replace_urls(cell, [None] * len(found), rules) == cell
        ends = [place for each in found for place in (each.start, each.end)]
        assert ends == sorted(ends)
