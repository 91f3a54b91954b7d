"""Sessions of the web page: what a browser may do with one, and what other sites may not."""

import json
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest
from sqlalchemy import text

from halftone_api.endpoints import all_endpoints
from halftone_api.endpoints.session_cookie import COOKIE, SESSION_SECONDS
from halftone_shared.db.api_keys import NewKey, create_key, revoke_key
from halftone_shared.db.engine import transaction
from halftone_shared.model.secret_box import SecretBox
from tests.support.api import ONE_ROW, Api, running_api
from tests.support.routes import problem_of, upload

HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(autouse=True)
def nothing_is_kept(guarded: Api) -> Iterator[None]:
    """Reset the shared API's counted attempts and the client's cookies."""
    with guarded.engine.connect() as connection:
        connection.execute(text("DELETE FROM rate_limits"))
    yield
    guarded.http.cookies.clear()


def new_key(api: Api, owner: str = "shop", *, is_admin: bool = False) -> NewKey:
    with transaction(api.engine) as connection:
        return create_key(connection, owner, is_admin=is_admin)


def sign_in(api: Api, secret: str, target: str = "") -> httpx.Response:
    return api.call("POST", "/sign-in", content=f"key={secret}&next={target}", headers=FORM)


def session(api: Api, key: NewKey) -> dict[str, str]:
    """The Cookie header of a new session."""
    response = sign_in(api, key.secret)
    assert response.status_code == 303
    cookie = SimpleCookie(response.headers["set-cookie"])[COOKIE]
    api.http.cookies.clear()
    return {"Cookie": f"{COOKIE}={cookie.value}"}


def csrf_token(api: Api, cookie: dict[str, str]) -> dict[str, str]:
    """The token that the page gives to its own scripts."""
    page = api.get("/", headers={**HTML, **cookie}).text
    headers: dict[str, str] = json.loads(page.split("hx-headers='")[1].split("'")[0])
    return headers


def test_session_sees_what_its_key_sees(guarded: Api) -> None:
    mine, other = new_key(guarded), new_key(guarded, "other")
    request_id = upload(guarded, headers={"Authorization": f"Bearer {mine.secret}"})
    cookie, foreign = session(guarded, mine), session(guarded, other)
    assert guarded.get(f"/api/status/{request_id}", headers=cookie).status_code == 200
    assert guarded.get(f"/r/{request_id}", headers={**HTML, **cookie}).status_code == 200
    problem_of(guarded.get(f"/api/status/{request_id}", headers=foreign), 404, "not_found")
    assert guarded.get(f"/r/{request_id}", headers={**HTML, **foreign}).status_code == 404


def test_cookie_is_kept_from_scripts_and_other_sites_and_holds_no_key(guarded: Api) -> None:
    key = new_key(guarded)
    header = sign_in(guarded, key.secret).headers["set-cookie"]
    assert "HttpOnly" in header
    assert "SameSite=strict" in header
    assert f"Max-Age={SESSION_SECONDS}" in header
    assert key.secret not in header


def test_change_by_a_session_needs_its_csrf_token(guarded: Api) -> None:
    cookie = session(guarded, new_key(guarded))
    token = csrf_token(guarded, cookie)
    other = csrf_token(guarded, session(guarded, new_key(guarded)))
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x"}, other):
        problem_of(guarded.upload(ONE_ROW, headers={**cookie, **headers}), 403, "cross_site")
    assert guarded.upload(ONE_ROW, headers={**cookie, **token}).status_code == 202


def test_every_form_of_the_page_needs_the_token(guarded: Api) -> None:
    key = new_key(guarded, "admin", is_admin=True)
    cookie = session(guarded, key)
    request_id = upload(guarded, headers={"Authorization": f"Bearer {key.secret}"})
    changes = [
        endpoint.path
        for endpoint in all_endpoints()
        if endpoint.method == "POST" and not endpoint.described and endpoint.path != "/sign-in"
    ]
    assert len(changes) > 8
    for change in changes:
        path = change.format(request_id=request_id, host="shop.example")
        answer = guarded.call("POST", path, headers={**cookie, **FORM})
        assert "CSRF token" in answer.text, change
    assert guarded.get(f"/api/status/{request_id}", headers=cookie).json()["status"] == "PENDING"


def test_cookie_is_sent_by_https_alone_where_the_service_is_reached_by_https(guarded: Api) -> None:
    key = new_key(guarded)
    assert "Secure" not in sign_in(guarded, key.secret).headers["set-cookie"]
    settings = guarded.settings.model_copy(update={"public_url": "https://api.example"})
    with running_api(settings) as api:
        assert "Secure" in sign_in(api, key.secret).headers["set-cookie"]


def test_without_keys_no_session_is_needed_or_begun(api: Api) -> None:
    for path in ("/", "/requests", "/operations"):
        assert api.get(path, headers=HTML).status_code == 200
        assert "Sign out" not in api.get(path, headers=HTML).text
    stale = {"Cookie": f"{COOKIE}=from-when-keys-were-on"}
    assert api.upload(ONE_ROW, headers=stale).status_code == 202


def test_change_by_a_session_from_another_site_is_refused(guarded: Api) -> None:
    cookie = session(guarded, new_key(guarded))
    headers = {**cookie, **csrf_token(guarded, cookie), "Origin": "https://evil.example"}
    problem_of(guarded.upload(ONE_ROW, headers=headers), 403, "cross_site")


def test_sign_out_needs_the_token_too(guarded: Api) -> None:
    cookie = session(guarded, new_key(guarded))
    problem_of(guarded.call("POST", "/sign-out", headers={**cookie, **FORM}), 403, "cross_site")
    token = csrf_token(guarded, cookie)["X-CSRF-Token"]
    response = guarded.call(
        "POST", "/sign-out", content=f"csrf_token={token}", headers={**cookie, **FORM}
    )
    assert response.status_code == 303
    assert "Max-Age=0" in response.headers["set-cookie"]


@pytest.mark.parametrize("cookie", ["", "x", "gAAAAABnaaaa", "{}"])
def test_forged_session_is_none(guarded: Api, cookie: str) -> None:
    response = guarded.get("/api/requests", headers={"Cookie": f"{COOKIE}={cookie}"})
    problem_of(response, 401, "unauthorized")


def test_session_ends_with_its_time_and_with_its_key(guarded: Api) -> None:
    key = new_key(guarded)
    box = SecretBox(guarded.settings.webhook_secret)
    past = {"key_id": str(key.id), "expires_at": time.time() - 1, "csrf_token": "t"}
    expired = {"Cookie": f"{COOKIE}={box.seal(json.dumps(past))}"}
    problem_of(guarded.get("/api/requests", headers=expired), 401, "unauthorized")
    cookie = session(guarded, key)
    assert guarded.get("/api/requests", headers=cookie).status_code == 200
    with guarded.engine.connect() as connection:
        revoke_key(connection, key.id)
    problem_of(guarded.get("/api/requests", headers=cookie), 401, "unauthorized")


def test_wrong_key_is_said_and_begins_no_session(guarded: Api) -> None:
    response = sign_in(guarded, "ht_wrong")
    assert response.status_code == 401
    assert "not known" in response.text
    assert "set-cookie" not in response.headers


def test_guessing_keys_is_limited(guarded: Api) -> None:
    statuses = [sign_in(guarded, f"ht_{number}").status_code for number in range(12)]
    assert statuses.count(429) == 2
    assert sign_in(guarded, "ht_x").headers["retry-after"]


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/requests", "/requests"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_sign_in_leads_back_to_this_service_alone(guarded: Api, target: str, location: str) -> None:
    assert sign_in(guarded, new_key(guarded).secret, target).headers["location"] == location


def test_page_without_a_session_asks_to_sign_in(guarded: Api) -> None:
    for path in ("/", "/requests", "/r/8243ff57-0000-4000-8000-000000000001"):
        response = guarded.get(path, headers=HTML)
        assert (response.status_code, response.headers["location"]) == (
            303,
            f"/sign-in?next={path}",
        )
