"""`halftone keys`: API keys, shown once, stored hashed."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from halftone_cli.home import DEFAULT_HOME
from halftone_cli.terminal import EXIT_FAILED, console, error_console, fail

keys = typer.Typer(no_args_is_help=True, help="API keys: made, listed, revoked.")

HomeOption = Annotated[Path, typer.Option("--home", help="The folder of `halftone up`, where no database is named.")]


@keys.command()
def create(name: str, home: HomeOption = DEFAULT_HOME) -> None:
    """Make a key and print it, once: only its hash is stored."""
    from halftone_cli.local_database import local_engine
    from halftone_shared.api_keys import create_key

    with local_engine(home) as engine, engine.connect() as connection:
        key_id, key = create_key(connection, name)
    error_console.print(f"Key {key_id} for {name!r}, shown this once. Send it as 'Authorization: Bearer KEY'.")
    print(key)


@keys.command("list")
def show(home: HomeOption = DEFAULT_HOME) -> None:
    """The keys, without their secrets."""
    from halftone_cli.local_database import local_engine
    from halftone_shared.api_keys import list_keys

    table = Table("ID", "Name", "Created", "Revoked")
    with local_engine(home) as engine, engine.connect() as connection:
        for key in list_keys(connection):
            revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
            table.add_row(str(key.id), key.name, f"{key.created_at:%Y-%m-%d %H:%M}", revoked)
    console.print(table)


@keys.command()
def revoke(key_id: UUID, home: HomeOption = DEFAULT_HOME) -> None:
    """Make a key useless from now on."""
    from halftone_cli.local_database import local_engine
    from halftone_shared.api_keys import revoke_key

    with local_engine(home) as engine, engine.connect() as connection:
        if not revoke_key(connection, key_id):
            fail(f"There is no key {key_id}, or it was revoked before.", EXIT_FAILED)
    console.print(f"Key {key_id} is revoked.")
