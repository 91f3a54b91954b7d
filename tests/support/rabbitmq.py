"""A RabbitMQ for the tests, from Debian's package, with its own node, ports and folders, on
loopback.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.halftone import free_port, wait_for
from tests.support.leftovers import MARK, make_folder

SERVER = next(
    iter(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server")), None
)
START_SECONDS = 90


def is_installed() -> bool:
    return SERVER is not None and shutil.which("epmd") is not None


class TestRabbitmq:
    """One broker. Each test uses its own virtual host."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = dict(
            zip(
                ("amqp", "distribution", "management", "prometheus", "epmd"),
                _free_ports(5),
                strict=True,
            )
        )
        self._vhosts = 0
        self._write_configuration()
        self._environment = self._make_environment()
        epmd = shutil.which("epmd")
        assert epmd is not None
        self._epmd = subprocess.Popen(
            [epmd, "-port", str(self._ports["epmd"])],
            env=self._environment,
            stderr=subprocess.DEVNULL,  # it reports the connections of _has_epmd()
        )
        wait_for(self._has_epmd, START_SECONDS, "epmd")
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def metrics_port(self) -> int:
        return self._ports["prometheus"]

    def start(self) -> None:
        with (self._folder / "console.log").open("ab") as log:
            # Its own process group, so that a kill reaches the Erlang VM behind the start script.
            self._server = subprocess.Popen(
                [str(SERVER)], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.call("GET", "/api/health/checks/port-listener/" + str(self._ports["amqp"])):
                    return
            except OSError:
                if time.monotonic() > deadline or self._server.poll() is not None:
                    raise RuntimeError(f"RabbitMQ did not start: see {self._folder}") from None
                time.sleep(0.2)

    def kill(self) -> None:
        """As by kill -9."""
        self._end(9)

    def stop(self) -> None:
        self._end(15)

    def _has_epmd(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self._ports["epmd"]), timeout=1).close()
            return True
        return False

    def close(self) -> None:
        if self._server is not None:
            self.kill()
        self._epmd.kill()
        self._epmd.wait()

    def new_vhost(self) -> str:
        """The AMQP URL of an empty virtual host."""
        self._vhosts += 1
        name = f"test{self._vhosts}"
        self.call("PUT", f"/api/vhosts/{name}")
        self.call(
            "PUT",
            f"/api/permissions/{name}/guest",
            {"configure": ".*", "write": ".*", "read": ".*"},
        )
        return f"amqp://guest:guest@127.0.0.1:{self._ports['amqp']}/{name}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the management API. Raises OSError when it is unreachable or refuses."""
        token = base64.b64encode(b"guest:guest").decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._ports['management']}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as response:
            text = response.read()
        return json.loads(text) if text else None

    def control(self, *arguments: str) -> None:
        """Run `rabbitmqctl` on this node."""
        assert SERVER is not None
        rabbitmqctl = SERVER.with_name("rabbitmqctl")
        subprocess.run(
            [str(rabbitmqctl), *arguments], env=self._environment, check=True, capture_output=True
        )

    def queue(self, vhost_url: str, name: str) -> dict[str, Any]:
        vhost = vhost_url.rpartition("/")[2]
        found: dict[str, Any] = self.call("GET", f"/api/queues/{vhost}/{name}")
        return found

    def _end(self, signal_number: int) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, signal_number)
        self._server.wait()
        self._server = None

    def _write_configuration(self) -> None:
        (self._folder / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].")
        (self._folder / "rabbitmq.conf").write_text(
            f"""
            listeners.tcp.1 = 127.0.0.1:{self._ports["amqp"]}
            management.tcp.ip = 127.0.0.1
            management.tcp.port = {self._ports["management"]}
            prometheus.tcp.ip = 127.0.0.1
            prometheus.tcp.port = {self._ports["prometheus"]}
            collect_statistics_interval = 1000
            log.console = false
            """
        )

    def _make_environment(self) -> dict[str, str]:
        folder = self._folder
        kept = {name: os.environ[name] for name in ("PATH", MARK) if name in os.environ}
        return kept | {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self._ports['amqp']}@localhost",
            "RABBITMQ_DIST_PORT": str(self._ports["distribution"]),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # No busy waiting, which would take processor time from the tests.
            # No epmd of its own, which would outlive it.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false"
            ),
        }


@contextmanager
def running_rabbitmq() -> Iterator[TestRabbitmq]:
    folder = make_folder(in_memory=False)
    rabbitmq = TestRabbitmq(folder)
    try:
        rabbitmq.start()
        yield rabbitmq
    finally:
        rabbitmq.close()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> set[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return ports
