"""`GET /api/requests?include=totals` sums over all requests that are found."""

from tests.support.api import Api
from tests.support.routes import problem_of
from tests.support.stored import claimed, failed_image, finish, good_image, settle, store_request


def test_totals_cover_every_page_and_requests_that_still_run(api: Api) -> None:
    before = api.get("/api/requests?include=totals").json()["totals"]
    finish(api.engine, store_request(api.engine, 2), 2)
    running = store_request(api.engine, 3, images=2)
    settle(api.engine, claimed(api.engine, running, 1), good_image(), failed_image())
    answer = api.get("/api/requests?include=totals&limit=1").json()
    found = {name: count - before[name] for name, count in answer["totals"].items()}
    assert len(answer["requests"]) == 1
    assert (found["requests"], found["total_images"]) == (2, 8)
    assert (found["processed_images"], found["failed_images"]) == (3, 1)
    assert found["bytes_saved"] == found["bytes_in"] - found["bytes_out"] > 0


def test_totals_are_of_what_the_search_finds(api: Api) -> None:
    request_id = store_request(api.engine, 2)
    finish(api.engine, request_id, 2)
    store_request(api.engine, 5)
    answer = api.get(f"/api/requests?include=totals&q={request_id}").json()
    assert (answer["totals"]["requests"], answer["totals"]["total_images"]) == (1, 2)
    assert "totals" not in api.get("/api/requests").json()
    problem_of(api.get("/api/requests?include=sums"), 400, "invalid_parameter")
