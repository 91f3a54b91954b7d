"""The `halftone` command. Each command reads its options and calls one function; heavy modules are
imported only when it runs.
"""

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from halftone_cli.commands.doctor import doctor
from halftone_cli.commands.hosts import hosts
from halftone_cli.commands.keys import keys
from halftone_cli.commands.origins import origins, presets
from halftone_cli.commands.queues import queues
from halftone_cli.commands.registering import command
from halftone_cli.commands.requests import (
    cancel,
    delete,
    details,
    download,
    requests,
    status,
)
from halftone_cli.commands.retry import retry
from halftone_cli.commands.upload import check, submit
from halftone_cli.commands.webhooks import webhooks
from halftone_cli.home import DEFAULT_HOME
from halftone_cli.program import NAME
from halftone_cli.terminal import (
    EXIT_FAILED,
    EXIT_REFUSED,
    HomeOption,
    failing_with,
    mode,
    print_json,
    replace_unprintable,
    say,
)
from halftone_cli.upload_options import upload_parameters
from halftone_shared.runtime.variables import PREFIX, unknown_variables, warning_about

app = typer.Typer(
    name=NAME,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make the images of a product catalogue smaller.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"{NAME} {version(NAME)}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Make the images of a product catalogue smaller."""


def up(
    host: Annotated[
        str, typer.Option("--host", envvar="HALFTONE_API_HOST", help="The address to serve on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", envvar="HALFTONE_API_PORT", help="The port to serve on.", min=1, max=65535
        ),
    ] = 8000,
    home: Annotated[
        Path, typer.Option("--home", help="The folder for database, images and secrets.")
    ] = DEFAULT_HOME,
    workers: Annotated[
        int, typer.Option("--workers", help="The number of worker processes.", min=1, max=64)
    ] = 1,
) -> None:
    """Run the whole service on this machine until Ctrl-C.

    It starts a database, a queue and a storage of its own, unless the environment names others.

    --json writes its log as JSON, --quiet writes only warnings and errors.
    """
    from halftone_cli.up import CannotStart, run_up
    from halftone_shared.errors import BadSettings

    if mode.json:
        os.environ.setdefault(PREFIX + "LOG_FORMAT", "json")
    if mode.quiet:
        os.environ.setdefault(PREFIX + "LOG_LEVEL", "warning")

    with failing_with(EXIT_FAILED, CannotStart), failing_with(EXIT_REFUSED, BadSettings):
        run_up(host=host, port=port, home_folder=home, workers=workers)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service running until Ctrl-C, to look at it.")
    ] = False,
) -> None:
    """Run the main job on sample pictures on this machine: upload, progress, webhook, output file.

    Starts the whole service on a free port, and stops it at the end.
    """
    from halftone_cli.demo.run import DemoFailed, run_demo
    from halftone_cli.service import errors_reported

    with failing_with(EXIT_FAILED, DemoFailed), errors_reported("http://127.0.0.1"):
        raise typer.Exit(run_demo(keep=keep))


def migrate(home: HomeOption = DEFAULT_HOME) -> None:
    """Update the database to the newest schema."""
    from halftone_cli.local_database import database_url, failing_on_bad_database
    from halftone_cli.places import announce
    from halftone_db import migrate as run_migrations

    announce(home)
    with failing_on_bad_database(), database_url(home) as url:
        run_migrations(url)
    print_json({"migrated": True})
    say("The database is at the newest schema.")


SERVICE: tuple[Callable[..., None], ...] = (up, demo)
UPLOADS: tuple[Callable[..., None], ...] = (submit, check)
REQUESTS: tuple[Callable[..., None], ...] = (
    requests,
    status,
    details,
    download,
    cancel,
    retry,
    delete,
    webhooks,
    presets,
)
OPERATION: tuple[Callable[..., None], ...] = (migrate, doctor, queues)

for function in SERVICE:
    command(app, function)
for function in UPLOADS:
    command(app, function, further=upload_parameters())
for function in REQUESTS:
    command(app, function)
app.add_typer(origins, name="origins")
app.add_typer(hosts, name="hosts")
app.add_typer(keys, name="keys")
for function in OPERATION:
    command(app, function)


def main() -> None:
    """The entry point. An OSError that no command handles, such as a full disk under standard
    output, ends it with a one-line message. A closed pipe ends it silently, as in other programs.
    """
    replace_unprintable()
    for name in unknown_variables():
        print(warning_about(name), file=sys.stderr)
    try:
        app()
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        print(f"halftone cannot go on: {error.strerror or error}{place}", file=sys.stderr)
        # At exit, Python flushes what was not written. Without this, that would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(EXIT_FAILED)
