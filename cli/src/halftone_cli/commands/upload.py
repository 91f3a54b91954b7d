"""`halftone submit` and `halftone check`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

import halftone
from halftone_cli.commands.requests import output_option, save_output
from halftone_cli.progress import plural, watch
from halftone_cli.request_text import show_accepted, show_failures, show_status, show_warnings
from halftone_cli.service import errors_reported, hint
from halftone_cli.terminal import (
    EXIT_FAILED,
    EXIT_PARTIAL,
    EXIT_REFUSED,
    console,
    print_json,
    print_quiet,
    say,
)

FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, help="The file of products, such as a CSV."
    ),
]


def submit(
    client: halftone.Client,
    file: FileArgument,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until the request has ended, and show its progress."),
    ] = False,
    output: Annotated[Path | None, output_option("Save the output file here.")] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key",
            help="Sent again with this key within 24 hours, an upload makes no second request.",
        ),
    ] = None,
    **options: Any,
) -> None:
    """Upload a file of products and compress its images. --wait and --output wait for the end.

    Exit codes: 0 all images succeeded, or the upload was accepted (without --wait and --output);
    1 the request failed or was cancelled; 2 the upload was refused, and nothing was stored;
    3 some images failed; 4 the service cannot be reached.
    """
    with errors_reported(client.url, refused=EXIT_REFUSED):
        request = client.upload(file, idempotency_key=idempotency_key, **options)
    accepted = request.accepted
    assert accepted is not None  # noqa: S101 - an upload has it
    show_accepted(accepted)
    print_quiet(request.id)
    if not wait and output is None:
        print_json(accepted.raw)
        say(f"`{hint(client.url, 'status', request.id, '--watch')}` shows its progress.")
        return
    ended = watch(client, request.id)
    print_json(ended.raw)
    show_status(ended)
    show_failures(client, ended)
    if output is not None:
        save_output(client, request.id, output)
    if ended.status is not halftone.Status.COMPLETED:
        raise typer.Exit(EXIT_FAILED)
    if ended.failed_images:
        raise typer.Exit(EXIT_PARTIAL)


def check(client: halftone.Client, file: FileArgument, **options: Any) -> None:
    """Show how the service reads a file, and which rows are wrong. Nothing is stored.

    Exits with 2 if an upload of the file would be refused, and prints a line for each wrong row.
    """
    with errors_reported(client.url, refused=EXIT_REFUSED):
        found = client.check(file, **options)
    print_json(found.raw)
    print_quiet(found.products)
    content = f"{plural(found.products, 'product')}, {plural(found.images, 'image')}"
    say(f"{file.name}: {content}", style="bold")
    say(f"  read as   {found.profile}")
    say(f"  rows      {found.rows:,}, of which {found.skipped_rows:,} are skipped")
    for role, column in found.columns.raw.items():
        shown = ", ".join(map(str, column)) if isinstance(column, list) else column
        say(f"  {role:<9} {shown}")
    _show_hosts(found.hosts)
    show_warnings(found.warnings, found.warning_count)


def _show_hosts(hosts: tuple[halftone.HostImages, ...]) -> None:
    if not hosts:
        return
    table = Table("Host", "Images")
    table.columns[1].justify = "right"
    for host in hosts:
        table.add_row(Text(host.host), f"{host.images:,}")
    console.print(table)
