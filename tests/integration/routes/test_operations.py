"""What operators may do: pause and resume hosts, retry what failed with a code."""

import pytest

from tests.integration.routes.test_keys import new_key
from tests.integration.routes.test_sessions import csrf_token, session
from tests.integration.routes.test_sessions import new_key as new_session_key
from tests.support.api import Api
from tests.support.routes import problem_of, upload
from tests.support.stored import claimed, execute, failed_image, settle

HTML = {"Accept": "text/html"}
CALLS = [
    ("GET", "/api/paused-hosts"),
    ("PUT", "/api/paused-hosts/shop.example"),
    ("DELETE", "/api/paused-hosts/shop.example"),
    ("POST", "/api/retry"),
    ("POST", "/operations/hosts/shop.example/pause"),
    ("POST", "/operations/hosts/shop.example/resume"),
]


def paused(api: Api, headers: dict[str, str] | None = None) -> list[str]:
    answer = api.get("/api/paused-hosts", headers=headers)
    return [each["host"] for each in answer.json()["paused_hosts"]]


def test_host_is_paused_shown_and_resumed(api: Api) -> None:
    answer = api.call("PUT", "/api/paused-hosts/Shop.Example:8080")
    assert answer.status_code == 200, answer.text
    assert answer.json()["host"] == "shop.example:8080"
    assert paused(api) == ["shop.example:8080"]
    shown = api.get("/api/operations").json()["paused_hosts"]
    assert [each["host"] for each in shown] == ["shop.example:8080"]
    assert api.call("DELETE", "/api/paused-hosts/shop.example:8080").status_code == 204
    problem_of(api.call("DELETE", "/api/paused-hosts/shop.example:8080"), 404, "not_found")
    answer = api.call("PUT", "/api/paused-hosts/a%20b")
    assert problem_of(answer, 400, "invalid_parameter")["parameter"] == "host"


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_only_admins_may(guarded: Api, method: str, path: str) -> None:
    problem_of(guarded.call(method, path, headers=new_key(guarded)), 403, "forbidden")
    admin = new_key(guarded, is_admin=True)
    assert guarded.call(method, path, headers=admin).status_code < 405


def test_buttons_of_a_session_need_its_csrf_token(guarded: Api) -> None:
    cookie = session(guarded, new_session_key(guarded, "admin", is_admin=True))
    token = csrf_token(guarded, cookie)
    pause = "/operations/hosts/shop.example/pause"
    for path in (pause, "/operations/hosts/shop.example/resume"):
        problem_of(guarded.call("POST", path, headers=cookie), 403, "cross_site")
    refused = guarded.call("POST", "/operations/retry", headers=cookie)
    assert "CSRF token" in refused.text
    assert paused(guarded, cookie) == []
    page = guarded.call("POST", pause, headers={**cookie, **token})
    assert page.status_code == 200
    assert "Paused hosts" in page.text
    assert paused(guarded, cookie) == ["shop.example"]
    guarded.call("POST", "/operations/hosts/shop.example/resume", headers={**cookie, **token})
    assert paused(guarded, cookie) == []


def test_everything_with_a_code_is_retried_since_a_time(api: Api) -> None:
    lately, earlier = upload(api), upload(api)
    for request_id in (lately, earlier):
        settle(api.engine, claimed(api.engine, request_id, 1), failed_image())
    execute(
        api.engine,
        "UPDATE requests SET completed_at = completed_at - interval '3 hours' WHERE id = :id",
        id=earlier,
    )

    def retried(query: str) -> list[str]:
        answer = api.call("POST", f"/api/retry?{query}")
        assert answer.status_code == 202, answer.text
        found: list[str] = answer.json()["request_ids"]
        return found

    assert retried("error_code=corrupt_image&since_seconds=7200") == []
    assert retried("error_code=http_error&since_seconds=7200") == [str(lately)]
    assert api.get(f"/api/status/{lately}").json()["status"] == "PENDING"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = api.call(
        "POST",
        "/operations/retry",
        content="error_code=http_error&since_seconds=86400",
        headers=form,
    )
    assert "1 request is tried again" in page.text
    assert api.get(f"/api/status/{earlier}").json()["status"] == "PENDING"
    assert retried("") == []


@pytest.mark.parametrize("query", ["error_code=none", "since_seconds=0", "since_seconds=x"])
def test_retry_with_an_unknown_parameter_is_refused(api: Api, query: str) -> None:
    problem_of(api.call("POST", f"/api/retry?{query}"), 400, "invalid_parameter")
