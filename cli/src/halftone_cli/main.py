"""The `halftone` command. Each command reads its options and calls one function; what is heavy is
imported when it runs.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from halftone_cli.client_commands import cancel, details, download, retry, status, submit
from halftone_cli.doctor_command import doctor
from halftone_cli.home import DEFAULT_HOME
from halftone_cli.key_commands import keys
from halftone_cli.queues_command import queues
from halftone_cli.terminal import (
    EXIT_FAILED,
    EXIT_REFUSED,
    HomeOption,
    console,
    failing_with,
    show_what_can_be_shown,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Make the images of a product catalogue smaller.",
)
app.add_typer(keys, name="keys")
for command in (submit, status, details, download, cancel, retry, doctor, queues):
    app.command()(command)


@app.command()
def up(
    host: Annotated[str, typer.Option("--host", help="The address to serve on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="The port to serve on.", min=1, max=65535)
    ] = 8000,
    home: Annotated[
        Path, typer.Option("--home", help="The folder for database, images and secrets.")
    ] = DEFAULT_HOME,
    workers: Annotated[
        int, typer.Option("--workers", help="How many worker processes.", min=1, max=64)
    ] = 1,
) -> None:
    """Run the whole service on this machine until Ctrl-C. What the environment does not name is
    embedded.
    """
    from halftone_cli.up import CannotStart, run_up
    from halftone_shared.errors import BadSettings

    with failing_with(EXIT_FAILED, CannotStart), failing_with(EXIT_REFUSED, BadSettings):
        run_up(host=host, port=port, home_folder=home, workers=workers)


@app.command()
def demo() -> None:
    """Show the whole way: sample photos, a CSV, its progress, the webhook, the output CSV, and what
    was saved.
    """
    from halftone_cli.client import Refused, Unreachable
    from halftone_cli.demo.run import DemoFailed, run_demo

    with failing_with(EXIT_FAILED, DemoFailed, Refused, Unreachable):
        raise typer.Exit(run_demo(console))


@app.command()
def migrate(home: HomeOption = DEFAULT_HOME) -> None:
    """Bring the database to the newest schema."""
    from halftone_cli.local_database import database_url, failing_on_bad_database
    from halftone_db import migrate as run_migrations

    with failing_on_bad_database(), database_url(home) as url:
        run_migrations(url)
    console.print("The database is at the newest schema.")


def main() -> None:
    """The command's entry. What no command foresees of files and terminals, such as a full disk
    under standard output, is a line too; a pipe that nobody reads any more is none, as elsewhere.
    """
    show_what_can_be_shown()
    try:
        app()
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        print(f"halftone cannot go on: {error.strerror or error}{place}", file=sys.stderr)
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), 1
        )  # where what could not be written goes in the end
        sys.exit(EXIT_FAILED)
