"""`halftone hosts`: pausing and resuming hosts that images come from."""

from typing import Annotated

import typer

import halftone
from halftone_cli.commands.registering import command
from halftone_cli.service import hint
from halftone_cli.terminal import print_json, print_quiet, say

HostsArgument = Annotated[
    list[str], typer.Argument(metavar="HOST...", help="Hosts, as in URLs; a port is optional.")
]

hosts = typer.Typer(no_args_is_help=True, help="Pause hosts that images come from. For operators.")


def pause(client: halftone.Client, names: HostsArgument) -> None:
    """Pause hosts: no worker fetches images from them. Their products wait."""
    for name in names:
        paused = client.pause_host(name)
        print_json(paused.raw)
        print_quiet(paused.host)
        say(
            f"{paused.host} is paused. `{hint(client.url, 'hosts', 'resume', paused.host)}`"
            " resumes it."
        )


def resume(client: halftone.Client, names: HostsArgument) -> None:
    """Resume paused hosts: their products go on at once."""
    for name in names:
        client.resume_host(name)
        print_json({"host": name, "resumed": True})
        say(f"{name} is resumed.")


def list_(client: halftone.Client) -> None:
    """List the hosts that are paused."""
    found = client.paused_hosts()
    for one in found:
        print_json(one.raw)
        print_quiet(one.host)
        say(f"{one.host}: paused since {one.paused_at:%Y-%m-%d %H:%M} UTC")
    if not found:
        say("No host is paused.")


command(hosts, pause)
command(hosts, resume)
command(hosts, list_, name="list")
