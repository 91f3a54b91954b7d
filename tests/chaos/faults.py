"""The faults, each a function of the world: failures of production, caused and then repaired."""

import urllib.parse
from collections.abc import Callable
from functools import partial

import pika
import psutil
import psycopg

from halftone_shared.model.messages import PRODUCTS_QUEUE, product_message
from halftone_shared.model.results import ProductKey
from tests.chaos.world import World, pause

DUPLICATES = 50


def kill_api(world: World) -> None:
    _kill_one(world, "halftone_api")


def kill_worker(world: World) -> None:
    _kill_one(world, "halftone_workers")


def kill_codec(world: World) -> None:
    _kill_one(world, "halftone_workers.codec_processes.child")


def kill_launcher(world: World) -> None:
    """Kill the supervisor itself, so that nothing stops its children. Then act as a service
    manager.
    """
    assert world.launcher is not None
    world.launcher.kill()
    world.launcher.wait()
    world.start_halftone()


def restart_rabbitmq(world: World) -> None:
    world.rabbitmq.stop()
    pause(world.random.uniform(0, 3))
    world.rabbitmq.start()


def kill_rabbitmq(world: World) -> None:
    world.rabbitmq.kill()
    pause(world.random.uniform(0, 3))
    world.rabbitmq.start()


def close_connections(world: World) -> None:
    for connection in world.rabbitmq.call("GET", "/api/connections"):
        _ignoring_missing(partial(_delete, world, "connections", connection["name"]))


def delete_queue(world: World) -> None:
    vhost = world.rabbitmq_url.rpartition("/")[2]
    _ignoring_missing(
        lambda: world.rabbitmq.call("DELETE", f"/api/queues/{vhost}/{PRODUCTS_QUEUE}")
    )


def raise_memory_alarm(world: World) -> None:
    """RabbitMQ accepts no messages while its memory alarm is on."""
    world.rabbitmq.control("set_vm_memory_high_watermark", "0.00001")
    pause(world.random.uniform(1, 4))
    world.rabbitmq.control("set_vm_memory_high_watermark", "0.4")


def restart_postgres(world: World) -> None:
    world.postgres.stop_immediately()
    pause(world.random.uniform(0, 3))
    world.postgres.start()


def terminate_backends(world: World) -> None:
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


def duplicate_messages(world: World) -> None:
    """Publish messages for products in every state, many of them twice."""
    with psycopg.connect(world.database_url) as database:
        rows = database.execute(
            "SELECT request_id, seq FROM products ORDER BY random() LIMIT %s", (DUPLICATES,)
        ).fetchall()
    connection = pika.BlockingConnection(pika.URLParameters(world.rabbitmq_url))
    channel = connection.channel()
    for request_id, seq in rows:
        for _ in range(2):
            channel.basic_publish(
                "", PRODUCTS_QUEUE, product_message(ProductKey(request_id, seq)).encode()
            )
    connection.close()


def stop_bucket(world: World) -> None:
    assert world.bucket is not None
    world.bucket.stop()
    pause(world.random.uniform(0.5, 6))
    world.bucket.start()


def fill_disk(world: World) -> None:
    assert world.volume is not None
    world.volume.fill()
    pause(world.random.uniform(0.5, 6))
    world.volume.free()


def unmount_volume(world: World) -> None:
    assert world.volume is not None
    world.volume.unmount()
    pause(world.random.uniform(0.5, 6))
    world.volume.mount()


def kill_processor(world: World) -> None:
    assert world.processor is not None
    world.processor.kill()
    pause(world.random.uniform(0.5, 4))
    world.processor.start()


# The relative frequency of each fault.
FAULTS: dict[Callable[[World], None], int] = {
    kill_api: 2,
    kill_worker: 4,
    kill_codec: 4,
    kill_launcher: 1,
    restart_rabbitmq: 1,
    kill_rabbitmq: 1,
    close_connections: 3,
    delete_queue: 2,
    raise_memory_alarm: 1,
    restart_postgres: 2,
    terminate_backends: 3,
    duplicate_messages: 3,
}


def _faults_of(world: World) -> dict[Callable[[World], None], int]:
    """The faults that this world has the parts for."""
    faults = dict(FAULTS)
    if world.bucket:
        faults[stop_bucket] = 3
    if world.volume:
        faults |= {fill_disk: 2, unmount_volume: 2}
    if world.processor:
        faults[kill_processor] = 3
    return faults


def do_one(world: World) -> None:
    """One fault, chosen by the world's seed."""
    faults = _faults_of(world)
    fault = world.random.choices(list(faults), weights=list(faults.values()))[0]
    world.faults[fault.__name__] += 1
    try:
        fault(world)
    except (OSError, psycopg.Error, pika.exceptions.AMQPError) as error:
        world.faults[f"{fault.__name__} found nothing to do it to ({type(error).__name__})"] += 1


def _kill_one(world: World, module: str) -> None:
    victims = world.family(module)
    if victims:
        try:
            world.random.choice(sorted(victims, key=lambda process: process.pid)).kill()
        except psutil.Error:
            return


def _delete(world: World, kind: str, name: str) -> None:
    world.rabbitmq.call("DELETE", f"/api/{kind}/{urllib.parse.quote(name, safe='')}")


def _ignoring_missing(action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        return  # the process had already ended
