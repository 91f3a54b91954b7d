"""Images: type, caching and ranges. The image route serves nothing else."""

import re
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from halftone_shared.model.image_names import image_name, storage_path
from tests.support.api import Api, path_of
from tests.support.routes import DATA, ended_with_image, problem_of, upload
from tests.support.stored import claimed, good_image, query, settle

BIG = bytes(range(251)) * 4000  # several chunks of the store


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
def test_image_is_served_with_its_type_and_nothing_to_run(
    api: Api, extension: str, media_type: str
) -> None:
    name = ended_with_image(
        api, upload(api), extension=extension, data=b"<script>alert(1)</script>"
    )
    response = api.get(f"/api/image/{name}")
    assert (response.status_code, response.content) == (200, b"<script>alert(1)</script>")
    assert response.headers["content-type"] == media_type
    assert response.headers["content-length"] == str(len(response.content))
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "sandbox" in response.headers["content-security-policy"]
    assert {"immutable", "max-age=31536000"} <= set(response.headers["cache-control"].split(", "))
    assert response.headers["accept-ranges"] == "bytes"
    assert re.fullmatch(r'"[^"]+"', response.headers["etag"])


def test_output_url_of_a_product_leads_to_the_image(api: Api) -> None:
    request_id = upload(api)
    ended_with_image(api, request_id)
    (product,) = api.get(f"/api/details/{request_id}").json()["products"]
    assert api.get(path_of(product["output_image_urls"][0])).content == DATA


def test_big_image_is_served_whole(api: Api) -> None:
    name = ended_with_image(api, upload(api), data=BIG)
    assert api.get(f"/api/image/{name}").content == BIG


def test_image_is_answered_304_to_its_etag(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    first = api.get(f"/api/image/{name}")
    for given in (
        first.headers["etag"],
        "W/" + first.headers["etag"],
        '"x", ' + first.headers["etag"],
        "*",
    ):
        again = api.get(f"/api/image/{name}", headers={"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == first.headers["cache-control"]
    assert api.get(f"/api/image/{name}", headers={"If-None-Match": '"other"'}).content == DATA


def test_head_answers_as_get_without_the_body(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    got, asked = api.get(f"/api/image/{name}"), api.call("HEAD", f"/api/image/{name}")
    assert (asked.status_code, asked.content) == (200, b"")
    for header in ("content-type", "content-length", "etag", "cache-control", "accept-ranges"):
        assert asked.headers[header] == got.headers[header]


def test_head_takes_no_range(api: Api) -> None:
    """RFC 9110, 14.2: a server must ignore Range with any method but GET."""
    name = ended_with_image(api, upload(api))
    for wanted in ("bytes=0-9", "bytes=9999-"):
        response = api.call("HEAD", f"/api/image/{name}", headers={"Range": wanted})
        assert (response.status_code, response.headers["content-length"]) == (200, str(len(DATA)))


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=10-19", 10, 20),
        ("bytes=1023-1023", 1023, 1024),
        ("bytes=1000-", 1000, 1024),
        ("bytes=0-", 0, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-1", 1023, 1024),
        ("bytes=-5000", 0, 1024),
        ("bytes=1000-5000", 1000, 1024),
        ("bytes=0-1023", 0, 1024),
        ("bytes=0-999999999999999999", 0, 1024),
        ("bytes= 0 - 9", 0, 10),
    ],
)
def test_range_is_served(api: Api, wanted: str, start: int, end: int) -> None:
    name = ended_with_image(api, upload(api))
    response = api.get(f"/api/image/{name}", headers={"Range": wanted})
    assert (response.status_code, response.content) == (206, DATA[start:end])
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
    assert response.headers["content-length"] == str(end - start)
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_range_across_the_stores_chunks_is_served(api: Api) -> None:
    name = ended_with_image(api, upload(api), data=BIG)
    response = api.get(f"/api/image/{name}", headers={"Range": "bytes=200000-900000"})
    assert (response.status_code, response.content) == (206, BIG[200000:900001])


@pytest.mark.parametrize(
    "wanted", ["bytes=1024-", "bytes=1024-2000", "bytes=999999999999999999-", "bytes=-0"]
)
def test_range_behind_the_end_is_416(api: Api, wanted: str) -> None:
    name = ended_with_image(api, upload(api))
    response = api.get(f"/api/image/{name}", headers={"Range": wanted})
    problem_of(response, 416, "range_not_satisfiable")
    assert response.headers["content-range"] == "bytes */1024"


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=0-1,3-4",
        "bytes=" + ",".join(["0-"] * 1000),
        "bytes=9-0",
        "bytes=-",
        "bytes=",
        "bytes=x-y",
        "bytes=0x0-9",
        "bytes=١-",
        "items=0-9",
        "0-9",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_range_that_is_none_or_many_is_answered_whole(api: Api, wanted: str) -> None:
    name = ended_with_image(api, upload(api))
    response = api.get(f"/api/image/{name}", headers={"Range": wanted.encode()})
    assert (response.status_code, response.content) == (200, DATA)
    assert "content-range" not in response.headers


def test_range_holds_only_for_the_etag_that_it_names(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    etag = api.get(f"/api/image/{name}").headers["etag"]
    same = api.get(f"/api/image/{name}", headers={"Range": "bytes=0-9", "If-Range": etag})
    assert (same.status_code, same.content) == (206, DATA[:10])
    for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        response = api.get(f"/api/image/{name}", headers={"Range": "bytes=0-9", "If-Range": other})
        assert (response.status_code, response.content) == (200, DATA)


@pytest.mark.parametrize(
    "shape",
    [
        "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f{name}",
        "%2fetc%2fpasswd",
        "..%5c..%5cetc%5cpasswd",
        "%252e%252e%252fetc%252fpasswd",
        "images%2f{folder}%2f{name}",
        "{name}%00",
        "{name}%00.png",
        "{name}%0a",
        "{name}.html",
        "{name}%20",
        "{upper}",
        "{other_extension}",
        "{other_check}",
        "{other_slot}",
        "{other_token}",
        "%ff%fe",
        "x",
    ],
)
def test_name_that_was_never_handed_out_is_404(api: Api, shape: str) -> None:
    request_id = upload(api)
    name = ended_with_image(api, request_id)
    stem, _, check = name.removesuffix(".jpg").rpartition("-")
    [(image_key,)] = query(
        api.engine, "SELECT image_key FROM requests WHERE id = :id", id=request_id
    )
    path = shape.format(
        name=name,
        folder="%2f".join(storage_path(name).split("/")[1:-1]),
        upper=name.upper(),
        other_extension=name.replace(".jpg", ".png"),
        other_check=f"{stem}-{check[::-1]}.jpg",
        other_slot=image_name(image_key, 1, 2, "jpg"),
        other_token=image_name(uuid4(), 1, 1, "jpg"),
    )
    response = api.get(f"/api/image/{path}")
    problem_of(response, 404, "not_found")
    assert b"root:" not in response.content


def test_file_in_the_store_is_not_served_unless_a_finished_slot_names_it(api: Api) -> None:
    """Neither a file that somebody put there, nor a link out of the folder, nor a leftover of an
    attempt.
    """
    request_id = upload(api)
    claim = claimed(api.engine, request_id, 1)
    stray, link, good = (image_name(claim.image_key, 1, 1, kind) for kind in ("png", "webp", "jpg"))
    api.store.put(stray, DATA)
    target = _folder(api) / storage_path(link)
    target.symlink_to("/etc/passwd")
    for name in (stray, link):
        problem_of(api.get(f"/api/image/{name}"), 404, "not_found")
    settle(
        api.engine,
        claim,
        good_image(good),
    )
    for name in (stray, link):
        problem_of(api.get(f"/api/image/{name}"), 404, "not_found")


def test_link_out_of_the_store_is_not_followed(api: Api, tmp_path: Path) -> None:
    """Not even in place of an image whose URL clients have."""
    name = ended_with_image(api, upload(api))
    outside = tmp_path / "outside.txt"
    outside.write_text("not for the world")
    stored = _folder(api) / storage_path(name)
    stored.unlink()
    stored.symlink_to(outside)
    response = api.get(f"/api/image/{name}")
    assert b"not for the world" not in response.content
    problem_of(response, 404, "not_found")


def test_image_whose_file_is_gone_is_404(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    (_folder(api) / storage_path(name)).unlink()
    problem_of(api.get(f"/api/image/{name}"), 404, "not_found")
    assert api.call("HEAD", f"/api/image/{name}").status_code == 404


def test_storage_that_fails_tells_the_log_why_and_nobody_else(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    stored = _folder(api) / storage_path(name)
    stored.unlink()
    stored.parent.rmdir()
    stored.parent.write_bytes(b"a file where a folder is wanted")
    with capture_logs() as logged:
        response = api.get(f"/api/image/{name}")
    problem = problem_of(response, 503, "storage_unavailable")
    assert response.headers["retry-after"] == "5"
    assert problem["detail"] == "The storage of the images did not give this one. Try again."
    (line,) = [line for line in logged if line["event"] == "image not read"]
    assert line["file"] == name
    assert str(_folder(api)) in line["error"]


def _folder(api: Api) -> Path:
    return Path(api.settings.storage_url.removeprefix("file://"))
