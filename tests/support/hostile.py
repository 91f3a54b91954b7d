"""Raw servers on loopback that break protocols as no HTTP library would, and a resolver that
contacts no name server.
"""

import contextlib
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from halftone_workers.errors import HostNotFound
from halftone_workers.http.resolver import Resolver

_HEAD_END = b"\r\n\r\n"


class _Stopped(Exception):
    """The server is stopping, which ends the script on this connection."""


class Visitor:
    """One accepted connection, controlled by a server's script."""

    def __init__(self, connection: socket.socket, server: "HostileServer") -> None:
        self._connection = connection
        self._server = server
        self._unread = b""

    def read_request(self) -> bytes:
        """The next request's header. Ends the script when the client closes the connection."""
        while _HEAD_END not in self._unread:
            received = self._connection.recv(65536)
            if not received:
                raise ConnectionResetError
            self._unread += received
        head, self._unread = self._unread.split(_HEAD_END, 1)
        self._server.requests.append(head)
        return head

    def send(self, data: bytes) -> None:
        """Send everything. Ends the script when the client is gone or the server stops."""
        if self._server.stopping.is_set():
            raise _Stopped
        self._connection.sendall(data)
        with self._server.lock:
            self._server.bytes_sent += len(data)

    def send_below_tls(self, data: bytes) -> None:
        """Send bytes on the TCP connection itself, past the TLS layer."""
        with socket.socket(fileno=socket.dup(self._connection.fileno())) as plain:
            plain.sendall(data)

    def pause(self, seconds: float) -> None:
        if self._server.stopping.wait(seconds):
            raise _Stopped

    def wait_until_gone(self) -> None:
        """Keep the connection open until the client closes it."""
        while self._connection.recv(65536):
            pass

    def reset(self) -> None:
        """Close with a TCP reset."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


Script = Callable[[Visitor], None]


class HostileServer:
    """Runs one script on every connection, each in its own thread, and counts."""

    def __init__(self, script: Script, host: str, tls: ssl.SSLContext | None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server((host, 0), backlog=512)
        self._connections: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept_all, daemon=True)]
        self._peers: Counter[int] = Counter()
        self.host, self.port = host, int(self._listener.getsockname()[1])
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.requests: list[bytes] = []
        self.bytes_sent = 0
        self.most_open = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def open_now(self) -> int:
        """Connections that neither side has closed yet."""
        with self.lock:
            return len(self._connections)

    @property
    def accepts(self) -> int:
        """Connections so far, without the one made here: connections are accepted in order, so all
        earlier ones are counted.
        """
        with socket.create_connection((self.host, self.port)) as own:
            port = own.getsockname()[1]
            until = time.monotonic() + 5
            while not self._peers[port]:
                assert time.monotonic() < until, "the server accepts no connections"
                time.sleep(0.002)
        with self.lock:
            del self._peers[port]
            return self._peers.total()

    def _accept_all(self) -> None:
        while True:
            connection, (_, port, *_) = self._listener.accept()
            if self.stopping.is_set():
                connection.close()
                return
            with self.lock:
                self._peers[port] += 1
                self._connections.add(connection)
                self.most_open = max(self.most_open, len(self._connections))
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        spoken = connection
        try:
            if self._tls:
                spoken = self._tls.wrap_socket(connection, server_side=True)
                with self.lock:
                    self._connections.discard(connection)
                    self._connections.add(spoken)
            self._script(Visitor(spoken, self))
        except (OSError, _Stopped):
            pass  # clients that disconnect are part of the tests
        finally:
            with self.lock:
                self._connections -= {connection, spoken}
            spoken.close()
            connection.close()

    def start(self) -> None:
        self._threads[0].start()

    def stop(self) -> None:
        self.stopping.set()
        socket.create_connection((self.host, self.port)).close()  # wakes the accepting thread
        self._threads[0].join()
        self._listener.close()
        with self.lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(5)


@contextmanager
def hostile_server(
    script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[HostileServer]:
    server = HostileServer(script, host, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def response(
    status: str = "200 OK",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    told: bool = True,
) -> bytes:
    """A complete response. `told`: with its Content-Length."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if told:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + _HEAD_END + body


def answering(*answers: bytes) -> Script:
    """One response per request, the last one repeated, on connections that are kept open."""

    def script(visitor: Visitor) -> None:
        for number in range(1_000_000):
            visitor.read_request()
            visitor.send(answers[min(number, len(answers) - 1)])

    return script


def closing_after(answer: bytes) -> Script:
    """Sends the bytes, then closes the connection."""

    def script(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(answer)

    return script


@contextmanager
def full_backlog(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port on which connections are neither accepted nor refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket(family))
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield int(listener.getsockname()[1])


def replace_look_ups(
    monkeypatch: pytest.MonkeyPatch, look_up: Callable[[str, int], list[str]]
) -> None:
    """Have `look_up` answer, or raise the errors of getaddrinfo, instead of a name server."""

    async def answer(_: Resolver, host: str, port: int) -> list[str]:
        try:
            return look_up(host, port)
        except socket.gaierror as error:
            is_temporary = error.errno == socket.EAI_AGAIN
            raise HostNotFound(f"{host} cannot be resolved.", temporary=is_temporary) from None

    monkeypatch.setattr(Resolver, "look_up", answer)


class StubResolver:
    """Replaces the network part of getaddrinfo. The real one reads numbers in every spelling, names
    come from a table, and other names do not exist. It returns the addresses an attacker would
    choose, and contacts no name server.
    """

    def __init__(self, names: Mapping[str, Sequence[str]] | None = None) -> None:
        self.names = {"localhost": ["127.0.0.1"], **(names or {})}
        self.asked: list[str] = []

    def replace_look_ups(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No name server is called while the test runs."""
        replace_look_ups(monkeypatch, self)

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        bare = host.rstrip(".").lower()
        if bare in self.names:
            return list(self.names[bare])
        numeric = socket.getaddrinfo(
            bare, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        return [str(sockaddr[0]) for *_, sockaddr in numeric]


@dataclass(frozen=True)
class Authority:
    """A certificate authority that only clients configured for it trust, and TLS contexts for
    servers with its certificates.
    """

    certificate: Path
    folder: Path

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def server_context(self, *names: str, days: int = 1) -> ssl.SSLContext:
        """The context of a server whose certificate is for these host names."""
        key, request, certificate = (
            self.folder / f"{names[0]}{days}.{end}" for end in ("key", "csr", "pem")
        )
        extensions = self.folder / "names"
        extensions.write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in names))
        _openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={names[0]}")
        signer = (
            "-CA",
            self.certificate,
            "-CAkey",
            self.folder / "authority.key",
            "-CAcreateserial",
        )
        _openssl(
            "x509",
            "-req",
            "-in",
            request,
            *signer,
            "-days",
            days,
            "-extfile",
            extensions,
            "-out",
            certificate,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def new_authority(folder: Path) -> Authority:
    key, certificate = folder / "authority.key", folder / "authority.pem"
    _openssl(
        "req",
        "-x509",
        *_NEW_KEY,
        "-keyout",
        key,
        "-out",
        certificate,
        "-subj",
        "/CN=Nobody",
        "-days",
        1,
    )
    return Authority(certificate, folder)


def _openssl(*arguments: str | int | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
