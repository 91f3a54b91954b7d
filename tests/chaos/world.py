"""The system under test: PostgreSQL, RabbitMQ, a storage, shops, webhook receivers, and
`halftone up` on them.

Seeds with an odd number use an S3 server and an external processor; the others use a volume that
can be filled and unmounted, and the local codec.
"""

import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil
from sqlalchemy import Engine

from halftone_shared.db.engine import make_engine
from tests.chaos.processor import TIMEOUT_SECONDS, Processor, running_processor
from tests.chaos.volume import Volume, mounted_volume
from tests.support.bucket import Bucket, running_bucket
from tests.support.halftone import PYTHON, environment, free_port
from tests.support.hostile import HostileServer, Visitor, hostile_server
from tests.support.images import encoded, jpeg, picture
from tests.support.origin import Answer, Origin, running_origin
from tests.support.postgres import TestPostgres, running_postgres
from tests.support.processor import SECRET
from tests.support.rabbitmq import TestRabbitmq, running_rabbitmq

WORKERS = 2
# Short enough to kill the hostile image soon, and long enough for all other images.
ENCODE_TIMEOUT_SECONDS = 3
STOP_SECONDS = 90
# Longer than the slowest good image takes.
DOWNLOAD_TIMEOUT_SECONDS = 8
HANG_SECONDS = 20
MAX_ATTEMPTS = 5


@dataclass
class World:
    """Everything that faults act on, and what was observed of it."""

    random: random.Random
    folder: Path
    postgres: TestPostgres
    rabbitmq: TestRabbitmq
    database_url: str
    rabbitmq_url: str
    origin: Origin
    hanging_receiver: Origin
    tarpit: HostileServer
    resetting_shop: HostileServer
    port: int
    bucket: Bucket | None = None
    volume: Volume | None = None
    processor: Processor | None = None
    launcher: "subprocess.Popen[bytes] | None" = None
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def webhook_url(self) -> str:
        return self.origin.url + "/hook"

    @property
    def posts(self) -> list[tuple[str, dict[str, str], bytes]]:
        """What both receivers got."""
        return self.origin.posts + self.hanging_receiver.posts

    def tarpit_url(self, rng: "Random") -> str:
        """An image of a host of its own that accepts connections and says nothing."""
        host = f"127.{rng.randrange(1, 255)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
        return f"http://{host}:{self.tarpit.port}/tarpit.jpg"

    def engine(self) -> Engine:
        return make_engine(self.database_url, pool_size=4)

    def start_halftone(self) -> None:
        """`halftone up` on the real servers, started and restarted as by a service manager."""
        variables = environment(
            self.folder,
            database_url=self.database_url,
            rabbitmq_url=self.rabbitmq_url,
            encode_timeout_seconds=str(ENCODE_TIMEOUT_SECONDS),
            auth="off",
            connections_per_host="32",
            codec_processes="1",
            max_attempts=str(MAX_ATTEMPTS),
            download_timeout_seconds=str(DOWNLOAD_TIMEOUT_SECONDS),
            **self._parts(),
        )
        if self.bucket is not None:
            variables |= {
                "AWS_ENDPOINT_URL": self.bucket.url,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
            }
        home = str(self.folder / "home")
        command = [
            PYTHON,
            "-m",
            "halftone_cli",
            "up",
            "--workers",
            str(WORKERS),
            "--port",
            str(self.port),
        ]
        with (self.folder / "halftone.log").open("ab") as log:
            self.launcher = subprocess.Popen(
                [*command, "--home", home], env=variables, stdout=log, stderr=log
            )

    def keep_running(self) -> None:
        """Start `halftone up` again if it has ended, as it does if the database is away at its
        start.
        """
        if self.launcher is not None and self.launcher.poll() is not None:
            self.start_halftone()

    def _parts(self) -> dict[str, str]:
        """The settings of the storage and the processor."""
        settings = {"storage_url": "s3://bucket"} if self.bucket else {}
        if self.processor:
            settings |= {
                "processor_url": self.processor.url,
                "processor_secret": SECRET,
                "processor_timeout_seconds": str(TIMEOUT_SECONDS),
            }
        return settings

    def family(self, module: str | None = None) -> list[psutil.Process]:
        """The launcher's children and grandchildren, optionally only those that run a module."""
        assert self.launcher is not None
        try:
            family = psutil.Process(self.launcher.pid).children(recursive=True)
        except psutil.Error:
            return []
        return [process for process in family if module is None or module in command_of(process)]

    def stop_halftone(self) -> int:
        assert self.launcher is not None
        self.launcher.send_signal(signal.SIGTERM)
        return self.launcher.wait(STOP_SECONDS)


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def running_world(seed: int) -> Iterator[World]:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="halftone-chaos-"))
        postgres = stack.enter_context(running_postgres(durable=True))
        rabbitmq = stack.enter_context(running_rabbitmq())
        origin = stack.enter_context(running_origin())
        rng = random.Random(seed)
        world = World(
            random=rng,
            folder=folder,
            postgres=postgres,
            rabbitmq=rabbitmq,
            database_url=postgres.new_database(),
            rabbitmq_url=rabbitmq.new_vhost(),
            origin=origin,
            hanging_receiver=stack.enter_context(running_origin()),
            tarpit=stack.enter_context(
                hostile_server(lambda visitor: visitor.wait_until_gone(), host="0.0.0.0")
            ),
            resetting_shop=stack.enter_context(hostile_server(_reset_sometimes)),
            port=free_port(),
        )
        if seed % 2:
            world.bucket = stack.enter_context(running_bucket())
            world.processor = stack.enter_context(running_processor(rng))
        else:
            world.volume = stack.enter_context(mounted_volume(folder))
        _stock(origin, rng)
        hook = _sometimes(
            rng, Answer(status=204, delay_seconds=HANG_SECONDS), Answer(status=204), share=0.5
        )
        world.hanging_receiver.serve("/hook", hook)
        world.start_halftone()
        try:
            yield world
        except BaseException as error:
            error.add_note(f"What halftone said is in {folder / 'halftone.log'}")
            raise
        finally:
            _kill_all(world)
            stack.close()
        shutil.rmtree(folder)


def _kill_all(world: World) -> None:
    """Clean up after a failed drill, so that nothing writes into a folder that is being removed."""
    family = world.family()
    if world.launcher is not None and world.launcher.poll() is None:
        world.launcher.kill()
        world.launcher.wait()
    for process in family:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, timeout=10)


IMAGES = 30


def _stock(origin: Origin, rng: random.Random) -> None:
    """A shop with good images, slow ones, ones that fail at times and one that breaks its decoder;
    and an unreliable receiver.
    """
    for number in range(IMAGES):
        headers = {"ETag": f'"{number}"'} if number % 2 else {}
        image = jpeg((200 + 10 * number, 160), seed=number)
        origin.serve(f"/{number}.jpg", Answer(image, headers=headers))
    origin.serve("/slow.jpg", Answer(jpeg(seed=99), delay_seconds=2))
    origin.serve(
        "/moody.jpg", _sometimes(rng, Answer(status=503), Answer(jpeg(seed=98)), share=0.3)
    )
    # 49 million pixels in a few kilobytes: too much for the codec's deadline.
    origin.serve(
        "/poison.png", encoded(picture((64, 64)).resize((7000, 7000)), "PNG", compress_level=1)
    )
    origin.serve("/hook", _sometimes(rng, Answer(status=500), Answer(status=204), share=0.2))


def _reset_sometimes(visitor: Visitor) -> None:
    """Reset the connection: before a request, after it, or within the body."""
    visitor.read_request()
    visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nhalf")
    visitor.reset()


def _sometimes(
    rng: random.Random, seldom: Answer, mostly: Answer, *, share: float
) -> Callable[[], Answer]:
    lock = threading.Lock()

    def answer() -> Answer:
        with lock:
            return seldom if rng.random() < share else mostly

    return answer


def pause(seconds: float) -> None:
    """Pause between two faults while the system runs."""
    time.sleep(seconds)
