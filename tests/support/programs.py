"""Programs that a test starts and that answer by HTTP."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import httpx

from tests.support.halftone import wait_for

START_SECONDS = 30


@contextmanager
def answering_program(
    command: Sequence[str],
    url: str,
    status: int,
    *,
    method: str = "GET",
    environment: Mapping[str, str] | None = None,
    log: IO[Any] | None = None,
) -> Iterator[str]:
    """Run the program until the block ends, which begins once `url` answers with `status`. Gives
    the URL. `environment` is added to this process's; `log` gets the output.
    """

    def answers() -> bool:
        try:
            return httpx.request(method, url, trust_env=False).status_code == status
        except httpx.HTTPError:
            return False

    process = subprocess.Popen(
        command, env=os.environ | (environment or {}), stdout=log, stderr=log
    )
    try:
        wait_for(answers, START_SECONDS, command[0])
        yield url
    finally:
        process.terminate()
        process.wait(30)
