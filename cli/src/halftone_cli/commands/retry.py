"""`halftone retry`: what failed in one request, or in every request that ended lately."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

import halftone
from halftone_cli.home import DEFAULT_HOME
from halftone_cli.request_text import show_status
from halftone_cli.service import DEFAULT_URL, connected
from halftone_cli.terminal import (
    EXIT_REFUSED,
    HomeOption,
    fail,
    print_json,
    print_quiet,
    say,
)

_UNIT_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DEFAULT_PUBLIC_URL = "http://127.0.0.1:8000"


def retry(
    request_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The request's ID.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Retry every request with failed images. For operators.")
    ] = False,
    code: Annotated[
        str | None,
        typer.Option("--code", help="With --all: only images that failed with this error code."),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            "--since", help="With --all: only requests that ended within this time, as 2h or 3d."
        ),
    ] = "24h",
    url: Annotated[
        str | None, typer.Option("--url", envvar="HALFTONE_URL", help="The URL of the service.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Retry failed images under the same request ID. Images that succeeded do not change.

    With --all and a --url, the service retries them, which needs an admin key. With --all alone,
    the command works on the database, so that it needs no running service.
    """
    if every == (request_id is not None):
        fail("Name one request by its ID, or all of them by --all.", EXIT_REFUSED)
    if request_id is not None:
        with connected(url or DEFAULT_URL) as client:
            found = client.retry(request_id)
        print_json(found.raw)
        print_quiet(found.status)
        show_status(found)
        return
    if code is not None and code not in halftone.ERROR_CODES:
        known = ", ".join(halftone.ERROR_CODES)
        fail(f"{code!r} is not an error code of images. The codes: {known}.", EXIT_REFUSED)
    since_seconds = _seconds(since)
    if url is None:
        retried = _retry_in_database(home, code, since_seconds)
    else:
        retried = _retry_by_service(url, code, since_seconds)
    what = "1 request is" if retried == 1 else f"{retried:,} requests are"
    say(f"{what} tried again." if retried else "Nothing to try again.")


def _retry_by_service(url: str, code: str | None, since_seconds: float) -> int:
    retried, more = 0, True
    with connected(url) as client:
        while more:
            found = client.retry_all(error_code=code, since_seconds=since_seconds)
            for request_id in found.request_ids:
                _show_retried(request_id)
            retried += len(found.request_ids)
            more = found.more and bool(found.request_ids)
    return retried


def _retry_in_database(home: Path, code: str | None, since_seconds: float) -> int:
    from halftone_cli.local_database import local_engine
    from halftone_cli.places import announce
    from halftone_shared.db.cancel_retry import ended_with_failures, retry_request
    from halftone_shared.errors import NotEnded, NothingToRetry

    public_url = os.environ.get("HALFTONE_PUBLIC_URL") or _DEFAULT_PUBLIC_URL
    retention_days = int(os.environ.get("HALFTONE_RETENTION_DAYS") or 0)
    retried = 0
    announce(home)
    with local_engine(home) as engine:
        with engine.connect() as connection:
            found = ended_with_failures(connection, code=code, since_seconds=since_seconds)
        for request_id in found:
            try:
                retry_request(engine, request_id, public_url, retention_days, code=code)
            except (NotEnded, NothingToRetry):
                continue  # retried or deleted since it was listed
            retried += 1
            _show_retried(str(request_id))
    return retried


def _show_retried(request_id: str) -> None:
    print_json({"request_id": request_id})
    print_quiet(request_id)
    say(f"Request {request_id} is tried again.")


def _seconds(text: str) -> float:
    """A time as people write it: 90s, 30min, 2h, 3d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in _UNIT_SECONDS:
        fail(f"--since {text!r}: expected a number with s, min, h or d, as 2h.", EXIT_REFUSED)
    return float(match[1]) * _UNIT_SECONDS[match[2]]
