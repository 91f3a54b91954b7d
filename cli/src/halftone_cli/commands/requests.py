"""Commands on requests: list, status, details, download, cancel, retry, delete."""

import os
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, TypeAlias

import typer

import halftone
from halftone_cli.progress import gain_text, megabytes, watch
from halftone_cli.request_text import show_failures, show_product, show_status
from halftone_cli.service import hint
from halftone_cli.terminal import (
    EXIT_FAILED,
    EXIT_REFUSED,
    console,
    fail,
    failing_with,
    is_stdout,
    print_json,
    print_quiet,
    say,
)

# Writes a file of a request to a path, into a folder, or to an open file; returns its bytes.
Write: TypeAlias = Callable[[Any], int]

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The request's ID.")]


def requests(
    client: halftone.Client,
    status: Annotated[
        halftone.Status | None, typer.Option("--status", help="Only requests in this state.")
    ] = None,
    code: Annotated[
        str | None,
        typer.Option("--code", help="Only requests with an image that failed with this code."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            "--search",
            help="Only requests whose file name has this text, or whose ID starts with it.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The most requests to list.")] = 20,
    totals: Annotated[
        bool, typer.Option("--totals", help="Show the sums over all matching requests instead.")
    ] = False,
) -> None:
    """List requests, newest first."""
    if totals:
        _show_totals(client.request_totals(status=status, error_code=code, search=search))
        return
    listed = client.requests(
        status=status, error_code=code, search=search, page_size=min(limit, 100)
    )
    found = list(islice(listed, limit))
    for one in found:
        print_json(one.raw)
        print_quiet(one.request_id)
        say(_request_line(one))
    if not found:
        say(f"There are no requests. `{hint(client.url, 'submit', 'FILE')}` makes one.")


def _show_totals(found: halftone.RequestTotals) -> None:
    print_json(found.raw)
    print_quiet(found.requests)
    say(
        f"{found.requests:,} requests: {found.processed_images:,} of {found.total_images:,} images"
        f" done, {found.failed_images:,} failed, {megabytes(found.bytes_in)} in,"
        f" {megabytes(found.bytes_out)} out, {megabytes(found.bytes_saved)} saved"
    )


def _request_line(one: halftone.RequestStatus) -> str:
    """One line per request, so that other programs can search and cut the list."""
    created = f"{one.created_at:%Y-%m-%d %H:%M}"
    progress = f"{one.progress:.0f} %"
    return (
        f"{one.request_id}  {created}  {one.status:<10} {progress:>5}  {gain_text(one)}"
        f"  {one.csv_filename}"
    )


def status(
    client: halftone.Client,
    request_id: IdArgument,
    watching: Annotated[
        bool, typer.Option("--watch", help="Show the progress until the request has ended.")
    ] = False,
) -> None:
    """Show a request's progress, and why images failed."""
    found = watch(client, request_id) if watching else client.status(request_id)
    print_json(found.raw)
    print_quiet(found.status)
    show_status(found)
    if found.completed_at is not None:
        show_failures(client, found)


def details(
    client: halftone.Client,
    request_id: IdArgument,
    status: Annotated[
        halftone.Status | None, typer.Option("--status", help="Only products in this state.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only failed images and their products.")
    ] = False,
    code: Annotated[
        str | None,
        typer.Option("--code", help="Only products with an image that failed with this code."),
    ] = None,
) -> None:
    """List a request's products and images: each image's output URL, or why it failed."""
    for product in client.products(request_id, status=status, error_code=code):
        if failed and not any(image.error for image in product.images):
            continue
        print_json(product.raw)
        print_quiet(product.line)
        show_product(product, failed_only=failed)


def _writable(output: Path | None) -> Path | None:
    """Checked before anything is done. If the file goes to standard output, everything else goes to
    standard error.
    """
    if output is not None and not os.access(output if output.exists() else output.parent, os.W_OK):
        fail(f"{str(output)!r} cannot be written. Name another with --output.", EXIT_REFUSED)
    if output is not None and is_stdout(output):
        console.stderr = True
    return output


def output_option(what: str) -> Any:
    """The option --output. `what`: its help."""
    return typer.Option("--output", "-o", dir_okay=False, callback=_writable, help=what)


def download(
    client: halftone.Client,
    request_id: IdArgument,
    output: Annotated[
        Path | None,
        output_option("Save it here. Without it: in this folder, under the service's name for it."),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Save the report: a row for each image.")
    ] = False,
    archive: Annotated[
        bool, typer.Option("--zip", help="Save a ZIP of all output images.")
    ] = False,
    variant: Annotated[
        str | None, typer.Option("--variant", help="With --zip: only the images of this variant.")
    ] = None,
    images: Annotated[
        Literal["append", "replace"] | None,
        typer.Option(
            "--images", help="Where output URLs go: a new column, or in place of the input URLs."
        ),
    ] = None,
    as_: Annotated[
        Literal["csv", "xlsx"] | None,
        typer.Option("--as", help="The kind of file. Without it, the kind that was uploaded."),
    ] = None,
    safe: Annotated[
        bool,
        typer.Option(
            "--safe", help="Write the cells so that no spreadsheet reads one as a formula."
        ),
    ] = False,
) -> None:
    """Save the output file of a request that has ended, its report, or a ZIP of its images."""
    if report and archive:
        fail("Name one of --report and --zip.", EXIT_REFUSED)
    request = client.request(request_id)
    if archive:
        write: Write = partial(request.archive, variant=variant)
    elif report:
        write = partial(request.report, safe=safe)
    else:
        write = partial(request.download, images=images, as_=as_, safe=safe)
    saved, size = _save(client, request_id, output, write)
    print_json({"request_id": request_id, "output": str(saved), "bytes": size})


def save_output(client: halftone.Client, request_id: str, output: Path) -> int:
    """Write the output file of a request; return its size in bytes."""
    _, size = _save(client, request_id, output, partial(client.download, request_id))
    return size


def _save(
    client: halftone.Client, request_id: str, output: Path | None, write: Write
) -> tuple[Path, int]:
    """Write a file of a request; return where, and its size in bytes."""
    with failing_with(EXIT_FAILED, OSError):  # the disk is full
        try:
            if output is None:
                output, size = _save_under_its_name(write)
            elif is_stdout(output):
                # Write to the open descriptor: opening /dev/stdout by name would truncate a file
                # that the shell appends to.
                with open(1, "wb", closefd=False) as file:
                    size = write(file)
            else:
                size = write(output)
        except halftone.Conflict as error:
            if error.code != "not_ended":
                raise
            fail(_not_ended_text(client, request_id, error), EXIT_FAILED, code=error.code)
    say(f"Written: {output} ({size:,} bytes)")
    return output, size


def _save_under_its_name(write: Write) -> tuple[Path, int]:
    """Write the file into this folder, under the service's name for it. A file that exists is not
    replaced, because the user did not name it.
    """
    with TemporaryDirectory(prefix=".halftone-", dir=".") as folder:
        size = write(folder)
        (written,) = Path(folder).iterdir()
        output = Path(written.name)
        if output.exists():
            fail(f"{str(output)!r} exists already. Name a file with --output.", EXIT_FAILED)
        written.rename(output)
    return output, size


def _not_ended_text(client: halftone.Client, request_id: str, error: halftone.Conflict) -> str:
    state = error.problem.get("request_status", "running")
    progress = error.problem.get("progress")
    done = f", {progress:g} %" if isinstance(progress, (int, float)) else ""
    waiting = hint(client.url, "status", request_id, "--watch")
    return f"The request is {state}{done}: it has not ended yet. `{waiting}` waits for its end."


def cancel(client: halftone.Client, request_id: IdArgument) -> None:
    """Cancel a request. Finished products keep their results."""
    found = client.cancel(request_id)
    print_json(found.raw)
    print_quiet(found.status)
    show_status(found)


def delete(
    client: halftone.Client,
    request_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The requests' IDs.")],
) -> None:
    """Delete requests that have ended, with their files."""
    for request_id in request_ids:
        client.delete(request_id)
        print_json({"request_id": request_id, "deleted": True})
        say(f"Request {request_id} and its files are deleted.")
