"""The rate limit of uploads: exact over all processes, and separate for each caller."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.requests import Request

from halftone_api.endpoints.rate_limiting import caller_of
from halftone_shared.db.api_keys import create_key
from halftone_shared.db.upload_rates import forget_callers, seconds_to_wait
from halftone_shared.model.rate_limit import RateLimit, parse_rate_limit
from tests.support.api import ONE_ROW, Api, api_settings, running_api, stored_rows
from tests.support.stored import execute, query

HOURLY = RateLimit(5, 3600)


def _take(engine: Engine, caller: str = "anna", limit: RateLimit = HOURLY) -> float:
    with engine.connect() as connection:
        return seconds_to_wait(connection, caller, limit)


def test_burst_is_let_through_and_no_more(engine: Engine) -> None:
    assert [_take(engine) for _ in range(5)] == [0] * 5
    assert 700 < _take(engine) <= 720  # 3600 s / 5


def test_refused_call_is_not_counted(engine: Engine) -> None:
    waits = [_take(engine) for _ in range(50)]
    assert waits[5] >= waits[-1] > 700


def test_time_gives_calls_back_one_by_one(engine: Engine) -> None:
    for _ in range(5):
        _take(engine)
    execute(engine, "UPDATE rate_limits SET free_at = free_at - interval '721 seconds'")
    assert _take(engine) == 0
    assert _take(engine) > 700


def test_clock_that_is_set_back_keeps_nobody_out(engine: Engine) -> None:
    for _ in range(4):
        _take(engine)
    execute(engine, "UPDATE rate_limits SET free_at = free_at + interval '1 day'")
    assert 700 < _take(engine) <= 720


def test_callers_do_not_count_for_each_other(engine: Engine) -> None:
    for _ in range(6):
        _take(engine)
    assert _take(engine, "bert") == 0


def test_callers_side_by_side_get_exactly_the_burst(engine: Engine) -> None:
    together = threading.Barrier(16)

    def take_some(_: int) -> int:
        together.wait()
        return sum(_take(engine, limit=RateLimit(40, 86400)) == 0 for _ in range(10))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take_some, range(16))) == 40


def test_caller_that_is_free_again_is_forgotten(engine: Engine) -> None:
    _take(engine, "anna")
    _take(engine, "bert")
    execute(
        engine, "UPDATE rate_limits SET free_at = now() - interval '1 second' WHERE caller = 'anna'"
    )
    with engine.connect() as connection:
        forget_callers(connection)
    assert [row.caller for row in query(engine, "SELECT caller FROM rate_limits")] == ["bert"]


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("60/minute", RateLimit(60, 60)),
        ("1/second", RateLimit(1, 1)),
        ("100/hour", RateLimit(100, 3600)),
        ("7/day", RateLimit(7, 86400)),
        ("off", None),
    ],
)
def test_limit_is_read_as_an_operator_writes_it(text: str, limit: RateLimit | None) -> None:
    assert parse_rate_limit(text) == limit


@pytest.mark.parametrize(
    "text",
    ["", "60", "0/minute", "-1/minute", "60/fortnight", "60 / minute", "60/minutes", "٦/minute"],
)
def test_text_that_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a rate limit"):
        parse_rate_limit(text)


@pytest.fixture
def limited(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with running_api(api_settings(database_url, tmp_path, upload_rate_limit="3/hour")) as api:
        yield api


def test_upload_over_the_limit_is_429_and_stores_nothing(limited: Api) -> None:
    assert [limited.upload(ONE_ROW).status_code for _ in range(3)] == [202] * 3
    refused = limited.upload(ONE_ROW, path="/upload")
    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert 1000 < int(refused.headers["retry-after"]) <= 1200
    assert refused.headers["retry-after"] in refused.json()["detail"]
    assert stored_rows(limited.engine)["requests"] == 3
    assert limited.get("/api/requests").status_code == 200


def test_retry_and_replay_have_a_limit_of_their_own(limited: Api) -> None:
    request_id = limited.upload(ONE_ROW).json()["request_id"]
    repeats = [f"/api/retry/{request_id}", f"/api/webhooks/{request_id}/replay"]
    # Calls that are refused for other reasons count, too.
    assert [limited.call("POST", repeats[at % 2]).status_code for at in range(3)] == [409] * 3
    for path in repeats:
        refused = limited.call("POST", path)
        assert refused.status_code == 429
        assert refused.json()["code"] == "rate_limited"
        assert 1000 < int(refused.headers["retry-after"]) <= 1200
    assert [limited.upload(ONE_ROW).status_code for _ in range(3)] == [202, 202, 429]


def test_two_processes_share_the_limit(database_url: str, tmp_path: Path) -> None:
    settings = api_settings(database_url, tmp_path, upload_rate_limit="3/hour")
    with running_api(settings) as one, running_api(settings) as other:
        answers = [api.upload(ONE_ROW).status_code for api in (one, other, one, other)]
    assert answers == [202, 202, 202, 429]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.4", "203.0.113.5", False),
        ("::ffff:203.0.113.4", "::ffff:203.0.113.5", False),
        ("::ffff:203.0.113.4", "203.0.113.4", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("testclient", "testclient", True),
        ("proxy" * 1600, "proxy" * 1601, True),
    ],
)
def test_callers_without_keys_are_told_apart_by_their_addresses(
    one: str, other: str, same: bool
) -> None:
    first, second = (
        caller_of(Request({"type": "http", "client": (host, 1)}), None) for host in (one, other)
    )
    assert (first == second) is same


def test_keys_have_a_limit_each(database_url: str, tmp_path: Path) -> None:
    settings = api_settings(database_url, tmp_path, auth="keys", upload_rate_limit="1/hour")
    with running_api(settings) as api:
        with api.engine.connect() as connection:
            keys = [create_key(connection, name).secret for name in ("anna", "bert")]
        headers = [{"Authorization": f"Bearer {key}"} for key in keys]
        assert [
            api.upload(ONE_ROW, headers=header).status_code for header in (*headers, *headers)
        ] == [
            202,
            202,
            429,
            429,
        ]
        assert api.upload(ONE_ROW, headers={"Authorization": "Bearer ht_wrong"}).status_code == 401
