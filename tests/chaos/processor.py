"""An external image processing service that behaves badly: it answers at once, calls back twice,
out of order, late, or with garbage, loses its jobs, and may be killed.
"""

import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

import httpx
from PIL import Image

from halftone_shared.model.signing import signed_headers
from tests.support.http_server import RestartableServer
from tests.support.processor import SECRET, example_process

TIMEOUT_SECONDS = 12
# Larger images are refused: this service shares the machine with all that it tests.
_MAX_PIXELS = 10_000_000
_BEHAVIOURS = {
    "called back": 70,
    "answered at once": 12,
    "called back twice, then otherwise": 8,
    "called back with garbage first": 5,
    "called back too late": 2,
    "gave an output that is no image": 3,
}


class Processor:
    """Takes jobs until killed. `counts`: how often it behaved how."""

    def __init__(self, server: RestartableServer, rng: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self.outputs: dict[str, bytes] = {}
        self._server = server
        self.url = server.url
        self._random = rng
        self._life = 0
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._process = example_process()

    def kill(self) -> None:
        """Forget all jobs and refuse connections."""
        self._life += 1
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    def take(self, job: dict[str, Any]) -> "tuple[int, bytes]":
        with self._lock:
            [how] = self._random.choices(list(_BEHAVIOURS), weights=list(_BEHAVIOURS.values()))
            delay = self._random.uniform(0, 1.5)
            self.counts[how] += 1
        if how == "answered at once":
            try:
                return 200, json.dumps({"output_url": self._output(job)}).encode()
            except (OSError, ValueError, httpx.HTTPError):
                return 422, b""
        thread = threading.Thread(
            target=self._call_back, args=(job, how, delay, self._life), daemon=True
        )
        thread.start()
        return 202, b""

    def _output(self, job: dict[str, Any]) -> str:
        """The URL of the output, made once. One image is made at a time. Raises ValueError."""
        key = json.dumps([job["source_url"], job["options"]])
        data = b"" if key in self._known else self._fetched(job["source_url"])
        with self._working:
            if key not in self._known:
                name = f"/outputs/{uuid4()}"
                self.outputs[name] = self._process(data, job["options"])[0]
                self._known[key] = self.url + name
            return self._known[key]

    def _fetched(self, url: str) -> bytes:
        data = httpx.get(url, timeout=20, trust_env=False).content
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"The image has more than {_MAX_PIXELS} pixels.")
        return data

    def _call_back(self, job: dict[str, Any], how: str, delay: float, life: int) -> None:
        time.sleep(TIMEOUT_SECONDS + delay if how == "called back too late" else delay)
        try:
            url = self._output(job)
        except (OSError, ValueError, httpx.HTTPError) as error:
            self._deliver(job, {"status": "failed", "error": str(error)}, life)
            return
        if how == "gave an output that is no image":
            url = job["callback_url"]
        good = {"status": "completed", "output_url": url}
        if how == "called back with garbage first":
            self._post(job["callback_url"], "garbage", signed=True)
            self._post(job["callback_url"], json.dumps({"job_id": job["job_id"]} | good))
        self._deliver(job, good, life)
        if how == "called back twice, then otherwise":
            self._deliver(job, good, life)
            self._deliver(job, {"status": "failed", "error": "Changed my mind."}, life)

    def _deliver(self, job: dict[str, Any], result: dict[str, str], life: int) -> None:
        """Repeat a callback until it is answered, the job has expired or this service is killed."""
        end = time.monotonic() + 2 * TIMEOUT_SECONDS
        body = json.dumps({"job_id": job["job_id"]} | result)
        while life == self._life and time.monotonic() < end:
            status = self._post(job["callback_url"], body, signed=True)
            if status is not None and status < 500:
                self.counts[f"callback answered {status}"] += 1
                return
            time.sleep(0.5)

    def _post(self, url: str, body: str, *, signed: bool = False) -> int | None:
        headers = signed_headers(SECRET, uuid4(), body) if signed else {}
        try:
            return httpx.post(
                url, content=body, headers=headers, timeout=5, trust_env=False
            ).status_code
        except httpx.HTTPError:
            return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    processor: Processor

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(*self.processor.take(json.loads(body)))

    def do_GET(self) -> None:
        found = self.processor.outputs.get(self.path)
        self._answer(404, b"") if found is None else self._answer(200, found)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def running_processor(rng: random.Random) -> Iterator[Processor]:
    handler = type("Handler", (_Handler,), {})
    server = RestartableServer(handler)
    handler.processor = processor = Processor(server, rng)  # type: ignore[attr-defined]
    try:
        yield processor
    finally:
        server.stop()
