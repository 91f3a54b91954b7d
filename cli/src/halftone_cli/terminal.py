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


def fail(message: str, exit_code: int) -> NoReturn:
    error_console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(exit_code)


@contextmanager
def failing_with(exit_code: int, *errors: type[Exception]) -> Iterator[None]:
    """These errors carry their message for people: print it and exit."""
    try:
        yield
    except errors as error:
        fail(str(error), exit_code)
