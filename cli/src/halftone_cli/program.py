"""How the user runs this program, for messages that name a command."""

import os
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

NAME = "halftone"


@cache
def program_name() -> str:
    """`halftone` if the shell finds this installation under that name; else a path that works.

    From a checkout that is `.venv/bin/halftone`; without an installed script, `python -m …`.
    """
    script = Path(sys.executable).with_name(NAME)
    if not script.exists():
        return f"{sys.executable} -m halftone_cli"
    found = shutil.which(NAME)
    if found is not None and Path(found).samefile(script):
        return NAME
    if script.is_relative_to(Path.cwd()):
        return str(script.relative_to(Path.cwd()))
    return str(script)


def command_line(*arguments: str) -> str:
    """A command to paste into a shell, such as `halftone status ID --watch`."""
    return f"{program_name()} {shlex.join(arguments)}"


def with_url(*arguments: str, url: str, default: str) -> str:
    """The same for a command that calls the service, with --url if it is needed."""
    if url != os.environ.get("HALFTONE_URL", default):
        arguments = (*arguments, "--url", url)
    return command_line(*arguments)
