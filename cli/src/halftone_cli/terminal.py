"""What every command shares: the terminal, the exit codes, and errors as text instead of tracebacks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

console = Console()
error_console = Console(stderr=True)

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_UNREACHABLE = 3


def say(text: str, *, style: str | None = None, to: Console = console) -> None:
    """Print it as it is, however long its lines; a product's name or a server's answer has no say over the terminal."""
    shown = "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)
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
