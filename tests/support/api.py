"""The API as an ASGI application, in-process and one call at a time, on a real database and a real
folder.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Engine, text
from starlette.types import ASGIApp, Message

from halftone_api.app import create_app
from halftone_api.settings import ApiSettings
from halftone_shared.db.engine import make_engine
from halftone_shared.storage import ImageStore
from tests.support.csv_files import HEADER

ONE_ROW = HEADER + "1,SKU1,http://images.example/1.jpg\n"

T = TypeVar("T")


class Api:
    """A running API. An unexpected error in a call is raised here, and also answered 500."""

    def __init__(
        self, settings: ApiSettings, engine: Engine, http: httpx.AsyncClient, runner: asyncio.Runner
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.store = ImageStore(settings.storage_url)
        self.http = http
        self._runner = runner

    def run(self, work: Awaitable[T]) -> T:
        async def finished() -> T:
            return await work

        return self._runner.run(finished())

    def call(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self.run(self.http.request(method, path, **how))

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.call("GET", path, **how)

    def upload(
        self,
        csv: str | bytes,
        *,
        filename: str = "products.csv",
        path: str = "/api/upload",
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        data = csv.encode() if isinstance(csv, str) else csv
        files = {"file": (filename, data, "text/csv")}
        return self.call("POST", path, files=files, data=fields, headers=headers)


@contextmanager
def running_api(settings: ApiSettings) -> Iterator[Api]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        engine = make_engine(settings.database_url, pool_size=5)
        app = create_app(settings)
        runner.run(stack.enter_async_context(_lifespan(app)))
        http = runner.run(
            stack.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://api.example", timeout=60
                )
            )
        )
        try:
            yield Api(settings, engine, http, runner)
        finally:
            runner.run(stack.aclose())
            engine.dispose()


def api_settings(database_url: str, storage: Path, **settings: Any) -> ApiSettings:
    """Settings for an API without keys, without a broker, and without exceptions for fetches."""
    defaults: dict[str, Any] = {
        "database_url": database_url,
        "rabbitmq_url": "in-process",
        "storage_url": storage.as_uri(),
        "public_url": "http://api.example",
        "auth": "off",
        "webhook_secret": "whsec_" + "A" * 32,
        "upload_rate_limit": None,
    }
    return ApiSettings(**(defaults | settings))


def multipart(
    *parts: tuple[str, bytes], boundary: str = "frontier", end: bool = True
) -> tuple[dict[str, str], bytes]:
    """A handmade form, for what an ordinary client would not send: its header and its body. A part
    is the text after `form-data; ` and its content.
    """
    body = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
        % (boundary.encode(), head.encode(), content)
        for head, content in parts
    )
    if end:
        body += b"--%s--\r\n" % boundary.encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def stored_rows(engine: Engine) -> dict[str, int]:
    """The number of rows in each table that an upload or its processing writes to."""
    tables = ("requests", "products", "request_shards", "webhook_events")
    with engine.connect() as connection:
        return {
            table: connection.execute(text("SELECT count(*) FROM " + table)).scalar_one()  # noqa: S608
            for table in tables
        }


def forget_requests(engine: Engine) -> None:
    """Empty the database, so that tests can share it. For a test's few rows, DELETE is faster than
    TRUNCATE.
    """
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM requests"))
        for table in ("idempotency_keys", "api_keys", "origins", "owners"):
            connection.execute(text("DELETE FROM " + table))  # noqa: S608 - as above


def path_of(url: str) -> str:
    """The path of a URL that the API returned."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


@asynccontextmanager
async def _lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Start and stop the application as a server does, because httpx's transport does not."""
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    outgoing: asyncio.Queue[Message] = asyncio.Queue()
    running = asyncio.create_task(_as_coroutine(app, incoming, outgoing))
    await incoming.put({"type": "lifespan.startup"})
    assert (await outgoing.get())["type"] == "lifespan.startup.complete"
    yield
    await incoming.put({"type": "lifespan.shutdown"})
    assert (await outgoing.get())["type"] == "lifespan.shutdown.complete"
    await running


async def _as_coroutine(
    app: ASGIApp, incoming: "asyncio.Queue[Message]", outgoing: "asyncio.Queue[Message]"
) -> None:
    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, incoming.get, outgoing.put)
