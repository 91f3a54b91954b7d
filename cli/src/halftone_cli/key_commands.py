"""`halftone keys`: API keys and their owners. A key is shown once and stored hashed."""

from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from datetime import datetime

MAX_NAME_CHARACTERS = 200
KEY_ID_CHARACTERS = 36

keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")


@keys.command()
def create(
    owner: str,
    name: Annotated[
        str | None, typer.Option(help="What the key is called. By default as its owner.")
    ] = None,
    is_admin: Annotated[
        bool, typer.Option("--admin", help="The key sees all owners' requests.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Create a key for OWNER and print it, once: only its hash is stored.

    All keys of an owner see the same requests.
    """
    for given in (owner, name):
        if given is not None and not _is_name(given):
            fail(
                f"A name has 1 to {MAX_NAME_CHARACTERS} printable characters: {given!a}.",
                EXIT_REFUSED,
            )
    from halftone_cli.local_database import local_engine
    from halftone_shared.db.api_keys import create_key
    from halftone_shared.db.engine import transaction
    from halftone_shared.errors import KeyNameTaken

    with local_engine(home) as engine:
        try:
            with transaction(engine) as connection:
                key = create_key(connection, owner, name=name, is_admin=is_admin)
        except KeyNameTaken as error:
            fail(str(error), EXIT_REFUSED)
    what = f"Key {key.name!r} ({key.id}) of {key.owner!r}"
    say(f"{what}, shown this once. Send it as 'Authorization: Bearer KEY'.", to=error_console)
    print(key.secret)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable()


@keys.command("list")
def show(home: HomeOption = DEFAULT_HOME) -> None:
    """List the keys, without their secrets."""
    from halftone_cli.local_database import local_engine
    from halftone_shared.db.api_keys import list_keys

    # The ID is never cut: `revoke` takes all of it.
    id_column = Column("ID", no_wrap=True, min_width=KEY_ID_CHARACTERS)
    owner_column, name_column = Column("Owner", overflow="fold"), Column("Name", overflow="fold")
    table = Table(id_column, owner_column, name_column, "Created", "Last used", "Revoked")
    with local_engine(home) as engine, engine.connect() as connection:
        for key in list_keys(connection):
            table.add_row(
                str(key.id),
                escape(key.owner),
                escape(key.name) + (" (admin)" if key.is_admin else ""),
                _minute(key.created_at),
                _minute(key.last_used_at),
                _minute(key.revoked_at),
            )
    console.print(table)


def _minute(moment: "datetime | None") -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


@keys.command()
def revoke(name_or_id: str, home: HomeOption = DEFAULT_HOME) -> None:
    """Make the key with this name or ID invalid from now on."""
    from halftone_cli.local_database import local_engine
    from halftone_shared.db.api_keys import revoke_key
    from halftone_shared.errors import KeyNameAmbiguous

    with local_engine(home) as engine, engine.connect() as connection:
        try:
            key_id = revoke_key(connection, name_or_id)
        except KeyNameAmbiguous as error:
            fail(str(error), EXIT_FAILED)
    if key_id is None:
        fail(f"There is no valid key {name_or_id!a}; `halftone keys list` shows all.", EXIT_FAILED)
    console.print(f"Key {key_id} is revoked.")
