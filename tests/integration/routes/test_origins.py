"""PUT, GET and DELETE /api/origins/{host}."""

import pytest

from tests.integration.routes.test_keys import new_key
from tests.support.api import Api
from tests.support.routes import problem_of

BODY = {
    "headers": {"X-Shop-Key": "s3cret"},
    "username": "anna",
    "password": "pass word",
    "requests_per_second": 5,
    "connections": 8,
}


def test_what_is_set_is_shown_without_its_secrets(guarded: Api) -> None:
    key = new_key(guarded)
    answer = guarded.call("PUT", "/api/origins/Shop.Example", json=BODY, headers=key)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown.pop("updated_at")
    assert shown == {
        "host": "shop.example",
        "header_names": ["X-Shop-Key"],
        "has_password": True,
        "requests_per_second": 5,
        "connections": 8,
    }
    listed = guarded.get("/api/origins", headers=key)
    one = guarded.get("/api/origins/shop.example", headers=key)
    assert [origin["host"] for origin in listed.json()["origins"]] == ["shop.example"]
    for text in (answer.text, listed.text, one.text):
        assert "s3cret" not in text
        assert "pass word" not in text


def test_put_replaces_and_delete_forgets(api: Api) -> None:
    api.call("PUT", "/api/origins/shop.example:8443", json=BODY)
    api.call("PUT", "/api/origins/shop.example:8443", json={"connections": 2})
    found = api.get("/api/origins/shop.example:8443").json()
    assert (found["header_names"], found["connections"]) == ([], 2)
    assert api.call("DELETE", "/api/origins/shop.example:8443").status_code == 204
    problem_of(api.get("/api/origins/shop.example:8443"), 404, "not_found")
    problem_of(api.call("DELETE", "/api/origins/shop.example:8443"), 404, "not_found")


def test_origins_of_another_owner_are_not_there(guarded: Api) -> None:
    mine, other = new_key(guarded), new_key(guarded)
    guarded.call("PUT", "/api/origins/shop.example", json=BODY, headers=mine)
    problem_of(guarded.get("/api/origins/shop.example", headers=other), 404, "not_found")
    assert guarded.get("/api/origins", headers=other).json() == {"origins": []}
    problem_of(guarded.call("DELETE", "/api/origins/shop.example", headers=other), 404, "not_found")
    problem_of(guarded.get("/api/origins"), 401, "unauthorized")


@pytest.mark.parametrize("host", ["a b", "http:", "shop.example:x", "-", "a%00b"])
def test_host_that_is_none_is_refused(api: Api, host: str) -> None:
    answer = api.call("PUT", f"/api/origins/{host}", json={})
    assert problem_of(answer, 400, "invalid_parameter")["parameter"] == "host"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"connections": 0}', b'{"who": 1}'])
def test_body_that_cannot_be_used_is_refused(api: Api, body: bytes) -> None:
    answer = api.call("PUT", "/api/origins/shop.example", content=body)
    problem_of(answer, 400, "invalid_parameter")


def test_body_is_bounded(api: Api) -> None:
    answer = api.call("PUT", "/api/origins/shop.example", content=b" " * 70_000)
    problem_of(answer, 413, "too_large")
