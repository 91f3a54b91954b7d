"""Origin settings of an owner: used for that host only, and enforced over all workers together."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from halftone_shared.db.engine import database_seconds
from halftone_shared.db.origins import list_origins, set_origin, take_turn
from halftone_shared.model.origins import BadOrigin, Credentials, OriginSettings, parse_origin
from halftone_shared.model.results import ProductKey
from halftone_shared.model.secret_box import SecretBox
from halftone_workers.http.origins import OwnOrigins, is_same_host
from halftone_workers.http.parsed_url import parsed_url
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.runtime import Runtime
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.runtime import running_runtime
from tests.support.stored import execute, query, store_request

SECRET = OriginSettings(Credentials({"X-Shop-Key": "s3cret"}, "anna", "pa:ss"))


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    with running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8") as runtime:
        yield runtime


def _set(
    runtime: Runtime, host: str, settings: OriginSettings = SECRET, owner_id: UUID | None = None
) -> None:
    box = SecretBox(runtime.settings.webhook_secret)
    with runtime.engine.connect() as connection:
        set_origin(connection, owner_id, host, settings, box)


def _run(runtime: Runtime, engine: Engine, *urls: str, owner_id: UUID | None = None) -> None:
    request_id = store_request(engine, urls=urls, owner_id=owner_id)
    ProductJobs(runtime).process(ProductKey(request_id, 1))


def _sent(origin: Origin, path: str) -> tuple[str | None, str | None]:
    (headers,) = [headers for asked, headers in origin.gets if asked == path]
    return headers.get("x-shop-key"), headers.get("authorization")


@pytest.mark.parametrize("with_port", [True, False])
def test_credentials_are_sent_to_their_host(
    runtime: Runtime, engine: Engine, origin: Origin, with_port: bool
) -> None:
    host = origin.url.removeprefix("http://")
    _set(runtime, host if with_port else "127.0.0.1")
    _run(runtime, engine, origin.serve("/a.jpg", jpeg()))
    assert _sent(origin, "/a.jpg") == ("s3cret", "Basic YW5uYTpwYTpzcw==")


def test_credentials_of_one_owner_are_not_sent_for_another(
    runtime: Runtime, engine: Engine, origin: Origin
) -> None:
    owners = uuid4(), uuid4()
    for owner in owners:
        execute(engine, "INSERT INTO owners (id, name) VALUES (:id, :id)", id=owner)
    _set(runtime, "127.0.0.1", owner_id=owners[0])
    for at, owner in enumerate(owners):
        _run(runtime, engine, origin.serve(f"/{at}.jpg", jpeg()), owner_id=owner)
    assert _sent(origin, "/0.jpg")[0] == "s3cret"
    assert _sent(origin, "/1.jpg") == (None, None)


def test_credentials_are_not_sent_to_another_host_nor_after_a_way_back(
    runtime: Runtime, engine: Engine, origin: Origin, other_origin: Origin
) -> None:
    _set(runtime, "127.0.0.1")
    back = origin.serve("/back.jpg", jpeg())
    away = other_origin.serve("/away.jpg", Answer(status=302, headers={"Location": back}))
    start = origin.serve("/a.jpg", Answer(status=302, headers={"Location": away}))
    _run(runtime, engine, start)
    assert _sent(origin, "/a.jpg")[0] == "s3cret"
    assert _sent(other_origin, "/away.jpg") == (None, None)
    assert _sent(origin, "/back.jpg") == (None, None)


def test_credentials_follow_a_redirect_at_their_host(
    runtime: Runtime, engine: Engine, origin: Origin
) -> None:
    _set(runtime, "127.0.0.1")
    final = origin.serve("/b.jpg", jpeg())
    _run(runtime, engine, origin.serve("/a.jpg", Answer(status=302, headers={"Location": final})))
    assert _sent(origin, "/b.jpg")[0] == "s3cret"


def test_credentials_are_not_sent_over_http_to_a_network_that_is_not_allowed(
    runtime: Runtime,
) -> None:
    own = OwnOrigins(None, {"shop.example": SECRET, "192.0.2.1": SECRET, "127.0.0.1": SECRET})

    async def sent(url: str) -> bool:
        return bool(await runtime.origins.headers(own, url))

    assert runtime.run(sent("https://shop.example/a.jpg"))
    assert not runtime.run(sent("http://192.0.2.1/a.jpg"))
    assert runtime.run(sent("http://127.0.0.1/a.jpg"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a.example/x", "http://a.example/y", True),
        ("http://a.example/", "https://a.example/", True),
        ("https://a.example/", "http://a.example/", False),
        ("https://a.example/", "https://a.example:8443/", False),
        ("https://a.example/", "https://b.a.example/", False),
    ],
)
def test_what_counts_as_the_same_host(one: str, other: str, same: bool) -> None:
    assert is_same_host(parsed_url(one), parsed_url(other)) is same


def test_database_holds_credentials_sealed(runtime: Runtime, engine: Engine) -> None:
    _set(runtime, "shop.example")
    (row,) = query(engine, "SELECT to_jsonb(origins)::text AS dump FROM origins")
    for secret in ("s3cret", "anna", "pa:ss"):
        assert secret not in row.dump
    with engine.connect() as connection:
        (stored,) = list_origins(connection, None)
    assert (stored.header_names, stored.has_password) == (["X-Shop-Key"], True)
    assert "s3cret" not in repr(SECRET)


def test_rate_holds_over_all_workers(
    database_url: str, engine: Engine, tmp_path: Path, origin: Origin
) -> None:
    moments: list[float] = []

    def answer() -> Answer:
        moments.append(time.monotonic())
        return Answer(jpeg())

    urls = [origin.serve(f"/{n}.jpg", answer) for n in range(18)]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8"))
            for _ in range(3)
        ]
        _set(workers[0], "127.0.0.1", OriginSettings(Credentials(), requests_per_second=10))
        requests = [store_request(engine, urls=urls[at::3]) for at in range(3)]
        with ThreadPoolExecutor(3) as pool:
            list(
                pool.map(
                    lambda pair: ProductJobs(pair[0]).process(ProductKey(pair[1], 1)),
                    zip(workers, requests, strict=True),
                )
            )
    assert len(moments) == 18
    assert max(moments) - min(moments) >= 17 / 10


def test_turns_are_evenly_spaced_whoever_takes_them(engine: Engine) -> None:
    def turns(_: int) -> list[float]:
        taken = []
        with engine.connect() as connection:
            for _ in range(10):
                wait = take_turn(connection, "origin x", 100, patience_seconds=60)
                assert wait is not None
                taken.append(database_seconds(connection) + wait)
        return taken

    with ThreadPoolExecutor(4) as pool:
        times = sorted(itertools.chain(*pool.map(turns, range(4))))
    assert times[-1] - times[0] >= 39 / 100


def test_turn_beyond_the_patience_is_not_taken(engine: Engine) -> None:
    with engine.connect() as connection:
        assert take_turn(connection, "origin x", 0.1, patience_seconds=5) == 0
        assert take_turn(connection, "origin x", 0.1, patience_seconds=5) is None
        assert take_turn(connection, "origin x", 0.1, patience_seconds=20) is not None


def test_connections_hold_over_all_workers(
    database_url: str, engine: Engine, tmp_path: Path, origin: Origin
) -> None:
    urls = [origin.serve(f"/{n}.jpg", Answer(jpeg(), delay_seconds=0.05)) for n in range(12)]
    with ExitStack() as stack:
        workers = [
            stack.enter_context(running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8"))
            for _ in range(2)
        ]
        _set(workers[0], "127.0.0.1", OriginSettings(Credentials(), connections=2))
        requests = [store_request(engine, urls=urls[at::2]) for at in range(2)]
        with ThreadPoolExecutor(2) as pool:
            list(
                pool.map(
                    lambda pair: ProductJobs(pair[0]).process(ProductKey(pair[1], 1)),
                    zip(workers, requests, strict=True),
                )
            )
    assert sum(origin.hits.values()) == 12
    assert origin.most_at_once <= 2
    assert query(engine, "SELECT FROM origin_connections") == []


@pytest.mark.parametrize(
    ("given", "member"),
    [
        ([], "body"),
        ({"secret": 1}, "secret"),
        ({"headers": {"Host": "a"}}, "headers"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers"),
        ({"headers": {"X Y": "a"}}, "headers"),
        ({"username": "a:b"}, "username"),
        ({"password": "x"}, "username"),
        ({"username": "a", "headers": {"authorization": "x"}}, "headers"),
        ({"requests_per_second": 0}, "requests_per_second"),
        ({"requests_per_second": True}, "requests_per_second"),
        ({"connections": 1.5}, "connections"),
    ],
)
def test_settings_that_cannot_be_used_name_their_member(given: object, member: str) -> None:
    with pytest.raises(BadOrigin) as error:
        parse_origin(given)
    assert error.value.member == member
