"""Pages of other sites cannot make a browser use the API."""

import pytest

from tests.support.api import ONE_ROW, Api
from tests.support.csv_files import HEADER
from tests.support.routes import URL, problem_of, upload

PLAIN = f"{HEADER}1,A,{URL}\n"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://api.example:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://api.example", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_change_that_another_site_asks_for_is_refused(api: Api, headers: dict[str, str]) -> None:
    request_id = upload(api)
    problem_of(api.upload(PLAIN, headers=headers), 403, "cross_site")
    problem_of(api.call("POST", f"/api/cancel/{request_id}", headers=headers), 403, "cross_site")
    assert len(api.get("/api/requests").json()["requests"]) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://api.example"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_change_by_programs_and_by_its_own_pages_is_taken(
    api: Api, headers: dict[str, str]
) -> None:
    assert api.upload(ONE_ROW, headers=headers).status_code == 202


@pytest.mark.parametrize("host", ["rebind.evil.example", "evil.example:8000", "api.example.evil"])
def test_name_that_another_site_gave_this_machine_is_not_served(api: Api, host: str) -> None:
    for path in ("/", "/api/requests", "/docs"):
        problem_of(api.get(path, headers={"Host": host}), 421, "unknown_host")
    problem_of(api.upload(PLAIN, headers={"Host": host}), 421, "unknown_host")
    assert api.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["api.example", "API.example:80", "127.0.0.1:8000", "[::1]:8000", "localhost", "api"]
)
def test_known_host_is_served(api: Api, host: str) -> None:
    assert api.get("/api/requests", headers={"Host": host}).status_code == 200


def test_with_keys_any_host_is_served(guarded: Api) -> None:
    """A page that guesses a host name has no key."""
    problem_of(guarded.get("/api/requests", headers={"Host": "shop.example"}), 401, "unauthorized")
