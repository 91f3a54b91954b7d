"""The commands that call a running service: submit, status, details, download, cancel, retry."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halftone_cli.terminal import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    console,
    fail,
    failing_with,
    is_stdout,
    say,
)

if TYPE_CHECKING:
    from halftone_cli.client import ApiClient

DEFAULT_URL = "http://127.0.0.1:8000"

UrlOption = Annotated[
    str, typer.Option("--url", envvar="HALFTONE_URL", help="Where halftone answers.")
]


def _writable(output: Path | None) -> Path | None:
    """Asked before anything is uploaded and waited for. Where the CSV goes to standard output, all
    else does not.
    """
    if output is not None and not os.access(output if output.exists() else output.parent, os.W_OK):
        fail(f"{str(output)!r} cannot be written. Name another with --output.", EXIT_REFUSED)
    if output is not None and is_stdout(output):
        console.stderr = True
    return output


OutputOption = typer.Option(
    "--output", dir_okay=False, callback=_writable, help="Write the output CSV here."
)


def submit(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The CSV of products.")],
    url: UrlOption = DEFAULT_URL,
    webhook_url: Annotated[
        str | None, typer.Option("--webhook-url", help="Where the end is reported to.")
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="quality, scale or bytes.")] = None,
    quality: Annotated[int | None, typer.Option("--quality", help="1 to 95.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show the progress and wait for the end.")
    ] = False,
    output: Annotated[Path | None, OutputOption] = None,
) -> None:
    """Upload a CSV; with --output, wait for its end too. Exits with 1 when it failed, with 2 when
    it is refused.
    """
    given = {"webhook_url": webhook_url, "mode": mode, "quality": quality}
    fields = {name: str(value) for name, value in given.items() if value is not None}
    from halftone_cli.progress import watch

    with _api(url, refused=EXIT_REFUSED) as client, file.open("rb") as opened:
        accepted = client.upload(file.name, opened, fields)
    _show_accepted(accepted)
    if not wait and output is None:
        return
    with _api(url) as client:
        ended = watch(client, accepted["request_id"], console)
        _show_status(ended)
        if output is not None:
            _save(client, accepted["request_id"], output)
    if ended["status"] != "COMPLETED":
        raise typer.Exit(EXIT_FAILED)


def status(
    request_id: str,
    url: UrlOption = DEFAULT_URL,
    watching: Annotated[
        bool, typer.Option("--watch", help="Show the progress until the end.")
    ] = False,
) -> None:
    """How a request is going."""
    from halftone_cli.progress import watch

    with _api(url) as client:
        _show_status(watch(client, request_id, console) if watching else client.status(request_id))


def details(request_id: str, url: UrlOption = DEFAULT_URL) -> None:
    """A request's products and their images."""
    with _api(url) as client:
        for page in client.details(request_id):
            for product in page["products"]:
                _show_product(product)


def download(
    request_id: str,
    output: Annotated[Path, OutputOption],
    url: UrlOption = DEFAULT_URL,
) -> None:
    """The output CSV of a request that has ended."""
    with _api(url) as client:
        _save(client, request_id, output)


def cancel(request_id: str, url: UrlOption = DEFAULT_URL) -> None:
    """End what has not ended yet; what has finished keeps its results."""
    with _api(url) as client:
        _show_status(client.cancel(request_id))


def retry(request_id: str, url: UrlOption = DEFAULT_URL) -> None:
    """Try again what failed, under the same ID."""
    with _api(url) as client:
        _show_status(client.retry(request_id))


@contextmanager
def _api(url: str, *, refused: int = EXIT_FAILED) -> "Iterator[ApiClient]":
    """The client, with what it raises as exits. Imported here: `halftone --help` needs no HTTP
    client.
    """
    from halftone_cli.client import ApiClient, Refused, Unreachable

    with (
        failing_with(EXIT_UNREACHABLE, Unreachable),
        failing_with(refused, Refused),
        ApiClient(url) as client,
    ):
        yield client


def _save(client: "ApiClient", request_id: str, output: Path) -> None:
    with failing_with(EXIT_FAILED, OSError):  # the disk is full
        size = client.download(request_id, output)
    say(f"Written: {output} ({size:,} bytes)")


def _show_accepted(accepted: dict[str, Any]) -> None:
    say(
        f"Request {accepted['request_id']}: {accepted['total_products']:,} products,"
        f" {accepted['total_images']:,} images."
    )
    for warning in accepted["warnings"]:
        place = f"line {warning['line']}, {warning['column']}"
        text = f"  {place}: {warning['message']} ({warning['value']!r})"
        say(text, style="yellow")
    if accepted["warning_count"] > len(accepted["warnings"]):
        say(f"  and {accepted['warning_count'] - len(accepted['warnings']):,} more", style="yellow")


def _show_status(status: dict[str, Any]) -> None:
    from halftone_cli.progress import ended_products, megabytes

    outcome = f" ({status['outcome']})" if status["outcome"] else ""
    say(f"{status['status']}{outcome}, {status['progress']:g} %", style="bold")
    lines = {
        "products": f"{ended_products(status):,} of {status['total_products']:,} ended,"
        f" {status['failed_products']:,} failed, {status['cancelled_products']:,} cancelled",
        "images": f"{status['processed_images']:,} of {status['total_images']:,} compressed"
        f" ({status['kept_original_images']:,} kept as they were),"
        f" {status['failed_images']:,} failed",
        "bytes": f"{megabytes(status['bytes_in'])} in, {megabytes(status['bytes_out'])} out,"
        f" {megabytes(status['bytes_saved'])} saved",
        "output": status["output_csv_url"] or "when it has ended",
    }
    if status["webhook"]:
        lines["webhook"] = (
            f"{status['webhook']['status']} after {status['webhook']['attempts']} attempts"
        )
    for name, value in lines.items():
        say(f"  {name:<9}{value}")


def _show_product(product: dict[str, Any]) -> None:
    say(f"line {product['line']}: {product['product_name']} [{product['status']}]", style="bold")
    for image in product["images"]:
        say(f"  {image['position']}. {_image_text(image)}")


def _image_text(image: dict[str, Any]) -> str:
    from halftone_cli.progress import megabytes

    if image["error"]:
        return f"{image['input_url']}: {image['error']['code']}: {image['error']['message']}"
    if image["output_url"] is None:
        return f"{image['input_url']}: {image['status']}"
    sizes = f"{megabytes(image['bytes_in'])} to {megabytes(image['bytes_out'])}"
    return f"{image['output_url']} ({sizes}, {image['action']})"
