"""Progress as server-sent events: what ends a stream, and what does not."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

from sqlalchemy import Engine, event
from sse_starlette import ServerSentEvent
from starlette.requests import Request

from halftone_api.callback_batches import CallbackBatches
from halftone_api.endpoints import events
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.services import Services
from halftone_api.settings import ApiSettings
from halftone_api.status_watch import STREAMS_PER_TURN, StatusWatch
from halftone_api.upload.intake_turns import IntakeTurns
from halftone_api.upload.space import UploadSpace
from halftone_shared.db.api_keys import create_key, find_key, revoke_key
from halftone_shared.db.engine import make_engine
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.service.storage_check import StorageCheck
from halftone_shared.storage import ImageStore
from tests.support.api import api_settings
from tests.support.postgres import running_postgres
from tests.support.stored import finish, store_request


@contextmanager
def _services(settings: ApiSettings) -> Iterator[Services]:
    engine = make_engine(settings.database_url, pool_size=2)
    store = ImageStore(settings.storage_url)
    yield Services(
        settings,
        engine,
        engine,
        engine,
        store,
        SecretBox(settings.webhook_secret),
        StorageCheck(engine, store, settings.storage_url),
        StatusWatch(engine, 0.05),
        IntakeTurns(),
        UploadSpace(settings.upload_space_bytes),
        CallbackBatches(engine),
    )
    engine.dispose()


def _watch(found: Services, request_id: UUID, key: str = "") -> AsyncIterator[ServerSentEvent]:
    app = SimpleNamespace(state=SimpleNamespace(services=found))
    headers = [(b"authorization", f"Bearer {key}".encode())]
    path_params = {"request_id": str(request_id)}
    request = Request({"type": "http", "app": app, "path_params": path_params, "headers": headers})
    return events._changes(request, find_request(request))


def test_stream_outlives_a_database_that_was_away(tmp_path: Path) -> None:
    with (
        running_postgres(durable=True) as postgres,
        _services(api_settings(postgres.new_database(), tmp_path)) as found,
    ):
        request_id = store_request(found.engine, 1)

        async def told() -> list[str]:
            stream = _watch(found, request_id)
            events = [await anext(stream)]
            postgres.stop_immediately()
            following = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.5)  # enough for ten polls, each without the database
            assert not following.done()
            postgres.start()
            await asyncio.to_thread(finish, found.engine, request_id, 1)
            events += [await following, *[event async for event in stream]]
            return [json.loads(event.data or "")["status"] for event in events]

        first, *_, last = asyncio.run(told())
        assert (first, last) == ("PENDING", "COMPLETED")


def test_stream_ends_with_the_key_that_opened_it(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    with engine.connect() as connection:
        made = create_key(connection, "shop")
        known = find_key(connection, made.secret)
    assert known is not None
    request_id = store_request(engine, 1, owner_id=known.owner_id)

    async def told(found: Services) -> int:
        stream = _watch(found, request_id, made.secret)
        await anext(stream)
        with engine.connect() as connection:
            assert revoke_key(connection, made.id)
        async with asyncio.timeout(10):
            return len([event async for event in stream])

    with _services(api_settings(database_url, tmp_path, auth="keys")) as found:
        assert asyncio.run(told(found)) == 0


def test_streams_share_their_looks_at_the_database(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """20 streams of two requests and two keys look together, and each sees its own request."""
    with engine.connect() as connection:
        secrets = [create_key(connection, "shop", is_admin=True).secret for _ in range(2)]
    request_ids = [store_request(engine, 1), store_request(engine, 1)]
    statements: list[str] = []

    async def told(found: Services) -> None:
        streams = [
            _watch(found, request_ids[number % 2], secrets[number % 2]) for number in range(20)
        ]
        for stream in streams:
            await anext(stream)
        event.listen(
            found.engine, "before_cursor_execute", lambda *given: statements.append(given[2])
        )
        following = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0)
        await asyncio.to_thread(finish, engine, request_ids[0], 1)
        ended = await asyncio.gather(*following[::2])
        assert {json.loads(each.data or "")["request_id"] for each in ended} == {
            str(request_ids[0])
        }
        assert not any(each.done() for each in following[1::2])
        for each in following[1::2]:
            each.cancel()

    with _services(api_settings(database_url, tmp_path, auth="keys")) as found:
        asyncio.run(told(found))
    assert 1 <= len(statements) < 10


def test_other_calls_get_their_turns_while_many_streams_go_on(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    order: list[str] = []

    async def stream(watch: StatusWatch) -> None:
        await watch.look(request_id, None)
        order.append("stream")

    async def work() -> None:
        watch = StatusWatch(engine, 0.05)
        streams = [asyncio.create_task(stream(watch)) for _ in range(100)]
        while order.count("stream") < len(streams):
            await asyncio.sleep(0)
            if "stream" in order:
                order.append("call")

    asyncio.run(work())
    most = max(len(list(run)) for who, run in groupby(order) if who == "stream")
    assert most <= STREAMS_PER_TURN
