"""A real HTTP server that acts as shops: images that exist, and all the errors of real servers."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.support.http_server import serving


@dataclass
class Answer:
    """The response for a path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


class Origin:
    """Responses by path. Unknown paths are 404; requests with a response's own validators are
    answered 304. `hits` counts requests; `gets` and `posts` keep path, headers and body.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.hits: Counter[str] = Counter()
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.gets: list[tuple[str, dict[str, str]]] = []
        self._answers: dict[str, Answer | Callable[[], Answer]] = {}
        self._running = 0
        self.most_at_once = 0
        self.lock = threading.Lock()

    def serve(self, path: str, answer: "bytes | Answer | Callable[[], Answer]") -> str:
        """Serve a response at a path from now on, and return its URL. A callable is called each
        time.
        """
        self._answers[path] = Answer(answer) if isinstance(answer, bytes) else answer
        return self.url + path

    def answer_for(self, path: str) -> Answer:
        found = self._answers.get(path, Answer(b"not here", 404))
        return found() if callable(found) else found

    @contextmanager
    def counted(self, path: str) -> Iterator[None]:
        with self.lock:
            self.hits[path] += 1
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            yield
        finally:
            with self.lock:
                self._running -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    origin: Origin

    def do_GET(self) -> None:
        with self.origin.counted(self.path):
            self.origin.gets.append((self.path, self._given()))
            answer = self.origin.answer_for(self.path)
            self._answer(Answer(b"", 304) if self._is_known(answer) else answer)

    def _given(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _is_known(self, answer: Answer) -> bool:
        asked = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))
        return answer.status == 200 and any(
            self.headers.get(condition) == answer.headers[validator]
            for validator, condition in asked
            if validator in answer.headers
        )

    def do_DELETE(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.origin.counted(self.path):
            self.origin.posts.append((self.path, self._given(), body))
            self._answer(self.origin.answer_for(self.path))

    def _answer(self, answer: Answer) -> None:
        if answer.delay_seconds:
            time.sleep(answer.delay_seconds)
        self.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def running_origin() -> Iterator[Origin]:
    handler = type("Handler", (_Handler,), {})
    with serving(handler) as url:
        handler.origin = origin = Origin(url)  # type: ignore[attr-defined]
        yield origin
