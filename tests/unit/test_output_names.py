"""File names chosen by the client: made from a template, safe everywhere, unique in a request."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftone_api.upload.unique_names import unique_names
from halftone_shared.model.image_names import image_name, parse_image_name, storage_path
from halftone_shared.model.output_names import (
    MAX_NAME_BYTES,
    NamedProduct,
    original_name,
    output_names,
    safe_name,
)
from tests.support.stored import REQUEST_KEY

MUG = NamedProduct("SKU 1/a", "Red Mug", "7", ["https://shop.example/i/front.jpg?v=1", "//x/b"])


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{key}-{position}", ["SKU-1-a-1", "SKU-1-a-2"]),
        ("{name}_{serial}_{position}", ["Red-Mug_7_1", "Red-Mug_7_2"]),
        ("{original}", ["front", "b"]),
        ("{key}.MAIN", ["SKU-1-a.MAIN", "SKU-1-a.MAIN"]),
    ],
)
def test_template_is_filled_for_each_image(template: str, names: list[str]) -> None:
    assert output_names(template, MUG, []) == names


def test_variants_have_names_behind_each_main_output() -> None:
    assert output_names("{key}-{position}", MUG, ["thumb"]) == [
        "SKU-1-a-1",
        "SKU-1-a-1-thumb",
        "SKU-1-a-2",
        "SKU-1-a-2-thumb",
    ]
    assert output_names("{variant}-{position}", MUG, ["thumb"])[:2] == ["1", "thumb-1"]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://shop.example/a/b%20c.jpg", "b c"),
        ("https://shop.example/image", "image"),
        ("https://shop.example/v1.2/photo.final.webp?x=/y.png", "photo.final"),
        ("https://shop.example/", ""),
        ("https://[broken", ""),
    ],
)
def test_original_name_is_the_last_part_of_the_path(url: str, name: str) -> None:
    assert original_name(url) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("..", "image"),
        (".hidden", "hidden"),
        ("a\x00b\nc", "a-b-c"),
        ("con", "con-image"),
        ("COM1.x", "image-COM1.x"),
        ("Stra\u00dfe \u202egpj", "Stra\u00dfe-gpj"),
        ("cafe\u0301", "caf\u00e9"),
        ("", "image"),
    ],
)
def test_hostile_text_becomes_a_safe_name(text: str, name: str) -> None:
    assert safe_name(text) == name


@given(st.text(max_size=300))
def test_every_text_becomes_a_name_that_stays_in_its_folder(text: str) -> None:
    name = safe_name(text)

    assert name == unicodedata.normalize("NFC", name)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not name.startswith((".", "-"))
    full = image_name(REQUEST_KEY, 1, 1, "jpg", own_name=name)
    slot = parse_image_name(full)
    assert slot is not None
    assert slot.own_name == name
    assert storage_path(full).split("/")[-1] == f"{name}.jpg"
    assert len(storage_path(full).split("/")) == 5


@given(st.lists(st.sampled_from(["mug", "MUG", "mug-2", "mug-3", "cup", "stra\u00dfe", "STRASSE"])))
def test_no_two_names_are_alike_without_regard_to_case(names: list[str]) -> None:
    with unique_names() as taken:
        given_names = taken.claim_all(names)

    assert len({name.casefold() for name in given_names}) == len(names)
    assert all(one.startswith(name) for one, name in zip(given_names, names, strict=True))


HOSTILE = [
    "..", ".", "/", "\\", "\x00", "\n", "\u202e", "\u200b", "%2e%2e%2f", "~", "$HOME", "`id`", "|",
    "CON", "con.", "nul.jpg", "LPT1", ":", "*", "?", '"', "<", ">", " ", "\u0301", "e\u0301",
    "\u00e9", "\u212a", "K", "k", "\u00df", "ss", "\U0001f600", "\ufb01", "-", "a" * 130,
    "\u4e2d" * 50,
]  # fmt: skip


def test_ten_thousand_hostile_names_stay_in_their_folder_and_do_not_collide() -> None:
    rng = random.Random(1)
    texts = ["".join(rng.choices(HOSTILE, k=rng.randint(1, 6))) for _ in range(10_000)]
    with unique_names() as taken:
        names = taken.claim_all(safe_name(text) for text in texts)

    paths = {storage_path(image_name(REQUEST_KEY, 1, 1, "jpg", own_name=name)) for name in names}
    assert len({path.casefold() for path in paths}) == 10_000
    folder = storage_path(image_name(REQUEST_KEY, 1, 1, "jpg", own_name="a")).rpartition("/")[0]
    assert {path.rpartition("/")[0] for path in paths} == {folder}
    assert max(len(name.encode()) for name in names) <= MAX_NAME_BYTES


def test_ten_thousand_equal_names_are_numbered() -> None:
    with unique_names() as taken:
        names = taken.claim_all(["mug"] * 10_000)

    assert names[:3] == ["mug", "mug-2", "mug-3"]
    assert names[-1] == "mug-10000"
