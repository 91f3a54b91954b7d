"""`halftone-api`: serves the API with the settings from the environment."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn

from halftone_api.app import create_app
from halftone_api.server.http_protocol import HttpProtocol
from halftone_api.settings import ApiSettings
from halftone_shared.errors import BadSettings
from halftone_shared.runtime.gc_tuning import collect_rarely
from halftone_shared.runtime.logs import configure_logs, warn_of_unknown_variables
from halftone_shared.runtime.settings import (
    exit_on_bad_settings,
    load_settings_or_exit,
    take_no_arguments,
)
from halftone_shared.runtime.supervision import end_with_parent, end_within
from halftone_shared.runtime.tracing import configure_traces, end_traces
from halftone_shared.storage import refuse_unusable_storage

log = structlog.get_logger(__name__)

GRACE_SECONDS = 10
# Open calls, dispatcher and sweeper each have this long to end; the total is a little more.
STOP_SECONDS = 3 * GRACE_SECONDS + 2
# How long a computing thread may hold the interpreter while another waits for it. One answer needs
# the interpreter several times, in the event loop and in a thread, and while a CSV is checked each
# of them waits this long. Measured beside an upload of a million rows: 99 % of status answers came
# within 650 ms at Python's default of 5 ms, 43 ms at 1 ms, 27 ms at this value. The upload took the
# same time and processor time at each.
SWITCH_SECONDS = 0.0005


def main() -> None:
    take_no_arguments(
        "halftone-api", "Serves halftone's API and hands out its work, until SIGTERM."
    )
    settings = load_settings_or_exit(ApiSettings)
    configure_logs(settings.log_level, settings.log_format, service="api")
    warn_of_unknown_variables()
    configure_traces("api")
    # Until uvicorn installs its own handlers, these end the process at once. uvicorn drains, then
    # raises the signal again for the earlier handlers, which are these: a requested stop is no
    # failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    end_with_parent()
    sys.setswitchinterval(SWITCH_SECONDS)
    with exit_on_bad_settings():
        refuse_unusable_storage(settings.storage_url)
        app = create_app(settings)
        asyncio.run(_check_address(settings.api_host, settings.api_port))
    collect_rarely()
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=HttpProtocol,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    server.run()
    if not server.started:
        sys.exit(1)


class _Server(uvicorn.Server):
    """Stops within STOP_SECONDS, even if a thread waits for a stalled database: such a thread
    cannot be cancelled.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            log.info("api started", host=self.config.host, port=self.config.port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        end_within(STOP_SECONDS)
        await self._take_last_connections()
        await super().shutdown(sockets)
        end_traces()
        log.info("api stopped")

    async def _take_last_connections(self) -> None:
        """Stop listening, and take the connections that the kernel has accepted until then. They
        would be reset, and their calls lost.
        """
        listeners = [
            socket.socket(fileno=os.dup(each.fileno()))
            for server in self.servers
            for each in server.sockets
        ]
        for server in self.servers:
            server.close()
        waiting = [each for listener in listeners for each in _accept_all(listener)]
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(self._new_protocol, connection)
        # Until each connection that the event loop accepted before has its protocol.
        await asyncio.sleep(0.1)

    def _new_protocol(self) -> HttpProtocol:
        return HttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C after a signal ends the process at once."""
        if self.should_exit and sig == signal.SIGINT:
            os._exit(1)
        super().handle_exit(sig, frame)


def _accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait at the listener, which is closed after the last."""
    with listener, suppress(OSError):
        listener.setblocking(False)
        while True:
            connection, _ = listener.accept()
            yield connection


async def _check_address(host: str, port: int) -> None:
    """Bind as uvicorn will, because uvicorn's own error names no setting. Raises BadSettings."""
    try:
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, host, port, start_serving=False
        )
    except (OSError, UnicodeError) as error:
        expected = f"expected an address of this machine and a free port ({error})"
        raise BadSettings(
            [f"HALFTONE_API_HOST={host!r}, HALFTONE_API_PORT={port}: {expected}."]
        ) from None
    server.close()
