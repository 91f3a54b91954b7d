"""Checks broker and storage. The database is checked where its engine is created."""

import asyncio
from uuid import uuid4

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from halftone_cli.checkup.findings import Finding, broken, ok, warning
from halftone_cli.places import Place
from halftone_shared.errors import BadSettings, ImageNotStored, StorageUnavailable
from halftone_shared.model.image_names import image_name, image_token, storage_folder
from halftone_shared.runtime.settings import IN_PROCESS_QUEUE
from halftone_shared.storage import ImageStore

AREA = "connections"
TIMEOUT_SECONDS = 5
PROBE = b"halftone doctor"


def check_broker(place: Place) -> Finding:
    if not place.is_named:
        return warning(AREA, f"Broker: not tried, since {place.source}.")
    if place.url == IN_PROCESS_QUEUE:
        return ok(AREA, "Broker: none is needed; the worker has a queue of its own.")
    try:
        parameters = pika.URLParameters(place.url)
        parameters.socket_timeout = parameters.stack_timeout = TIMEOUT_SECONDS
        parameters.blocked_connection_timeout = TIMEOUT_SECONDS
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
        reason = str(error) or type(error).__name__
        return broken(
            AREA,
            f"Broker: RabbitMQ cannot be reached ({reason}).",
            "Start RabbitMQ, or correct HALFTONE_RABBITMQ_URL. Uploads are accepted meanwhile.",
        )
    except Exception as error:  # noqa: BLE001 - a URL's options are read as Python: anything can fail
        return broken(AREA, f"Broker: {place.source} is not an AMQP URL ({error}).")
    return ok(AREA, "Broker: RabbitMQ is reached.")


def check_storage(place: Place) -> Finding:
    """Write a small file, read its size, delete it."""
    if not place.is_named:
        return warning(AREA, f"Storage: not tried, since {place.source}.")
    key = uuid4()
    name = image_name(key, 1, 1, "jpg")
    try:
        store = ImageStore(place.url)
        store.put(name, PROBE)
        size = asyncio.run(store.size(name))
        store.delete_folder(storage_folder(image_token(key)))
    except (BadSettings, StorageUnavailable, ImageNotStored) as error:
        return broken(
            AREA,
            f"Storage: a file cannot be written, read and deleted: {error}",
            "Correct HALFTONE_STORAGE_URL, or the folder's or bucket's permissions. Then"
            " `halftone retry --all --code storage_failed` tries again what failed meanwhile.",
        )
    if size != len(PROBE):
        return broken(AREA, f"Storage: {len(PROBE)} bytes were written, {size} bytes came back.")
    return ok(AREA, "Storage: a file was written, read and deleted.")
