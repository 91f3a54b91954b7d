"""`halftone origins` and `halftone presets`: settings that the service keeps apart from
requests.
"""

import sys
from typing import Annotated, Any

import typer

import halftone
from halftone_cli.commands.registering import command
from halftone_cli.terminal import EXIT_REFUSED, fail, print_json, print_quiet, say

HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="A host, as in URLs.")]

origins = typer.Typer(
    no_args_is_help=True, help="Hosts that need a password or headers, or a limited rate."
)


def set_(
    client: halftone.Client,
    host: HostArgument,
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", help='A header to send, as "Name: value". May be repeated.'),
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", help="The user name for HTTP Basic.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            "--password",
            help="Its password. Without it, the command asks or reads a line of its input.",
        ),
    ] = None,
    requests_per_second: Annotated[
        float | None,
        typer.Option("--requests-per-second", help="The most requests per second of all workers."),
    ] = None,
    connections: Annotated[
        int | None,
        typer.Option("--connections", min=1, help="The most connections of all workers."),
    ] = None,
) -> None:
    """Set credentials and limits for fetching images from a host. Replaces earlier settings."""
    if username is not None and password is None:
        password = _read_password()
    found = client.set_origin(
        host,
        headers=dict(map(_header, headers)) if headers else None,
        username=username,
        password=password,
        requests_per_second=requests_per_second,
        connections=connections,
    )
    print_json(found.raw)
    say(
        f"The settings of {host} are saved. Passwords and header values are stored encrypted and"
        " never shown."
    )


def _read_password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True))
    return sys.stdin.readline().rstrip("\n")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        fail(f'A header is written as "Name: value", not {name!r}.', EXIT_REFUSED)
    return name.strip(), value.strip()


def list_(client: halftone.Client) -> None:
    """List the hosts that have settings, without their secrets."""
    found = client.origins()
    for origin in found:
        print_json(origin.raw)
        print_quiet(origin.host)
        say(f"{origin.host}: {_settings_text(origin)}")
    if not found:
        say("No host has settings.")


def _settings_text(origin: halftone.Origin) -> str:
    parts = []
    if origin.header_names:
        parts.append(f"headers {', '.join(origin.header_names)}")
    if origin.has_password:
        parts.append("a password")
    if origin.requests_per_second is not None:
        parts.append(f"at most {origin.requests_per_second:g} requests/s")
    if origin.connections is not None:
        parts.append(f"at most {origin.connections} connections")
    return ", ".join(parts) or "nothing"


def remove(client: halftone.Client, host: HostArgument) -> None:
    """Delete the settings of a host."""
    client.remove_origin(host)
    print_json({"host": host, "removed": True})
    say(f"The settings of {host} are deleted.")


def presets(client: halftone.Client) -> None:
    """List the marketplace presets of `submit --preset`, with their options and rules."""
    for preset in client.presets():
        print_json(preset.raw)
        print_quiet(preset.name)
        options = ", ".join(
            f"{name}={_value_text(value)}" for name, value in preset.options.items()
        )
        say(f"{preset.name}: {preset.title}, rules of {preset.as_of}", style="bold")
        say(f"  options  {options}")
        for rule in preset.rules:
            level = "must" if rule.level == "fail" else "advised"
            say(f"  {level:<7}  {rule.kind.replace('_', ' ')}: {_value_text(rule.value)}")


def _value_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple, dict)) else str(value)


command(origins, set_, name="set")
command(origins, list_, name="list")
command(origins, remove)
