"""Requests, products and images as text for people."""

from collections import Counter

from rich.table import Table
from rich.text import Text

import halftone
from halftone_cli.progress import duration, ended_products, megabytes, plural
from halftone_cli.service import hint
from halftone_cli.terminal import console, say


def waiting_text(waiting: halftone.WaitingFor) -> str:
    """How many products wait for a host, and why."""
    return f"{plural(waiting.products, 'product')}: {waiting.message}"


def show_accepted(accepted: halftone.Accepted) -> None:
    say(
        f"Request {accepted.request_id}: {plural(accepted.total_products, 'product')},"
        f" {plural(accepted.total_images, 'image')}."
    )
    if skipped := accepted.raw.get("skipped_rows"):
        say(f"  Skipped {plural(skipped, 'row')}.", style="yellow")
    show_warnings(accepted.warnings, accepted.warning_count)


def show_warnings(warnings: tuple[halftone.RowError, ...], count: int) -> None:
    for warning in warnings:
        place = f"line {warning.line}, {warning.column}: " if warning.line else ""
        say(f"  {place}{warning.message} ({warning.value!r})", style="yellow")
    if count > len(warnings):
        say(f"  and {count - len(warnings):,} more", style="yellow")


def show_status(status: halftone.RequestStatus) -> None:
    outcome = f" ({status.outcome})" if status.outcome else ""
    say(f"{status.status}{outcome}, {status.progress:g} %", style="bold")
    for name, value in _status_lines(status).items():
        say(f"  {name:<9}{value}")


def _status_lines(status: halftone.RequestStatus) -> dict[str, str]:
    share = f" ({100 * status.bytes_saved / status.bytes_in:.0f} %)" if status.bytes_in else ""
    reused = status.raw.get("reused_images") or 0
    lines = {
        "file": status.csv_filename,
        "products": f"{ended_products(status):,} of {status.total_products:,} ended,"
        f" {status.failed_products:,} failed, {status.cancelled_products:,} cancelled",
        "images": f"{status.processed_images:,} of {status.total_images:,} compressed"
        f" ({status.kept_original_images:,} kept as they were"
        + (f", {reused:,} reused" if reused else "")
        + f"), {status.failed_images:,} failed",
        "bytes": f"{megabytes(status.bytes_in)} in, {megabytes(status.bytes_out)} out,"
        f" {megabytes(status.bytes_saved)} saved{share}",
        "output": status.output_csv_url or "once the request has ended",
    }
    if status.waiting_for and status.completed_at is None:
        lines["waiting"] = " ".join(map(waiting_text, status.waiting_for))
    if status.completed_at is None and (left := status.raw.get("eta_seconds")) is not None:
        lines["left"] = f"about {duration(left)}"
    if estimate := status.raw.get("estimate"):
        lines["estimate"] = (
            f"{megabytes(estimate['bytes_saved'])} of {megabytes(estimate['bytes_in'])} saved in"
            f" {duration(estimate['seconds'])} for the whole file"
        )
    if status.webhook is not None:
        attempts = plural(status.webhook.attempts, "attempt")
        lines["webhook"] = f"{status.webhook.status} after {attempts}"
    return lines


def show_product(product: halftone.Product, *, failed_only: bool = False) -> None:
    say(
        f"line {product.line}: {product.product_name} [{product.status}]",
        style="bold",
    )
    for image in product.images:
        if image.error is not None or not failed_only:
            say(f"  {image.position}. {_image_text(image)}")


def _image_text(image: halftone.Image) -> str:
    if image.error is not None:
        return f"{image.input_url}: {image.error.code}: {image.error.message}"
    if image.output_url is None:
        return f"{image.input_url}: {image.status}"
    sizes = f"{megabytes(image.bytes_in or 0)} to {megabytes(image.bytes_out or 0)}"
    text = f"{image.output_url} ({sizes}, {image.action})"
    return "".join([text, *(f"\n     {warning}" for warning in image.warnings)])


def show_failures(client: halftone.Client, status: halftone.RequestStatus) -> None:
    """What failed, grouped by code, with what to do, and the command that lists it."""
    if not status.failed_images:
        return
    table = Table("Code", "Images", "What happened, and what to do")
    table.columns[1].justify = "right"
    for code, count in _errors_by_code(client, status).most_common():
        known = halftone.ERROR_CODES.get(code)
        text = f"{known.meaning} {known.remedy}" if known else ""
        table.add_row(Text(code, style="red"), f"{count:,}", text)
    console.print(table)
    listed = hint(client.url, "details", status.request_id, "--failed")
    again = hint(client.url, "retry", status.request_id)
    say(f"`{listed}` lists them; `{again}` tries them again.")


def _errors_by_code(client: halftone.Client, status: halftone.RequestStatus) -> Counter[str]:
    if by_code := status.raw.get("errors_by_code"):
        return Counter(by_code)
    images = client.images(status.request_id)
    return Counter(image.error.code for image in images if image.error is not None)
