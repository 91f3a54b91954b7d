"""What every command shares: the terminal, the home's option, exit codes, and errors as text
instead of tracebacks.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

console = Console()
error_console = Console(stderr=True)

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_UNREACHABLE = 3


HomeOption = Annotated[
    Path, typer.Option("--home", help="The folder of `halftone up`, where no database is named.")
]


def show_what_can_be_shown() -> None:
    """What the terminal's encoding has no sign for is shown as one it has: a product's name must
    not end a command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_stdout(path: Path) -> bool:
    """Whether a path is where standard output goes, as /dev/stdout is, be that a terminal, a pipe
    or a file.
    """
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def say(text: str, *, style: str | None = None, to: Console = console) -> None:
    """Print it as it is, however long its lines; a product's name or a server's answer has no say
    over the terminal.
    """
    shown = "".join(
        character if character.isprintable() or character == "\n" else "\ufffd"
        for character in text
    )
    to.print(shown, style=style, markup=False, highlight=False, soft_wrap=True)


def fail(message: str, exit_code: int) -> NoReturn:
    say(message, style="red", to=error_console)
    raise typer.Exit(exit_code)


@contextmanager
def failing_with(exit_code: int, *errors: type[Exception]) -> Iterator[None]:
    """These errors carry their message for people: print it and exit."""
    try:
        yield
    except errors as error:
        fail(str(error), exit_code)
