"""`python -m tests.chaos.outages --seconds 60`: the storage is away under load, then comes back.

For each kind of outage: no product fails, no attempt is counted, all is at rest within 30 s of the
return, and nothing is written beneath the mount point of a volume.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from halftone_shared.db.engine import make_engine
from tests.chaos.verdict import NotProved
from tests.chaos.volume import Volume, mounted_volume
from tests.support.bucket import running_bucket
from tests.support.csv_files import HEADER
from tests.support.halftone import Service, running_separately, wait_for
from tests.support.images import jpeg
from tests.support.origin import running_origin
from tests.support.postgres import running_postgres
from tests.support.rabbitmq import running_rabbitmq

REST_SECONDS = 30
WARM_UP_SECONDS = 5
# Less than the machine can do, so that what waited is done soon after the return.
PRODUCTS_A_REQUEST, REQUESTS_A_SECOND, IMAGES = 5, 1, 100


@dataclass(frozen=True)
class Storage:
    """A storage that can be taken away and given back."""

    settings: dict[str, str]
    take_away: Callable[[], None]
    give_back: Callable[[], None]
    environment: dict[str, str] = field(default_factory=dict)
    volume: Volume | None = None


@contextmanager
def stopped_server() -> Iterator[Storage]:
    with running_bucket() as bucket:
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        variables = {"AWS_ENDPOINT_URL": bucket.url, **keys}
        settings = {"storage_url": "s3://bucket"}
        yield Storage(settings, bucket.stop, bucket.start, variables)


@contextmanager
def full_disk() -> Iterator[Storage]:
    with _volume() as volume:
        settings = {"storage_url": volume.folder.as_uri()}
        yield Storage(settings, volume.fill, volume.free, volume=volume)


@contextmanager
def unmounted_volume() -> Iterator[Storage]:
    with _volume() as volume:
        settings = {"storage_url": volume.folder.as_uri()}
        yield Storage(settings, volume.unmount, volume.mount, volume=volume)


@contextmanager
def _volume() -> Iterator[Volume]:
    with (
        tempfile.TemporaryDirectory(prefix="halftone-outage-") as folder,
        mounted_volume(Path(folder)) as volume,
    ):
        if volume is None:
            raise NotProved("File systems cannot be mounted here: run this as root.")
        yield volume


OUTAGES = {
    "S3 server stopped": stopped_server,
    "disk full": full_disk,
    "volume unmounted": unmounted_volume,
}


def run_outage(name: str, seconds: float) -> dict[str, Any]:
    """Run one outage and return its figures. Raises NotProved unless every check passes."""
    with ExitStack() as stack:
        storage = stack.enter_context(OUTAGES[name]())
        os.environ.update(storage.environment)
        origin = stack.enter_context(running_origin())
        for number in range(IMAGES):
            origin.serve(f"/{number}.jpg", jpeg((320, 240), seed=number))
        postgres = stack.enter_context(running_postgres(durable=True))
        rabbitmq = stack.enter_context(running_rabbitmq())
        database_url = postgres.new_database()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = stack.enter_context(
            running_separately(
                folder, database_url, rabbitmq.new_vhost(), workers=2, **storage.settings
            )
        )
        engine = make_engine(database_url, pool_size=1)
        with _load(service, origin.url):
            time.sleep(WARM_UP_SECONDS)
            storage.take_away()
            time.sleep(seconds)
            answered = service.http.get("/readyz").status_code
            waiting = _unfinished(engine)
            storage.give_back()
        returned = time.monotonic()
        wait_for(lambda: not _unfinished(engine), 10 * REST_SECONDS, "rest", every_seconds=0.2)
        at_rest = time.monotonic() - returned
        figures = _figures(engine) | {
            "outage": name,
            "seconds": seconds,
            "products waiting at its end": waiting,
            "/readyz at its end": answered,
            "seconds to rest": round(at_rest, 1),
            "beneath the mount point": storage.volume.written_beneath if storage.volume else [],
        }
        engine.dispose()
    _judge(figures)
    return figures


@contextmanager
def _load(service: Service, shop: str) -> Iterator[None]:
    """Uploads continuously in the block."""
    stopping = threading.Event()

    def upload() -> None:
        serial = 0
        while not stopping.wait(1 / REQUESTS_A_SECOND):
            rows = []
            for _ in range(PRODUCTS_A_REQUEST):
                serial += 1
                urls = ",".join(f"{shop}/{(2 * serial + at) % IMAGES}.jpg" for at in (0, 1))
                rows.append(f'{serial},SKU{serial},"{urls}"\n')
            service.accepted(HEADER + "".join(rows), fresh="true")

    thread = threading.Thread(target=upload)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _unfinished(engine: Engine) -> int:
    with engine.connect() as connection:
        statement = "SELECT count(*) FROM products WHERE status IN ('PENDING', 'PROCESSING')"
        return int(connection.execute(text(statement)).scalar_one())


def _figures(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        row = connection.execute(
            text(
                "SELECT count(*) AS products, max(attempts) AS most_attempts,"
                " count(*) FILTER (WHERE status <> 'COMPLETED' OR failed_images > 0) AS failed"
                " FROM products"
            )
        ).one()
        return dict(row._mapping)


def _judge(figures: dict[str, Any]) -> None:
    wanted = {"failed": 0, "most_attempts": 1, "/readyz at its end": 503}
    wrong = {name: figures[name] for name, value in wanted.items() if figures[name] != value}
    if wrong or figures["beneath the mount point"] or not figures["products waiting at its end"]:
        raise NotProved(f"Expected {wanted}, products that wait and no files beneath: {figures}")
    if figures["seconds to rest"] > REST_SECONDS:
        raise NotProved(f"Expected rest within {REST_SECONDS} s of the return: {figures}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outages", nargs="*", choices=[*OUTAGES, []], metavar="OUTAGE")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    for name in given.outages or OUTAGES:
        print(json.dumps(run_outage(name, given.seconds), indent=2), flush=True)


if __name__ == "__main__":
    main()
