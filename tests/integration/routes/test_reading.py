"""Status, details and the list: their responses and their paging."""

import re
from typing import Any

import pytest

from halftone_shared.db.products import postpone_product
from halftone_shared.model.states import WaitReason
from tests.support.api import Api, path_of
from tests.support.routes import upload
from tests.support.stored import claimed, execute, failed_image, finish, good_image, settle


def test_status_names_the_hosts_that_products_wait_for(api: Api) -> None:
    request_id = upload(api, 3)
    with api.engine.connect() as connection:
        for seq in (1, 2):
            claim = claimed(api.engine, request_id, seq)
            where = ("shop.example", WaitReason.SLOW)
            assert postpone_product(connection, claim, [None], delay_seconds=60, waiting_for=where)
    waiting = api.get(f"/api/status/{request_id}").json()["waiting_for"]
    assert waiting == [
        {
            "host": "shop.example",
            "reason": "slow",
            "message": "shop.example takes long to answer.",
            "products": 2,
        }
    ]
    assert api.get("/api/requests").json()["requests"][0]["waiting_for"] == waiting


def test_status_is_answered_304_until_it_changes(api: Api) -> None:
    request_id = upload(api, 2)
    first = api.get(f"/api/status/{request_id}")
    etag = first.headers["etag"]
    assert re.fullmatch(r'"[^"]+"', etag), "a strong one"
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = api.get(f"/api/status/{request_id}", headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    for given in ('"other"', etag.strip('"'), ""):
        again = api.get(f"/api/status/{request_id}", headers={"If-None-Match": given})
        assert (again.status_code, again.json()) == (200, first.json())

    settle(api.engine, claimed(api.engine, request_id, 1))
    changed = api.get(f"/api/status/{request_id}", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    assert (changed.json()["status"], changed.json()["progress"]) == ("PROCESSING", 50)


def test_status_includes_the_first_page_of_products_when_asked(api: Api) -> None:
    request_id = upload(api, 101)
    plain = api.get(f"/api/status/{request_id}")
    included = api.get(f"/api/status/{request_id}?include=products")
    body = included.json()
    assert [product["line"] for product in body.pop("products")] == list(range(2, 102))
    rest = api.get(f"/api/details/{request_id}", params={"cursor": body.pop("next_cursor")}).json()
    assert [product["line"] for product in rest["products"]] == [102]
    assert body == plain.json()
    assert included.headers["etag"] != plain.headers["etag"]


def test_ended_request_says_so_everywhere(api: Api) -> None:
    request_id = upload(api, 2)
    finish(api.engine, request_id, 2)
    status = api.get(f"/api/status/{request_id}").json()
    assert (status["status"], status["outcome"], status["progress"]) == (
        "COMPLETED",
        "succeeded",
        100,
    )
    assert (status["processed_products"], status["processed_images"]) == (2, 2)
    assert (status["bytes_in"], status["bytes_out"], status["bytes_saved"]) == (200, 80, 120)
    assert status["completed_at"].endswith("Z")
    assert api.get(path_of(status["output_csv_url"])).status_code == 200


def pages(api: Api, path: str, **parameters: Any) -> list[list[dict[str, Any]]]:
    """Every page of a list, by following next_cursor."""
    found = []
    cursor = None
    while True:
        response = api.get(path, params=parameters | ({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.text
        body = response.json()
        found.append(body["products"] if "products" in body else body["requests"])
        cursor = body["next_cursor"]
        if cursor is None:
            return found
        assert len(found) < 1000


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [
        (None, [100, 100, 50]),
        (250, [250]),
        (249, [249, 1]),
        (125, [125, 125]),
        (1000, [250]),
        (90, [90, 90, 70]),
    ],
)
def test_details_page_through_the_products_in_order(
    api: Api, limit: int | None, sizes: list[int]
) -> None:
    request_id = upload(api, 250)
    found = pages(api, f"/api/details/{request_id}", **({"limit": limit} if limit else {}))
    assert [len(page) for page in found] == sizes
    products = [product for page in found for product in page]
    assert [product["serial_number"] for product in products] == list(range(1, 251))
    assert [product["line"] for product in products] == list(range(2, 252))


def test_details_begin_with_the_status_object(api: Api) -> None:
    request_id = upload(api, images=2)
    body = api.get(f"/api/details/{request_id}").json()
    (product,) = body.pop("products")
    assert body.pop("next_cursor") is None
    assert body == api.get(f"/api/status/{request_id}").json()
    assert product["input_image_urls"] == [
        "http://images.example/1.jpg",
        "http://images.example/2.jpg",
    ]
    assert product["output_image_urls"] == [None, None]


def test_options_and_errors_have_their_members_in_the_order_that_is_documented(api: Api) -> None:
    request_id = upload(api)
    settle(api.engine, claimed(api.engine, request_id, 1), failed_image())
    body = api.get(f"/api/details/{request_id}").json()
    assert list(body["options"]) == ["mode", "quality", "format"]
    ((image,),) = [product["images"] for product in body["products"]]
    assert list(image["error"]) == ["code", "message", "http_status", "retryable"]


def test_details_of_one_status_alone(api: Api) -> None:
    request_id = upload(api, 30, images=2)
    for seq in range(1, 26):
        wanted = failed_image() if seq % 5 == 0 else good_image()
        settle(api.engine, claimed(api.engine, request_id, seq), wanted, failed_image())
    claimed(api.engine, request_id, 26)

    def serials(**parameters: Any) -> list[int]:
        found = pages(api, f"/api/details/{request_id}", **parameters)
        return [product["serial_number"] for page in found for product in page]

    failed = [5, 10, 15, 20, 25]
    assert serials(status="FAILED") == failed
    assert serials(status="failed", limit=2) == failed
    assert serials(status="COMPLETED", limit=3) == [
        seq for seq in range(1, 26) if seq not in failed
    ]
    assert serials(status="PROCESSING") == [26]
    assert serials(status="PENDING") == [27, 28, 29, 30]
    assert serials(status="CANCELLED") == []


def test_requests_are_listed_newest_first(api: Api) -> None:
    ids = [str(upload(api)) for _ in range(5)]
    (page,) = pages(api, "/api/requests")
    assert [request["request_id"] for request in page] == ids[::-1]
    assert page[0] == api.get(f"/api/status/{ids[-1]}").json()
    found = pages(api, "/api/requests", limit=2)
    assert [[request["request_id"] for request in page] for page in found] == [
        ids[:2:-1],
        ids[2:0:-1],
        [ids[0]],
    ]


def test_list_pages_through_requests_of_the_same_moment(api: Api) -> None:
    ids = {str(upload(api)) for _ in range(7)}
    execute(api.engine, "UPDATE requests SET created_at = '2026-01-01T00:00:00.000001Z'")
    found = [
        request["request_id"] for page in pages(api, "/api/requests", limit=3) for request in page
    ]
    assert len(found) == 7
    assert set(found) == ids


def test_upload_during_paging_does_not_shift_the_pages(api: Api) -> None:
    ids = [str(upload(api)) for _ in range(4)]
    first = api.get("/api/requests?limit=2").json()
    upload(api)
    second = api.get("/api/requests", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [request["request_id"] for request in first["requests"] + second["requests"]] == ids[
        ::-1
    ]


def test_list_of_one_status_alone(api: Api) -> None:
    pending, completed, failed = (upload(api) for _ in range(3))
    finish(api.engine, completed, 1)
    settle(api.engine, claimed(api.engine, failed, 1), failed_image())
    for status, request_id in (("PENDING", pending), ("COMPLETED", completed), ("failed", failed)):
        (page,) = pages(api, "/api/requests", status=status)
        assert [request["request_id"] for request in page] == [str(request_id)]
    assert pages(api, "/api/requests", status="CANCELLED") == [[]]
