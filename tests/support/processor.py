"""External image processing services for tests, made of the example in examples/processor."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx

from tests.support.halftone import free_port
from tests.support.http_server import serving
from tests.support.programs import answering_program

SECRET = "whsec_" + "C" * 40
EXAMPLE = Path(__file__).parents[2] / "examples" / "processor" / "processor.py"


def example_process() -> Callable[[bytes, dict[str, Any]], tuple[bytes, str]]:
    """What the example does with an image: bytes and options in, bytes and their format out."""
    found = importlib.util.spec_from_file_location("example_processor", EXAMPLE)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    process: Callable[[bytes, dict[str, Any]], tuple[bytes, str]] = module.process
    return process


@contextmanager
def running_example(folder: Path) -> Iterator[str]:
    """Runs the example, which calls back; gives its URL. Its outputs are in `folder`/outputs."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {
        "PROCESSOR_SECRET": SECRET,
        "PROCESSOR_URL": url,
        "PROCESSOR_PORT": str(port),
        "PROCESSOR_FOLDER": str(folder / "outputs"),
    }
    command = [sys.executable, str(EXAMPLE)]
    # It refuses a job without a signature.
    with answering_program(command, url, 401, method="POST", environment=variables):
        yield url


class _AtOnce(BaseHTTPRequestHandler):
    """Does the example's work before it answers, with 200 and the output's URL."""

    protocol_version = "HTTP/1.1"
    outputs: dict[str, bytes]
    process: Callable[[bytes, dict[str, Any]], tuple[bytes, str]]

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        source = httpx.get(job["source_url"], trust_env=False).content
        path = f"/outputs/{job['job_id']}"
        self.outputs[path] = type(self).process(source, job["options"])[0]
        url = f"http://{self.headers['Host']}{path}"
        self._answer(json.dumps({"output_url": url}).encode())

    def do_GET(self) -> None:
        self._answer(self.outputs[self.path])

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def running_at_once() -> Iterator[str]:
    """A service that makes the example's outputs and answers with them; gives its URL."""
    members = {"outputs": {}, "process": staticmethod(example_process())}
    with serving(type("AtOnce", (_AtOnce,), members)) as url:
        yield url
