"""HAProxy with deploy/haproxy.cfg in front of the project's API."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.containers.podman import ROOT
from tests.support.halftone import free_port, wait_for


@contextmanager
def proxied(api_url: str) -> Iterator[str]:
    """The URL at which HAProxy passes calls to this API."""
    address = f"127.0.0.1:{free_port()}"
    variables = {"HALFTONE_BIND": address, "HALFTONE_API": api_url.removeprefix("http://")}
    process = subprocess.Popen(
        ["haproxy", "-q", "-f", str(ROOT / "deploy" / "haproxy.cfg")], env=os.environ | variables
    )
    url = f"http://{address}"
    try:
        wait_for(lambda: _answers(url), 30, "HAProxy")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
