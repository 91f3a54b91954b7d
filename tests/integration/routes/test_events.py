"""Progress as server-sent events, while the database comes and goes."""

import asyncio
import json
from pathlib import Path

import pytest

from halftone_api import watching
from halftone_api.services import Services
from halftone_shared.database import make_engine
from halftone_shared.requests import get_status
from halftone_shared.secret_box import SecretBox
from halftone_shared.storage import ImageStore
from tests.support.api import api_settings
from tests.support.postgres import running_postgres
from tests.support.stored import finish, store_request


def test_stream_outlives_a_database_that_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_SECONDS", 0.05)
    with running_postgres(durable=True) as postgres:
        settings = api_settings(postgres.new_database(), tmp_path)
        engine = make_engine(settings.database_url, pool_size=2)
        found = Services(settings, engine, ImageStore(settings.storage_url), SecretBox(settings.webhook_secret))
        request_id = store_request(engine, 1)

        async def told() -> list[str]:
            with engine.connect() as connection:
                stream = watching._changes(found, get_status(connection, request_id, owner=None))
            events = [await anext(stream)]
            postgres.stop_immediately()
            following = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.5)
            assert not following.done()
            postgres.start()
            await asyncio.to_thread(finish, engine, request_id, 1)
            events += [await following, *[event async for event in stream]]
            return [json.loads(event.data or "")["status"] for event in events]

        first, *_, last = asyncio.run(told())
        assert (first, last) == ("PENDING", "COMPLETED")
        engine.dispose()
