"""`halftone demo`: a whole job from file to webhook, in seconds, on this machine alone.

It runs `halftone up` as a user would, serves the pictures and receives the webhook itself. It exits
with 0 only if everything ended as expected: the broken link and the oversized picture failed, and
every other picture got smaller.
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
from pathlib import Path
from queue import Empty, Queue

from rich.table import Table

import halftone
from halftone_cli.demo.catalogue import (
    BROKEN_LINK,
    MAX_IMAGE_BYTES,
    OVERSIZED,
    PICTURES,
    write_csv,
)
from halftone_cli.demo.servers import receiver, shop
from halftone_cli.home import DEFAULT_HOME
from halftone_cli.program import command_line
from halftone_cli.progress import megabytes, watch
from halftone_cli.terminal import console, print_json, say
from halftone_shared.model.signing import new_secret
from halftone_shared.runtime.variables import PREFIX

FOLDER = DEFAULT_HOME / "demo"
READY_SECONDS = 60
WEBHOOK_SECONDS = 15
EXPECTED_FAILURES = {BROKEN_LINK: "http_error", OVERSIZED: "too_large"}


class DemoFailed(Exception):
    """The demo cannot run; the message says why."""


def run_demo(*, keep: bool) -> int:
    """Run the demo; return its exit code. `keep`: leave the service running until Ctrl-C.

    Raises DemoFailed and HalftoneError.
    """
    # Like Ctrl-C, which a shell's background job ignores: stop everything that was started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    secret = new_secret()
    events: Queue[halftone.WebhookEvent] = Queue()
    with (
        shop(PICTURES) as shop_url,
        receiver(secret, events) as webhook_url,
        _service() as url,
        halftone.Client(url) as client,
    ):
        request = _upload(client, shop_url, webhook_url, secret)
        status = watch(client, request.id)
        images = list(request.images())
        request.download(FOLDER / "output.csv")
        event = _next_event(events)
        _show(status, images, event)
        if keep:
            _keep_running(url, request.id)
    if not keep:
        kept = command_line("demo", "--keep")
        say(f"Stopped everything. `{kept}` leaves it running, with the request's page at /r/ID.")
    print_json({"request": status.raw, "webhook": event.type if event else None})
    return 0 if _as_expected(status, images, event) else 1


def _upload(
    client: halftone.Client, shop_url: str, webhook_url: str, secret: str
) -> halftone.Request:
    source = FOLDER / "products.csv"
    write_csv(source, shop_url)
    say(f"\nUploading {source}")
    return client.upload(source, webhook_url=webhook_url, webhook_secret=secret)


def _keep_running(url: str, request_id: str) -> None:
    say(f"Page of the request: {url}/r/{request_id}")
    say("Everything runs until Ctrl-C.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("")


@contextmanager
def _service() -> Iterator[str]:
    """Run `halftone up` on a free port, with its log beside the demo's files; yield its URL once
    ready.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    log_file = FOLDER / "up.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(
            _up_command(port),
            env=_up_environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches only the demo, which then stops it
        )
    try:
        if console.is_terminal:
            with console.status("Starting PostgreSQL, API and worker (halftone up)"):
                _wait_until_ready(url, process, log_file)
        else:
            _wait_until_ready(url, process, log_file)
        say(f"halftone up: {url}")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _up_command(port: int) -> list[str]:
    options = ["--port", str(port), "--home", str(FOLDER / "home")]
    return [sys.executable, "-m", "halftone_cli", "up", *options]


def _up_environment() -> dict[str, str]:
    """The environment, with the demo's settings instead of those for another halftone."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return others | {
        PREFIX + "FETCH_ALLOW": "127.0.0.0/8",
        PREFIX + "MAX_IMAGE_BYTES": str(MAX_IMAGE_BYTES),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with halftone.Client(url, retries=0) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.ready()
            except (halftone.Unreachable, halftone.ServiceError):
                time.sleep(0.1)
            else:
                return
    raise DemoFailed(f"`halftone up` did not start; its log is {log_file}.")


def _next_event(events: "Queue[halftone.WebhookEvent]") -> halftone.WebhookEvent | None:
    try:
        return events.get(timeout=WEBHOOK_SECONDS)
    except Empty:
        return None


def _show(
    status: halftone.RequestStatus,
    images: list[halftone.Image],
    event: halftone.WebhookEvent | None,
) -> None:
    table = Table("Image", "Format", "Before", "After", "Saved")
    for column in table.columns[2:]:
        column.justify = "right"
    for image in images:
        name = _name(image)
        if image.error is not None:
            table.add_row(name, "", "", "", image.error.code, style="red")
        else:
            table.add_row(name, image.format, *_sizes(image.bytes_in or 0, image.bytes_out or 0))
    table.add_section()
    table.add_row("all", "", *_sizes(status.bytes_in, status.bytes_out), style="bold")
    console.print(table)
    if status.started_at is not None and status.completed_at is not None:
        seconds = (status.completed_at - status.started_at).total_seconds()
        say(f"{status.processed_images} images in {seconds:.1f} s on {os.cpu_count()} cores.")
    if event is None:
        say("No webhook came.", style="red")
    else:
        say(f"Webhook: {event.type}, its signature verified.")
    say(f"Output CSV: {FOLDER / 'output.csv'}")


def _sizes(before: int, after: int) -> tuple[str, str, str]:
    saved = f"{100 * (1 - after / before):.0f} %" if before else ""
    return megabytes(before), megabytes(after), saved


def _name(image: halftone.Image) -> str:
    return image.input_url.rpartition("/")[2]


def _as_expected(
    status: halftone.RequestStatus,
    images: list[halftone.Image],
    event: halftone.WebhookEvent | None,
) -> bool:
    failures = {_name(image): image.error.code for image in images if image.error is not None}
    return (
        status.status is halftone.Status.COMPLETED
        and failures == EXPECTED_FAILURES
        and status.bytes_out < status.bytes_in
        and event is not None
        and event.type == "request.completed"
    )
