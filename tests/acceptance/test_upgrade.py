"""An API that stops loses no call that was sent to it, so both APIs behind a load balancer can be
replaced without a failed call.
"""

import http.client
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.api import ONE_ROW, multipart
from tests.support.halftone import PYTHON, environment, free_port, running_separately, wait_for
from tests.support.relay import running_relay

# Both connect and send before they ask for the answer, without an Idempotency-Key: no client and no
# proxy may send such an upload again.
CONNECTIONS = 20
PAUSE_SECONDS = 0.03
CALLS_BETWEEN = 20


def upload_bytes() -> bytes:
    form, body = multipart(('name="file"; filename="a.csv"', ONE_ROW.encode()))
    lines = [
        "POST /api/upload HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in form.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answered(connection: socket.socket) -> int:
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def test_stopping_api_answers_the_calls_that_were_sent_to_it(
    tmp_path: Path, database_url: str
) -> None:
    call = upload_bytes()
    with running_separately(tmp_path, database_url, "in-process", workers=0) as service:
        api = service.processes.pop("api")
        address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
        with ExitStack() as stack:
            half, idle = (stack.enter_context(socket.create_connection(address)) for _ in range(2))
            half.sendall(call[:20])
            assert service.http.get("/healthz").status_code == 200
            # While the API is paused, the kernel accepts connections and keeps what they send.
            api.send_signal(signal.SIGSTOP)
            waiting = [
                stack.enter_context(socket.create_connection(address)) for _ in range(CONNECTIONS)
            ]
            for connection in (idle, *waiting):
                connection.sendall(call)
            for number in (signal.SIGTERM, signal.SIGCONT):
                api.send_signal(number)
            wait_for(lambda: not _takes_connections(address), what="the closed port")
            half.sendall(call[20:])
            assert [answered(each) for each in (half, idle, *waiting)] == [202] * (CONNECTIONS + 2)
        assert api.wait(60) == 0, service.log.read_text()


def test_both_apis_behind_a_balancer_are_replaced_without_a_failed_call(
    tmp_path: Path, database_url: str
) -> None:
    ports = free_port(), free_port()
    with ExitStack() as stack:
        old = [stack.enter_context(_running_api(tmp_path, database_url, port)) for port in ports]
        for port in ports:
            _wait_until_ready(port)
        relay = stack.enter_context(running_relay(*ports))
        calls = stack.enter_context(_calling(relay.port))
        for api, port in zip(old, ports, strict=True):
            calls.wait_for_more()
            api.send_signal(signal.SIGTERM)
            assert api.wait(60) == 0
            stack.enter_context(_running_api(tmp_path, database_url, port))
            _wait_until_ready(port)
        calls.wait_for_more()
        calls.end()
        assert calls.failed == []
        listed = httpx.get(
            f"http://127.0.0.1:{relay.port}/api/requests", params={"limit": 1000}, trust_env=False
        ).json()["requests"]
        assert {each["request_id"] for each in listed} == set(calls.uploaded)


@dataclass
class Calls:
    """Uploads through the balancer, one after the other, each on its own connection."""

    port: int
    uploaded: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def call_until_the_end(self) -> None:
        form, body = multipart(('name="file"; filename="a.csv"', ONE_ROW.encode()))
        while not self.ended.wait(PAUSE_SECONDS):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request("POST", "/api/upload", body, form)
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status == http.HTTPStatus.ACCEPTED:
                    self.uploaded.append(json.loads(text)["request_id"])
                else:
                    self.failed.append(text)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            finally:
                connection.close()

    def wait_for_more(self) -> None:
        enough = len(self.uploaded) + CALLS_BETWEEN
        wait_for(lambda: len(self.uploaded) >= enough or self.failed, 60, "more uploads")

    def end(self) -> None:
        self.ended.set()
        if self.thread is not None:
            self.thread.join()


@contextmanager
def _calling(port: int) -> Iterator[Calls]:
    calls = Calls(port)
    calls.thread = threading.Thread(target=calls.call_until_the_end)
    calls.thread.start()
    try:
        yield calls
    finally:
        calls.end()


@contextmanager
def _running_api(folder: Path, database_url: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    variables = environment(
        folder,
        database_url=database_url,
        rabbitmq_url="in-process",
        api_port=str(port),
        auth="off",
    )
    with (folder / "log").open("ab") as log:
        api = subprocess.Popen(
            [PYTHON, "-m", "halftone_api"], env=variables, stdout=log, stderr=log
        )
    try:
        yield api
    finally:
        api.terminate()
        api.wait(60)


def _wait_until_ready(port: int) -> None:
    def is_ready() -> bool:
        with suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{port}/readyz"
            return httpx.get(url, trust_env=False).status_code == 200
        return False

    wait_for(is_ready, 60, "readiness")


def _takes_connections(address: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(address, timeout=5):
        return True
    return False
