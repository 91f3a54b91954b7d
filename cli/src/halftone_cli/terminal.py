"""Shared by every command: exit codes, what each mode prints, and errors as text.

There are three modes: text for people, `--json` for programs, and `--quiet`, which prints little
except errors. Rich omits colours and bars if the output is not a terminal or NO_COLOR is set.
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

console = Console()
error_console = Console(stderr=True)

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_PARTIAL = 3
EXIT_UNREACHABLE = 4
EXIT_INTERRUPTED = 130

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home", help="The folder of `halftone up`. Used if HALFTONE_DATABASE_URL is not set."
    ),
]


@dataclass
class Mode:
    """What the command line asked for. At most one of them is true."""

    json: bool = False
    quiet: bool = False


mode = Mode()


def set_mode(*, as_json: bool, quiet: bool) -> None:
    mode.json = as_json
    mode.quiet = quiet and not as_json
    console.quiet = mode.json or mode.quiet


def replace_unprintable() -> None:
    """Print `?` for characters that the terminal's encoding lacks: a product's name must not end a
    command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_stdout(path: Path) -> bool:
    """Whether a path is standard output itself, as /dev/stdout is: a terminal, a pipe or a file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def say(text: str, *, style: str | None = None, to: Console = console) -> None:
    """Print a text unchanged, however long its lines, but with control characters replaced: neither
    a product's name nor a server's answer may control the terminal.
    """
    shown = "".join(
        character if character.isprintable() or character == "\n" else "\ufffd"
        for character in text
    )
    to.print(shown, style=style, markup=False, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """Print one JSON value on a line of standard output in JSON mode; nothing in the other
    modes.
    """
    if mode.json:
        _print(json.dumps(data, ensure_ascii=False, default=str))


def print_quiet(text: object) -> None:
    """Print text that --quiet shows instead of all other text; nothing in the other modes."""
    if mode.quiet:
        _print(str(text))


def _print(text: str) -> None:
    # If a file goes to standard output, everything else goes to standard error.
    print(text, file=sys.stderr if console.stderr else sys.stdout)


def fail(message: str, exit_code: int, **members: Any) -> NoReturn:
    """Print what is wrong and end the command. In JSON mode, `members` describe the error."""
    if mode.json:
        print_json({"error": {"detail": message, "exit_code": exit_code} | members})
    else:
        say(message, style="red", to=error_console)
    raise typer.Exit(exit_code)


@contextmanager
def failing_with(exit_code: int, *errors: type[Exception]) -> Iterator[None]:
    """Print errors of these types, whose text is for people, and exit with this code."""
    try:
        yield
    except errors as error:
        fail(str(error), exit_code)
