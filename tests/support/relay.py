"""A TCP relay to a server that can go silent: connections stay open, new ones are accepted, and no
data passes. With several servers it is a load balancer.
"""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit


class Relay:
    """Listens on `port` and relays everything to the targets: TCP ports on loopback or paths of
    Unix sockets. They get connections in turn, and one that refuses loses its turn.
    """

    def __init__(self, *targets: "int | str") -> None:
        self._targets = itertools.cycle(targets)
        self._attempts = len(targets)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_silent = threading.Event()
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        self._is_silent.set()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                if not self._is_silent.is_set():
                    server = self._connect()
                    self._open.append(server)
                    for source, sink in ((client, server), (server, client)):
                        threading.Thread(
                            target=self._pass_on, args=(source, sink), daemon=True
                        ).start()

    def _connect(self) -> socket.socket:
        for target in itertools.islice(self._targets, self._attempts - 1):
            with suppress(ConnectionRefusedError):
                return _connected(target)
        return _connected(next(self._targets))

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not self._is_silent.is_set():
                sink.sendall(data)
            if not self._is_silent.is_set():
                sink.shutdown(socket.SHUT_WR)


def _connected(target: "int | str") -> socket.socket:
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target))
    server = socket.socket(socket.AF_UNIX)
    server.connect(target)
    return server


@contextmanager
def running_relay(*targets: "int | str") -> Iterator[Relay]:
    relay = Relay(*targets)
    try:
        yield relay
    finally:
        relay.close()


@contextmanager
def relayed_postgres(database_url: str) -> Iterator[tuple[Relay, str]]:
    """A relay to a server on a Unix socket, and the URL of the database through it."""
    parts = urlsplit(database_url)
    with running_relay(parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432") as relay:
        yield relay, f"postgresql://postgres@127.0.0.1:{relay.port}{parts.path}"


@contextmanager
def relayed(url: str) -> Iterator[tuple[Relay, str]]:
    port = urlsplit(url).port
    assert port is not None
    with running_relay(port) as relay:
        yield relay, url.replace(f":{port}", f":{relay.port}")
