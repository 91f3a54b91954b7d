"""HAProxy with deploy/haproxy.cfg in front of the project's API."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.containers.podman import ROOT
from tests.support.halftone import free_port
from tests.support.programs import answering_program


@contextmanager
def proxied(api_url: str) -> Iterator[str]:
    """The URL at which HAProxy passes calls to this API."""
    address = f"127.0.0.1:{free_port()}"
    variables = {"HALFTONE_BIND": address, "HALFTONE_API": api_url.removeprefix("http://")}
    url = f"http://{address}"
    command = ["haproxy", "-q", "-f", str(ROOT / "deploy" / "haproxy.cfg")]
    with answering_program(command, f"{url}/healthz", 200, environment=variables):
        yield url
