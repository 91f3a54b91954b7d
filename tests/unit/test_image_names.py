"""The names of output images: unguessable, the same on every attempt, and never a path out of the
store.
"""

import re
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from halftone_shared.model.image_formats import MEDIA_TYPES
from halftone_shared.model.image_names import (
    image_name,
    image_token,
    parse_image_name,
    storage_path,
)

REQUEST = UUID("8243ff57-0000-4000-8000-000000000001")
OTHER = UUID("8243ff57-0000-4000-8000-000000000002")
NAME = "m6fxsyqrbk7z35ww-12-3-6csfprupnsnvukd2.jpg"

quick = settings(max_examples=200, deadline=None)


def test_name_is_the_same_on_every_attempt() -> None:
    """Clients have these names, so later versions must not change them."""
    assert image_name(REQUEST, 12, 3, "jpg") == NAME


def test_names_of_different_slots_and_requests_differ_in_their_check() -> None:
    names = {
        image_name(request, seq, position, "jpg")
        for request in (REQUEST, OTHER)
        for seq, position in SLOTS
    }
    checks = {name.rpartition("-")[2] for name in names}
    assert len(checks) == len(names) == 2 * len(SLOTS)


SLOTS = [(1, 1), (1, 2), (2, 1), (1, 11), (11, 1), (1000, 1), (1, 100)]


def test_token_is_the_requests_own_and_tells_nothing_of_its_id() -> None:
    token = image_token(REQUEST)
    assert NAME.startswith(token + "-")
    assert token != image_token(OTHER)
    assert REQUEST.hex[:8] not in NAME


@quick
@given(
    st.uuids(),
    st.integers(1, 10**9 - 1),
    st.integers(1, 99999),
    st.sampled_from(sorted(MEDIA_TYPES)),
)
def test_every_name_says_which_slot_it_is(
    request_id: UUID, seq: int, position: int, extension: str
) -> None:
    slot = parse_image_name(image_name(request_id, seq, position, extension))
    assert slot is not None
    assert (slot.token, slot.seq, slot.position, slot.extension) == (
        image_token(request_id),
        seq,
        position,
        extension,
    )
    assert slot.media_type == MEDIA_TYPES[extension]


@pytest.mark.parametrize(
    ("extension", "media_type"),
    [
        ("jpg", "image/jpeg"),
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("avif", "image/avif"),
        ("tif", "image/tiff"),
    ],
)
def test_media_type_is_the_extensions(extension: str, media_type: str) -> None:
    slot = parse_image_name(image_name(REQUEST, 1, 1, extension))
    assert slot is not None
    assert slot.media_type == media_type


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../" + NAME,
        "/" + NAME,
        NAME + "/",
        NAME + "\n",
        NAME + "\0",
        "\0" + NAME,
        NAME + ".jpg",
        NAME.upper(),
        NAME.replace("-", "_"),
        NAME.replace("-12-", "-0-"),
        NAME.replace("-12-", "-012-"),
        NAME.replace("-12-", "--12-"),
        NAME.replace("-12-", "-1234567890-"),
        NAME.replace("-12-", "-١٢-"),
        NAME.replace("-3-", "-0-"),
        NAME.replace("-3-", "-123456-"),
        NAME.replace("-3-", "-../-"),
        NAME.replace(".jpg", ""),
        NAME.replace(".jpg", ".jpeg"),
        NAME.replace(".jpg", ".svg"),
        NAME.replace(".jpg", ".html"),
        NAME.replace(".jpg", ".JPG"),
        NAME.replace(".jpg", ".jpg.html"),
        NAME[1:],
        "a" + NAME,
        "1" + NAME[1:],
        "é" + NAME[1:],
        "%2e" + NAME,
    ],
)
def test_text_that_is_no_name_is_none(name: str) -> None:
    assert parse_image_name(name) is None
    with pytest.raises(ValueError, match="not the name"):
        storage_path(name)


@quick
@given(
    st.from_regex(r"[a-z2-7]{16}-\d{1,9}-\d{1,5}-[a-z2-7]{16}\.(jpg|exe)", fullmatch=True)
    | st.from_regex(r".{16}-[1-9]{1,9}-[1-9]{1,5}-.{16}\.jpg", fullmatch=True)
)
@example("../../../../../m-1-1-mmmmmmmmmmmmmmmm.jpg")
@example("mmmmmmmmmmmmmmmm-1-1-../../../../../m.jpg")
def test_whatever_is_taken_for_a_name_stays_inside_the_store(text: str) -> None:
    slot = parse_image_name(text)
    if slot is None:
        return
    path = storage_path(text)
    assert re.fullmatch(r"images/[a-z2-7]{2}/[a-z2-7]{16}/\d+/[a-z0-9-]+\.[a-z]+", path)
    assert path.endswith("/" + text)


def test_folder_holds_a_thousand_products() -> None:
    token = image_token(REQUEST)
    assert storage_path(NAME) == f"images/{token[:2]}/{token}/0/{NAME}"
    late = image_name(REQUEST, 123_456, 1, "jpg")
    assert storage_path(late) == f"images/{token[:2]}/{token}/123/{late}"
