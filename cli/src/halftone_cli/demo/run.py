"""`halftone demo`: the whole way in a minute, on this machine and nothing else.

It runs `halftone up` as anyone would, plays the shop and the webhook's receiver itself, and ends
with 0 only when everything came out as it should: the broken link and the oversized picture failed,
everything else got smaller.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from queue import Empty, Queue
from typing import Any

from rich.console import Console
from rich.table import Table

from halftone_cli.client import ApiClient, Unreachable
from halftone_cli.demo.catalogue import (
    BROKEN_LINK,
    MAX_IMAGE_BYTES,
    OVERSIZED,
    PICTURES,
    write_csv,
)
from halftone_cli.demo.servers import receiver, shop
from halftone_cli.home import DEFAULT_HOME
from halftone_cli.progress import megabytes, watch
from halftone_shared.model.signing import new_secret
from halftone_shared.runtime.settings import PREFIX

FOLDER = DEFAULT_HOME / "demo"
READY_SECONDS = 60
WEBHOOK_SECONDS = 15
EXPECTED_FAILURES = {BROKEN_LINK: "http_error", OVERSIZED: "too_large"}


class DemoFailed(Exception):
    """The demo cannot be shown; the message says why."""


def run_demo(console: Console) -> int:
    """The demo; its exit code. Raises DemoFailed, and what ApiClient raises."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    secret = new_secret()
    events: Queue[dict[str, Any]] = Queue()
    with (
        shop(PICTURES) as shop_url,
        receiver(secret, events) as webhook_url,
        _service(console) as url,
    ):
        write_csv(FOLDER / "products.csv", shop_url)
        with ApiClient(url) as client, (FOLDER / "products.csv").open("rb") as file:
            console.print(f"\nUploading {FOLDER / 'products.csv'}", highlight=False)
            accepted = client.upload(
                "products.csv", file, {"webhook_url": webhook_url, "webhook_secret": secret}
            )
            status = watch(client, accepted["request_id"], console)
            images = [
                image
                for page in client.details(accepted["request_id"])
                for product in page["products"]
                for image in product["images"]
            ]
            client.download(accepted["request_id"], FOLDER / "output.csv")
        event = _next_event(events)
    _show(console, status, images, event)
    return 0 if _as_expected(status, images, event) else 1


@contextmanager
def _service(console: Console) -> Iterator[str]:
    """`halftone up` on a free port, its log beside the demo's files; its URL once it is ready."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(PREFIX)
    } | {
        PREFIX + "FETCH_ALLOW": "127.0.0.0/8",
        PREFIX + "MAX_IMAGE_BYTES": str(MAX_IMAGE_BYTES),
    }
    command = [
        sys.executable,
        "-m",
        "halftone_cli",
        "up",
        "--port",
        str(port),
        "--home",
        str(FOLDER / "home"),
    ]
    with (FOLDER / "up.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        with console.status("Starting PostgreSQL, API and worker (halftone up)"):
            _wait_until_ready(url, process)
        console.print(f"halftone up: {url}", highlight=False)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    console.print("Stopped everything.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_SECONDS
    with ApiClient(url) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.is_ready():
                    return
            except Unreachable:
                pass
            time.sleep(0.2)
    raise DemoFailed(f"`halftone up` did not start; its log is {FOLDER / 'up.log'}.")


def _next_event(events: "Queue[dict[str, Any]]") -> dict[str, Any] | None:
    try:
        return events.get(timeout=WEBHOOK_SECONDS)
    except Empty:
        return None


def _show(
    console: Console,
    status: dict[str, Any],
    images: list[dict[str, Any]],
    event: dict[str, Any] | None,
) -> None:
    table = Table("Image", "Format", "Before", "After", "Saved")
    for column in table.columns[2:]:
        column.justify = "right"
    for image in images:
        name = image["input_url"].rpartition("/")[2]
        if image["error"]:
            table.add_row(name, "", "", "", image["error"]["code"], style="red")
            continue
        before, after = image["bytes_in"], image["bytes_out"]
        table.add_row(
            name,
            image["format"],
            megabytes(before),
            megabytes(after),
            f"{100 * (1 - after / before):.0f} %",
        )
    before, after = status["bytes_in"], status["bytes_out"]
    table.add_section()
    table.add_row(
        "all",
        "",
        megabytes(before),
        megabytes(after),
        f"{100 * (1 - after / before):.0f} %",
        style="bold",
    )
    console.print(table)
    started, ended = (
        datetime.fromisoformat(status[name]) for name in ("started_at", "completed_at")
    )
    seconds = (ended - started).total_seconds()
    console.print(
        f"{status['processed_images']} images in {seconds:.1f} s on {os.cpu_count()} cores.",
        highlight=False,
    )
    if event is None:
        console.print("No webhook came.", style="red")
    else:
        console.print(f"Webhook: {event['type']}, its signature verified.")
    console.print(f"Output CSV: {FOLDER / 'output.csv'}", highlight=False)


def _as_expected(
    status: dict[str, Any], images: list[dict[str, Any]], event: dict[str, Any] | None
) -> bool:
    failures = {
        image["input_url"].rpartition("/")[2]: image["error"]["code"]
        for image in images
        if image["error"]
    }
    return (
        status["status"] == "COMPLETED"
        and failures == EXPECTED_FAILURES
        and status["bytes_out"] < status["bytes_in"]
        and event is not None
        and event["type"] == "request.completed"
    )
