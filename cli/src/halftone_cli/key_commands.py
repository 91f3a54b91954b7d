"""`halftone keys`: API keys, shown once, stored hashed."""

from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Column, Table

from halftone_cli.home import DEFAULT_HOME
from halftone_cli.terminal import (
    EXIT_FAILED,
    EXIT_REFUSED,
    HomeOption,
    console,
    error_console,
    fail,
    say,
)

MAX_NAME_CHARACTERS = 200
KEY_ID_CHARACTERS = 36

keys = typer.Typer(no_args_is_help=True, help="API keys: made, listed, revoked.")


@keys.command()
def create(name: str, home: HomeOption = DEFAULT_HOME) -> None:
    """Make a key and print it, once: only its hash is stored."""
    if not (0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()):
        fail(
            f"A key's name has 1 to {MAX_NAME_CHARACTERS} printable characters: {name!a}.",
            EXIT_REFUSED,
        )
    from halftone_cli.local_database import local_engine
    from halftone_shared.db.api_keys import create_key

    with local_engine(home) as engine, engine.connect() as connection:
        key_id, key = create_key(connection, name)
    told = f"Key {key_id} for {name!r}, shown this once. Send it as 'Authorization: Bearer KEY'."
    say(told, to=error_console)
    print(key)


@keys.command("list")
def show(home: HomeOption = DEFAULT_HOME) -> None:
    """The keys, without their secrets."""
    from halftone_cli.local_database import local_engine
    from halftone_shared.db.api_keys import list_keys

    id_column = Column(
        "ID", no_wrap=True, min_width=KEY_ID_CHARACTERS
    )  # never cut: `revoke` wants all of it
    table = Table(id_column, Column("Name", overflow="fold"), "Created", "Revoked")
    with local_engine(home) as engine, engine.connect() as connection:
        for key in list_keys(connection):
            revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
            table.add_row(
                str(key.id), escape(key.name), f"{key.created_at:%Y-%m-%d %H:%M}", revoked
            )
    console.print(table)


@keys.command()
def revoke(key_id: UUID, home: HomeOption = DEFAULT_HOME) -> None:
    """Make a key useless from now on."""
    from halftone_cli.local_database import local_engine
    from halftone_shared.db.api_keys import revoke_key

    with local_engine(home) as engine, engine.connect() as connection:
        if not revoke_key(connection, key_id):
            fail(f"There is no key {key_id}, or it was revoked before.", EXIT_FAILED)
    console.print(f"Key {key_id} is revoked.")
