"""`halftone retry`: one request through the API, or many directly in the database."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from halftone_cli.commands.registering import UrlOption
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
        bool,
        typer.Option(
            "--all", help="Every request with failed images, in the database. For operators."
        ),
    ] = False,
    code: Annotated[
        str | None,
        typer.Option("--code", help="With --all: only images that failed with this error code."),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", help="With --all: ended within this time, as 2h or 3d.")
    ] = "24h",
    url: UrlOption = DEFAULT_URL,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Try again what failed, under the same ID. Images that succeeded stay as they are."""
    if every == (request_id is not None):
        fail("Name one request by its ID, or all of them by --all.", EXIT_REFUSED)
    if request_id is not None:
        with connected(url) as client:
            found = client.retry(request_id)
        print_json(found.raw)
        print_quiet(found.status)
        show_status(found)
        return
    _retry_all(home, code, _seconds(since))


def _retry_all(home: Path, code: str | None, since_seconds: float) -> None:
    from halftone_cli.local_database import local_engine
    from halftone_cli.places import announce
    from halftone_shared.db.cancel_retry import ended_with_failures, retry_request
    from halftone_shared.errors import NotEnded, NothingToRetry
    from halftone_shared.model.error_codes import ImageErrorCode

    if code is not None and code not in set(ImageErrorCode):
        known = ", ".join(ImageErrorCode)
        fail(f"{code!r} is not an error code of images. The codes: {known}.", EXIT_REFUSED)
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
            print_json({"request_id": str(request_id)})
            print_quiet(request_id)
            say(f"Request {request_id} is tried again.")
    say(f"{retried:,} requests are tried again." if retried else "Nothing to try again.")


def _seconds(text: str) -> float:
    """A time as people write it: 90s, 30min, 2h, 3d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in _UNIT_SECONDS:
        fail(f"--since {text!r}: expected a number with s, min, h or d, as 2h.", EXIT_REFUSED)
    return float(match[1]) * _UNIT_SECONDS[match[2]]
