"""`halftone-api`: serves the API by the environment's settings."""

import signal
import sys

import uvicorn

from halftone_api.app import create_app
from halftone_api.settings import ApiSettings
from halftone_shared.logs import configure_logs
from halftone_shared.settings import load_settings_or_exit
from halftone_shared.supervision import end_with_parent
from halftone_shared.tracing import configure_traces

GRACE_SECONDS = 10


def main() -> None:
    settings = load_settings_or_exit(ApiSettings)
    configure_logs(settings.log_level, settings.log_format, service="api")
    configure_traces("api")
    # Until uvicorn has handlers of its own, these end the process at once; uvicorn drains, and then raises the signal
    # again for the handlers that were there before: to stop because one was told to is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    end_with_parent()
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
