"""`halftone keys`: API keys and their owners. A key is shown once and stored hashed."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from halftone_cli.commands.registering import command
from halftone_cli.home import DEFAULT_HOME
from halftone_cli.program import command_line
from halftone_cli.terminal import (
    EXIT_FAILED,
    EXIT_REFUSED,
    HomeOption,
    error_console,
    fail,
    mode,
    print_json,
    print_quiet,
    say,
)

if TYPE_CHECKING:
    from datetime import datetime

    from halftone_shared.db.api_keys import KeyRow

MAX_NAME_CHARACTERS = 200

keys = typer.Typer(no_args_is_help=True, help="API keys and their owners: create, list, revoke.")


def create(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Who the key belongs to.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The key's name. Without it, the owner's name.")
    ] = None,
    is_admin: Annotated[
        bool, typer.Option("--admin", help="The key may see and change the requests of all owners.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Create an API key for OWNER and print it. It cannot be shown again: only its hash is stored.

    All keys of an owner see the same requests.
    """
    for given in (owner, name):
        if given is not None and not _is_name(given):
            fail(
                f"A name has 1 to {MAX_NAME_CHARACTERS} printable characters: {given!a}.",
                EXIT_REFUSED,
            )
    from halftone_cli.local_database import local_engine
    from halftone_cli.places import announce
    from halftone_shared.db.api_keys import create_key
    from halftone_shared.db.engine import transaction
    from halftone_shared.errors import KeyNameTaken

    announce(home, to=error_console)  # standard output has only the key
    with local_engine(home) as engine:
        try:
            with transaction(engine) as connection:
                key = create_key(connection, owner, name=name, is_admin=is_admin)
        except KeyNameTaken as error:
            fail(str(error), EXIT_REFUSED)
    if mode.json:
        made = {"id": str(key.id), "owner": key.owner, "name": key.name, "key": key.secret}
        print_json(made)
        return
    if not mode.quiet:
        what = f"Key {key.name!r} ({key.id}) of {key.owner!r}"
        say(
            f"{what}. It cannot be shown again. Put it into HALFTONE_API_KEY for commands;",
            to=error_console,
        )
        say("other programs send it as 'Authorization: Bearer KEY'.", to=error_console)
    print(key.secret)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable()


def list_(home: HomeOption = DEFAULT_HOME) -> None:
    """List the keys with owner, name, creation and last use, but not the keys themselves."""
    from halftone_cli.local_database import local_engine
    from halftone_cli.places import announce
    from halftone_shared.db.api_keys import list_keys

    announce(home)
    with local_engine(home) as engine, engine.connect() as connection:
        for key in list_keys(connection):
            print_json(asdict(key))
            print_quiet(key.id)
            say(_key_line(key))


def _key_line(key: "KeyRow") -> str:
    """One line per key, however long the names are. The ID is never cut, since `revoke` needs all
    of it.
    """
    names = key.name if key.name == key.owner else f"{key.owner}: {key.name}"
    admin = " (admin)" if key.is_admin else ""
    used = _minute(key.last_used_at) or "never"
    revoked = f", revoked {_minute(key.revoked_at)}" if key.revoked_at else ""
    return f"{key.id}  {names}{admin}, created {_minute(key.created_at)}, last used {used}{revoked}"


def _minute(moment: "datetime | None") -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def revoke(
    name_or_id: Annotated[
        str, typer.Argument(metavar="NAME|ID", help="The name or ID that `keys list` shows.")
    ],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Revoke the key with this name or ID: calls with it are refused from now on."""
    from halftone_cli.local_database import local_engine
    from halftone_cli.places import announce
    from halftone_shared.db.api_keys import revoke_key
    from halftone_shared.errors import KeyNameAmbiguous

    announce(home)
    with local_engine(home) as engine, engine.connect() as connection:
        try:
            key_id = revoke_key(connection, name_or_id)
        except KeyNameAmbiguous as error:
            fail(str(error), EXIT_FAILED)
    if key_id is None:
        listed = command_line("keys", "list")
        fail(f"There is no valid key {name_or_id!a}; `{listed}` shows all.", EXIT_FAILED)
    print_json({"id": str(key_id), "revoked": True})
    say(f"Key {key_id} is revoked.")


command(keys, create)
command(keys, list_, name="list")
command(keys, revoke)
