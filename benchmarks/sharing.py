"""How much one owner's work slows another's (docs/explanation/sharing.md).

Each row is an attack, or a misbehaving shop, under one owner's key. Under another owner's key:
uploads of five products of a fast host are taken and end within 3 × the time that they take alone
+ 1 s, their webhook arrives within 5 s of the end, and status answers take at most 100 ms (p99).
All traffic is on loopback, in a network namespace with its own name server, which needs root.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks.attacks import ATTACKS, Client, Shop, name_server
from benchmarks.figures import Figure, at_least, at_most, show
from halftone_shared.db.api_keys import create_key
from halftone_shared.db.engine import make_engine
from tests.support.halftone import running_separately, running_up, wait_for
from tests.support.postgres import running_postgres
from tests.support.rabbitmq import running_rabbitmq

DEAD = "throughput with 10 % dead hosts"
_INSIDE = "--in-namespace"


@dataclass(frozen=True)
class World:
    """A service with two owners' clients, and a shop."""

    hog: Client
    other: Client
    shop: Shop

    def seconds_of_five(self) -> tuple[float, float]:
        """Seconds from the upload of five products until their request ends, and from there until
        its webhook arrives.
        """
        rows = [[self.shop.url(f"{time.time_ns()}.jpg", 200)] for _ in range(5)]
        started = time.time()
        request_id = self.other.upload(rows, webhook_url=self.shop.url("hook", 200))
        ended = self.ended(self.other, request_id)
        arrived = wait_for(lambda: self.shop.webhooks.get(request_id), 120, "webhook", 0.02)
        return ended - started, arrived - ended

    def ended(self, client: Client, request_id: str) -> float:
        """When the request ended, in seconds since 1970."""

        def completed_at() -> object:
            return client.status(request_id)["completed_at"]

        found = wait_for(completed_at, 300, f"end of {request_id}", 0.02)
        return datetime.fromisoformat(str(found)).timestamp()

    @contextmanager
    def status_sampled(self) -> Iterator[list[float]]:
        """Seconds of the status answers to the other owner, asked every 20 ms in the block."""
        request_id = self.other.upload([[self.shop.url("sampled.jpg", 200)]])
        seconds: list[float] = []
        done = threading.Event()

        def sample() -> None:
            service = self.other.service
            with httpx.Client(base_url=service.url, trust_env=False, timeout=60) as http:
                while not done.wait(0.02):
                    started = time.perf_counter()
                    http.get(f"/api/status/{request_id}", headers=self.other.headers)
                    seconds.append(time.perf_counter() - started)

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield seconds
        finally:
            done.set()
            sampler.join()


@contextmanager
def _running(with_rabbitmq: bool) -> Iterator[World]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        shop = stack.enter_context(Shop().running())
        postgres = stack.enter_context(running_postgres(durable=False))
        url = postgres.new_database()
        if with_rabbitmq:
            vhost = stack.enter_context(running_rabbitmq()).new_vhost()
            service = stack.enter_context(
                running_separately(folder, url, vhost, workers=2, auth="keys")
            )
        else:
            service = stack.enter_context(running_up(folder, auth="keys", database_url=url))
        with make_engine(url, pool_size=1).begin() as connection:
            keys = [create_key(connection, owner).secret for owner in ("hog", "other")]
        hog, other = (Client(service, {"Authorization": f"Bearer {key}"}) for key in keys)
        yield World(hog, other, shop)


def _attacked(name: str, world: World) -> list[Figure]:
    alone = min(world.seconds_of_five()[0] for _ in range(3))
    held = ATTACKS[name](world.hog, world.shop)
    try:
        time.sleep(3)
        with world.status_sampled() as answers:
            times = [world.seconds_of_five() for _ in range(3)]
    finally:
        if isinstance(held, ExitStack):
            held.close()
    return [
        at_most(name, max(seconds for seconds, _ in times), "s", round(3 * alone + 1, 2)),
        at_most("webhook after the end", max(seconds for _, seconds in times), "s", 5),
        at_most("status, p99", 1000 * statistics.quantiles(answers, n=100)[98], "ms", 100),
        Figure("most connections to the shop", world.shop.most_open, ""),
    ]


def _with_dead_hosts(world: World) -> list[Figure]:
    """4,500 images of good hosts, alone and beside 500 of silent hosts in the same catalogue."""
    seconds = []
    for dead in (0, 500):
        rows = [
            world.shop.urls(f"{'silent' if n % 10 == 9 else 'fine'}{dead}-{n}", 1, n % 50)
            for n in range(5000)
            if dead or n % 10 != 9
        ]
        started = time.perf_counter()
        request_id = world.hog.upload(rows)

        def are_done(request_id: str = request_id) -> bool:
            status = world.hog.status(request_id)
            return bool(status["processed_products"] - status["failed_products"] == 4500)

        wait_for(are_done, 600, "the good products", 0.02)
        seconds.append(time.perf_counter() - started)
    return [at_least(DEAD, seconds[0] / seconds[1], "of without", 0.8)]


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.sharing", description=__doc__)
    parser.add_argument("rows", nargs="*", help="parts of the rows' names; all without")
    parser.add_argument("--rabbitmq", action="store_true", help="RabbitMQ and two workers")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.in_namespace:
        _enter_namespace()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with name_server():
        for name in [*ATTACKS, DEAD]:
            if given.rows and not any(part in name for part in given.rows):
                continue
            with _running(given.rabbitmq) as world:
                figures = _with_dead_hosts(world) if name == DEAD else _attacked(name, world)
            show(name, figures)


def _enter_namespace() -> None:
    """Run this program again where only loopback and our name server can be reached."""
    script = 'ip link set lo up; echo "nameserver 127.0.0.1" >"$0"; mount --bind "$0" "$1"; shift'
    with TemporaryDirectory() as folder:
        command = ["sh", "-c", f'{script}; exec "$@"', f"{folder}/resolv.conf", "/etc/resolv.conf"]
        arguments = [sys.executable, "-m", "benchmarks.sharing", _INSIDE, *sys.argv[1:]]
        inside = subprocess.run(["unshare", "--net", "--mount", *command, *arguments])
    sys.exit(inside.returncode)


if __name__ == "__main__":
    main()
